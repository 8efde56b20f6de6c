"""What each explanation costs: the last table of the analysis, of results.json's "cost"."""

from typing import Any

from attnjax.report.answers.answer import Answer, Block, Files, Paragraph, Shown, Told
from attnjax.report.tables import Table
from attnjax.report.wording import spaced


def cost_blocks(told: Told) -> list[Block]:
    """Time of an example, and passes through the model, of each method."""
    found = told.results.get("cost")
    if not found:
        return []
    table = cost_table(found)
    return [
        Paragraph(
            "Seconds are those of the compiled programs, over all analysed examples, without what "
            "compiling took. Work that several methods share counts in proportion to their passes."
        ),
        Shown(table, table.caption),
        Files(table),
    ]


def cost_table(found: dict[str, Any]) -> Table:
    """A row a method; what nobody has counted is None."""
    rows = [
        {
            "method": spaced(name),
            "ms an example": 1000 * each["seconds_per_example"],
            "forward passes": (each["passes"] or {}).get("forward"),
            "backward passes": (each["passes"] or {}).get("backward"),
        }
        for name, each in found.items()
    ]
    caption = "What each method costs: time, and passes through the model, of one example."
    return Table("cost", caption, tuple(rows[0]), rows)


COST = Answer("cost", "Cost", "What do the explanations cost?", cost_blocks, ("tables/cost.*",))
