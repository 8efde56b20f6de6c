"""The files of a finished run -> report.html: one page that opens anywhere, without a network.

It reads what is on disk and nothing else, so that a report can be made again at any time. Beside
the page it writes figures/ (SVG, PDF), tables/ (CSV, LaTeX) and analysis/rationales_*.jsonl.
"""

import json
import shlex
from typing import Any

from etils import epath

from attnjax.model_checks import CLS
from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Block, Files, Told
from attnjax.report.cost import COST
from attnjax.report.data import DATA
from attnjax.report.examples import chosen, sentence, shown_ids, signed_names
from attnjax.report.figures import draw_training
from attnjax.report.heads import draw_text, read_self_attention
from attnjax.report.heatmap import legend
from attnjax.report.page import asset, inline, remove, write_page, write_table
from attnjax.report.rationales import write_rationales
from attnjax.report.summaries import (
    ANALYSED,
    scores_sentence,
    scores_table,
    training_sentence,
)
from attnjax.report.tables import Table, formatted
from attnjax.shapes import METRICS_SHAPE
from attnjax.workdir import (
    EXAMPLES,
    EXAMPLES_README,
    FIGURES,
    METRICS,
    RATIONALES,
    REPORT,
    RESULTS,
    SELF_ATTENTION,
    TABLES,
    read_json,
    read_json_lines,
    write_text,
)


def write_report(folder: epath.Path) -> None:
    """Writes report.html, figures/, tables/ and the rationales from what the run left on disk.

    Parts that the run has not measured are left out. Raises UserError if there is no results.json.
    """
    results = read_json(folder / RESULTS)
    examples = read_json_lines(folder / EXAMPLES)
    analysis = results.get("analysis") or {}
    # What an earlier report of the run has left and this one may not write again.
    own = f"{FIGURES}/training_*", f"{FIGURES}/heads_*", f"{TABLES}/scores.*"
    remove(folder, (*own, RATIONALES.format("*")))
    remove(folder, (each for answer in (*ANSWERS.values(), COST) for each in answer.files))
    told = Told(folder, results, analysis, examples)
    found = [(each, each.blocks(told)) for each in (*ANSWERS.values(), COST, DATA)]
    sections = [(each, blocks, each.sentence(told)) for each, blocks in found if blocks]
    scores = scores_table(results)
    metrics = read_json_lines(folder / METRICS, METRICS_SHAPE)
    for table in (scores, *(each for _, blocks, _ in sections for each in _tables(blocks))):
        write_table(folder, table)
    data_files = write_rationales(folder, examples)
    weights, heads = read_self_attention(folder), {}
    for number in shown_ids(examples):
        if number in weights:
            (heads[number],) = inline([draw_text(folder, number, weights[number])])
    if examples:
        write_text(folder / EXAMPLES_README, asset("examples.md.j2"))
        data_files = [EXAMPLES, *data_files, *([SELF_ATTENTION] if weights else [])]
    config, ceiling = results["config"], analysis.get("ceiling") or {}
    elsewhere = config["model"]["attention"] == CLS
    write_page(
        folder / REPORT,
        "report.html.j2",
        title=f"{_data_name(config['data'])}: {_model_name(config['model'])}",
        subtitle=_subtitle(config),
        scores=scores,
        cards=_cards(scores),
        has_uniform=any(row["uniform attention"] is not None for row in scores.rows),
        best_step=None if elsewhere else (results.get("best") or {}).get("step", "unknown"),
        timing=_timing(results.get("timing") or {}),
        sections=sections,
        sentences={
            "scores": scores_sentence(results, examples),
            **{each.name: said for each, _, said in sections},
            "examples": sentence(examples),
            "training": "The model was trained elsewhere, and here not at all."
            if elsewhere
            else training_sentence(metrics, results.get("best") or {}),
        },
        ceiling_run=ceiling.get("run"),
        groups=chosen(examples, heads),
        legend=legend(bool(signed_names(examples))),
        training_figures=inline(draw_training(folder, metrics)),
        command=_command(results, folder),
        config=json.dumps(config, indent=2),
        versions=json.dumps(
            {name: results.get(name) for name in ("data", "versions", "devices")}, indent=2
        ),
        data_files=data_files,
        data_readme=EXAMPLES_README,
    )


def _tables(blocks: list[Block]) -> list[Table]:
    """The tables whose files a section has."""
    return [each.table for each in blocks if isinstance(each, Files)]


def _model_name(model: dict[str, Any]) -> str:
    if model["attention"] == CLS:
        return f"{model['pretrained'].rstrip('/').rpartition('/')[2]}, a BERT classifier"
    return f"{model['encoder']} with {model['attention']} attention"


def _subtitle(config: dict[str, Any]) -> str:
    task, seed = f"task {config['task']}", f"seed {config['seed']}"
    if config["model"]["attention"] == CLS:
        return (
            f"{task}, trained elsewhere, {seed}; attention is what [CLS] gives each word in the "
            "last layer"
        )
    return f"{task}, technique {config['adversary']['technique']}, {seed}"


def _data_name(data: dict[str, Any]) -> str:
    if data["source"] == "babi_simulator":
        return f"bAbI task {data['name']}, simulated"
    if data["source"] == "reverse_simulator":
        return f"Reversed sequences of {data['name']} symbols, simulated"
    from attnjax.data_config import DataConfig

    if data["source"] == "files" and data["name"] == DataConfig().name:  # that was not given
        return epath.Path(data["path"]).name
    return data["name"]


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
    speed, peak = timing.get("train_examples_per_s"), timing.get("analysis_peak_bytes")
    return (
        f"Training took {timing['train_s']:.1f} s"
        + (f", {timing['compile_s']:.1f} s of it compilation" if timing.get("compile_s") else "")
        + (f", at {speed:,.0f} examples/s" if speed else "")
        + (f"; the analysis took {timing['analysis_s']:.1f} s" if timing.get("analysis_s") else "")
        + (f", and {peak / 1e9:.2f} GB of memory at most" if peak else "")
        + "."
    )


def _command(results: dict[str, Any], folder: epath.Path) -> str:
    """A command that needs no config file: every field that differs from the defaults."""
    from attnjax.config import RunConfig, flatten, to_dict

    config, defaults = results["config"], flatten(to_dict(RunConfig()))
    if scored := results.get("explanations"):
        given = {"workdir": scored.get("run", "RUN"), "explanations": scored["file"]}
        given |= {"output": folder.name}
        flags = [shlex.quote(f"--{name}={value}") for name, value in given.items()]
        return " ".join(["python", "-m", "attnjax.analyze", *flags])
    elsewhere = config["model"]["attention"] == CLS
    command = "analyze" if elsewhere else "main"
    parts = ["python", "-m", f"attnjax.{command}", f"--workdir={shlex.quote(folder.name)}"]
    if elsewhere:
        parts.append(shlex.quote(f"--pretrained={config['model']['pretrained']}"))
    for name, value in flatten(config).items():
        if elsewhere and name.startswith("model."):
            continue
        if name in defaults and list_(defaults[name]) != list_(value):
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            parts.append(shlex.quote(f"--config.{name}={text}"))
    return " \\\n  ".join([" ".join(parts[:4]), *parts[4:]])


def list_(value: Any) -> Any:
    """Tuples and the lists that JSON makes of them compare equal."""
    return list(value) if isinstance(value, tuple) else value
