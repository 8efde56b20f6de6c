"""How the answer to a question is shown: the twin of a record in `analysis.questions`.

It reads what the run left on disk alone. A section is a list of blocks, which the template shows
one below the other: nothing here is HTML.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from etils import epath

from attnjax.report.tables import Table
from attnjax.report.wording import Wording


class Told(NamedTuple):
    """What a finished run tells.

    results  results.json, whose "analysis" is analysis; examples  the rows of examples.jsonl
    """

    folder: epath.Path
    results: dict[str, Any]
    analysis: dict[str, Any]
    examples: list[dict[str, Any]]


class Paragraph(NamedTuple):
    """A paragraph, or a note in smaller print."""

    text: str
    note: bool = False
    kind: str = "text"


class Terms(NamedTuple):
    """A list of what words mean: (term, meaning)."""

    terms: list[tuple[str, str]]
    kind: str = "terms"


class Heading(NamedTuple):
    """A heading within the section, or that of a measure, which says its range and meaning."""

    title: str
    measure: Wording | None = None
    kind: str = "heading"


class Shown(NamedTuple):
    """A table on the page."""

    table: Table
    caption: str = ""
    kind: str = "shown"


class Files(NamedTuple):
    """A table's files, CSV and LaTeX, which are written with the report."""

    table: Table
    kind: str = "files"


class Figures(NamedTuple):
    """Figures as `page.inline` gives them."""

    figures: list[dict[str, Any]]
    kind: str = "figures"


class Folded(NamedTuple):
    """Blocks that the reader opens."""

    summary: str
    blocks: list[Any]
    kind: str = "folded"


Block = Paragraph | Terms | Heading | Shown | Files | Figures | Folded


class Answer(NamedTuple):
    """One section of the report.

    name      its place in the page: "permutation"; short  its name in the contents
    title     its heading, a question
    blocks    what it shows, in order; empty leaves the section out
    files     patterns of the figures and tables that it may write: an earlier report's are removed
    compared  what `compare` compares of it, example by example: (part, name) of an object in
              examples.jsonl -> what that measures
    compared_each  likewise of every explanation: (part, measure) of an object in examples.jsonl
              whose keys are explanations. Runs stand side by side in it; attention's is tested
    sentence  what was found, in one sentence with its interval and what it is worth by chance; it
              stands on top of the section and of the page. "" where nothing can be said
    """

    name: str
    short: str
    title: str
    blocks: Callable[[Told], list[Block]]
    files: tuple[str, ...] = ()
    compared: dict[tuple[str, str], Wording] = {}  # noqa: RUF012 - of a NamedTuple: never written
    compared_each: dict[tuple[str, str], Wording] = {}  # noqa: RUF012
    sentence: Callable[[Told], str] = lambda told: ""
