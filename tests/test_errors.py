"""What a line on a terminal may hold, whatever is in the names and cells that it is about."""

import pytest

from attnjax.errors import UserError, one_line, suggest


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n  b\tc", "a b c"),
        ("red \x1b[31m", "red \\x1b[31m"),
        ("half \udcff", "half \\udcff"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("Zürich 東京", "Zürich 東京"),
        ("x" * 299, "x" * 299),
        ("a " + "x" * 200 + "y" * 5000 + " b", f"a {'x' * 140}...{'y' * 140} b"),
    ],
)
def test_a_line_is_one_line_that_a_terminal_shows_as_it_is(text, line):
    assert one_line(text) == str(UserError(text)) == line


def test_of_many_known_names_the_first_are_told():
    assert suggest("zz", ["a", "b"]) == "; known: a, b"
    many = suggest("zz", (f"name{k}" for k in range(1000)))
    assert many.startswith("; known: name0, name1, ")
    assert len(many) < 420
