"""Writes benchmarks/README.md from its template and the stored results.

python benchmarks/document.py            writes the page
python benchmarks/document.py --check    status 1 where the page is not what the results give

README.md.j2 is the text; its tables are calls of the functions of `TABLES`.
"""

import argparse
import contextlib
import io
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jinja2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from benchmarks import agreement as sst_agreement
from benchmarks import explanations, models
from benchmarks import techniques as tried
from benchmarks.scores import RUNS, columns, spread

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE / "README.md"
SCORED = {
    "sst": "SST, binary",
    "sst_transformer": "the same, Transformer of 2 layers, 3 epochs",
    "imdb": "IMDB (agreement on 400 reviews)",
    "babi_1": "bAbI 1, simulated",
    "babi_2": "bAbI 2, simulated",
    "babi_3": "bAbI 3, simulated",
    "snli_20k": "SNLI, 20,000 training pairs (agreement on the first 500)",
    "snli_20k_matching": "the same with matching features and `word_vat`",
}
STATES = {
    "cold": "attnjax, nothing compiled yet",
    "warm": "attnjax, warm compile cache",
    "again": "attnjax, again in the same process",
}
PARTS = ("gradient", "leave_one_out", "permutation", "adversarial_attention", "agreement", "all")


def rows_of(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def stored(name: str) -> Any:
    """The JSON of one measurement."""
    return json.loads((HERE / "results" / f"{name}.json").read_text())


def scores() -> str:
    """Test scores and agreement of the configurations of `SCORED`."""
    wanted = ("accuracy", "auc", "kendall", "pearson")
    rows = []
    for name, title in SCORED.items():
        runs = [json.loads(each.read_text()) for each in sorted((RUNS / name).glob("seed_*"))]
        found = [columns(each) for each in runs]
        cells = [spread([each[column] for each in found]) for column in wanted]
        rows.append([title, str(len(runs)), *cells])
    title = "data, BiLSTM with additive attention, random word vectors"
    return rows_of([title, "seeds", "accuracy", "AUC", "tau", "r"], rows)


def printed(table: Callable[[], None], start: str) -> str:
    """That table, of all that a benchmark prints, whose first line begins so."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        table()
    tables = output.getvalue().strip().split("\n\n")
    return next(each for each in tables if each.startswith(start))


def techniques(figure: str) -> str:
    """One figure of every technique on every data set, or its p-value, or what was tuned."""
    return printed(tried.table, f"| {figure} |")


def agreement() -> str:
    """What moves agreement: scales of the word vectors, the gradient's way, dropout."""
    return printed(sst_agreement.table, "| run |")


def analysis(*measured: str) -> str:
    """PyTorch's seconds for the parts of the analysis, and how many times as fast attnjax is."""
    rows = []
    for each in measured:
        name, _, title = each.partition(":")
        found = stored(name)
        primitives, peak = found["primitives"], found["peak_mb"]
        seconds = [f"{primitives[part]['torch_s']:.3g}" for part in PARTS]
        rows.append([f"{title}: PyTorch, seconds", *seconds, f"{peak['torch']:.0f} MB"])
        for state, words in STATES.items():
            ratios = [f"{primitives[part][f'{state}_ratio']:.3g}x" for part in PARTS]
            rows.append([words, *ratios, f"{peak[state]:.0f} MB" if state in peak else ""])
    header = ["", "gradient", "leave-one-out", "100 permutations", "adversarial attention"]
    return rows_of([*header, "agreement", "all", "peak memory"], rows)


def steps(measured: str = "step_techniques") -> str:
    """Time of a step of every technique, in vanilla steps, and of a naive version, if measured."""
    found = stored(measured)["variants"]
    names = [each["technique"] for each in found if each["side"] == "jax"][1:]
    rows = []
    for side, title in (("jax", "attnjax"), ("naive", "naive")):
        ratios = {
            each["technique"]: f"{each['ratio_to_vanilla_jax']:.2f}"
            for each in found
            if each["side"] == side
        }
        if ratios:
            rows.append([title, *(ratios.get(name, "–") for name in names)])
    return rows_of(["", *(f"`{name}`" for name in names)], rows)


def torch_steps(*measured: str) -> str:
    """PyTorch's vanilla step in attnjax's, for each run of the benchmark."""
    cells: dict[tuple[str, str], list[str]] = {}
    for name in measured:
        for each in stored(name)["variants"]:
            if each["side"] == "torch":
                place = each["length"], each["heap"]
                cells.setdefault(place, []).append(f"{each['ratio_to_vanilla_jax']:.2f}")
    lengths = list(dict.fromkeys(length for length, _ in cells))
    heaps = list(dict.fromkeys(heap for _, heap in cells))
    titles = {"sst": "SST lengths"}
    return rows_of(
        [f"{len(measured)} runs", *(f"{heap} heap" for heap in heaps)],
        [
            [titles.get(length, f"length {length}"), *(", ".join(cells[length, h]) for h in heaps)]
            for length in lengths
        ],
    )


def coverage() -> str:
    """How often intervals over examples hold the true mean: percentile bootstrap, ours."""
    found = stored("coverage")["examples"]
    counts = [str(each["examples"]) for each in next(iter(found.values()))]
    rows = [
        [name, *(f"{each['percentile']:.2f}, {each['ours']:.2f}" for each in cells)]
        for name, cells in found.items()
    ]
    return rows_of(["examples", *counts], rows)


def completeness() -> str:
    """Integrated gradients by fixed points and by panels: points, errors, time."""
    ways = stored("completeness")["ways"]
    slowest = max(each["seconds"] for each in ways.values())
    rows = [
        [
            name,
            f"{each['points']:.0f}",
            f"{each['error_mean']:.3f}",
            f"{each['error_largest']:.3f}",
            f"{each['share_above']:.2f}",
            f"{each['seconds'] / slowest:.2f}",
        ]
        for name, each in ways.items()
    ]
    header = ["", "points", "mean error", "largest", "share above 0.05", "time"]
    return rows_of(header, rows)


def methods() -> str:
    """What methods take, in the time of the gradient, by encoder."""
    every = {name: stored(f"methods_{name}")["methods"] for name in ("bilstm", "cnn")}
    names = dict.fromkeys(name for found in every.values() for name in found)
    rows = []
    for name in names:
        cells = [found.get(name) for found in every.values()]
        rows.append([f"`{name}`", *(f"{c['times_gradient']:.2f}" if c else "–" for c in cells)])
    return rows_of(["times the gradient", *every], rows)


def influence() -> str:
    """Foretold changes of removals beside those of retraining, r and slope, by encoder."""
    encoders = stored("influence")["encoders"]
    names = dict.fromkeys(name for each in encoders.values() for name in each["ways"])
    ways = [each["ways"] for each in encoders.values()]
    rows = [
        [name, *(f"{each[name]['pearson']:.2f}, {each[name]['slope']:.2f}" for each in ways)]
        for name in names
    ]
    return rows_of(["through, on, at which parameters: r, slope", *encoders], rows)


def by_examples() -> str:
    """What influence and flips of SST take, in seconds, and what was asked."""
    found = stored("by_examples")
    asked, seconds, texts = found["asked"]["seconds"], found["seconds"], found["texts"]
    titles = {
        "effects": f"effects of {texts['train']:,} texts on {texts['test']:,}, last layer",
        "with_words": "the same, with the words of the texts that are told, and mislabelled texts",
        "all_parameters": f"effects on {texts['all']} texts, all parameters, conjugate gradients",
        "flips": f"flips of {texts['flips']:,} texts, by deletion and by replacement",
    }
    rows = [
        [title, f"{seconds[name]:.0f}", f"{asked[name]:.0f}" if name in asked else "–"]
        for name, title in titles.items()
    ]
    return rows_of(["", "seconds", "asked: at most"], rows)


def masks() -> str:
    """Masks learnt for all texts, and optimised text by text: objective, faithfulness, time."""
    runs = [each["ways"] for each in stored("mask_model")["runs"]]
    measures = {
        "objective": "objective",
        "taken": "share of words taken",
        "aopc": "AOPC",
        "comprehensiveness": "comprehensiveness",
        "sufficiency": "sufficiency",
    }
    titles = {
        "mask": "`mask`, each text optimised",
        "mask_model": "`mask_model`, one network for all",
        "none": "nothing taken",
        "random": "random order",
    }
    rows = [
        [title, *(_over(runs, way, measure) for measure in measures)]
        for way, title in titles.items()
    ]
    return rows_of(["", *measures.values()], rows)


def _over(runs: list[Any], way: str, measure: str) -> str:
    """Mean and deviation over runs, a dash where the way has no such figure."""
    values = [each[way][measure] for each in runs if measure in each[way]]
    return spread(values) if values else "–"


def known_word() -> str:
    """How often the word that must be known stands first, and its AUC, over seeds."""
    found = [
        dict(json.loads(each.read_text())["analysis"]["known_word"])
        for each in sorted((RUNS / "reverse").glob("seed_*"))
    ]
    for each, newer in zip(found, sorted((RUNS / "reverse_mask").glob("seed_*")), strict=True):
        each["mask"] = json.loads(newer.read_text())["analysis"]["known_word"]["mask"]
    cells = {
        name: [[each[name][measure]["mean"] for each in found] for measure in ("hit", "auc")]
        for name in found[0]
    }
    order = sorted(cells, key=lambda name: -sum(cells[name][0]))
    rows = [[f"`{name}`", *(spread(each) for each in cells[name])] for name in order]
    return rows_of(["explanation", "hit@1", "AUC"], rows)


def monotonic() -> str:
    """Accuracy with and without listed words, and the share of edits that lower the score."""
    rows = []
    for data in sorted((HERE / "results").glob("monotonic_*.json")):
        for way, runs in stored(data.stem)["runs"].items():
            lowered = [
                f"{sum(each[kind]['lowered'] for each in runs)} of "
                f"{sum(each[kind]['edits'] for each in runs):,}"
                for kind in ("more", "stronger")
            ]
            scores = [spread([each[name] for each in runs]) for name in ("accuracy", "auc")]
            rows.append([data.stem.partition("_")[2].upper(), way, *scores, *lowered])
    header = [
        "",
        "the list",
        "accuracy",
        "AUC",
        "a + word more, a - word less",
        "a stronger + word",
    ]
    return rows_of(header, rows)


def judged_of(name: str) -> str:
    """How many examples and seeds stand behind `judged`."""
    runs = explanations.stored(name)["none"]
    examples = runs[0]["command"].partition("analysis.examples=")[2].split()[0]
    return f"{examples} test texts, {len(runs)} seeds"


def judged(name: str) -> str:
    """Each explanation of plainly trained models, judged."""
    header, *rows = explanations.by_method(name, "none")
    return rows_of(header, [[f"`{each[0]}`", *each[1:]] for each in rows])


def judged_attention(name: str) -> str:
    """Attention as an explanation, by technique."""
    header, *rows = explanations.by_technique(name, "attention")
    return rows_of(header, [[f"`{each[0]}`", *each[1:]] for each in rows])


def information() -> str:
    """How near linearised figures come to the optimum, by state; seconds of SST's test split."""
    found = stored("information")
    probes = found["whole"]["probes"]
    rows = [
        [
            state,
            *(f"{each[f'{n}_probes']['against_optimised']['spearman']:.2f}" for n in probes),
            f"{each['two_seeds_optimised']['spearman']:.2f}",
            f"{100 * each['two_seeds_optimised']['median_difference']:.1f} %",
        ]
        for state, each in found["states"].items()
    ]
    seconds = [f"{each['warm_s']:.0f}" for each in probes.values()]
    header = ["Spearman with the optimum", *(f"{count} probes" for count in probes)]
    header += ["another seed's optimum", "whose sigma differs by"]
    return rows_of(header, [*rows, ["seconds, SST's test split, all states", *seconds, "–", "–"]])


def side_by_side(table: str, data: str = "sst") -> str:
    """A table of the models of one data set side by side: see `models`."""
    header, *rows = getattr(models, table)(data)
    return rows_of(header, rows)


def parity() -> str:
    """Largest differences from transformers on a real model."""
    rows = []
    for dtype, kinds in stored("bert_parity")["largest_difference"].items():
        for kind, each in kinds.items():
            rows.append([dtype, kind, f"{each['states']:.1e}", f"{each['attention']:.1e}"])
    return rows_of(["", "", "hidden states", "attention"], rows)


def bert_throughput() -> str:
    """Milliseconds of a batch of a pretrained BERT here and in PyTorch."""
    rows = [
        [
            f"{each['kind']}, {each['length']} pieces",
            *(f"{each['ms_a_batch'][side]:.0f}" for side in ("none", "pytorch")),
            f"{each['times_ours']['pytorch']:.2f}",
        ]
        for each in stored("bert_throughput")["measured"]
    ]
    return rows_of(["ms a batch of 32", "attnjax", "PyTorch", "PyTorch / attnjax"], rows)


TABLES = (
    *(scores, techniques, agreement, analysis, steps, torch_steps, coverage, completeness),
    *(methods, influence, by_examples, masks, parity, known_word, monotonic),
    *(judged, judged_of, judged_attention, side_by_side, information, bert_throughput),
)


def page() -> str:
    """The whole page."""
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined)
    template = environment.get_template("README.md.j2")
    functions = {each.__name__: each for each in TABLES}
    return template.render(**functions, stored=stored, keep_trailing_newline=True).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if PAGE.read_text() == page():
            return 0
        print("benchmarks/README.md is old: python benchmarks/document.py", file=sys.stderr)
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
