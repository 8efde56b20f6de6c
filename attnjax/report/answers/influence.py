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
from attnjax.report.sentences import counted, estimate, joined, number, of_few, usable
from attnjax.report.tables import Table

TEXTS = 4  # examples whose training texts the page shows; the others are folded
FOLDED = 20  # examples that are folded; examples.jsonl has all
SUSPECTS = 10  # on the page; the table's files have all
MARKED = 3  # words of a training text that stand in brackets
WORDS = 40  # of a text that is shown
LAST, ALL, TRACIN = "last layer", "all parameters", "TracIn"  # what `scope` says
EFFECTS = {
    LAST: "Change of {what}, in nats, if the training text were left out of the last layer's "
    "training.",
    ALL: "Change of {what}, in nats, if the training text were left out, to first order, the model "
    "held where it is by the damping.",
    TRACIN: "Gradient of the training text's loss times that of {what}, times the learning rate, "
    "summed over the checkpoints (Pruthi et al. 2020). Its sign is that of a change if the text "
    "were left out; its size is not.",
}
QUANTITIES = {
    "loss": "the loss on the example",
    "attention": "-ln of the attention to the example's most attended word, named above its table",
}
SIDES = {
    "loss": " Above 0 the text helps, below 0 it harms.",
    "attention": " Above 0 the text puts attention on that word, below 0 it draws it away.",
}
LEADS = {
    LAST: "The last layer, convex given what the layers below make of the texts, is retrained "
    "without it, by influence functions (Koh & Liang 2017). What the text did to the layers below "
    "is not seen: retraining all of the model moves the loss otherwise.",
    ALL: "Influence functions of all parameters (Koh & Liang 2017) foretell it to first order, "
    "with the Gauss-Newton matrix of {curvature_examples:,} training texts, inverted by conjugate "
    "gradients. On a model that fits its texts exactly the first order is far too small: trust the "
    "order of the texts more than the sizes, and the retrained removals more than both.",
    TRACIN: "TracIn, the cheap rival of influence functions, adds up what a step on the text would "
    "have done to the example at each of the checkpoints that the run kept, after the steps "
    "{steps}.",
}
SUSPECT_TERMS = [
    (
        "words in brackets",
        "Those that add most to the effect of their text, by its derivative by their vectors; with "
        "a minus where they work against it.",
    ),
    (
        "gradient norm",
        "Of the mean training loss by these parameters, without damping. The equations want it to "
        "be 0: a model that was stopped early has not arrived there.",
    ),
    ("residual", "Largest relative error of the linear systems that were solved."),
    (
        "self-influence",
        "Rise of a training text's own loss if it were left out of the last layer's training. "
        "High: the model has had to learn it by heart, as it must a wrong label. The plain loss is "
        "the cheap rival.",
    ),
]


def terms(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What the columns mean, of this way and this target."""
    target = found.get("target", "loss")
    effect = EFFECTS[found["scope"]].format(what=QUANTITIES[target]) + SIDES[target]
    return [("effect", effect), *SUSPECT_TERMS]


def lead(found: dict[str, Any]) -> str:
    """How the effects are found, and what was not reached."""
    steps = joined([f"{step:,}" for step in found.get("checkpoints") or []])
    told = LEADS[found["scope"]].format(
        curvature_examples=found.get("curvature_examples") or 0, steps=steps
    )
    said = (
        f"What if one of the {found['training_examples']:,} training texts had not been there? "
        + told
    )
    if missed := found.get("not_converged"):
        said += (
            f" The search has not come to its end for {counted(missed)}: look at the residual. "
            "More iterations would do"
        )
        damping = found["damping_that_converges"]
        said += f", or a damping of about {damping:.2g}." if damping else "."
    return said


def blocks(told: Told) -> list[Block]:
    """What the figures rest on, helpful and harmful texts, and suspects for cleaning."""
    found = told.analysis.get("influence")
    if not found:
        return []
    premises, texts = premises_table(found), texts_table(told.examples)
    suspects = suspects_table(found)
    shown: list[Block] = [
        Paragraph(lead(found)),
        Shown(premises, premises.caption),
        Files(premises),
        Terms(terms(found)),
        Heading("Training texts that help and that harm"),
    ]
    names = list(dict.fromkeys(row["example"] for row in texts.rows))
    for name in names[:TEXTS]:
        shown += _of_example(told, texts, name)
    if rest := names[TEXTS : TEXTS + FOLDED]:
        more = [block for name in rest for block in _of_example(told, texts, name)]
        shown.append(Folded(counted(len(rest), "more example"), more))
    shown.append(Files(texts))
    if not suspects.rows:  # the last layer had no inverse, as a line has told
        return shown
    return [
        *shown,
        Heading("Training texts whose label may be wrong"),
        Shown(suspects._replace(rows=suspects.rows[:SUSPECTS]), suspects.caption),
        Files(suspects),
    ]


def _of_example(told: Told, texts: Table, name: str) -> list[Block]:
    """The example, and the training texts that did most to it."""
    table = texts.select(texts.columns[1:], example=name)
    return [Paragraph(_of(told, name)), Shown(table, f"Effects on example {name}.")]


def _of(told: Told, name: str) -> str:
    (example,) = (each for each in told.examples if str(each["id"]) == name)
    words = " ".join([*example["tokens"], *(example.get("query") or [])][:WORDS])
    about = f"Example {name}, predicted {example['prediction']}, true {example['label']}"
    place = example["influence"].get("attended")
    if place is not None and place >= 0:
        about += f", most attended word '{example['tokens'][place]}'"
    return f"{about}: {words}"


def premises_table(found: dict[str, Any]) -> Table:
    """One row of what the figures rest on, and how well they foretell."""
    checked, planted = found.get("check") or {}, found.get("planted") or {}
    row = {
        "scope": found["scope"],
        "parameters": found["parameters"],
        "training loss": found["training_loss"],
        "gradient norm": found["gradient_norm"],
        "damping": found["damping"],
        "residual": found["residual"],
        "iterations": found.get("iterations"),
        "checkpoints": len(found["checkpoints"]) if found.get("checkpoints") else None,
        "retrained removals": checked.get("removals"),
        "not at a minimum": checked.get("unfinished") or None,
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
    caption = "Effects of training texts on examples."
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
    few = of_few(helps)
    target, scope = found.get("target", "loss"), found["scope"]
    moved = "the loss of an example" if target == "loss" else "-ln of an example's most attention"
    if scope == TRACIN:
        said = (
            f"By the gradients at {counted(len(found['checkpoints']), 'checkpoint')} (TracIn), the "
            f"training text that lowers {moved} most has a product of {estimate(helps)} on "
            f"average, the one that raises it most {estimate(harms)}{few}"
        )
    else:
        good, bad = ("helpful", "harmful") if target == "loss" else ("attracting", "distracting")
        whose = "Of the last layer alone" if scope == LAST else "Of all parameters, to first order"
        said = (
            f"{whose}, leaving out the most {good} training text changes {moved} by "
            f"{estimate(helps)} nats on average, the most {bad} by {estimate(harms)}{few}"
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
