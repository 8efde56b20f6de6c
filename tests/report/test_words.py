"""Explained texts: a page, and a fragment that a notebook shows."""

import re

from etils import epath
from fabricated import EVIL, fabricated_examples, unlabelled

from attnjax.report import words
from attnjax.report.words import fragment, write_examples_page


def explained(count=3, pair_task=False):
    """As a model explains texts of a user; one word is hostile."""
    rows = unlabelled(fabricated_examples(count, ["a", "b"], pair_task))
    rows[1]["tokens"][0] = EVIL
    return rows


def cells(html):
    return re.findall(r'<td[^>]* title="([^"]*?) ([^" ]+)">(.*?)</td>', html)


def test_a_fragment_has_every_word_and_value():
    rows = explained()
    found = fragment(rows)
    escaped = "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;"
    for name in ("attention", "gradient", "leave one out"):
        expected = [
            (
                f"{value:.4g}".replace("-", "−"),
                word.replace(EVIL, escaped).replace("<unk>", "&lt;unk&gt;"),
            )
            for row in rows
            for word, value in zip(
                row["tokens"],
                {"attention": row["attention"], **row["importance"]}[name.replace(" ", "_")],
                strict=True,
            )
        ]
        assert [tuple(cell) for whose, *cell in cells(found) if whose == name] == expected
    assert found.count("predicted <b>") == len(rows)


def test_a_fragment_is_escaped_and_brings_its_own_colours():
    rows = explained(pair_task=True)
    rows[2]["prediction"] = rows[2]["query"][3] = EVIL
    found = fragment(rows)
    assert "<script" not in found
    assert found.count("&lt;script&gt;alert(&#34;x&#34;)") == 3 + 1 + 2, "word, label, query"
    assert "class=" not in found, "a notebook has no style sheet of ours"
    assert found.count("background:rgb(") == len(cells(found)) + 5, "and the legend's"


def test_a_fragment_shows_a_query_without_importance_as_text():
    rows = explained(pair_task=True)
    rows[0]["query_importance"] = {}
    assert f"<p>{' '.join(rows[0]['query'])}</p>" in fragment(rows).replace("&lt;", "<").replace(
        "&gt;", ">"
    )


def test_only_so_many_texts_are_shown_and_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(words, "PAGE", 2)
    rows = explained()
    assert "The first 2 of 3 texts." in fragment(rows)
    write_examples_page(epath.Path(tmp_path) / "page.html", rows, f"{EVIL}, explained")
    page = (tmp_path / "page.html").read_text()
    assert "3 texts, of which the first 2 are shown" in page
    assert page.count("<article") == 2
    assert page.count("<script>") == 1, "the page's own"
    assert "true <b>" not in page, "there are no labels"
