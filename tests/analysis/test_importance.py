"""Importance methods: definitions, invariance, and the toy model whose one word matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.deletion import without
from attnjax.analysis.importance.gradient import detached, gradient
from attnjax.config import METHODS as NAMES
from attnjax.model.attention import attention_weights, forward
from attnjax.types import EOS, SOS, Embedded, Encoded, Stages

KEY = jax.random.key(0)


def explain(method, stages, params, batch):
    return np.asarray(jax.jit(METHODS[method], static_argnums=0)(stages, params, batch, KEY))


def test_the_configuration_knows_every_method():
    assert set(NAMES) == set(METHODS)


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("encoder", ["bilstm", "cnn", "average"])
@pytest.mark.parametrize("method", METHODS)
def test_depends_on_neither_padding_nor_batch_mates(method, encoder, pair):
    stages, params = small_model(encoder, pair=pair)
    rows, query = sentences([5, 2, 1]), sentences([3, 1, 2], seed=1) if pair else None
    together = explain(method, stages, params, batch_of(rows, query))
    assert (together >= 0).all()
    assert not together[~np.asarray(batch_of(rows).words)].any()
    for row in range(3):
        one = batch_of(rows[row : row + 1], query and query[row : row + 1], length=10)
        alone = explain(method, stages, params, one)
        length = len(rows[row])
        np.testing.assert_allclose(alone[0, :length], together[row, :length], rtol=1e-4, atol=1e-6)
        assert not alone[0, length:].any()


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("hold", [False, True])
def test_gradient_equals_finite_differences(hold):
    stages, params = small_model(dtype=jnp.float64)
    batch = batch_of(sentences([4]), dtype=np.float64)
    clean = forward(stages, params, batch)
    predicted = int(clean.logits[0].argmax())

    def probability(position, size):
        """With the word's vector scaled by 1 + size: its derivative is sum_d e_d dy/de_d."""
        vectors = clean.embedded.text.at[0, position].multiply(1 + size)
        encoded = stages.encode(params, clean.embedded._replace(text=vectors), batch)
        scores = stages.score(params, encoded)
        weights = clean.weights if hold else attention_weights(scores, batch.words)
        return jax.nn.softmax(stages.decode(params, encoded, weights, batch)[0])[predicted]

    found = gradient(detached(stages) if hold else stages, params, batch, KEY)
    for position in range(1, 5):
        slope = (probability(position, 1e-5) - probability(position, -1e-5)) / 2e-5
        np.testing.assert_allclose(found[0, position], abs(slope), rtol=1e-6)


@pytest.mark.parametrize("encoder", ["bilstm", "cnn", "average"])
def test_leave_one_out_equals_running_the_shorter_sentence(encoder):
    stages, params = small_model(encoder)
    row = sentences([5])[0]
    found = explain("leave_one_out", stages, params, batch_of([row], length=9))
    whole = forward(stages, params, batch_of([row])).probabilities[0]
    for position in range(1, 6):
        shorter = batch_of([np.delete(row, position)])
        rest = forward(stages, params, shorter).probabilities[0]
        expected = np.abs(np.asarray(rest) - np.asarray(whole)).sum() / 2
        np.testing.assert_allclose(found[0, position], expected, rtol=1e-4, atol=1e-6)


def test_without():
    tokens = jnp.array([[SOS, 7, 8, EOS], [SOS, 9, EOS, 0]])
    np.testing.assert_array_equal(
        without(tokens, jnp.int32(1)), [[SOS, 8, EOS, 0], [SOS, EOS, 0, 0]]
    )


@pytest.mark.parametrize("method", METHODS)
def test_finds_the_only_word_that_matters(method):
    """A model whose logit is the sum of word vectors, all zero but that of word 9."""
    stages, _ = small_model()
    table = jnp.zeros((20, 2)).at[9].set(jnp.array([3.0, -1.0]))

    def encode(params, embedded, batch):
        return Encoded(embedded.text, None)

    def decode(params, encoded, weights, batch):
        logit = encoded.states.sum(axis=(1, 2))
        return jnp.stack([jnp.zeros_like(logit), logit], axis=-1)

    def score(params, encoded):
        return jnp.zeros(encoded.states.shape[:2])

    def embed(params, batch):
        return Embedded(params["embed"]["table"][batch.tokens], None)

    toy = Stages(stages.init, embed, encode, score, decode)
    params = {"embed": {"table": table}}
    batch = batch_of([np.array([SOS, 5, 9, 7, 8, EOS])])
    found = explain(method, toy, params, batch)
    assert found[0].argmax() == 2
    assert found[0, 2] > 0.1
    assert (np.delete(found[0], 2) < 1e-6).all()
