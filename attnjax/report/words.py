"""Explained texts as coloured words: a page of their own, or a fragment for a notebook."""

from typing import Any

from etils import epath

from attnjax.report.examples import shown
from attnjax.report.page import environment, write_page

PAGE = 500  # most texts that a page shows; examples.jsonl has all


def write_examples_page(path: epath.Path, rows: list[dict[str, Any]], title: str) -> None:
    """Writes a page that shows the objects of examples.jsonl, without scores or agreement."""
    write_page(
        path,
        "words.html.j2",
        title=title,
        total=len(rows),
        examples=[shown(row) for row in rows[:PAGE]],
    )


def fragment(rows: list[dict[str, Any]]) -> str:
    """HTML of the same for a notebook: colours stand in the cells, all text is escaped."""
    return (
        environment()
        .get_template("notebook.html.j2")
        .render(examples=[shown(row) for row in rows[:PAGE]], total=len(rows))
    )
