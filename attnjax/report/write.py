"""The files of a finished run -> report.html: one page that opens anywhere, without a network.

It reads what is on disk and nothing else, so that a report can be made again at any time. All text
that comes from data goes through autoescaping.
"""

import json
import shlex
from importlib import resources
from typing import Any

import jinja2
from etils import epath
from markupsafe import Markup

from attnjax.report.figures import draw_agreement, draw_robustness, draw_training
from attnjax.report.heatmap import cells
from attnjax.workdir import (
    EXAMPLES,
    METRICS,
    REPORT,
    RESULTS,
    read_json,
    read_json_lines,
    write_text,
)

SHOWN = 5  # examples of each kind


def write_report(folder: epath.Path) -> None:
    """Writes report.html and figures/ from the results, the metrics and the examples on disk."""
    results = read_json(folder / RESULTS)
    examples = read_json_lines(folder / EXAMPLES)
    metrics = read_json_lines(folder / METRICS)
    config = results["config"]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    template = environment.from_string(_asset("report.html.j2"))
    test = results["test"]
    page = template.render(
        title=f"{_data_name(config['data'])}: {config['model']['encoder']} with "
        f"{config['model']['attention']} attention",
        subtitle=f"task {config['task']}, technique {config['adversary']['technique']}, "
        f"seed {config['seed']}",
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
        scores=[(name.replace("_", "-"), _number(value)) for name, value in test.items()],
        best_step=results["best"]["step"],
        timing=_timing(results["timing"]),
        agreement=_agreement_rows(results["analysis"].get("agreement", {})),
        analysis_note=_analysis_note(config),
        agreement_figures=[_inline(f) for f in draw_agreement(folder, examples)],
        robustness_figures=[_inline(f) for f in draw_robustness(folder, results.get("robustness"))],
        examples=_chosen(examples),
        training_figures=[_inline(f) for f in draw_training(folder, metrics)],
        command=_command(config, folder),
        config=json.dumps(config, indent=2),
        versions=json.dumps(
            {name: results[name] for name in ("data", "versions", "devices")}, indent=2
        ),
    )
    write_text(folder / REPORT, page)


def _data_name(data: dict[str, Any]) -> str:
    if data["source"] == "babi_simulator":
        return f"bAbI task {data['name']}, simulated"
    return data["name"] or data["path"]


def _asset(name: str) -> str:
    return resources.files("attnjax.report").joinpath(name).read_text(encoding="utf-8")


def _inline(figure: tuple[str, str]) -> dict[str, Any]:
    svg, caption = figure
    return {"svg": Markup(svg[svg.index("<svg") :]), "caption": caption}


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def _timing(timing: dict[str, float | None]) -> str:
    speed = timing["train_examples_per_s"]
    return (
        f"Training took {timing['train_s']:.1f} s, {timing['compile_s']:.1f} s of it compilation"
        + (f", at {speed:,.0f} examples/s" if speed else "")
        + f"; the analysis took {timing['analysis_s']:.1f} s."
    )


def _analysis_note(config: dict[str, Any]) -> str:
    if config["analysis"]["detach_attention"]:
        return "Gradients hold attention constant, as Jain & Wallace (2019) do."
    return "Gradients flow through attention."


def _agreement_rows(agreement: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for pair, measures in agreement.items():
        classes = {"all": measures, **measures["by_class"]}
        for label, found in classes.items():
            for measure in ("kendall", "pearson", "spearman"):
                each = found[measure]
                interval = each["ci95"]
                rows.append(
                    {
                        "first": label == "all" and measure == "kendall",
                        "pair": pair.replace("~", " ~ ").replace("_", " "),
                        "measure": measure,
                        "label": label,
                        "mean": _number(each["mean"]),
                        "std": _number(each["std"]),
                        "interval": f"{interval[0]:.3f} … {interval[1]:.3f}" if interval else "–",
                        "significant": _number(each.get("significant_fraction")),
                        "undefined": each["undefined"],
                    }
                )
            if len(classes) > 6:
                break  # answers of qa: too many classes for a table; results.json has them
    return rows


def _chosen(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those whose attention agrees best, middling and worst with the first importance method."""

    def tau(example: dict[str, Any]) -> float | None:
        pairs = [name for name in example["agreement"] if name.startswith("attention~")]
        return example["agreement"][pairs[0]]["kendall"] if pairs else None

    ranked = sorted((e for e in examples if tau(e) is not None), key=lambda e: -(tau(e) or 0))
    middle = max(0, len(ranked) // 2 - SHOWN // 2)
    kinds = {
        "best agreement": ranked[:SHOWN],
        "median agreement": ranked[middle : middle + SHOWN],
        "worst agreement": ranked[-SHOWN:],
    }
    seen: set[int] = set()
    chosen = []
    for kind, members in kinds.items():
        for each in members:
            if each["id"] in seen:
                continue
            seen.add(each["id"])
            explanations = {"attention": each["attention"], **each["importance"]}
            chosen.append(
                {
                    "kind": kind,
                    "text": " ".join(each["tokens"]),
                    "query": " ".join(each["query"]) if each["query"] else "",
                    "label": each["label"],
                    "prediction": each["prediction"],
                    "agreement": ", ".join(
                        f"τ({pair.replace('~', ', ').replace('_', ' ')}) "
                        f"{_number(found['kendall'])}"
                        for pair, found in each["agreement"].items()
                    ),
                    "rows": [
                        {"name": name.replace("_", " "), "cells": cells(each["tokens"], values)}
                        for name, values in explanations.items()
                    ],
                }
            )
    return chosen


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
