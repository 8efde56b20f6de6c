"""What the last layer is given, which words of a training text count, and what is told of a run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import WORDS, batch_of, quick_jit, sentences, small_model
from jax.flatten_util import ravel_pytree

from attnjax.analysis import all_parameters, influence
from attnjax.analysis.last_inputs import last_inputs, make_by_word, make_inputs
from attnjax.analysis.questions.question import Kept, Names
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import records, summarise
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, choose_shapes, evaluation_batches
from attnjax.errors import UserError
from attnjax.losses import cross_entropy
from attnjax.model.attention import forward
from attnjax.training.parallel import remembered

CONFIG = AnalysisConfig(
    methods=(), questions=("influence",), chunk_size=8, influence_examples=3, influence_check=4
)
NAMES = Names(tuple(f"w{number}" for number in range(WORDS)), ("no", "yes"))


@pytest.mark.parametrize("pair", [False, True])
def test_the_last_map_of_its_inputs_gives_the_logits(pair):
    stages, params = small_model("average", "dot", pair, match_product=pair)
    query = sentences([3, 2], seed=1) if pair else None
    batch = batch_of(sentences([4, 6]), query)
    seen = make_inputs(stages)(params, batch)
    last = params["decode"]["logits"]
    logits = seen.inputs @ jnp.concatenate([last["kernel"], last["bias"][None]])
    expected = forward(stages, params, batch)
    np.testing.assert_allclose(logits, expected.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen.probabilities, expected.probabilities, rtol=1e-5)


@pytest.mark.parametrize(("pair", "classes"), [(False, 2), (True, 3)])
def test_a_words_number_is_the_slope_of_the_effect_by_its_length(pair, classes):
    """Of the vector times 1 + x, at x = 0: by central differences of the effect itself."""
    stages, params = small_model("bilstm", pair=pair, classes=classes)
    query = sentences([3, 2], seed=1) if pair else None
    batch = batch_of(sentences([4, 6]), query)
    columns, width = (1, 9) if not pair else (3, 5)
    solved = np.random.default_rng(0).normal(size=(2, columns, width)).astype(np.float32)
    found = quick_jit(make_by_word(stages))(params, batch, solved)

    def effect(embedded):
        seen = last_inputs(stages, params, embedded, batch)
        target = jax.nn.one_hot(batch.labels, classes)
        errors = (seen.probabilities - target)[:, classes - columns :]
        return jnp.einsum("bc,bcw,bw->b", errors, solved, seen.inputs)

    embedded, run = stages.embed(params, batch), quick_jit(effect)
    for name in ("text", "query") if pair else ("text",):
        vectors = getattr(embedded, name)
        for row, place in ((0, 1), (0, 2), (1, 1), (1, 2)):
            ends = [
                run(embedded._replace(**{name: vectors.at[row, place].multiply(1 + size)}))[row]
                for size in (0.02, -0.02)
            ]
            slope = float(ends[0] - ends[1]) / 0.04
            np.testing.assert_allclose(found[name][row, place], slope, rtol=0.02, atol=2e-3)
        assert not np.asarray(found[name])[:, 0].any(), "<sos> is no word"


def splits(pair=False):
    """Training rows and rows to be asked about; of pairs with queries."""
    sizes = np.random.default_rng(5).integers(2, 9, 36)
    tokens = sentences(sizes, seed=3)
    query = sentences(sizes[::-1] // 2 + 1, seed=4) if pair else None
    labels = np.array([int(row[1] % 2) for row in tokens], np.int32)
    whole = EncodedSplit(tokens, query, labels, None)
    parts = (np.arange(30), np.arange(30, 36))
    return [dataclasses.replace(whole.take(each), numbers=None) for each in parts]


def asked(config, stages, params, training, split, kept=lambda: ()):
    def batches():
        return evaluation_batches(training, choose_shapes([training], 2), 7)

    engine = engine_for(params, remembered(quick_jit))
    return study(config, stages, split, 0, engine, batches, names=NAMES, kept=kept)[0]


@pytest.mark.parametrize("pair", [False, True])
def test_each_example_has_its_helpful_and_harmful_training_texts(pair):
    stages, params = small_model("average", "dot", pair, classes=2)
    training, split = splits(pair)
    config = dataclasses.replace(CONFIG, influence_examples=-1, influence_planted=0.2)
    found = asked(config, stages, params, training, split)
    effects = found.found["influence"]["effects"]
    # Literally: H^-1 of all training texts at the parameters as they are.
    inputs, probabilities = (
        np.concatenate([np.asarray(run(row)) for row in range(36)])
        for run in (
            lambda row: seen(stages, params, training, split, row).inputs,
            lambda row: seen(stages, params, training, split, row).probabilities,
        )
    )
    labels = np.concatenate([training.labels, split.labels])
    errors = probabilities - np.eye(2)[labels]
    first = 0 if pair else 1
    slopes = (errors[:, first:, None] * inputs[:, None, :]).reshape(36, -1)
    second = [
        np.kron((np.diag(p) - np.outer(p, p))[first:, first:], np.outer(x, x))
        for p, x in zip(probabilities[:30], inputs[:30], strict=True)
    ]
    whole = np.mean(second, axis=0) + config.influence_damping * np.eye(slopes.shape[1])
    expected = slopes[:30] @ np.linalg.solve(whole, slopes[30:].T) / 30
    np.testing.assert_allclose(effects, expected, rtol=1e-3, atol=1e-5)
    answer = summarise(found, config, NAMES.labels, split.labels)["analysis"]["influence"]
    np.testing.assert_allclose(
        answer["gradient_norm"], np.linalg.norm(slopes[:30].mean(axis=0)), rtol=1e-4
    )
    assert answer["residual"] < 1e-8
    assert answer["check"]["removals"] == 4
    assert answer["planted"]["labels"] == 6
    assert answer["helps"]["mean"] == pytest.approx(expected.max(axis=0).mean(), rel=1e-3)
    assert [each["self_influence"] for each in answer["suspects"]] == sorted(
        (each["self_influence"] for each in answer["suspects"]), reverse=True
    )
    words = [([f"w{k}" for k in row[1:-1]], None) for row in split.tokens]
    rows = list(records(found, words, range(6), [None] * 6, NAMES.labels))
    for place, row in enumerate(rows):
        best = row["influence"]["helpful"][0]
        assert best["id"] == effects[:, place].argmax()
        assert best["effect"] == effects[:, place].max() > 0
        assert best["text"] == [f"w{k}" for k in training.tokens[best["id"]][1:-1]]
        assert best["label"] == NAMES.labels[training.labels[best["id"]]]
        assert len(best["text_by_word"]) == len(best["text"]) == len(best["text_by_word_norm"])
        assert ("query" in best) == pair
        assert row["influence"]["harmful"][0]["id"] == effects[:, place].argmin()
        assert len(row["influence"]["helpful"]) == 3


def seen(stages, params, training, split, row):
    part, place = (training, row) if row < 30 else (split, row - 30)
    query = None if part.query is None else [part.query[place]]
    return make_inputs(stages)(params, batch_of([part.tokens[place]], query))


def test_other_rows_change_nothing_and_few_are_asked():
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    config = dataclasses.replace(CONFIG, influence_examples=-1, influence_check=0)
    whole = asked(config, stages, params, training, split).found["influence"]
    some = np.array([4, 1])
    part = asked(
        dataclasses.replace(config, chunk_size=3), stages, params, training, split.take(some)
    )
    np.testing.assert_allclose(
        part.found["influence"]["effects"], whole["effects"][:, some], rtol=1e-4, atol=1e-7
    )
    few = asked(dataclasses.replace(config, influence_examples=2), stages, params, training, split)
    told = few.found["influence"]["influence"]["helpful"]
    assert len(told) == 6
    assert sum(map(bool, told)) == 2


def test_without_damping_a_layer_that_is_not_determined_is_told_in_one_line():
    stages, params = small_model("average", "dot", classes=3)
    training, split = splits()
    config = dataclasses.replace(CONFIG, influence_damping=0.0)
    with pytest.raises(UserError, match="the smallest that works is about"):
        asked(config, stages, params, training, split)
    engine = engine_for(params, remembered(quick_jit))
    with pytest.raises(UserError, match="'influence' asks about training data, which is not at"):
        study(CONFIG, stages, split, 0, engine)


def test_retraining_agrees_where_the_model_is_at_its_optimum():
    """The decoder is fitted first, so that the equations' premise holds."""
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    inputs = np.concatenate(
        [np.asarray(seen(stages, params, training, split, k).inputs) for k in range(30)]
    )
    problem = influence.Problem(inputs.astype(np.float64), training.labels, 2, True)
    weights = np.zeros((1, inputs.shape[1]))
    for _ in range(100):  # the optimum without damping
        weights = influence.fit(problem, weights, 0.01, centre=weights)
    weights = weights.astype(np.float32)
    params["decode"]["logits"] = {"kernel": weights.T[:-1], "bias": weights[0, -1:]}
    config = dataclasses.replace(CONFIG, influence_check=12, influence_leverage=True)
    found = asked(config, stages, params, training, split).found["influence"]["summary"]
    assert found["check"]["pearson"] > 0.98
    assert abs(found["check"]["slope"] - 1) < 0.15


WHOLE = dataclasses.replace(
    CONFIG,
    influence_examples=-1,
    influence_check=0,
    influence_texts=2,
    influence_planted=0.0,
    influence_scope="all",
)


def gradients(stages, params, split, target):
    """Of each row's loss, or of -ln of its most attention, literally: [rows, parameters]."""
    flat, unravel = ravel_pytree(params)
    batch = batch_of(split.tokens, split.query, split.labels)
    places = forward(stages, params, batch).weights.argmax(axis=-1)

    def quantity(flat):
        trace = forward(stages, unravel(flat), batch)
        if target == "loss":
            return cross_entropy(trace.logits, batch.labels)
        return -jnp.log(jnp.take_along_axis(trace.weights, places[:, None], axis=1)[:, 0])

    return np.asarray(quick_jit(jax.jacrev(quantity))(flat), np.float64)


@pytest.mark.parametrize("target", ["loss", "attention"])
def test_all_parameters_are_asked_in_groups_and_told_with_their_premises(target, monkeypatch):
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    config = dataclasses.replace(WHOLE, influence_target=target)
    whole = asked(config, stages, params, training, split)
    found = whole.found["influence"]
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    monkeypatch.setattr(all_parameters, "LARGEST", 4 * size)
    parts = asked(dataclasses.replace(config, chunk_size=7), stages, params, training, split)
    np.testing.assert_allclose(
        parts.found["influence"]["effects"], found["effects"], rtol=1e-2, atol=1e-5
    )
    # CG's own equation: the product with the gradient is symmetric, so a text's effect on its own
    # loss is above 0, and every effect is bounded by damping alone.
    own, other = (
        gradients(stages, params, training, "loss"),
        gradients(stages, params, split, target),
    )
    bound = np.linalg.norm(own, axis=1)[:, None] * np.linalg.norm(other, axis=1)[None] / 30
    assert (np.abs(found["effects"]) <= 1.01 * bound / config.influence_damping).all()
    assert np.corrcoef((own @ other.T).ravel(), found["effects"].ravel())[0, 1] > 0.5
    summary = found["summary"]
    assert (summary["scope"], summary["target"]) == ("all parameters", target)
    assert summary["parameters"] == size
    assert summary["curvature_examples"] == 30
    assert summary["not_converged"] == 0
    assert summary["damping_that_converges"] is None
    assert 0 < summary["residual"] < 1e-3
    assert 1 < summary["iterations"] < 200
    assert summary["gradient_norm"] == pytest.approx(np.linalg.norm(own.mean(axis=0)), rel=1e-3)
    words = [([f"w{k}" for k in row[1:-1]], None) for row in split.tokens]
    rows = list(records(whole, words, range(6), [None] * 6, NAMES.labels))
    for place, row in enumerate(rows):
        best, worst = row["influence"]["helpful"][0], row["influence"]["harmful"][0]
        assert best["id"] == found["effects"][:, place].argmax()
        assert worst["id"] == found["effects"][:, place].argmin()
        assert len(best["text_by_word"]) == len(best["text"]) == len(best["text_by_word_norm"])
        assert any(best["text_by_word"])
        if target == "attention":
            assert row["influence"]["attended"] == np.argmax(row["attention"])
        else:
            assert "attended" not in row["influence"]
    told = summarise(whole, config, NAMES.labels, split.labels)["analysis"]["influence"]
    assert told["helps"]["mean"] > 0 > told["harms"]["mean"]


@pytest.mark.parametrize("target", ["loss", "attention"])
def test_tracin_sums_products_of_gradients_over_the_checkpoints(target):
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    earlier = jax.tree.map(lambda leaf: 0.5 * leaf, params)
    config = dataclasses.replace(WHOLE, influence_scope="tracin", influence_target=target)
    kept = [Kept(10, earlier, 0.1), Kept(20, params, 0.02)]
    found = asked(config, stages, params, training, split, lambda: kept).found["influence"]
    expected = 0
    for _, at, rate in kept:
        other = gradients(stages, at, split, "loss")
        if target == "attention":  # of the word that is attended most in the end
            other = attention_gradients(stages, at, split, params)
        expected += rate * gradients(stages, at, training, "loss") @ other.T
    np.testing.assert_allclose(found["effects"], expected, rtol=1e-3, atol=1e-5)
    summary = found["summary"]
    assert summary["scope"] == "TracIn"
    assert summary["checkpoints"] == [10, 20]
    assert summary["rates"] == [0.1, 0.02]
    with pytest.raises(UserError, match="sums over the checkpoints that a run kept"):
        asked(config, stages, params, training, split)
    with pytest.raises(UserError, match="those of all that the run kept are 0"):
        asked(config, stages, params, training, split, lambda: [Kept(10, params, 0.0)])


def attention_gradients(stages, params, split, last):
    flat, unravel = ravel_pytree(params)
    batch = batch_of(split.tokens, split.query, split.labels)
    places = forward(stages, last, batch).weights.argmax(axis=-1)

    def quantity(flat):
        weights = forward(stages, unravel(flat), batch).weights
        return -jnp.log(jnp.take_along_axis(weights, places[:, None], axis=1)[:, 0])

    return np.asarray(quick_jit(jax.jacrev(quantity))(flat), np.float64)


def test_retrained_removals_stand_beside_the_effects():
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    config = dataclasses.replace(
        WHOLE, influence_examples=2, influence_check=3, influence_damping=30.0
    )
    checked = asked(config, stages, params, training, split).found["influence"]["summary"]["check"]
    assert checked["removals"] == 3
    assert checked["pearson"] > 0.95


def test_a_search_without_end_is_told_and_a_matrix_that_is_not_positive_refused(
    caplog, monkeypatch
):
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    config = dataclasses.replace(WHOLE, influence_iterations=6)
    summary = asked(config, stages, params, training, split).found["influence"]["summary"]
    assert summary["not_converged"] == 6
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    with monkeypatch.context() as patch:
        patch.setattr(all_parameters, "LARGEST", 4 * size)  # two groups, of 4 and of 2 tests
        grouped = asked(config, stages, params, training, split).found["influence"]["summary"]
    assert grouped["not_converged"] == 6
    assert summary["residual"] > config.influence_tolerance
    assert "have not converged after 6 iterations" in caplog.text
    enough = dataclasses.replace(config, influence_damping=1.1 * summary["damping_that_converges"])
    found = asked(enough, stages, params, training, split).found["influence"]["summary"]
    assert found["residual"] < 2 * config.influence_tolerance
    config = dataclasses.replace(WHOLE, influence_damping=1e-12, influence_tolerance=1e-10)
    with pytest.raises(UserError, match="of all parameters is not positive with") as caught:
        asked(config, stages, params, training, split)
    least = float(str(caught.value).split()[-1])
    works = dataclasses.replace(config, influence_damping=least, influence_iterations=50)
    asked(works, stages, params, training, split)


def test_other_scopes_do_without_a_last_layer_that_has_no_inverse(caplog):
    stages, params = small_model("average", "dot", classes=3)
    training, split = splits()
    config = dataclasses.replace(
        WHOLE, influence_scope="tracin", influence_damping=0.0, influence_planted=0.1
    )
    whole = asked(config, stages, params, training, split, lambda: [Kept(20, params, 0.1)])
    assert "without self-influence, which is of the last layer" in caplog.text
    answer = summarise(whole, config, ("a", "b", "c"), split.labels)["analysis"]["influence"]
    assert np.isfinite(answer["helps"]["mean"])
    assert answer["planted"] is answer["self_influence"]["mean"] is None
    assert answer["suspects"] == []


def test_removals_do_not_change_the_labels_that_are_planted():
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    config = dataclasses.replace(CONFIG, influence_planted=0.2)
    planted = [
        asked(
            dataclasses.replace(config, influence_check=count), stages, params, training, split
        ).found["influence"]["summary"]["planted"]
        for count in (0, 4)
    ]
    assert planted[0] == planted[1]


def test_the_helpful_are_not_filled_up_with_the_least_helpful():
    """Of 30 texts more than 20 help, or harm, some example: 20 are told, the ends of both."""
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    config = dataclasses.replace(CONFIG, influence_texts=20, influence_check=0)
    found = asked(config, stages, params, training, split).found["influence"]
    lengths = {len(row) for side in ("helpful", "harmful") for row in found["influence"][side]}
    most = max((sign * found["effects"] > 0).sum(axis=0).max() for sign in (1, -1))
    assert most > 20
    assert max(lengths) == 20


def test_examples_of_a_label_that_no_training_text_has_are_not_asked_about():
    stages, params = small_model("average", "dot", classes=2)
    training, split = splits()
    unknown = dataclasses.replace(split, labels=np.array([0, -1, 1, -1, 0, 1], np.int32))
    config = dataclasses.replace(CONFIG, influence_examples=-1, influence_check=0)
    found = asked(config, stages, params, training, unknown).found["influence"]
    assert found["effects"].shape == (30, 4)
    told = found["influence"]["helpful"]
    assert [bool(each) for each in told] == [True, False, True, False, True, True]
    nobody = dataclasses.replace(split, labels=np.full(6, -1, np.int32))
    with pytest.raises(UserError, match="no training text has the label"):
        asked(config, stages, params, training, nobody)
