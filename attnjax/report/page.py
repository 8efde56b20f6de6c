"""Templates and assets -> one page that needs nothing beside itself."""

import base64
import hashlib
import re
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jinja2
from etils import epath
from markupsafe import Markup, escape

from attnjax.report.figures import INK, PAPER, Drawn
from attnjax.report.heatmap import style_sheet
from attnjax.report.latex import as_latex
from attnjax.report.sentences import counted
from attnjax.report.tables import Table, as_csv
from attnjax.workdir import TABLES, write_text


def write_page(path: epath.Path, template: str, **values: Any) -> None:
    """Renders a template of this package with the shared style and script, and writes it.

    All text that comes from values is escaped; the page's content policy lets nothing be fetched
    and no script run but its own.
    """
    script = asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        environment()
        .get_template(template)
        .render(
            style=Markup(asset("report.css") + style_sheet()),
            script=Markup(script),
            script_digest=digest,
            **values,
        )
    )
    write_text(path, page)


def environment() -> jinja2.Environment:
    """Escapes everything that is not marked as HTML; templates come from this package."""
    found = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(asset),
    )
    found.globals["counted"] = counted
    return found


def asset(name: str) -> str:
    """The text of a file of this package."""
    return resources.files("attnjax.report").joinpath(name).read_text(encoding="utf-8")


def write_table(folder: epath.Path, table: Table) -> None:
    """Writes tables/NAME.csv and tables/NAME.tex."""
    write_text(folder / TABLES / f"{table.name}.csv", as_csv(table))
    write_text(folder / TABLES / f"{table.name}.tex", as_latex(table))


WRITTEN = (".svg", ".pdf", ".csv", ".tex", ".jsonl")  # what a page's files end in


def remove(folder: epath.Path, patterns: Iterable[str]) -> None:
    """Deletes what an earlier page of the same folder left and this one may not write again."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.suffix in WRITTEN:
                path.unlink()


def inline(figures: Iterable[Drawn]) -> list[dict[str, Any]]:
    """Figures for the page: {"name", "svg", "caption"} each.

    The ink becomes the page's text colour and the paper is left out, so that a figure is readable
    in dark mode as well; ids get the figure's name in front, as a page holds many figures.
    """
    found = []
    for name, svg, caption in figures:
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.S)
        svg = re.sub(r"<[^>]*>", lambda tag, name=name: _tag(tag.group(), name), svg)
        label = escape(caption)
        svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
        found.append({"name": name, "svg": Markup(svg), "caption": caption})
    return found


def _tag(tag: str, name: str) -> str:
    tag = tag.replace(INK, "currentColor").replace(f"fill: {PAPER}", "fill: none")
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    return tag.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
