"""What looks wrong about data that can be read."""

import pytest

from attnjax.data.doubts import doubts
from attnjax.data.examples import Example


def told(texts, labels=("0", "1"), test=None):
    rows = [
        Example(text, None, labels[n % len(labels)], place=f"train.csv, line {n + 2}")
        for n, text in enumerate(texts)
    ]
    return doubts({"train": rows, "test": rows if test is None else test})


TEXTS = [f"a film {chr(97 + n)}" for n in range(24)]


def test_good_data_is_not_doubted():
    assert not told([*TEXTS, "naïve Ångström & <3 it's 5 € [sic] {x} b'a C:\\new"])


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("['{}', 'x']", "printed lists"),
        ("('{}',)", "printed lists"),
        ("{{'text': '{}'}}", "printed objects"),
        ("b'{}'", "printed bytes"),
        ("data/{}.txt", ""),
        ("/data/{}.txt", "addresses of files"),
        ("cafÃ© {}", "UTF-8 read as another encoding"),
        ("{} itâ€™s", "UTF-8 read as another encoding"),
        ("a \ufffd {}", "U+FFFD"),
        ("a &amp; {}", "HTML entities"),
        ("<p>a {}</p>", "HTML tags"),
        ("a\\n {}", "escapes"),
    ],
)
def test_texts_that_are_something_else(form, part):
    letters = [chr(97 + n) for n in range(20)]
    found = told([form.format(each) for each in letters])
    assert [part in note for note in found] == ([True, True] if part else [])


def test_single_numbers_are_no_texts():
    assert "are single numbers" in told([str(n) for n in range(9)])[0]


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (("pos", "neg"), ""),
        (("Pos", "pos", "neg"), "'Pos', 'pos' differ in letter case"),
        (("pos", "p\u200bos"), "differ in letter case"),
        (("1", "1.0", "0"), "'1', '1.0' are one number"),
        (("0.0", "0.25", "0.5", "0.75", "1.0", "1.25"), "6 numbers from 0 to 1.25"),
        (("0.5", "1"), "'0.5', '1' are numbers"),
        (("None", "hate"), "rows have the label 'None'"),
        (("-1", "1"), ""),
        (("-1", "0", "1"), "rows have the label '-1'"),
        (("+", "-"), ""),
        (tuple(f"id{n}" for n in range(24)), "24 labels for 48 rows"),
    ],
)
def test_labels(labels, part):
    found = told(TEXTS, labels)
    assert [part in note for note in found] == [True] * bool(part)


def test_repeated_texts_their_labels_and_missing_classes():
    found = told(["same film"] * 4 + TEXTS, ("0", "1"), [Example("x y", None, "1")])
    assert found == [
        "1 texts of train occur with more than one label",
        "3 of 28 rows of train repeat the text of another",
        "test has no row of the label '0', which train has",
    ]


def test_markup_is_found_between_tags_that_never_end():
    texts = ["<p " * 50_000 + "<b>bold</b>", "plain", "plainer"]
    found = [note for note in told(texts, test=[]) if "HTML tags" in note]
    assert [note[:21] for note in found] == ["1 of 3 texts of train"]
