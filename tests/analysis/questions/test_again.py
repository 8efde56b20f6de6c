"""Methods that are asked again: under other parameters, and beside the text."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import WORDS, batch_of, quick_jit, small_model

from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.importance.method import Method
from attnjax.analysis.moved import _nearest, make_disturbed, make_replaced
from attnjax.analysis.questions import continuity
from attnjax.analysis.questions.continuity import SUBSETS, infidelity
from attnjax.analysis.questions.randomisation import CASCADE
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit, sample
from attnjax.model.attention import forward
from attnjax.model.stages import word_vectors
from attnjax.stop import Stopped
from attnjax.training.parallel import remembered
from attnjax.types import EOS, SOS

SETTINGS = AnalysisConfig(
    chunk_size=4,
    methods=("gradient_x_input", "leave_one_out_signed", "lime"),
    lime_samples=100,
    continuity_draws=2,
    costly_examples=-1,
)
LENGTHS = (6, 3, 1)
KEY = jax.random.key(0)
# No word comes twice: of equal words rounding alone decides the order.
DRAWN = [np.random.default_rng(length).permutation(np.arange(4, WORDS)) for length in LENGTHS]
TEXTS = [
    np.array([SOS, *words[:n], EOS], np.int32) for n, words in zip(LENGTHS, DRAWN, strict=True)
]
SPLIT = EncodedSplit(TEXTS, None, np.arange(3), None)


def asked(question, model, settings=SETTINGS, check=lambda: None):
    stages, params = model
    traces = []

    def compile_function(function):
        place = len(traces)
        traces.append(0)

        def counted(*arguments):
            traces[place] += 1
            return function(*arguments)

        return quick_jit(counted)

    engine = engine_for(params, remembered(compile_function))
    settings = dataclasses.replace(settings, questions=(question,))
    (found,) = study(settings, stages, SPLIT, 0, engine, check=check)
    return found.found[question][question], traces


def explained(name, stages, params, batch):
    if name == "attention":
        return quick_jit(lambda p, b: forward(stages, p, b).weights)(params, batch)
    method = method_named(name).under(SETTINGS)
    own = method.stages(stages, SETTINGS.detach_attention)
    return quick_jit(lambda p, b: method(own, p, b, KEY))(params, batch)


def whole_batch():
    return batch_of(TEXTS)


def test_randomisation_is_the_method_under_other_parameters():
    """Spearman's rho by scipy, of parameters put together by hand."""
    stages, params = model = small_model("average", "dot")
    found, traces = asked("randomisation", model)
    batch = whole_batch()
    fresh = stages.init(jax.random.fold_in(jax.random.key(0), 4))
    assert set(found) == {"attention", *SETTINGS.methods, "random"}
    for name in ("attention", "gradient_x_input"):
        for last, stage in enumerate(CASCADE):
            mixed = {k: fresh[k] if k in CASCADE[: last + 1] else params[k] for k in params}
            before, after = (np.abs(explained(name, stages, p, batch)) for p in (params, mixed))
            for row, length in enumerate(LENGTHS[:2]):
                ranks = [np.argsort(np.argsort(e[row, 1 : length + 1])) for e in (before, after)]
                rho = np.corrcoef(*ranks)[0, 1]
                np.testing.assert_allclose(found[name][stage][row], rho, atol=1e-5)
    assert np.isnan(found["gradient_x_input"]["embed"][2])  # one word has no order
    np.testing.assert_allclose(found["attention"]["decode"][:2], 1, atol=1e-6)  # it is not read
    # Four sets of parameters went through the programs of the study itself.
    assert set(traces) == {1}


def test_continuity_is_the_method_at_other_vectors():
    """Of a vocabulary that has the moved words as words of its own."""
    stages, params = model = small_model("average", "dot")
    found, traces = asked("continuity", model)
    batch = whole_batch()
    larger, _ = small_model("average", "dot", words=WORDS + batch.tokens.shape[1])
    draws = {
        kind: [quick_jit(make(stages, 0))((params, number), batch, ()) for number in range(2)]
        for kind, make in (("moved", make_disturbed), ("replaced", make_replaced))
    }
    for name in ("attention", *SETTINGS.methods):
        for row, length in enumerate(LENGTHS):
            places = np.arange(1, length + 1)
            tokens = np.asarray(batch.tokens[row])
            one = batch._replace(tokens=batch.tokens[row : row + 1], rows=batch.rows[row : row + 1])
            before = np.asarray(explained(name, stages, params, one))[0]
            probability = forward(stages, params, one).probabilities.argmax()
            largest, steepest, replaced = 0.0, 0.0, [np.nan]
            for kind in draws:
                for texts, far in draws[kind]:
                    vectors = texts.vectors
                    table = jnp.concatenate([params["embed"]["table"], vectors[row]])
                    more = params | {"embed": {"table": table}}
                    moved = np.where(np.isin(np.arange(len(tokens)), places), 0, tokens)
                    moved[places] = WORDS + places
                    two = one._replace(tokens=jnp.asarray(moved)[None])
                    after = np.asarray(explained(name, larger, more, two))[0]
                    change = np.linalg.norm(after - before) / np.linalg.norm(before)
                    if kind == "moved":
                        largest = max(largest, change)
                        steep = np.abs(after - before).sum() / far[row]
                        steepest = max(steepest, steep)
                    elif forward(larger, more, two).probabilities.argmax() == probability:
                        replaced.append(change)
            close = {"rtol": 2e-3, "atol": 1e-5, "err_msg": name}
            np.testing.assert_allclose(found[name]["max_sensitivity"][row], largest, **close)
            np.testing.assert_allclose(found[name]["lipschitz"][row], steepest, **close)
            np.testing.assert_allclose(
                found[name]["replacement"][row], np.fmax.reduce(replaced), **close
            )
    assert set(traces) == {1}
    assert np.isnan(found["random"]["max_sensitivity"]).all()
    scaled = np.array(found["random"]["infidelity_scaled"])
    assert (scaled[:-1] >= 0).all()
    assert np.isnan(scaled[-1]), "of one word"
    assert np.isnan(found["random"]["infidelity"]).all(), "an order has no unit"


@pytest.mark.parametrize("question", ["randomisation", "continuity"])
def test_methods_of_many_passes_are_asked_again_for_few(question):
    """Of those rows all is as if every row were asked about; lime, not the others."""
    model = small_model("average", "dot")
    whole, _ = asked(question, model)
    few, _ = asked(question, model, dataclasses.replace(SETTINGS, costly_examples=2))
    assert few.keys() == whole.keys()
    chosen = sample(len(SPLIT), 2, 0)
    (left,) = {0, 1, 2} - set(chosen.tolist())
    for name, measures in few.items():
        for measure, values in measures.items():
            expected = np.array(whole[name][measure])
            if name == "lime" and not measure.startswith("infidelity"):
                assert np.isfinite(expected[chosen]).any()
                expected[left] = np.nan
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_texts_beside_a_text():
    stages, params = small_model("average")
    batch, table = whole_batch(), np.asarray(params["embed"]["table"])
    vectors = np.asarray(stages.embed(params, batch).text)
    moved, far = quick_jit(make_disturbed(stages, 0))((params, 0), batch, ())
    change = np.asarray(moved.vectors) - vectors
    radius = 0.02 * np.ptp(np.asarray(word_vectors(stages, params, WORDS)))
    assert (change[~np.asarray(batch.words)] == 0).all()
    assert 0.8 * radius < np.abs(change).max() <= radius * 1.001
    np.testing.assert_allclose(far, np.sqrt(np.square(change).sum(axis=(1, 2))), rtol=1e-4)
    moved, far = quick_jit(make_replaced(stages, 0))((params, 1), batch, ())
    there = np.argwhere(np.abs(np.asarray(moved.vectors) - vectors).max(axis=-1) > 0)
    assert there[:, 0].tolist() == [0, 1, 2]  # one word each
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    for row, place in there:
        old = int(batch.tokens[row, place])
        others = [number for number in range(4, WORDS) if number != old]
        nearest = max(others, key=lambda number, old=old: unit[old] @ unit[number])
        np.testing.assert_allclose(np.asarray(moved.vectors)[row, place], table[nearest])
        assert int(moved.tokens[row, place]) == WORDS * (place + 1) + nearest
        np.testing.assert_allclose(far[row], np.linalg.norm(table[nearest] - table[old]), rtol=1e-5)


def test_a_word_gives_place_to_one_of_no_more_pieces():
    """There is room for no more pieces than a text has."""
    table = jnp.zeros((7, 2)).at[4:].set(jnp.array([[1, 0], [1, 0.1], [0.5, 0.5]]))
    ids = jnp.array([4, 5, 6], jnp.int32)
    ones = jnp.ones(7, jnp.int32)
    assert _nearest(table, ones, ids).tolist() == [5, 4, 5]
    assert _nearest(table, ones.at[5].set(2), ids).tolist() == [6, 4, 4]


def test_infidelity_by_hand():
    gone = np.array([[[1.0, 0, 0], [1, 1, 0], [0, 1, 1]]])
    exact = np.array([[0.2, -0.1, 0.4]])
    drop = gone @ exact[0]
    found = infidelity(exact, gone, drop)
    np.testing.assert_allclose(found["infidelity"], 0, atol=1e-15)
    scaled = infidelity(5 * exact, gone, drop)
    np.testing.assert_allclose(scaled["infidelity"], np.square(4 * drop).mean())
    np.testing.assert_allclose(scaled["infidelity_scaled"], 0, atol=1e-15)
    assert np.isnan(infidelity(0 * exact, gone, drop)["infidelity_scaled"]).all()
    turned = infidelity(-exact, gone, drop)["infidelity_scaled"]
    np.testing.assert_allclose(turned, np.square(drop).mean(), err_msg="no scale mends a sign")
    alone = infidelity(exact, gone[:, :1], drop[:, :1])["infidelity_scaled"]
    assert np.isnan(alone).all(), "of one word every number fits"


def test_what_adds_up_has_no_infidelity(monkeypatch):
    """Leaving words out of a model that is a sum of its words, and their own parts of it."""
    scale = 1e-3

    def parts(stages, params, batch, key):
        return scale * jnp.where(batch.words, stages.embed(params, batch).text[..., 0], 0)

    def of_kept(stages, params, batch, removal):
        """A probability that is linear in the words that are there."""
        each = parts(stages, params, batch, None)
        whole = forward(stages, params, batch).probabilities
        first = jnp.arange(whole.shape[-1])[None] == whole.argmax(axis=-1)[:, None]
        before = whole.max(axis=-1, keepdims=True)

        def logits(keep):
            after = before - jnp.where(keep, 0, each).sum(axis=-1, keepdims=True)
            return jnp.log(jnp.where(first, after, whole * (1 - after) / (1 - before)))

        return logits

    monkeypatch.setitem(METHODS, "parts", Method(parts, signed=True))
    monkeypatch.setattr(continuity, "of_kept", of_kept)
    settings = dataclasses.replace(SETTINGS, methods=("parts",))
    found, _ = asked("continuity", small_model("average"), settings)
    np.testing.assert_allclose(found["parts"]["infidelity"], 0, atol=1e-12)
    assert np.nanmax(found["random"]["infidelity_scaled"]) > 1e-8
    assert SUBSETS >= 10


@pytest.mark.parametrize("question", ["randomisation", "continuity"])
def test_a_signal_stops_between_two_calls(question):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 3:
            raise Stopped

    settings = dataclasses.replace(SETTINGS, methods=("gradient_x_input",))
    with pytest.raises(Stopped):
        asked(question, small_model("average"), settings, check)


def test_an_explanation_that_ignores_the_model_is_shown_up(monkeypatch):
    """Position stays as it is, whatever is drawn anew and wherever the vectors move."""

    def position(stages, params, batch, key):
        return jnp.where(batch.words, jnp.arange(1.0, 1 + batch.tokens.shape[1])[None], 0)

    monkeypatch.setitem(METHODS, "position", Method(position))
    settings = dataclasses.replace(SETTINGS, methods=("position", "smoothgrad", "mask"))
    settings = dataclasses.replace(settings, smoothgrad_samples=2, mask_steps=3)
    model = small_model("average")
    drawn, _ = asked("randomisation", model, settings)
    moved, _ = asked("continuity", model, settings)
    for stage in CASCADE:
        np.testing.assert_allclose(drawn["position"][stage][:2], 1, atol=1e-6)
    np.testing.assert_allclose(moved["position"]["max_sensitivity"], 0)
    # These look up all words as well, which do not move.
    assert (np.array(moved["smoothgrad"]["max_sensitivity"]) > 0).all()
