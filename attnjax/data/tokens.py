"""Text to tokens: raw and already tokenised text come out alike.

Data sets mix both (SNLI: raw train, Penn-Treebank-tokenised dev and test), so every PTB habit
that a raw text lacks is either undone (quotes, brackets) or done (contractions). Words of any
script that puts blanks between them stay whole, with their vowel signs and accents.
"""

import re
import unicodedata
from functools import cache, lru_cache

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


def _token(marks: str) -> re.Pattern[str]:
    """The tokens of texts whose words hold these marks; without any the pattern is faster."""
    letter = rf"(?: [^\W\d_] | [{marks}] )" if marks else r"[^\W\d_]"
    plain = rf"(?: [^\W\d_]++ [{marks}]*+ )++" if marks else r"[^\W\d_]++"
    word = rf"[^\W\d_] {letter}*"
    return re.compile(
        rf"""
          (?: can (?= not) | gon (?= na) | wan (?= na) | got (?= ta) | gim (?= me) | lem (?= me) )
            (?= [a-z]{{2,3}} (?! [^\W_] ) )                     # PTB: cannot -> can not
        | {plain} (?! \d | 't )                                # a plain word: the common case
        | @ (?: entity\d+ | placeholder ) (?! [^\W_] )          # CNN's anonymous names
        | [^\W_]* \d [^\W_]* (?: (?: [.,:/] | \\/ ) \d [^\W_]* )*  # 1982  7th  1,000.50  4.5\/10
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
def _marked() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """One mark, and the tokens of texts that hold some.

    Marks: vowel signs and accents that follow their letter, and what joins letters without a blank.
    """
    letters = map(chr, range(0x300, 0x20000))
    signs = "".join(each for each in letters if unicodedata.category(each) in ("Mn", "Mc"))
    marks = "\u200c\u200d" + signs
    return re.compile(f"[{marks}]"), _token(marks)


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


def tokenize(text: str) -> list[str]:
    """Returns lower-case tokens; tokens joined with blanks give the same tokens again.

    tokenize("It isn't 7th.<br />``No''") == ["it", "is", "n't", "<num>", ".", '"', "no", '"']

    Any token with a digit becomes "<num>", but CNN's "@entity12" and "@placeholder" stay whole.
    A letter and an accent that can be one character are made one: e and U+0301 are U+00E9.
    """
    text, token = text.lower(), _TOKEN
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        mark, marked = _marked()
        token = marked if mark.search(text) else _TOKEN
    text = text.translate(_CURLY)
    if "<br" in text:
        text = _LINE_BREAK.sub(" ", text)
    return list(map(_spell, token.findall(text)))


@lru_cache(maxsize=2**18)  # gives a word that comes again the same string: less memory and hashing
def _spell(token: str) -> str:
    if token[0] == "@" or token.isalpha():
        return token
    if any(letter.isdecimal() for letter in token):
        return NUMBER
    if token[:2] in ("..", "--"):
        return "..." if token[0] == "." else "--"
    return _SPELLING.get(token, token)
