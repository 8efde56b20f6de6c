"""Faithfulness by removing words one by one from the text itself."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.questions.faithfulness import (
    MOST,
    SHARES,
    STEPS,
    _measured,
    make_faithfulness,
    order_of,
)
from attnjax.analysis.questions.question import Given
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.types import UNK, Embedded, Encoded, Trace

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
        tried = [int(np.ceil(share * count - 1e-9)) for share in STEPS]
        flips = [gone for gone in tried if output(row, order[:gone]).argmax() != label]
        np.testing.assert_allclose(measured["flip"][row], (flips or [count])[0] / count)
        curve = np.asarray(found["curves"]["made"])[row]
        np.testing.assert_allclose(curve[0, most], drop(order[:most]), **close)
        np.testing.assert_allclose(curve[1, 1], drop(order[count - 1 :]), **close)
    assert np.abs(np.asarray(found["faithfulness"]["random"]["aopc"])).max() < 1
    assert set(found["faithfulness"]) == {"attention", "made", "random"}


def test_eraser_by_hand():
    """As released: the plain mean of the falls at 1, 5, 10, 20 and 50 %; of 10 words, 1 to 5."""
    parts = jnp.array([0.05, 0.2, 0.1, 0, 0.02, 0.01, 0.03, 0.04, 0, 0], jnp.float32)
    words = jnp.ones((1, 10), bool)

    def output(keep):
        share = 0.5 + jnp.where(keep, parts[None], 0).sum(axis=1)
        return jnp.log(jnp.stack([1 - share, share], axis=1))

    nothing = Embedded(jnp.zeros((1, 10, 1)), None)
    encoded, zeros = Encoded(jnp.zeros((1, 10, 1)), None), jnp.zeros((1, 10))
    trace = Trace(nothing, encoded, zeros, zeros, output(words))
    found = _measured(output, trace, words, order_of(parts[None], words))
    # Without the first 1, 1, 1, 2 and 5 words; and with those alone.
    comprehensiveness = np.mean([0.2, 0.2, 0.2, 0.3, 0.42])
    np.testing.assert_allclose(found["comprehensiveness"], [comprehensiveness], rtol=1e-5)
    np.testing.assert_allclose(
        found["sufficiency"], [np.mean([0.25, 0.25, 0.25, 0.15, 0.03])], rtol=1e-5
    )
