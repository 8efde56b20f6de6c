"""The files of a finished run -> report.html: one page that opens anywhere, without a network.

It reads what is on disk and nothing else, so that a report can be made again at any time. Beside
the page it writes figures/ (SVG, PDF), tables/ (CSV, LaTeX) and analysis/rationales_*.jsonl.
"""

import json
import shlex
from typing import Any

from etils import epath

from attnjax.report.examples import chosen
from attnjax.report.figures import (
    draw_adversarial,
    draw_agreement,
    draw_permutation,
    draw_robustness,
    draw_training,
)
from attnjax.report.page import asset, inline, remove, write_page
from attnjax.report.rationales import write_rationales
from attnjax.report.summaries import (
    ANALYSED,
    CEILING,
    CLASS_CEILING,
    DESCRIBED,
    FLOOR,
    adversarial_table,
    agreement_tables,
    completeness_table,
    permutation_table,
    robustness_table,
    scores_table,
    with_undisturbed,
)
from attnjax.report.tables import Table, formatted, write_table
from attnjax.report.wording import MEASURES, measure
from attnjax.workdir import (
    EXAMPLES,
    EXAMPLES_README,
    METRICS,
    REPORT,
    RESULTS,
    read_json,
    read_json_lines,
    write_text,
)

# What earlier reports of the same run left and this one may not write again.
OWN = (
    *(f"figures/{name}.*" for name in ("training_*", "kendall_*", "permutation", "robustness")),
    "figures/adversarial_*",
    *(f"tables/{name}.*" for name in ("scores", "*agreement*", "permutation", "robustness")),
    *("tables/adversarial_attention.*", "tables/completeness.*", "analysis/rationales_*.jsonl"),
)
CLASSES = 12  # most predicted classes that the page has a table for; the files have all


def write_report(folder: epath.Path) -> None:
    """Writes report.html, figures/, tables/ and the rationales from what the run left on disk.

    Parts that the run has not measured are left out. Raises UserError if there is no results.json.
    """
    results = read_json(folder / RESULTS)
    examples = read_json_lines(folder / EXAMPLES)
    metrics = read_json_lines(folder / METRICS)
    remove(folder, OWN)
    config = results["config"]
    analysis = results.get("analysis") or {}
    ceiling = analysis.get("ceiling") or {}
    scores = scores_table(results)
    on_text = agreement_tables(analysis.get("agreement"), ceiling, "agreement", "text")
    on_query = agreement_tables(analysis.get("query_agreement"), None, "query_agreement", "query")
    robustness = with_undisturbed(results)
    tables = {
        "permutation": permutation_table(analysis.get("permutation")),
        "adversarial": adversarial_table(analysis.get("adversarial_attention")),
        "robustness": robustness_table(robustness),
        "completeness": completeness_table(analysis.get("completeness")),
    }
    written = [each for each in (scores, *on_text, *on_query, *tables.values()) if each.rows]
    for each in written:
        write_table(folder, each)
    data_files = write_rationales(folder, examples)
    if examples:
        write_text(folder / EXAMPLES_README, asset("examples.md.j2"))
        data_files = [EXAMPLES, *data_files]
    permutation_figures = inline(draw_permutation(folder, examples))
    adversarial_figures = inline(draw_adversarial(folder, examples))
    classes = _class_count(on_text[1])
    write_page(
        folder / REPORT,
        "report.html.j2",
        title=f"{_data_name(config['data'])}: {config['model']['encoder']} with "
        f"{config['model']['attention']} attention",
        subtitle=f"task {config['task']}, technique {config['adversary']['technique']}, "
        f"seed {config['seed']}",
        scores=scores,
        cards=_cards(scores),
        has_uniform=any(row["uniform attention"] is not None for row in scores.rows),
        best_step=(results.get("best") or {}).get("step", "unknown"),
        timing=_timing(results.get("timing") or {}),
        agreement=_by_measure(on_text, on_query, classes),
        agreement_files=[each for each in (*on_text, *on_query) if each.rows],
        agreement_figures=inline(draw_agreement(folder, examples, analysis.get("agreement"))),
        analysis_note=_analysis_note(config),
        examples_count=formatted(analysis.get("examples", len(examples))),
        ceiling_run=ceiling.get("run") if ceiling else None,
        has_floor=any(row[FLOOR] is not None for row in on_text[0].rows),
        hidden_classes=classes if classes > CLASSES else 0,
        completeness=tables["completeness"],
        permutation=tables["permutation"]
        if _any(tables["permutation"], permutation_figures)
        else None,
        permutation_note=_permutation_note(analysis.get("permutation") or {}),
        permutation_figures=permutation_figures,
        adversarial=tables["adversarial"]
        if _any(tables["adversarial"], adversarial_figures)
        else None,
        adversarial_note=_adversarial_note(analysis.get("adversarial_attention") or {}),
        adversarial_figures=adversarial_figures,
        robustness=tables["robustness"] if tables["robustness"].rows else None,
        robustness_figures=inline(draw_robustness(folder, robustness)),
        groups=chosen(examples),
        training_figures=inline(draw_training(folder, metrics)),
        command=_command(config, folder),
        config=json.dumps(config, indent=2),
        versions=json.dumps(
            {name: results.get(name) for name in ("data", "versions", "devices")}, indent=2
        ),
        data_files=data_files,
        data_readme=EXAMPLES_README,
    )


def _any(table: Table, figures: list[Any]) -> bool:
    return bool(table.rows or figures)


def _data_name(data: dict[str, Any]) -> str:
    if data["source"] == "babi_simulator":
        return f"bAbI task {data['name']}, simulated"
    return data["name"] or data["path"]


def _cards(scores: Table) -> list[tuple[str, str, str]]:
    """(name, score, score with uniform attention or "") of each test score."""
    return [
        (
            row["score"],
            formatted(row["test"]),
            _beside(row, ANALYSED in scores.columns) if row["difference"] is not None else "",
        )
        for row in scores.rows
    ]


def _beside(row: dict[str, Any], partial: bool) -> str:
    own = f", trained {formatted(row[ANALYSED])} on the same examples" if partial else ""
    return formatted(row["uniform attention"]) + own


def _timing(timing: dict[str, float | None]) -> str:
    if timing.get("train_s") is None:
        return ""
    speed = timing.get("train_examples_per_s")
    return (
        f"Training took {timing['train_s']:.1f} s"
        + (f", {timing['compile_s']:.1f} s of it compilation" if timing.get("compile_s") else "")
        + (f", at {speed:,.0f} examples/s" if speed else "")
        + (f"; the analysis took {timing['analysis_s']:.1f} s" if timing.get("analysis_s") else "")
        + "."
    )


def _analysis_note(config: dict[str, Any]) -> str:
    settings = config.get("analysis") or {}
    note = "Gradients flow through attention."
    if settings.get("detach_attention"):
        note = "Gradients hold attention constant, as Jain & Wallace (2019) do."
    top_k = settings.get("top_k")
    return note + (f" Top-k measures look at k = {top_k} words." if top_k else "")


def _permutation_note(permutation: dict[str, Any]) -> str:
    count = permutation.get("permutations")
    return (
        "The attention weights of every example are shuffled over its words"
        + (f" {count:,} times" if count else "")
        + ", the encoder states stay, and the median change of the output is taken "
        "(Jain & Wallace 2019, algorithm 2)."
    )


def _adversarial_note(adversarial: dict[str, Any]) -> str:
    parts = [
        f"{adversarial[name]:,} {name}"
        for name in ("adversaries", "steps")
        if adversarial.get(name)
    ]
    epsilon, margin = adversarial.get("epsilon"), adversarial.get("margin")
    return (
        "For every example, attention is sought that lies as far as possible from the model's own "
        "while the output stays"
        + (f" within {epsilon:g} in total variation" if epsilon else "")
        + " (Jain & Wallace 2019, algorithm 3"
        + (f"; {', '.join(parts)}" if parts else "")
        + "). The largest Jensen-Shannon divergence found is reported: from 0, none found, "
        "to ln 2 = 0.693."
        + (
            f" The search itself, as theirs, pays for every change beyond {margin:g}, so that the "
            "divergences can be less than the bound would allow."
            if margin
            else ""
        )
    )


def _class_count(by_class: Table) -> int:
    return len({row["class"] for row in by_class.rows})


def _by_measure(
    on_text: tuple[Table, Table], on_query: tuple[Table, Table], classes: int
) -> list[dict[str, Any]]:
    """One entry a measure with the rows of all pairs: that is what one wants to compare."""
    names = {measure(name).label: measure(name) for name in MEASURES}
    columns = ("between", *DESCRIBED, FLOOR, *CEILING, "p ≤ 0.05", "undefined")
    class_columns = (
        *("between", "class", *DESCRIBED, FLOOR, *CLASS_CEILING),
        *("p ≤ 0.05", "undefined"),
    )

    def rows_of(table: Table, label: str, wanted: tuple[str, ...]) -> Table | None:
        found = table.select(wanted, measure=label)
        return found if found.rows else None

    entries = []
    for label in dict.fromkeys(row["measure"] for row in (*on_text[0].rows, *on_query[0].rows)):
        few = classes <= CLASSES
        entries.append(
            {
                "measure": names.get(label) or measure(label),
                "overall": on_text[0].select(columns, measure=label),
                "by_class": rows_of(on_text[1], label, class_columns) if few else None,
                "query": rows_of(on_query[0], label, columns),
                "query_by_class": rows_of(on_query[1], label, class_columns) if few else None,
            }
        )
    return entries


def _command(config: dict[str, Any], folder: epath.Path) -> str:
    """A command that needs no config file: every field that differs from the defaults."""
    from attnjax.config import RunConfig, flatten, to_dict

    defaults = flatten(to_dict(RunConfig()))
    parts = ["python", "-m", "attnjax.main", f"--workdir={shlex.quote(folder.name)}"]
    for name, value in flatten(config).items():
        if name in defaults and list_(defaults[name]) != list_(value):
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            parts.append(shlex.quote(f"--config.{name}={text}"))
    return " \\\n  ".join([" ".join(parts[:4]), *parts[4:]])


def list_(value: Any) -> Any:
    """Tuples and the lists that JSON makes of them compare equal."""
    return list(value) if isinstance(value, tuple) else value
