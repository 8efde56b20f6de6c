"""How much does a text tell of its label?"""

from typing import Any

from attnjax.report.answers.answer import Answer, Block, Files, Paragraph, Shown, Terms, Told
from attnjax.report.sentences import counted, estimate, number, share, usable
from attnjax.report.tables import Estimate, Table, formatted
from attnjax.report.wording import Wording

LEAST, WORDS = 8, 40  # texts that the page shows, and words of each at most
TERMS = [
    (
        "of the label",
        "−log2 of the label's probability for the best model that sees no text: what its text "
        "could tell at most, in bits.",
    ),
    (
        "usable",
        "How many bits likelier the label is to the model that reads the text (pointwise "
        "V-information, arXiv:2110.08420). Below 0 the text misleads: the share of such texts "
        "stands beside it, and a label may be wrong there.",
    ),
]


def blocks(told: Told) -> list[Block]:
    """A row for all texts and for each label, and the texts that tell least."""
    found = told.analysis.get("usable_information")
    if not found:
        return []
    table, least = _table(found), _least(found, told.examples)
    return [
        Paragraph(
            "What the model can use of a text to name its label, against the best model of its "
            "kind that sees nothing and only knows how often each label stands in training."
        ),
        Shown(table, table.caption),
        Files(table),
        Terms(TERMS),
        *([Shown(least, least.caption), Files(least)] if least.rows else []),
    ]


def _table(found: dict[str, Any]) -> Table:
    rows = [
        {
            "label": name,
            "texts": each["texts"],
            "of the label": Estimate(each["of_label"]["mean"], each["of_label"].get("ci95")),
            "usable": Estimate(each["bits"]["mean"], each["bits"].get("ci95")),
            "misled": each["negative_fraction"],
        }
        for name, each in [("all", found), *found["by_label"].items()]
    ]
    caption = "What the texts tell of their labels, bits."
    return Table("usable_information", caption, tuple(rows[0]), rows)


def _least(found: dict[str, Any], examples: list[dict[str, Any]]) -> Table:
    """The texts of least information, as far as examples.jsonl has them."""
    known = {each["id"]: each for each in examples}
    rows = [
        {
            "id": str(each["id"]),
            "bits": formatted(each["bits"]),
            "label": str(example["label"]),
            "predicted": str(example["prediction"]),
            "text": " ".join(example["tokens"][:WORDS])
            + (" …" if len(example["tokens"]) > WORDS else ""),
        }
        for each in found["least"]
        if (example := known.get(each["id"])) is not None
    ][:LEAST]
    caption = "The texts that tell least of their labels: hard ones, or wrong labels."
    return Table("usable_information_least", caption, tuple(rows[0]) if rows else (), rows)


def sentence(told: Told) -> str:
    """Bits that the texts tell, of how many, and how many mislead."""
    found, count = told.analysis.get("usable_information"), told.analysis.get("examples")
    known = usable(found and found["bits"], count)
    if not found or known is None:
        return ""
    texts = counted(known["defined"] or found["texts"], "text")
    return (
        f"A text tells {estimate(known)} of the {number(found['of_label']['mean'])} bits of its "
        f"label, mean of {texts}; {share(found['negative_fraction'])} of "
        "them mislead the model."
    )


USABLE = Answer(
    "usable_information",
    "Usable information",
    "How much does a text tell of its label?",
    blocks,
    files=("tables/usable_information*.*",),
    compared={
        ("usable_information", "bits"): Wording(
            "usable information",
            None,
            "bits",
            "How many bits likelier the label is to the model than without the text.",
        )
    },
    sentence=sentence,
)
