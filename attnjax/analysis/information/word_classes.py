"""Classes of words by a closed list and rules: what kind of word a layer forgets.

punctuation  no letter and no digit, but <unk> and its like, which stand for words
function     in `FUNCTION`: English articles, pronouns, prepositions, conjunctions, auxiliaries, not
content      every other word
first, end   not words: the marks <sos> and <eos> that every text has
"""

_WRITTEN = """
    a an the this that these those each every either neither some any all both no none such
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself
    it its itself we us our ours ourselves they them their theirs themselves one ones
    who whom whose which what where when why how there here
    and or but nor so yet if then than because although though while whereas unless until since
    of to in on for with at by from as into onto upon about above across after against along among
    around before behind below beneath beside besides between beyond despite down during except
    inside like near off out outside over past per through throughout toward towards under up via
    within without
    am is are was were be been being do does did doing done have has had having
    will would shall should can could may might must ought need
    not n't 's 'm 're 've 'd 'll s t m re ve d ll
    too very just also only even more most much many few less least own same other another
"""
FUNCTION = frozenset(_WRITTEN.split())
CLASSES = ("content", "function", "punctuation", "first", "end")


def word_class(word: str) -> str:
    """The class of a word, whatever its case: "content", "function" or "punctuation"."""
    if word.lower() in FUNCTION:
        return "function"
    return "content" if any(each.isalnum() for each in word) else "punctuation"
