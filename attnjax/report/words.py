"""Explained texts as coloured words: a page of their own, or a fragment for a notebook."""

from typing import Any

from etils import epath

from attnjax.report.examples import shown, signed_names
from attnjax.report.heatmap import legend
from attnjax.report.page import environment, write_page

PAGE = 500  # most texts that a page shows; examples.jsonl has all


def write_examples_page(path: epath.Path, rows: list[dict[str, Any]], title: str) -> None:
    """Writes a page that shows the objects of examples.jsonl, without scores or agreement."""
    write_page(path, "words.html.j2", title=title, **_explained(rows))


def fragment(rows: list[dict[str, Any]]) -> str:
    """HTML of the same for a notebook: colours stand in the cells, all text is escaped."""
    return environment().get_template("notebook.html.j2").render(**_explained(rows))


def _explained(rows: list[dict[str, Any]]) -> dict[str, Any]:
    signed = signed_names(rows)
    return {
        "examples": [shown(row, signed) for row in rows[:PAGE]],
        "total": len(rows),
        "legend": legend(bool(signed)),
    }
