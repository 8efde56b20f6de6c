"""What looks wrong about examples that could be read: a line each, for the log and the report."""

import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from attnjax.data.examples import Example, Splits
from attnjax.data.tokens import drop_invisible

MOST = 0.5  # share of the texts, or of the tokens, that makes a doubt
ABSENT = ("none", "null", "n/a", "na", "unknown", "undefined", "missing", "?", "-", "-1")
SCORES = 6  # so many labels that are decimal fractions are no names of classes

# What a text looks like, what that is, and what helps.
_LOOKS: tuple[tuple[Callable[[str], object], str], ...] = (
    (
        re.compile(r"""\s*(\[\s*(['"]).*\2\s*\]|\(\s*(['"]).*\3\s*,?\s*\))\s*$""", re.S).match,
        "are printed lists of words; write the words with blanks between them (in JSON, a list)",
    ),
    (
        re.compile(r"""\s*\{\s*(['"]).*\}\s*$""", re.S).match,
        "are printed objects; write their text into a column of its own",
    ),
    (
        re.compile(r"""b(['"]).*\1$""", re.S).match,
        "are printed bytes (b'...'); write the text itself",
    ),
    (
        re.compile(r"[-+]?\d+([.,]\d+)?$").match,
        "are single numbers; name the column of the texts by data.fields",
    ),
    (
        re.compile(r"(https?://|/|[A-Za-z]:\\)\S+\.\w{2,4}$").match,
        "are addresses of files; the texts themselves must stand in the column",
    ),
)
# Rarer, and just as wrong: told from the share in the middle on.
_DAMAGE: tuple[tuple[Callable[[str], object], float, str], ...] = (
    (
        re.compile("Ã[\x80-\xbf¡-¿]|â€[\x80-\xbf™œ\x9d˜“”¦]|ðŸ").search,
        0.01,
        "hold letters that were UTF-8 read as another encoding (such as Ã©); save the file again "
        "from its source",
    ),
    (
        re.compile("\ufffd").search,
        0.0,
        "hold U+FFFD, which stands for letters that were lost; save the file again from its source",
    ),
    (
        re.compile(r"&(amp|lt|gt|quot|nbsp|#\d+|#x[0-9a-f]+);", re.I).search,
        0.1,
        "hold HTML entities (such as &amp;), which are read as they stand",
    ),
    (
        re.compile(r"</?(p|div|span|a|b|i|li|ul|td|tr|body|html|script)\b[^<>]*>", re.I).search,
        0.3,
        "hold HTML tags, which are read as they stand",
    ),
    (
        re.compile(r"\\[nrt](?![a-z])|\\u[0-9a-f]{4}", re.I).search,
        0.1,
        "hold escapes such as \\n as text",
    ),
)


def doubts(splits: Splits) -> list[str]:
    """What looks wrong about the texts and the labels of the splits."""
    names = [name for name in ("train", "validation", "test") if name in splits]
    found = [note for name in names for note in _texts(name, splits[name])]
    found += _labels([each.label for name in names for each in splits[name]])
    known = {each.label for each in splits.get("train", ())}
    for name in names[1:]:
        absent = sorted(known - {each.label for each in splits[name]})
        if absent and len(known) <= 50:
            found.append(f"{name} has no row of the label {_listed(absent)}, which train has")
    return found


def _texts(name: str, rows: Sequence[Example]) -> list[str]:
    found = []
    texts = [each.text for each in rows]
    for looks, told in _LOOKS:
        count = sum(bool(looks(text)) for text in texts)
        if count > MOST * len(texts):
            found.append(f"{count} of {len(texts)} texts of {name} {told}")
    for looks, share, told in _DAMAGE:
        places = [each.place for each in rows if looks(each.text)]
        if len(places) > share * len(texts):
            found.append(
                f"{len(places)} of {len(texts)} texts of {name} (the first: {places[0]}) {told}"
            )
    answers: dict[tuple[str, str | None, tuple[str, ...]], set[str]] = defaultdict(set)
    for each in rows:
        answers[each.text, each.query, each.candidates].add(each.label)
    split = sum(len(labels) > 1 for labels in answers.values())
    if split:
        found.append(f"{split} texts of {name} occur with more than one label")
    repeated = len(rows) - len(answers)
    if repeated:
        found.append(f"{repeated} of {len(rows)} rows of {name} repeat the text of another")
    return found


def _labels(labels: list[str]) -> list[str]:
    counts = Counter(labels)
    found: list[str] = []
    alike: dict[str, list[str]] = defaultdict(list)
    values: dict[float, list[str]] = defaultdict(list)
    for label in sorted(counts):
        alike[_plain(label)].append(label)
        if re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", label, re.I):
            values[float(label)].append(label)
    found += [
        f"the labels {_listed(same)} differ in letter case, spaces or invisible characters alone, "
        "and are classes of their own"
        for same in alike.values()
        if len(same) > 1
    ]
    found += [
        f"the labels {_listed(same)} are one number, and classes of their own"
        for same in values.values()
        if len({_plain(each) for each in same}) > 1
    ]
    fractions = [value for value in values if not value.is_integer()]
    if fractions and sum(map(len, values.values())) == len(counts):
        if len(counts) >= SCORES:
            found.append(
                f"the labels are {len(counts)} numbers from {min(values):g} to {max(values):g}, "
                "each read as a class of its own; scores must be made classes first"
            )
        else:
            found.append(f"the labels {_listed(sorted(counts))} are numbers, read as classes")
    elif len(counts) > 20 and 2 * len(counts) >= len(labels):
        found.append(
            f"there are {len(counts)} labels for {len(labels)} rows; name the column of the "
            "classes by data.fields"
        )
    absent = [label for label in sorted(counts) if label.lower() in ABSENT]
    if absent == ["-1"] and set(counts) == {"-1", "1"}:
        absent = []
    if absent == ["-"] and "+" in counts:
        absent = []
    if absent:
        rows = sum(counts[label] for label in absent)
        found.append(
            f"{rows} rows have the label {_listed(absent)}, which is read as a class; if it stands "
            "for no label, list the others in data.labels"
        )
    return found


def _plain(label: str) -> str:
    text = unicodedata.normalize("NFKC", html.unescape(drop_invisible(label)))
    return " ".join(text.split()).casefold()


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return ", ".join(f"'{each:.40}'" for each in labels[:5]) + more
