"""What several runs say, in sentences: those compared with a baseline, and those of a sweep."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from attnjax.analysis.intervals import INTERVAL, range_of, within
from attnjax.report.sentences import accuracy, counted, joined, number, share
from attnjax.report.wording import spaced

NAMED = 4  # conditions that a sentence names; the tables have all
SETTING = ("epsilon", "weight", "relevance", "learning_rate")  # of a point of a sweep
Found = dict[str, Any]


def of_comparison(found: Found) -> dict[str, str]:
    """comparison.json -> place on the page -> its sentence, "" where nothing can be said."""
    rows = found["differences"]
    right = [each for each in rows if each["measure"] == "accuracy"]
    taus = [
        each
        for each in rows
        if each["measure"] == "kendall" and "attention" in each["of"].split("~")
    ]
    first = taus[0]["of"] if taus else ""
    taus = [each for each in taus if each["of"] == first]
    floor = found.get("majority")
    named = "" if floor is None else f" Always naming the most frequent class: {share(floor)}."
    alpha = found["settings"]["alpha"]
    return {
        "scores": _differing("Accuracy", right, alpha, percent=True, floor=named),
        "side-by-side": _differing(
            f"Kendall's tau of {' and '.join(map(spaced, first.split('~')))}",
            taus,
            alpha,
            floor=" A random order: 0.00.",
        ),
        "differences": _tests(rows, alpha),
        "ceiling": _ceiling(found["ceiling"]),
    }


def _differing(what: str, rows: Sequence[Found], alpha: float, floor: str, percent=False) -> str:
    """One measure of the baseline, and how far each of the others lies from it."""
    rows = [each for each in rows if each["difference"] is not None]
    if not rows:
        return ""
    shown = share if percent else number
    first = rows[0]
    parts = [
        f"{each['other']} {shown(each['other_mean'])}, {_apart(each, alpha, percent)}"
        for each in rows[:NAMED]
    ]
    more = f"; {len(rows) - NAMED} more below" if len(rows) > NAMED else ""
    over = f"over {counted(first['examples'])}"
    return (
        f"{what} {over}: {first['baseline']} {shown(first['baseline_mean'])}; "
        f"{'; '.join(parts)}{more}.{floor}"
    )


def _apart(row: Found, alpha: float, percent: bool) -> str:
    """A difference with its interval, and whether chance may have made it."""
    scale, unit = (100, " points") if percent else (1, "")
    low_high = row["ci95"]
    difference = f"{_signed(scale * row['difference'])}{unit}"
    if not low_high:
        return f"{difference}: too few examples for an interval"
    low, high = (_signed(scale * each) for each in low_high)
    told = f"{difference} ({low} to {high})"
    if row["p_holm"] is None:
        return f"{told}, of these trained models alone"
    return f"{told}, {'beyond chance' if row['p_holm'] <= alpha else 'which chance may make'}"


def _signed(value: float) -> str:
    text = number(value)
    return text if value < 0 or text == number(0.0) else f"+{text}"


def _tests(rows: Sequence[Found], alpha: float) -> str:
    tested = [each["p_holm"] for each in rows if each["p_holm"] is not None]
    if not tested:
        return "Nothing is tested: of one run against one, a difference may be of the seed alone."
    kept = sum(each <= alpha for each in tested)
    verb = "is" if 1 in (kept, len(tested)) else "are"
    return (
        f"{kept or 'None'} of {counted(len(tested), 'difference')} {verb} beyond chance at "
        f"{alpha:g} after Holm's correction."
    )


def _ceiling(rows: Sequence[Found]) -> str:
    """How far the attentions of two seeds agree, of the first condition that has some."""
    for each in rows:
        if (each["explanation"], each["measure"]) == ("attention", "kendall"):
            if each["mean"] is None:
                continue
            ends = each["ci95"]
            interval = f" ({number(ends[0])} to {number(ends[1])})" if ends else ""
            return (
                f"The attentions of two seeds of {each['condition']} agree by a tau of "
                f"{number(each['mean'])}{interval}; a random order: 0.00."
            )
    return ""


def of_sweep(rows: Sequence[Found], monitor: str, test: Found) -> dict[str, str]:
    """The rows of a sweep -> "scores" and "agreement" in a sentence each, "" where there is none.

    Of each technique the setting counts that validates best, over its seeds.
    monitor  the validation metric; test  of the split: "rows", and "majority" where it is known
    """
    good = [each for each in rows if not each["failed"] and each["validation"] is not None]
    settings: dict[tuple[Any, ...], list[Found]] = {}
    for each in good:
        key = (each["technique"], *(each[name] for name in SETTING))
        settings.setdefault(key, []).append(each)
    sign = -1 if monitor == "loss" else 1

    def validated(members: list[Found]) -> float:
        return sign * statistics.fmean(each["validation"] for each in members)

    best: dict[str, list[Found]] = {}
    for (technique, *_), members in settings.items():
        if technique not in best or validated(members) > validated(best[technique]):
            best[technique] = members
    ranked = sorted(best.values(), key=validated, reverse=True)
    varied = [n for n in SETTING if len({each[n] for each in good} - {None}) > 1]
    return {
        "scores": _best_score(ranked, varied, monitor, len(rows), test),
        "agreement": _agreement(ranked, varied),
    }


def _best_score(
    ranked: list[list[Found]], varied: list[str], monitor: str, runs: int, test: Found
) -> str:
    members = ranked[0] if ranked else []
    scores = [each["accuracy"] for each in members if each["accuracy"] is not None]
    if not scores:
        return ""
    if len(scores) == 1:
        right = accuracy(scores[0], test.get("rows"))
    else:
        low, high = _over_seeds(scores, "accuracy")
        right = f"{share(statistics.fmean(scores))} ({share(low)[:-2]} to {share(high)})"
    floor = test.get("majority")
    named = "" if floor is None else f"; always naming the most frequent class: {share(floor)}"
    return (
        f"Of {counted(runs, 'run')}, {_setting(members, varied)} has the best validation "
        f"{monitor}: test accuracy {right}{named}."
    )


def _agreement(ranked: list[list[Found]], varied: list[str]) -> str:
    taus = []
    for members in ranked:
        known = [each["kendall"] for each in members if each["kendall"] is not None]
        if known:
            taus.append((statistics.fmean(known), known, members))
    if not taus:
        return ""
    taus.sort(key=lambda each: -each[0])
    parts = []
    for mean, known, members in taus[:NAMED]:
        told = f"{number(mean)} with {_setting(members, varied)}"
        if len(known) > 1:
            low, high = _over_seeds(known, "kendall")
            told += f" ({number(low)} to {number(high)})"
        parts.append(told)
    more = f", and {len(taus) - NAMED} lower" if len(taus) > NAMED else ""
    alone = all(len(known) == 1 for _, known, _ in taus)
    seeds = "; one seed each, so without an interval" if alone else ""
    return (
        f"Kendall's tau of attention and gradient is {joined(parts)}{more}{seeds}; a random "
        "order: 0.00."
    )


def _setting(members: list[Found], varied: list[str]) -> str:
    """The technique, what varied beside it, and over how many seeds."""
    first = members[0]
    told = [first["technique"]]
    told += [f"{spaced(name)} {first[name]:g}" for name in varied if first[name] is not None]
    if len(members) > 1:
        told.append(f"{len(members)} seeds")
    return ", ".join(told) if len(told) == 1 else f"{told[0]} [{', '.join(told[1:])}]"


def _over_seeds(values: list[float], measure: str) -> tuple[float, float]:
    """Student's 95 % interval of a mean over seeds, on a scale that keeps the measure's range."""
    from scipy import stats  # imported late: slow to load

    error = statistics.stdev(values) / math.sqrt(len(values))
    deviations = error * stats.t.ppf(np.array(INTERVAL), len(values) - 1)
    low, high = within(statistics.fmean(values), deviations, range_of(measure))
    return float(low), float(high)
