"""The answer in one sentence: true of what was found, with interval and chance, for any run."""

import copy
import math

import fabricated
import pytest
from etils import epath
from fabricated import fabricated_examples, fabricated_results

from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Told
from attnjax.report.examples import sentence as examples_sentence
from attnjax.report.sentences import accuracy, joined, number, share, share_interval
from attnjax.report.summaries import scores_sentence, training_sentence


def told_of(results, examples):
    return Told(epath.Path("."), results, results["analysis"], examples)


@pytest.fixture
def told():
    examples = fabricated_examples(40, ["a", "b"])
    return told_of(copy.deepcopy(fabricated_results(examples, ["a", "b"])), examples)


def with_taus(told, taus):
    """name -> (mean, interval, floor) or None of attention's agreement; 40 examples."""
    agreement = {}
    for name, tau in taus.items():
        mean, interval, floor = tau or (None, None, None)
        agreement[f"attention~{name}"] = {
            "kendall": {"mean": mean, "std": 0.1, "ci95": interval, "undefined": 0},
            "floor": {} if floor is None else {"kendall": {"mean": floor}},
        }
    told.analysis["agreement"] = agreement
    return told


def agreement(told):
    return ANSWERS["agreement"].sentence(told)


def test_agreement_with_its_interval_and_a_random_order(told):
    found = agreement(with_taus(told, {"gradient": (0.204, [0.18, 0.22], 0.001)}))
    assert found == (
        "Attention agrees a little with gradient (tau 0.20, 0.18 to 0.22); a random order: 0.00."
    )


@pytest.mark.parametrize(
    ("tau", "words"),
    [
        ((0.03, [-0.01, 0.07], 0.0), "agrees no more than by chance with"),
        ((0.05, [0.03, 0.07], 0.0), "agrees hardly with"),
        ((0.85, [0.84, 0.86], 0.0), "agrees closely with"),
        ((-0.4, [-0.5, -0.3], 0.0), "agrees less than by chance with"),
        ((0.3, [0.29, 0.31], 0.3), "agrees no more than by chance with"),
    ],
)
def test_how_much_depends_on_chance(told, tau, words):
    assert words in agreement(with_taus(told, {"gradient": tau}))


def test_methods_are_ordered_and_of_many_the_ends_are_named(told):
    few = {"b": (0.1, [0.05, 0.15], -0.004), "a_b": (0.6, [0.5, 0.7], 0.02), "c": None}
    assert agreement(with_taus(told, few)) == (
        "Attention agrees well with a b (tau 0.60, 0.50 to 0.70) and a little with b (tau 0.10, "
        "0.05 to 0.15); a random order: 0.00 to 0.02."
    )
    many = {f"m{k}": (k / 10, [k / 10 - 0.01, k / 10 + 0.01], 0.0) for k in range(1, 9)}
    found = agreement(with_taus(told, many))
    assert "closely with m8 (" in found
    assert "a little with m1 (" in found
    assert "the best and the worst of 8 importances" in found
    assert "m5" not in found


def test_few_examples_are_judged_by_nobody(told):
    one = with_taus(told, {"gradient": (0.3, None, 0.01)})
    one.analysis["examples"] = 1
    assert agreement(one) == (
        "Kendall's tau of attention is 0.30 with gradient, over 1 example: too few for an "
        "interval; a random order: 0.01."
    )
    few = with_taus(told, {"gradient": (0.3, [0.1, 0.5], 0.01)})
    few.analysis["examples"] = 6  # of an older version, which gave them an interval
    assert "0.10 to 0.50" not in agreement(few)
    for name in ("permutation", "adversarial_attention"):
        found = ANSWERS[name].sentence(few)
        assert "over 6 examples: too few for an interval" in found
        assert "matters" not in found
        assert "another." not in found
    both = with_taus(told, {"gradient": (0.3, [0.2, 0.4], 0.01), "mask": (0.2, None, 0.01)})
    both.analysis["agreement"]["attention~mask"]["kendall"]["undefined"] = 37
    both.analysis["examples"] = 40
    assert agreement(both) == (
        "Kendall's tau of attention is 0.30 (0.20 to 0.40) with gradient and 0.20 with mask, over "
        "3 examples: too few for an interval; a random order: 0.01."
    )
    assert accuracy(0.5, 9) == "50\u00a0%"


def test_what_is_not_known_is_not_said(told):
    assert agreement(with_taus(told, {"gradient": None})) == (
        "Agreement with attention is defined in no example."
    )
    without = agreement(with_taus(told, {"gradient": (0.3, [0.2, 0.4], None)}))
    assert without.endswith("; 0 is chance.")
    told.analysis.clear()
    told.results["robustness"] = None
    for answer in ANSWERS.values():
        assert answer.sentence(told) == ""
    assert scores_sentence({}, []) == ""
    assert scores_sentence({"test": {"accuracy": None, "examples": 4}}, []) == ""
    assert training_sentence([], {}) == training_sentence([], {"step": 3}) == ""
    assert examples_sentence([]) == examples_sentence(fabricated_examples(1, ["a"])) == ""


def test_every_sentence_has_numbers_that_were_found(told):
    found = {name: answer.sentence(told) for name, answer in ANSWERS.items()}
    change = told.analysis["permutation"]["median_change"]
    assert f"{change['mean']:.2f} ({change['ci95'][0]:.2f} to" in found["permutation"]
    divergence = told.analysis["adversarial_attention"]["max_jsd"]
    assert (
        f"{divergence['mean']:.2f} ({divergence['ci95'][0]:.2f} to"
        in (found["adversarial_attention"])
    )
    assert found["robustness"] == (
        "The worst perturbation found of the word vectors does most harm at norm 10: accuracy "
        "10\u00a0% (4 to 23.1\u00a0%), at random 70\u00a0%."
    )
    asked = ("agreement", "permutation", "adversarial_attention", "uniform_attention", "robustness")
    for name in found.keys() - set(asked):
        assert found.pop(name) == ""
    for each in found.values():
        assert "nan" not in each.lower()
        assert "None" not in each
        assert each.endswith(".")


def test_where_the_worst_does_no_harm_it_is_said(told):
    told.results["robustness"] = {
        "epsilon": [0.1, 1.0],
        "word_random": [0.8, None],
        "word_worst": [0.79, 0.1],
        "attention_random": [0.8, 0.8],
        "attention_worst": [0.8, 0.785],
    }
    told.analysis["model"] = {"accuracy": 0.81}
    assert ANSWERS["robustness"].sentence(told) == (
        "Up to norm 1, the worst perturbation found does no more harm than a random one: accuracy "
        "stays at 78.5\u00a0% or above, undisturbed 81\u00a0%."
    )


def test_scores_stand_beside_the_most_frequent_class_and_uniform_attention(told):
    results, examples = told.results, told.examples
    for place, each in enumerate(examples):
        each["label"] = "a" if place < 30 else "b"
    right = "The model is right in 81\u00a0% (79.1 to 82.7\u00a0%) of 1,821 test examples; "
    uniform = "with uniform attention it is right in 79\u00a0%."
    # The 40 analysed say nothing of the 1,821: only what was counted over all stands beside.
    assert scores_sentence(results, examples) == right + uniform
    results["data"] = {"splits": {"test": {"majority": 0.5}}}
    most = "always naming the most frequent class is right in {}\u00a0%; "
    assert scores_sentence(results, examples) == right + most.format(50) + uniform
    whole = {"test": {"accuracy": 0.9, "examples": 40}}
    assert most.format(75)[:-2] in scores_sentence(whole, examples), "a run that stored no share"
    results["analysis"]["uniform_attention"]["examples"] = 40
    results["analysis"]["model"] = {"accuracy": 0.83, "examples": 40}
    apart = "it is right in 79\u00a0% of the 40 that were analysed, else in 83\u00a0%."
    assert apart in scores_sentence(results, examples)
    results["analysis"]["model"] = {"accuracy": None, "examples": 40}
    assert "uniform" not in scores_sentence(results, examples)


def test_the_best_checkpoint_and_the_examples(told):
    metrics = fabricated.fabricated_metrics()
    assert training_sentence(metrics, {"step": 300}) == (
        "Best by validation: step 300, after 3 of 6 epochs, accuracy 67.8\u00a0%."
    )
    assert training_sentence(metrics, {"step": 301}) == ""
    taus = {
        each["agreement"]["attention~gradient"]["kendall"]: each["id"] for each in told.examples[1:]
    }
    found = examples_sentence(told.examples)
    assert f"most alike in example {taus[max(taus)]} (tau {number(max(taus))})" in found
    assert f"least in example {taus[min(taus)]} ({number(min(taus))})" in found


def test_numbers_of_sentences():
    assert [number(each) for each in (0.2, -0.05, 0.0, 0.0041, -1e-12, 1.0)] == [
        "0.20",
        "−0.05",
        "0.00",
        "0.004",
        "0.00",
        "1.00",
    ]
    assert [share(each) for each in (1.0, 0.8125, 0.5)] == [f"{k}\u00a0%" for k in (100, 81.2, 50)]
    assert [joined(list(each)) for each in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


@pytest.mark.parametrize(("right", "count"), [(0, 1), (5, 5), (40, 50), (999, 1000)])
def test_the_interval_of_a_share_solves_wilsons_equation(right, count):
    """|share - p| = z sqrt(p (1 - p) / count) at both ends."""
    value = right / count
    for end in share_interval(value, count):
        if 0 < end < 1:
            expected = 1.959964 * math.sqrt(end * (1 - end) / count)
            assert abs(value - end) == pytest.approx(expected, rel=1e-6)
    low, high = share_interval(value, count)
    assert low <= value <= high
    assert accuracy(1.0, None) == "100\u00a0%"
