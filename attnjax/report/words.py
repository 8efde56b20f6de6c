"""Explained texts as coloured words: a page of their own, or a fragment for a notebook."""

from collections.abc import Sequence
from typing import Any

from etils import epath

from attnjax.report.examples import shown, signed_names
from attnjax.report.heatmap import legend
from attnjax.report.page import environment, write_page
from attnjax.report.sentences import counted

CELL = 40  # letters of a column's value that is shown beside the text
PAGE = 500  # most texts that a page shows; examples.jsonl has all


def write_examples_page(
    path: epath.Path,
    rows: list[dict[str, Any]],
    title: str,
    skipped: Sequence[dict[str, Any]] = (),
) -> None:
    """Writes a page that shows the objects of examples.jsonl, without scores or agreement.

    skipped  {"id", "problem"} of texts that could not be read
    """
    write_page(
        path,
        "words.html.j2",
        title=title,
        **_explained(rows),
        skipped=skipped[:PAGE],
        unread=len(skipped),
    )


def _with_facts(row: dict[str, Any], signed: Any) -> dict[str, Any]:
    """The example as shown, with what was cut and the short columns of its row."""
    found = shown(row, signed)
    words = {" ".join(row["tokens"]), " ".join(row.get("query") or [])}
    columns = (row.get("columns") or {}).items()
    short = [(name, str(each)) for name, each in columns if len(str(each)) <= CELL]
    facts = [f"{name}: {each}" for name, each in short if each.lower() not in words]
    cut = [f"{counted(row['cut'], 'more word')}, not read"] if row.get("cut") else []
    return {**found, "facts": [*found["facts"], *cut, *facts]}


def fragment(rows: list[dict[str, Any]]) -> str:
    """HTML of the same for a notebook: colours stand in the cells, all text is escaped."""
    return environment().get_template("notebook.html.j2").render(**_explained(rows))


def _explained(rows: list[dict[str, Any]]) -> dict[str, Any]:
    signed = signed_names(rows)
    return {
        "examples": [_with_facts(row, signed) for row in rows[:PAGE]],
        "total": len(rows),
        "legend": legend(bool(signed)),
    }
