"""Text to tokens: raw and already tokenised text come out alike.

Data sets mix both (SNLI: raw train, Penn-Treebank-tokenised dev and test), so every PTB habit
that a raw text lacks is either undone (quotes, brackets) or done (contractions). Words of any
script that puts blanks between them stay whole, with their vowel signs and accents.
"""

import re
import unicodedata
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

# Vowel signs and accents that follow their letter, and what joins two letters without a blank.
_MARKS = "\u200c\u200d" + "".join(
    chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
_MARK = re.compile(f"[{_MARKS}]")
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


_TOKEN, _MARKED_TOKEN = _token(""), _token(_MARKS)
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
        token = _MARKED_TOKEN if _MARK.search(text) else _TOKEN
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
