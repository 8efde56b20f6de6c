"""Text to tokens: raw and already tokenised text come out alike.

Data sets mix both (SNLI: raw train, Penn-Treebank-tokenised dev and test), so every PTB habit
that a raw text lacks is either undone (quotes, brackets) or done (contractions).
"""

import re
from functools import lru_cache

NUMBER = "<num>"

_CURLY = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»", '"'),
        **dict.fromkeys("‘’‚‛`´′", "'"),
        **dict.fromkeys("–—―", "--"),
        "…": "...",
    }
)
_LINE_BREAK = re.compile(r"<br\s*/?>")
_TOKEN = re.compile(
    r"""
      (?: can (?= not) | gon (?= na) | wan (?= na) | got (?= ta) | gim (?= me) | lem (?= me) )
        (?= [a-z]{2,3} (?! [^\W_] ) )                       # PTB: cannot -> can not
    | [^\W\d_]++ (?! \d | 't )                              # a plain word: the common case
    | @ (?: entity\d+ | placeholder ) (?! [^\W_] )          # CNN's anonymous names
    | [^\W_]* \d [^\W_]* (?: (?: [.,:/] | \\/ ) \d [^\W_]* )*  # 1982  7th  1,000.50  4.5\/10
    | [^\W\d_]+ (?= n't (?! [^\W_] ) )                      # is|n't
    | n't (?! [^\W_] )
    | [^\W\d_]+
    | ''
    | ' (?: s | m | d | re | ve | ll ) (?! [^\W_] )
    | \.{2,}
    | - [lr] [rsc] b - | -{2,}
    | \\ [/*]
    | <num>
    | [^\w\s] | _
    """,
    re.VERBOSE,
)
_SPELLING = {
    "''": '"',
    "-lrb-": "(",
    "-rrb-": ")",
    "-lsb-": "[",
    "-rsb-": "]",
    "-lcb-": "{",
    "-rcb-": "}",
    "\\/": "/",
    "\\*": "*",
}


def tokenize(text: str) -> list[str]:
    """Returns lower-case tokens; tokens joined with blanks give the same tokens again.

    tokenize("It isn't 7th.<br />``No''") == ["it", "is", "n't", "<num>", ".", '"', "no", '"']

    Any token with a digit becomes "<num>", but CNN's "@entity12" and "@placeholder" stay whole.
    """
    text = text.lower().translate(_CURLY)
    if "<br" in text:
        text = _LINE_BREAK.sub(" ", text)
    return list(map(_spell, _TOKEN.findall(text)))


@lru_cache(maxsize=2**18)  # gives a word that comes again the same string: less memory and hashing
def _spell(token: str) -> str:
    if token[0] == "@" or token.isalpha():
        return token
    if any(letter.isdecimal() for letter in token):
        return NUMBER
    if token[:2] in ("..", "--"):
        return "..." if token[0] == "." else "--"
    return _SPELLING.get(token, token)
