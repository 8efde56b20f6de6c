"""comparison.json -> comparison.html, figures and tables: several runs side by side.

It reads that file and nothing else, so that the page can be made again at any time.
"""

from typing import Any

from etils import epath

from attnjax.report.answers import measured
from attnjax.report.conclusions import of_comparison
from attnjax.report.examples import card, signed_names
from attnjax.report.figures import (
    COLOURS,
    GREY,
    INK,
    Drawn,
    draw_legend,
    label_axes,
    lines_of,
    new_axes,
    save_figure,
)
from attnjax.report.heatmap import legend
from attnjax.report.page import inline, remove, write_page, write_table
from attnjax.report.tables import MARKED, Estimate, Table, formatted
from attnjax.report.wording import pair_label, spaced
from attnjax.workdir import FIGURES, TABLES, read_json

COMPARISON = "comparison.json"
PAGE = "comparison.html"
FILES = (COMPARISON, PAGE, FIGURES, TABLES)  # all that a comparison's folder holds

OPEN = ("accuracy", "kendall")  # measures that are not folded away
RUN_COLOURS = (*COLOURS, GREY)
MARKERS = "osD^vP"  # no multiple of the colours: 42 runs are told apart
KEPT = "retained"  # what a state retains of the words: drawn in order of depth
KINDS = {"most": "differs most", "least": "differs least", "random": "at random"}


def write_comparison(folder: epath.Path) -> epath.Path:
    """Writes comparison.html, figures/ and tables/ from comparison.json; returns the page."""
    found = read_json(folder / COMPARISON)
    drawn = (f"{FIGURES}/means_*.*", f"{FIGURES}/information.*")
    remove(folder, (*drawn, *(f"{TABLES}/*.{end}" for end in ("csv", "tex"))))
    tables = {table.name: table for table in build_tables(found)}
    for table in tables.values():
        write_table(folder, table)
    figures = dict(zip(_measures(found), inline(draw_means(folder, found)), strict=True))
    wanted = tuple(name for name in tables["differences"].columns if name != "run")
    by_run = {
        name: tables["differences"].select(wanted, run=name)
        for name in dict.fromkeys(each["other"] for each in found["differences"])
    }
    data = found["data"]
    signed = signed_names(run for each in found["sentences"] for run in each["runs"])
    write_page(
        folder / PAGE,
        "comparison.html.j2",
        title=f"Comparison of {len(found['runs'])} runs",
        subtitle=f"{spaced(data['task'])}; data {spaced(data['data.source'])} {data['data.name']}; "
        f"{formatted(found['examples'])} test examples compared",
        found=found,
        said=of_comparison(found),
        baseline=found["differences"][0]["baseline"],
        trained_once=_trained_once(found),
        tested=sum(each["p"] is not None for each in found["differences"]),
        tables=tables,
        differences=by_run,
        side_by_side=[
            {
                "measure": measured(name),
                "open": name in OPEN,
                "table": _of_measure(tables["agreement"], name),
                "figures": [figure],
            }
            for name, figure in figures.items()
        ],
        information=inline(draw_information(folder, found)),
        sentences=[_sentence(each, signed) for each in found["sentences"]],
        legend=legend(bool(signed)),
        number=formatted,
    )
    return folder / PAGE


def _trained_once(found: dict[str, Any]) -> list[str]:
    """What is compared with the baseline without a second seed on either side."""
    seeds = {each["name"]: len(each["runs"]) for each in found["conditions"]}
    compared = dict.fromkeys((each["baseline"], each["other"]) for each in found["differences"])
    # Where all runs are of one condition, they are compared under their own names.
    return [other for first, other in compared if seeds.get(first, 1) == seeds.get(other, 1) == 1]


def units(found: dict[str, Any]) -> list[str]:
    """Names of what stands side by side: conditions; where there is one only, its runs and it."""
    names = [each["name"] for each in found["conditions"]]
    if len(names) == 1:
        return [each["name"] for each in found["runs"]] + names
    return names


def build_tables(found: dict[str, Any]) -> list[Table]:
    """Scores, configuration, differences, agreement; information and a ceiling if there is one."""
    tables = [_scores(found), _configuration(found), _differences(found), _agreement(found)]
    if _states(found):
        tables.append(_information(found))
    more = (("ceiling", _ceiling), ("by_class", _by_class), ("cost", _cost))
    return tables + [make(found) for name, make in more if found.get(name)]


def _scores(found: dict[str, Any]) -> Table:
    runs = {run["name"]: run for run in found["runs"]}
    names = {
        name: name.replace("_", "-") for name in found["runs"][0]["test"] if name != "examples"
    }
    rows = [
        {"run": name, "seed": str(run["seed"])}
        | {column: run["test"].get(score) for score, column in names.items()}
        for name, run in runs.items()
    ]
    for each in found["conditions"]:
        if len(each["runs"]) > 1:
            scores = {
                column: Estimate.of_seeds([runs[name]["test"].get(score) for name in each["runs"]])
                for score, column in names.items()
            }
            rows.append({"run": each["name"], "seed": None, **scores})
    return Table("scores", "Scores on the test split.", ("run", "seed", *names.values()), rows)


def _configuration(found: dict[str, Any]) -> Table:
    names = [run["name"] for run in found["runs"]]
    rows = [
        {"field": field, **dict(zip(names, map(str, values), strict=True))}
        for field, values in found["config"].items()
    ]
    caption = "Fields in which the runs' configurations differ."
    return Table("configuration", caption, ("field", *names), rows)


def _differences(found: dict[str, Any]) -> Table:
    alpha = found["settings"]["alpha"]
    rows = [
        {
            "run": each["other"],
            "measure": measured(each["measure"]).label,
            "of": pair_label(each["of"]),
            "baseline": each["baseline_mean"],
            "run's": each["other_mean"],
            "difference": Estimate(each["difference"], each["ci95"]),
            "p": each["p"],
            "p (Holm)": each["p_holm"],
            "examples": each["examples"],
            MARKED: each["p_holm"] is not None and each["p_holm"] <= alpha,
        }
        for each in found["differences"]
    ]
    baseline = found["differences"][0]["baseline"]
    caption = f"Differences from {baseline} with 95 % bootstrap intervals."
    tested = any(row["p"] is not None for row in rows)
    left_out = (MARKED,) if tested else (MARKED, "p", "p (Holm)")
    columns = tuple(name for name in rows[0] if name not in left_out)
    return Table("differences", caption, columns, rows)


def _agreement(found: dict[str, Any]) -> Table:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for each in found["means"]:
        of, name = pair_label(each["of"]), measured(each["measure"]).label
        row = rows.setdefault((of, name), {"of": of, "measure": name})
        row[each["name"]] = Estimate(each["mean"], each["ci95"], each["std"])
    caption = "Means over the analysed examples with 95 % bootstrap intervals."
    return Table("agreement", caption, ("of", "measure", *units(found)), list(rows.values()))


def _of_measure(agreement: Table, name: str) -> Table:
    columns = tuple(each for each in agreement.columns if each != "measure")
    return agreement.select(columns, measure=measured(name).label)


def _ceiling(found: dict[str, Any]) -> Table:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    measures = dict.fromkeys(measured(each["measure"]).label for each in found["ceiling"])
    for each in found["ceiling"]:
        kind = each["condition"], spaced(each["explanation"])
        row = rows.setdefault(kind, dict(zip(("condition", "explanation"), kind, strict=True)))
        row[measured(each["measure"]).label] = Estimate(each["mean"], each["ci95"])
        row["pairs of seeds"] = each["seed_pairs"]
    caption = "Ceiling: agreement of the same explanation between two seeds of one condition."
    columns = ("condition", "explanation", *measures, "pairs of seeds")
    return Table("ceiling", caption, columns, list(rows.values()))


def _by_class(found: dict[str, Any]) -> Table:
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for each in found["by_class"]:
        kind = each["class"], spaced(each["of"]), measured(each["measure"]).label
        names = ("class", "of", "measure")
        row = rows.setdefault(kind, dict(zip(names, kind, strict=True)))
        row[each["name"]] = Estimate(each["mean"], each["ci95"])
    caption = "The same of the examples of each class, with 95 % bootstrap intervals."
    columns = ("class", "of", "measure", *units(found))
    return Table("by_class", caption, columns, list(rows.values()))


def _cost(found: dict[str, Any]) -> Table:
    runs = {name: cost for name, cost in found["cost"].items() if cost}
    methods = dict.fromkeys(name for cost in runs.values() for name in cost)
    rows = [
        {"method": spaced(method)}
        | {
            name: 1000 * cost[method]["seconds_per_example"] if method in cost else None
            for name, cost in runs.items()
        }
        for method in methods
    ]
    caption = "Milliseconds that each method takes for an example, where the run was analysed."
    return Table("cost", caption, ("method", *runs), rows)


def _measures(found: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(each["measure"] for each in found["means"] if each["of"] != KEPT))


def _states(found: dict[str, Any]) -> list[str]:
    """The states that all runs tell the information of, in order of depth."""
    return list(dict.fromkeys(each["measure"] for each in found["means"] if each["of"] == KEPT))


def _kept(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """(run or condition, state) -> its mean."""
    return {(each["name"], each["measure"]): each for each in found["means"] if each["of"] == KEPT}


def _information(found: dict[str, Any]) -> Table:
    kept = _kept(found)
    rows = [
        {"state": spaced(state)}
        | {
            unit: Estimate(each["mean"], each["ci95"], each["std"])
            for unit in units(found)
            if (each := kept[unit, state])
        }
        for state in _states(found)
    ]
    caption = "What each state retains of a word, nats per dimension, in order of depth."
    return Table("information", caption, ("state", *units(found)), rows)


def draw_information(folder: epath.Path, found: dict[str, Any]) -> list[Drawn]:
    """One line a run through the states, from the word vectors to the logits, with bands."""
    states, kept = _states(found), _kept(found)
    if not states:
        return []
    figure, axes = new_axes()
    depth = [place / max(len(states) - 1, 1) for place in range(len(states))]
    handles = {}
    for number, unit in enumerate(units(found)):
        colour = RUN_COLOURS[number % len(RUN_COLOURS)]
        marker = MARKERS[number % len(MARKERS)]
        means = [(x, kept[unit, state]) for x, state in zip(depth, states, strict=True)]
        known = [(x, each) for x, each in means if each["mean"] is not None]
        if not known:
            continue
        places, means = [x for x, _ in known], [each["mean"] for _, each in known]
        (handles[unit],) = axes.plot(places, means, f"-{marker}", color=colour, markersize=4)
        low, high = zip(*[each["ci95"] or [each["mean"]] * 2 for _, each in known], strict=True)
        axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
    if not handles:
        return []
    axes.set_xticks(depth, [lines_of(spaced(state), 0.7) for state in states])
    axes.set_ylim(bottom=0)
    label_axes(axes, "state, in order of depth", "retained, nats per dimension")
    draw_legend(figure, list(handles.values()), list(handles))
    caption = "What each state retains of a word: means over the texts and 95 % intervals."
    return [save_figure(figure, folder, "information", caption)]


def draw_means(folder: epath.Path, found: dict[str, Any]) -> list[Drawn]:
    """One figure a measure: mean and interval by run, short strokes for seeds."""
    names = units(found)
    seeds = {each["name"]: each["runs"] for each in found["conditions"] if each["runs"][1:]}
    drawn = []
    for name in _measures(found):
        means = {(e["name"], e["of"]): e for e in found["means"] if e["measure"] == name}
        kinds = list(dict.fromkeys(of for _, of in means))
        figure, axes = new_axes(height=1.1 + len(kinds) * (0.3 + 0.2 * len(names)))
        handles = {}
        for number, unit in enumerate(names):
            colour = RUN_COLOURS[number % len(RUN_COLOURS)]
            marker = MARKERS[number % len(MARKERS)]
            offset = ((number + 0.5) / len(names) - 0.5) * 0.7
            for place, of in enumerate(kinds):
                each = means[unit, of]
                if each["mean"] is None:
                    continue
                if each["ci95"]:
                    axes.plot(each["ci95"], [place + offset] * 2, color=colour, linewidth=2)
                for seed in seeds.get(unit, []):
                    axes.plot(means[seed, of]["mean"], place + offset, "|", color=colour)
                (handles[unit],) = axes.plot(each["mean"], place + offset, marker, color=colour)
        labels = [lines_of(pair_label(of), 1.3) for of in kinds]
        axes.set_yticks(range(len(kinds)), labels)
        axes.set_ylim(len(kinds) - 0.5, -0.5)  # the first on top
        known = measured(name)
        label_axes(axes, f"{known.label} ({known.range})" if known.range else known.label)
        axes.grid(axis="x", color=INK, alpha=0.15, linewidth=0.6)
        axes.set_axisbelow(True)
        if handles:
            draw_legend(figure, list(handles.values()), list(handles))
        caption = f"{known.label[0].upper()}{known.label[1:]}: means and 95 % intervals."
        drawn.append(save_figure(figure, folder, f"means_{name}", caption))
    return drawn


def _sentence(sentence: dict[str, Any], signed: set[str]) -> dict[str, Any]:
    """One example under every run, the runs' rows of each explanation one below the other."""
    parts: dict[str, dict[str, list[float]]] = {}
    for each in sentence["runs"]:
        explanations = {"attention": each["attention"], **each["importance"]}
        for kind, values in explanations.items():
            if None not in values:  # what a run could not measure has no colour
                parts.setdefault(spaced(kind), {})[each["name"]] = values
    facts = [KINDS[sentence["kind"]], f"divergence {formatted(sentence['divergence'])}"]
    verdicts = [
        f"{each['name']}: {each['prediction']} ({formatted(each['probability'])}), "
        + ("right" if each["prediction"] == sentence["label"] else "wrong")
        for each in sentence["runs"]
    ]
    return card(sentence, facts, parts, verdicts=verdicts, signed=signed)
