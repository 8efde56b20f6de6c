"""Faithfulness by removing words one by one from the text itself; randomisation and continuity."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.method import Method
from attnjax.analysis.questions.faithfulness import (
    MOST,
    SHARES,
    STEPS,
    make_faithfulness,
    order_of,
)
from attnjax.analysis.questions.question import Given
from attnjax.analysis.questions.sanity import CASCADE, make_continuity, make_randomisation
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.types import UNK

CONFIG = AnalysisConfig(methods=("gradient_x_input",))
LENGTHS = (12, 3, 1)


def small(pair=False):
    stages, params = small_model("average", "dot", pair)
    query = sentences([3, 1, 2], seed=1) if pair else None
    return stages, params, batch_of(sentences(LENGTHS), query)


def given(stages, params, batch, values):
    return Given(forward(stages, params, batch), {"made": {"text": jnp.asarray(values)}})


def test_order_by_hand():
    values = jnp.array([[0.0, 3.0, 1.0, 3.0]])
    words = jnp.array([[False, True, True, True]])
    assert order_of(values, words).tolist() == [[3, 0, 2, 1]]


@pytest.mark.parametrize("removal", ["delete", "zero", "unknown"])
def test_every_measure_equals_removing_words_from_the_text(removal):
    pair = removal == "delete"
    stages, params, batch = small(pair)
    random = np.random.default_rng(3)
    values = np.where(batch.words, random.normal(size=batch.tokens.shape), 0).astype(np.float32)
    settings = dataclasses.replace(CONFIG, removal=removal)
    ask = make_faithfulness(stages, settings, seed=0)
    found = quick_jit(lambda p, b, v: ask(p, b, given(stages, p, b, v)))(params, batch, values)
    measured = jax.tree.map(np.asarray, found["faithfulness"]["made"])
    run = quick_jit(lambda p, b: forward(stages, p, b).probabilities)
    zeroed = quick_jit(
        lambda p, b, gone: (
            forward(
                stages._replace(
                    embed=lambda p, b: (
                        lambda e: e._replace(text=jnp.where(gone[..., None], 0, e.text))
                    )(stages.embed(p, b))
                ),
                p,
                b,
            ).probabilities
        )
    )

    def output(row, gone):
        """Of the text without the words at these positions."""
        tokens = np.asarray(batch.tokens[row])
        if removal == "unknown":
            tokens = np.where(np.isin(np.arange(len(tokens)), gone), UNK, tokens)
        if removal == "delete":
            tokens = np.delete(tokens, gone)
        one = batch_of(
            [tokens],
            None if batch.query is None else [np.asarray(batch.query[row])],
            length=batch.tokens.shape[1],
        )
        if removal == "zero":
            mask = np.isin(np.arange(len(tokens)), gone)[None]
            return np.asarray(zeroed(params, one, jnp.asarray(mask)))[0]
        return np.asarray(run(params, one))[0]

    for row, count in enumerate(LENGTHS):
        order = 1 + np.argsort(-values[row, 1 : count + 1], kind="stable")
        whole = output(row, [])
        label = whole.argmax()

        def drop(gone, row=row, whole=whole, label=label):
            return whole[label] - output(row, gone)[label]

        most = min(MOST, count)
        close = {"rtol": 1e-4, "atol": 1e-6}
        aopc = np.mean([drop(order[:k]) for k in range(most + 1)])
        least = np.mean([drop(order[count - k :]) for k in range(most + 1)])
        sizes = [int(np.ceil(share * count - 1e-9)) for share in SHARES]
        np.testing.assert_allclose(measured["aopc"][row], aopc, **close)
        np.testing.assert_allclose(measured["aopc_least_first"][row], least, **close)
        np.testing.assert_allclose(
            measured["comprehensiveness"][row], np.mean([drop(order[:k]) for k in sizes]), **close
        )
        np.testing.assert_allclose(
            measured["sufficiency"][row], np.mean([drop(order[k:]) for k in sizes]), **close
        )
        flips = [
            share
            for share in STEPS
            if output(row, order[: int(np.ceil(share * count - 1e-9))]).argmax() != label
        ]
        np.testing.assert_allclose(measured["flip"][row], flips[0] if flips else np.nan)
        curve = np.asarray(found["curves"]["made"])[row]
        np.testing.assert_allclose(curve[0, most], drop(order[:most]), **close)
        np.testing.assert_allclose(curve[1, 1], drop(order[count - 1 :]), **close)
    assert np.abs(np.asarray(found["faithfulness"]["random"]["aopc"])).max() < 1
    assert set(found["faithfulness"]) == {"attention", "made", "random"}


def test_an_explanation_that_ignores_the_parameters_is_shown_up(monkeypatch):
    """Position stays as it is, whatever is drawn anew; what reads the decoder does not."""

    def position(stages, params, batch, key):
        return jnp.where(batch.words, jnp.arange(1.0, 1 + batch.tokens.shape[1])[None], 0)

    monkeypatch.setitem(METHODS, "position", Method(position))
    stages, params, batch = small()
    config = dataclasses.replace(CONFIG, methods=("position", "gradient_x_input"))
    ask = make_randomisation(stages, config, seed=0)
    found = quick_jit(lambda p, b: ask(p, b, given(stages, p, b, jnp.zeros(b.tokens.shape))))
    found = jax.tree.map(np.asarray, found(params, batch))["randomisation"]
    for stage in CASCADE:
        np.testing.assert_allclose(found["position"][stage][:2], 1, atol=1e-6)
    assert np.isnan(found["position"]["embed"][2])  # one word has no order
    assert (found["gradient_x_input"]["embed"][:2] < 0.99).all()
    # Attention does not read the decoder.
    np.testing.assert_allclose(found["attention"]["decode"][:2], 1, atol=1e-6)
    assert (found["attention"]["embed"][:2] < 0.99).all()


def test_what_does_not_move_holds_still(monkeypatch):
    """The sum of a vector's entries moves by what is added to it, and no further than that."""

    def constant(stages, params, batch, key):
        return batch.words.astype(jnp.float32)

    def total(stages, params, batch, key):
        return jnp.where(batch.words, stages.embed(params, batch).text.sum(axis=-1), 0)

    monkeypatch.setitem(METHODS, "constant", Method(constant))
    monkeypatch.setitem(METHODS, "total", Method(total, signed=True))
    stages, params, batch = small()
    config = dataclasses.replace(CONFIG, methods=("constant", "total"))
    ask = make_continuity(stages, config, seed=0)
    found = quick_jit(lambda p, b: ask(p, b, given(stages, p, b, jnp.zeros(b.tokens.shape))))
    found = jax.tree.map(np.asarray, found(params, batch))["continuity"]
    np.testing.assert_allclose(found["constant"]["max_sensitivity"], 0)
    table = np.asarray(params["embed"]["table"])
    vectors = np.where(np.asarray(batch.words)[..., None], table[np.asarray(batch.tokens)], 0)
    size = np.linalg.norm(vectors.sum(axis=-1), axis=-1)
    bound = 0.02 * np.ptp(table) * table.shape[1] * np.sqrt(LENGTHS) / size
    assert (found["total"]["max_sensitivity"] > 0.05 * bound).all()
    assert (found["total"]["max_sensitivity"] <= bound).all()
    assert (found["attention"]["max_sensitivity"][:2] > 0).all()


def test_methods_that_look_up_all_words_can_be_asked_again():
    stages, params, batch = small()
    config = dataclasses.replace(
        CONFIG, methods=("smoothgrad", "mask"), smoothgrad_samples=2, mask_steps=3
    )
    ask = make_continuity(stages, config, seed=0)
    found = quick_jit(lambda p, b: ask(p, b, given(stages, p, b, jnp.zeros(b.tokens.shape))))
    found = jax.tree.map(np.asarray, found(params, batch))["continuity"]
    assert (found["smoothgrad"]["max_sensitivity"] > 0).all()
