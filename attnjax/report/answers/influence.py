"""Which training texts made a prediction, and which look mislabelled?"""

from typing import Any

from attnjax.report.answers.answer import (
    Answer,
    Block,
    Files,
    Folded,
    Heading,
    Paragraph,
    Shown,
    Terms,
    Told,
)
from attnjax.report.sentences import counted, estimate, number, of_few, usable
from attnjax.report.tables import Table

TEXTS = 4  # examples whose training texts the page shows; the others are folded
FOLDED = 20  # examples that are folded; examples.jsonl has all
SUSPECTS = 10  # on the page; the table's files have all
MARKED = 3  # words of a training text that stand in brackets
WORDS = 40  # of a text that is shown
TERMS = [
    (
        "effect",
        "Change of the loss on the example, in nats, if the training text were left out of the "
        "last layer's training. Above 0 the text helps, below 0 it harms.",
    ),
    (
        "words in brackets",
        "Those that add most to the effect of their text, by its derivative by their vectors; with "
        "a minus where they work against it.",
    ),
    (
        "gradient norm",
        "Of the mean training loss by the last layer, without damping. The equations want it to be "
        "0: a model that was stopped early has not arrived there.",
    ),
    ("residual", "Largest relative error of the linear system that was solved."),
    (
        "self-influence",
        "Rise of a training text's own loss if it were left out. High: the model has had to learn "
        "it by heart, as it must a wrong label. The plain loss is the cheap rival.",
    ),
]


def blocks(told: Told) -> list[Block]:
    """What the figures rest on, helpful and harmful texts, and suspects for cleaning."""
    found = told.analysis.get("influence")
    if not found:
        return []
    premises, texts = premises_table(found), texts_table(told.examples)
    suspects = suspects_table(found)
    shown: list[Block] = [
        Paragraph(
            f"What if one of the {found['training_examples']:,} training texts had not been there? "
            "The last layer, convex given what the layers below make of the texts, is retrained "
            "without it, by influence functions (Koh & Liang 2017). What the text did to the "
            "layers below is not seen: retraining all of the model moves the loss otherwise."
        ),
        Shown(premises, premises.caption),
        Files(premises),
        Terms(TERMS),
        Heading("Training texts that help and that harm"),
    ]
    tables = [
        Shown(texts.select(texts.columns[1:], example=name), _of(told, name))
        for name in dict.fromkeys(row["example"] for row in texts.rows)
    ]
    shown += tables[:TEXTS]
    if rest := tables[TEXTS : TEXTS + FOLDED]:
        shown.append(Folded(counted(len(rest), "more example"), rest))
    return [
        *shown,
        Files(texts),
        Heading("Training texts whose label may be wrong"),
        Shown(suspects._replace(rows=suspects.rows[:SUSPECTS]), suspects.caption),
        Files(suspects),
    ]


def _of(told: Told, name: str) -> str:
    (example,) = (each for each in told.examples if str(each["id"]) == name)
    words = " ".join([*example["tokens"], *(example.get("query") or [])][:WORDS])
    return f"Example {name}, predicted {example['prediction']}, true {example['label']}: {words}"


def premises_table(found: dict[str, Any]) -> Table:
    """One row of what the figures rest on, and how well they foretell."""
    checked, planted = found.get("check") or {}, found.get("planted") or {}
    row = {
        "layer": found["scope"],
        "parameters": found["parameters"],
        "training loss": found["training_loss"],
        "gradient norm": found["gradient_norm"],
        "damping": found["damping"],
        "residual": found["residual"],
        "retrained removals": checked.get("removals"),
        "Pearson's r": checked.get("pearson"),
        "slope": checked.get("slope"),
        "planted labels": planted.get("labels"),
        "AUC, self-influence": planted.get("self_influence"),
        "AUC, loss": planted.get("loss"),
    }
    table = Table("influence", "What the effects rest on.", tuple(row), [row])
    return table._replace(columns=table.said())


def texts_table(examples: list[dict[str, Any]]) -> Table:
    """Helpful and harmful training texts of the examples that were asked about."""
    rows = [
        {
            "example": str(example["id"]),
            "training text": str(each["id"]),
            "label": str(each["label"]),
            "effect": each["effect"],
            "words": marked(each),
        }
        for example in examples
        for kind in ("helpful", "harmful")
        for each in (example.get("influence") or {}).get(kind) or []
    ]
    columns = ("example", "training text", "label", "effect", "words")
    caption = "Change of the loss on an example, in nats, without a training text."
    return Table("influence_texts", caption, columns, rows)


def marked(text: dict[str, Any]) -> str:
    """The words, those that add most to the effect in brackets: "a [fine] film [−but] long"."""
    words = [*text["text"], *(text.get("query") or [])]
    values = [value or 0.0 for value in text["text_by_word"] + (text.get("query_by_word") or [])]
    most = sorted(range(len(words)), key=lambda k: -abs(values[k]))[:MARKED]
    against = {k for k in most if values[k] * text["effect"] < 0}
    shown = [
        f"[{'−' if k in against else ''}{word}]" if k in most and values[k] else str(word)
        for k, word in enumerate(words)
    ]
    end = max([WORDS, *(k + 1 for k in most)])
    return " ".join(shown[:end]) + (" …" if len(shown) > end else "")


def suspects_table(found: dict[str, Any]) -> Table:
    """Training texts by self-influence: its own list, for cleaning the data."""
    rows = [
        {
            "training text": str(each["id"]),
            "label": str(each["label"]),
            "self-influence": each["self_influence"],
            "probability of its label": each["probability"],
            "words": " ".join(map(str, [*each["text"], *(each.get("query") or [])][:WORDS])),
        }
        for each in found["suspects"]
    ]
    columns = ("training text", "label", "self-influence", "probability of its label", "words")
    caption = "Training texts of the highest self-influence: look at these labels first."
    return Table("influence_suspects", caption, columns, rows)


def sentence(told: Told) -> str:
    """How much one training text moves a loss, how true that is, and whether labels are found."""
    found = told.analysis.get("influence")
    if not found or not found.get("helps"):
        return ""
    count = found["examples"]
    helps, harms = usable(found["helps"], count), usable(found["harms"], count)
    if not helps or not harms:
        return ""
    few = "" if helps.get("ci95") else of_few(count)
    said = (
        "Of the last layer alone, leaving out the most helpful training text changes the loss of "
        f"an example by {estimate(helps)} nats on average, the most harmful by {estimate(harms)}"
        f"{few}"
    )
    planted, checked = found.get("planted"), found.get("check")
    if checked and checked.get("pearson") is not None:
        removed = counted(checked["removals"], "removal")
        said += f"; {removed}, retrained, correlate by {number(checked['pearson'])}"
    if planted:
        said += (
            "; of wrong labels that were planted, self-influence ranks "
            f"{number(planted['self_influence'])} of the pairs right, the plain loss "
            f"{number(planted['loss'])}"
        )
    return f"{said}."


INFLUENCE = Answer(
    "influence",
    "Influence",
    "Which training texts made a prediction?",
    blocks,
    files=("tables/influence*",),
    sentence=sentence,
)
