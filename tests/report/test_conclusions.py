"""Sentences on several runs: right numbers, chance beside them, and no more than was found."""

import numpy as np
import pytest
from scipy import stats

from attnjax.analysis.intervals import range_of
from attnjax.report.conclusions import of_comparison, of_sweep


def difference(measure, other, means, p_holm=None, ci95=(-0.01, 0.09), of=None):
    baseline, value = means
    of = of or ("score" if measure == "accuracy" else "attention~gradient")
    return {
        "baseline": "plain (3 seeds)",
        "other": other,
        "of": of,
        "measure": measure,
        "baseline_mean": baseline,
        "other_mean": value,
        "difference": None if value is None else value - baseline,
        "ci95": ci95 and list(ci95),
        "p_holm": p_holm,
        "examples": 40,
    }


def comparison(*differences, **more):
    return {"differences": list(differences), "settings": {"alpha": 0.05}, "ceiling": [], **more}


def test_a_comparison_names_difference_interval_and_chance():
    ceiling = {"condition": "plain", "explanation": "attention", "measure": "kendall"}
    found = of_comparison(
        comparison(
            difference("accuracy", "at", (0.8, 0.84), 0.2),
            difference("kendall", "at", (0.2, 0.44), 0.003, (0.18, 0.3)),
            difference("kendall", "at", (0.1, 0.2), 0.01, of="attention~lime"),
            majority=0.55,
            ceiling=[{**ceiling, "mean": 0.51, "ci95": [0.4, 0.6]}],
        )
    )
    assert found == {
        "scores": "Accuracy over 40 examples: plain (3 seeds) 80\u00a0%; at 84\u00a0%, +4.00 "
        "points (−1.00 to +9.00), which chance may make. Always naming the most frequent class: "
        "55\u00a0%.",
        "side-by-side": "Kendall's tau of attention and gradient over 40 examples: plain (3 seeds) "
        "0.20; at 0.44, +0.24 (+0.18 to +0.30), beyond chance. A random order: 0.00.",
        "differences": "2 of 3 differences are beyond chance at 0.05 after Holm's correction.",
        "ceiling": "The attentions of two seeds of plain agree by a tau of 0.51 (0.40 to 0.60); a "
        "random order: 0.00.",
    }


def test_differences_of_any_size_have_their_sign():
    for value, text in ((3e-5, "+3e−05"), (1e-12, "0.00"), (0.0, "0.00"), (-3e-5, "−3e−05")):
        near = comparison(difference("kendall", "at", (0.2, 0.2), 0.5, (value, 0.3)))
        assert f"({text} to +0.30)" in of_comparison(near)["side-by-side"]


def test_one_run_against_one_is_judged_by_nobody():
    found = of_comparison(comparison(difference("accuracy", "at", (0.5, 0.5))))
    assert (
        "at 50\u00a0%, 0.00 points (−1.00 to +9.00), of these trained models alone."
        in (found["scores"])
    )
    assert found["differences"].startswith("Nothing is tested")
    few = of_comparison(comparison(difference("kendall", "at", (0.5, 0.7), ci95=None)))
    assert "+0.20: too few examples for an interval." in few["side-by-side"]
    assert few["scores"] == few["ceiling"] == ""


def test_of_many_conditions_four_are_named_and_what_is_undefined_is_not():
    rows = [difference("kendall", f"c{k}", (0.1, 0.2)) for k in range(6)]
    found = of_comparison(comparison(difference("kendall", "gone", (0.1, None)), *rows))
    assert "; c3 0.20, +0.10 (" in found["side-by-side"]
    assert "; 2 more below. A" in found["side-by-side"]
    assert "gone" not in found["side-by-side"]


def run(technique, epsilon, seed, validation, accuracy, kendall=0.2, failed=False):
    return {
        "technique": technique,
        "epsilon": epsilon,
        "weight": 1.0,
        "relevance": 0.0,
        "learning_rate": 0.001,
        "seed": seed,
        "validation": validation,
        "accuracy": accuracy,
        "kendall": kendall,
        "failed": failed,
    }


def test_a_sweep_takes_the_setting_that_validates_best_and_not_that_tests_best():
    rows = [
        run("none", None, 0, 0.80, 0.70, 0.1),
        run("word_at", 1.0, 0, 0.90, 0.60, 0.3),
        run("word_at", 2.0, 0, 0.85, 0.99, 0.9),
        run("word_at", 3.0, 0, None, None, None, failed=True),
    ]
    found = of_sweep(rows, "accuracy", {"rows": 100, "majority": 0.52})
    assert found == {
        "scores": "Of 4 runs, word_at [epsilon 1] has the best validation accuracy: test accuracy "
        "60\u00a0% (50.2 to 69.1\u00a0%); always naming the most frequent class: 52\u00a0%.",
        "agreement": "Kendall's tau of attention and gradient is 0.30 with word_at [epsilon 1] and "
        "0.10 with none; one seed each, so without an interval; a random order: 0.00.",
    }
    assert "is none has" not in found["scores"]
    lower = of_sweep(rows, "loss", {})["scores"]
    assert lower.startswith("Of 4 runs, none has the best validation loss: test accuracy 70")
    assert of_sweep(rows[3:], "accuracy", {}) == {"scores": "", "agreement": ""}


@pytest.mark.parametrize("values", [[0.5, 0.52, 0.51], [0.97, 0.99]])
def test_the_interval_over_seeds_is_students_and_stays_in_the_range(values):
    rows = [run("word_at", 1.0, k, 0.9, each, each) for k, each in enumerate(values)]
    found = of_sweep(rows, "f1", {})
    ends = found["agreement"].replace("−", "-").split("(")[1].split(")")[0].split(" to ")
    low, high = map(float, ends)
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    assert high <= 1
    if half < 0.05:
        np.testing.assert_allclose(
            [low, high], np.mean(values) + half * np.array([-1, 1]), atol=0.006
        )
    else:
        assert np.mean(values) + half > 1
    assert f"[{len(values)} seeds]" in found["scores"]


def test_ranges_over_seeds_are_those_of_the_measures():
    assert range_of("randomisation_embed") == (-1, 1)
    assert range_of("continuity_max_sensitivity") == (0, np.inf)
    assert range_of("continuity_infidelity_scaled") == (0, 1)
    assert range_of("flips_changed_words") == (0, np.inf)
