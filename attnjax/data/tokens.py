"""Text to tokens: raw and already tokenised text come out alike.

Data sets mix both (SNLI: raw train, Penn-Treebank-tokenised dev and test), so every PTB habit
that a raw text lacks is either undone (quotes, brackets) or done (contractions). Words of any
script that puts blanks between them stay whole, with their vowel signs and accents.
"""

import re
import unicodedata
from functools import cache, lru_cache

NUMBER = "<num>"
MOST_MARKS = 30  # on a letter, as Unicode's Stream-Safe Text Format has it

_CURLY = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»", '"'),
        **dict.fromkeys("‘’‚‛`´′", "'"),
        **dict.fromkeys("–—―", "--"),
        "…": "...",
    }
)
_LINE_BREAK = re.compile(r"<br\s*/?>")


# Han, kana, Thai, Lao, Burmese, Khmer; Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese, Tai Viet
_UNSPACED = (
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u312f\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff"
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e80-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f"
    "\u109a-\u109f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f\u1780-\u17d3\u17d7\u17dc\u17dd"
    "\u1950-\u19cf\u1a20-\u1a7f\u1b00-\u1b4b\ua980-\ua9c0\uaa80-\uaadf"
)
_STACKED = "\u1039\u17d2\u1a60\u1b44\ua9c0"  # written between two consonants of one letter cluster
_JOINING = "\u0590-\u1cff\ua840-\uabff\U00010a00-\U00011fff"  # scripts that joiners shape

# What is never seen: control and format characters, variation selectors, fillers.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0100-\U000e0fff]+"
)
_SYMBOL = r"[^\w\s\x00-\x7f\u200c\u200d]"
# Joiners shape letters of some scripts and build emoji; tags spell the flag of a region. Elsewhere
# they are as invisible as the rest.
_STRAY_JOINER = re.compile(
    rf"(?<![{_JOINING}]) \u200c+ | \u200c+ (?![{_JOINING}])"
    rf"| (?<! [{_JOINING}] ) (?: (?<! {_SYMBOL} ) \u200d+ | \u200d+ (?! {_SYMBOL} ) )"
    r"| (?<! [\U0001f3f4\U000e0020-\U000e007f] ) [\U000e0000-\U000e007f]+",
    re.VERBOSE,
)


def drop_invisible(text: str) -> str:
    """The text without its control and format characters, variation selectors and fillers.

    drop_invisible("so\u00adft\u200b") == "soft". Joiners stay where they shape letters, as in
    Persian, or make one emoji of several.
    """
    text = _INVISIBLE.sub("", text)
    return text if text.isascii() else _STRAY_JOINER.sub("", text)


def _token(marks: str, unspaced: bool = False) -> re.Pattern[str]:
    """The tokens of texts whose words hold these marks; without any the pattern is faster.

    unspaced  texts with letters of scripts that have no blanks, or with emoji of several characters
    """
    letter_ = rf"[^\W\d_{_UNSPACED}]" if unspaced else r"[^\W\d_]"
    digits = rf"[^\W_{_UNSPACED}]" if unspaced else r"[^\W_]"
    letter = rf"(?: {letter_} | [{marks}] )" if marks else letter_
    plain = rf"(?: {letter_}++ [{marks}]*+ )++" if marks else rf"{letter_}++"
    word = rf"{letter_} {letter}*"
    follows = rf"[{marks}]" if marks else r"(?!)"
    modified = rf"{_SYMBOL} [\U0001f3fb-\U0001f3ff]?"
    special = (
        rf"""
          [{_UNSPACED}] {follows}* (?: (?<= [{_STACKED}] ) [{_UNSPACED}] {follows}* )*
        | [\U0001f1e6-\U0001f1ff]{{2}}                          # a flag
        | [0-9#*] \u20e3                                        # a keycap
        | \U0001f3f4 [\U000e0020-\U000e007f]+                   # the flag of a region
        | {modified} (?: \u200d+ {modified} )*                  # \u200d: one emoji of several
        |
        """
        if unspaced
        else ""
    )
    return re.compile(
        rf"""{special}
          (?: can (?= not) | gon (?= na) | wan (?= na) | got (?= ta) | gim (?= me) | lem (?= me) )
            (?= [a-z]{{2,3}} (?! [^\W_] ) )                     # PTB: cannot -> can not
        | {plain} (?! \d | 't )                                # a plain word: the common case
        | @ (?: entity\d+ | placeholder ) (?! [^\W_] )          # CNN's anonymous names
                                                               # 1982  7th  1,000.50  4.5\/10:
        | {digits}* \d {digits}* (?: (?: [.,:/] | \\/ ) \d {digits}* )*
        | {word} (?= n't (?! [^\W_] ) )                        # is|n't
        | n't (?! [^\W_] )
        | {word}
        | ''
        | ' (?: s | m | d | re | ve | ll ) (?! [^\W_] )
        | \.{{2,}}
        | - [lr] [rsc] b - | -{{2,}}
        | \\ [/*]
        | <num>
        | [^\w\s] | _
        """,
        re.VERBOSE,
    )


@cache  # and not at import: it takes longer than all else here, and most texts have no marks
def _marked() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """One mark; more of them on a letter than any script has; the tokens of texts that hold some;
    those of texts with letters without blanks.

    Marks: vowel signs and accents that follow their letter, and what joins letters without a blank.
    """
    letters = map(chr, range(0x300, 0x20000))
    signs = "".join(each for each in letters if unicodedata.category(each) in ("Mn", "Mc"))
    marks = "\u200c\u200d" + signs
    heap = re.compile(f"(?<=[{marks}]{{{MOST_MARKS}}})[{marks}]+")
    return re.compile(f"[{marks}]"), heap, _token(marks), _token(marks, unspaced=True)


_SPECIAL = re.compile(
    f"[{_UNSPACED}\u20e3\U0001f1e6-\U0001f1ff\U0001f3f4\U0001f3fb-\U0001f3ff]|{_SYMBOL}\u200d"
)
_TOKEN = _token("")
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


def tokenize(text: str, keep_numbers: bool = False) -> list[str]:
    """Returns lower-case tokens; tokens joined with blanks give the same tokens again.

    keep_numbers  leave tokens with a digit as they are

    tokenize("It isn't 7th.<br />``No''") == ["it", "is", "n't", "<num>", ".", '"', "no", '"']

    Any token with a digit becomes "<num>", but CNN's "@entity12" and "@placeholder" stay whole.
    A letter and an accent that can be one character are made one: e and U+0301 are U+00E9. Letters
    of scripts without blanks, and emoji of several characters, are a token each.
    """
    text, token = text.lower(), _TOKEN
    if _INVISIBLE.search(text) or not text.isascii():
        text = drop_invisible(text)
    if not text.isascii():
        mark, heap, marked, special = _marked()
        if mark.search(text):
            text = heap.sub("", text)  # to normalise n of them takes n^2
        text = unicodedata.normalize("NFC", text)
        if _SPECIAL.search(text):
            token = special
        elif mark.search(text):
            token = marked
    text = text.translate(_CURLY)
    if "<br" in text:
        text = _LINE_BREAK.sub(" ", text)
    return list(map(_spell_whole if keep_numbers else _spell, token.findall(text)))


def _spell_whole(token: str) -> str:
    return token if any(letter.isdecimal() for letter in token) else _spell(token)


@lru_cache(maxsize=2**18)  # gives a word that comes again the same string: less memory and hashing
def _spell(token: str) -> str:
    if token[0] == "@" or token[-1] == "\u20e3" or token.isalpha():
        return token
    if any(letter.isdecimal() for letter in token):
        return NUMBER
    if token[:2] in ("..", "--"):
        return "..." if token[0] == "." else "--"
    return _SPELLING.get(token, token)
