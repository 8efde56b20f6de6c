"""The states of models: their spread over training data, and what is known of words in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance.information import REPLACEMENT, known_in
from attnjax.analysis.information.measure import Settings
from attnjax.analysis.information.states import (
    Moments,
    fit_sample,
    in_order,
    joined,
    moments,
    spread_of,
    states_of,
)
from attnjax.config import AnalysisConfig, ModelConfig
from attnjax.errors import UserError
from attnjax.model.rules import Rules
from attnjax.model_checks import states_of_encoder
from attnjax.types import EOS, SOS

KEY = jax.random.key(0)
EXACT = Settings(rate=0.1, probes=0, steps=0, draws=64)
LINEAR = Rules(act=lambda function, x: x)


def corpus(pair=False, dtype=np.float32, count=30):
    """One batch of training texts."""
    lengths = [3 + n % 5 for n in range(count)]
    return batch_of(
        sentences(lengths, seed=5), sentences(lengths[::-1], seed=6) if pair else None, dtype=dtype
    )


def known(stages, params, batch, name, settings=EXACT, segment="text", fitted=None, whiten=False):
    """As NumPy arrays."""
    pair = batch.query is not None
    known_from = [corpus(pair, batch.weight.dtype)]
    fitted = fitted or fit_sample(whiten)(stages, params, known_from, KEY)
    sample = fitted[segment]

    def found(params, batch):
        return known_in(stages, params, batch, KEY, segment, name, sample, settings)

    return jax.device_get(quick_jit(found)(params, batch))


@pytest.mark.parametrize("encoder", ["bilstm", "cnn", "average", "transformer"])
def test_the_states_of_an_encoder_have_the_names_that_a_configuration_may_give(encoder):
    stages, params = small_model(encoder, pair=True)
    batch = corpus(pair=True)
    embedded = stages.embed(params, batch)
    for segment in ("text", "query"):
        found = states_of(stages, params, embedded, batch, segment)
        assert tuple(found) == states_of_encoder(ModelConfig(encoder=encoder), 2)
    assert found["context"].shape[1] == 2 * found["encoder"].shape[1], "with the query's summary"


def test_layers_stand_between_the_word_vectors_and_the_last_states():
    found = in_order(["context", "embedding", "encoder", "layer_10", "layer_2", "logits"])
    assert found == ["embedding", "layer_2", "layer_10", "encoder", "context", "logits"]


@pytest.mark.usefixtures("double_precision")
def test_a_linear_encoder_gives_the_closed_form():
    """sigma_i = sqrt(rate / 2 / sum_u mean_k (W_uk / s_k)^2) whatever the length: to 1e-6."""
    model, params = small_model("average", "uniform", dtype=jnp.float64)
    stages = model.under(LINEAR)
    batch = batch_of(sentences([4, 7]), dtype=np.float64)
    train = corpus(dtype=np.float64)
    kernel = np.asarray(params["encode"]["text"]["project"]["kernel"])
    vectors, mask = np.asarray(params["embed"]["table"])[np.asarray(train.tokens)], train.mask
    states = (vectors @ kernel)[np.asarray(mask)]
    deviation = np.sqrt(vectors[np.asarray(mask)].var(axis=0).mean())
    sigma = np.sqrt(0.05 / np.mean((kernel / states.std(axis=0)[None]) ** 2, axis=1).sum())
    found = known(stages, params, batch, "encoder")
    real = np.asarray(batch.mask)
    np.testing.assert_allclose(found.sigma[real], sigma, rtol=1e-6)
    expected = np.log1p((deviation / sigma) ** 2) / 2
    np.testing.assert_allclose(found.retained[real], expected, rtol=1e-6)
    assert not found.retained[~real].any()
    np.testing.assert_allclose(found.distortion, 0.05, rtol=0.1)
    # The context is a mean over the words: n tokens, n - 2 words, of which the ends are none.
    context = known(stages, params, batch, "context")
    assert not context.retained[:, 0].any(), "<sos> is not attended to"
    words = np.asarray(batch.words)
    means = np.array([(vectors @ kernel)[row][np.asarray(train.words)[row]].mean(axis=0)
                      for row in range(len(vectors))])  # fmt: skip
    change = np.mean((kernel / means.std(axis=0)[None]) ** 2, axis=1).sum()
    for row, count in enumerate((4, 7)):
        closed = np.sqrt(0.05 * count**2 / (count + 2) / change)
        np.testing.assert_allclose(context.sigma[row][words[row]], closed, rtol=1e-6)
    optimised = known(stages, params, batch, "context", EXACT._replace(steps=40, draws=16))
    np.testing.assert_allclose(optimised.sigma[words], context.sigma[words], rtol=0.1)


@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize(("encoder", "pair"), [("bilstm", False), ("cnn", True)])
def test_neither_padding_nor_batch_mates_matter(encoder, pair, steps):
    stages, params = small_model(encoder, pair=pair)
    rows, query = sentences([5, 2, 9]), sentences([3, 1, 2], seed=1) if pair else None
    fitted = fit_sample(False)(stages, params, [corpus(pair)], KEY)
    settings = Settings(rate=0.1, probes=4, steps=steps, draws=3)
    for segment in ("text", "query") if pair else ("text",):
        for name in ("encoder", "context"):
            whole = batch_of(rows, query, length=24, query_length=8 if pair else None)
            one = batch_of(rows[2:], query and query[2:], length=40, query_length=12 * pair or None)
            one = one._replace(rows=jnp.array([2], jnp.int32))
            together, alone = (
                known(stages, params, each, name, settings, segment, fitted)
                for each in (whole, one)
            )
            length = len((rows if segment == "text" else query)[2])
            for part in ("sigma", "retained"):
                found, expected = getattr(alone, part), getattr(together, part)
                np.testing.assert_allclose(found[0, :length], expected[2, :length], rtol=1e-5)
            np.testing.assert_allclose(alone.distortion[0], together.distortion[2], rtol=1e-5)


@pytest.mark.usefixtures("double_precision")
def test_the_scale_of_the_word_vectors_says_nothing():
    """The table times 8, the first weights over 8: the same model, and the same retained."""
    stages, params = small_model(dtype=jnp.float64)
    batch = batch_of(sentences([5, 3]), dtype=np.float64)
    encoder = params["encode"]["text"]
    moved = params | {
        "embed": {"table": params["embed"]["table"] * 8},
        "encode": {"text": encoder | {"input": encoder["input"] / 8}},
    }
    settings = Settings(rate=0.1, probes=4, steps=4, draws=3)
    for name in states_of_encoder(ModelConfig(), 1):
        one, other = (known(stages, each, batch, name, settings) for each in (params, moved))
        np.testing.assert_allclose(other.retained, one.retained, rtol=1e-9)
        real = np.asarray(batch.mask)
        np.testing.assert_allclose(other.sigma[real], 8 * one.sigma[real], rtol=1e-9)


def test_whitened_states_have_as_many_directions_as_they_move_in():
    """Dead units are counted, and a copy of a unit is a dead direction."""
    random = np.random.default_rng(0)
    states = random.normal(size=(50, 4)) * np.array([1, 10, 0.1, 0])
    states = np.column_stack([states, states[:, 0]])
    real = jnp.asarray(random.random(50) < 0.8)
    for whiten, live in ((False, 4), (True, 3)):
        found = spread_of(moments(jnp.asarray(states), real, whiten), "toy", jnp.float32)
        assert (int(found.live), int(found.dead)) == (live, 5 - live)
    std = states[np.asarray(real)].std(axis=0)
    plain = spread_of(moments(jnp.asarray(states), real, False), "toy", jnp.float32)
    np.testing.assert_allclose(plain.weights[:3], 1 / std[:3], rtol=1e-5)
    assert plain.weights[3] == 0
    white = states[np.asarray(real)] @ np.asarray(found.weights)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.diag([0, 0, 1, 1, 1]), atol=1e-4)


@pytest.mark.parametrize("products", [False, True])
def test_moments_of_parts_are_those_of_the_whole(products):
    values = np.random.default_rng(3).normal(100, 1, (60, 4)).astype(np.float32)
    parts = [moments(jnp.asarray(values[s]), jnp.ones(30, bool), products)
             for s in (slice(30), slice(30, 60))]  # fmt: skip
    found = joined(*parts)
    whole = values.astype(np.float64)
    covariance = np.cov(whole.T, bias=True)
    expected = covariance if products else np.diagonal(covariance)
    assert found.count == 60
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.squares / 60, expected, rtol=1e-4, atol=1e-4)


def test_too_small_and_constant_samples_are_refused():
    with pytest.raises(UserError, match="has 1 vector of the state 'context', and at least 2"):
        spread_of(Moments(1, np.zeros(2), np.zeros(2)), "context", jnp.float32)
    with pytest.raises(UserError, match="'encoder' is the same for all 9 vectors"):
        spread_of(Moments(9, np.ones(2), np.zeros(2)), "encoder", jnp.float32)


@pytest.mark.usefixtures("double_precision")
def test_a_replaced_word_moves_the_state_as_running_the_changed_text_does():
    stages, params = small_model("cnn", dtype=jnp.float64)
    fitted = fit_sample(False)(stages, params, [corpus(dtype=np.float64)], KEY)
    vectors = np.asarray(params["embed"]["table"])[np.asarray(corpus().tokens)]
    mean = vectors[np.asarray(corpus().mask)].mean(axis=0)
    batch = batch_of(sentences([4, 2]), dtype=np.float64)
    method = REPLACEMENT.under(AnalysisConfig(information_state="encoder"))
    found = method(stages, params, batch, KEY, fitted=fitted)
    other = params | {"embed": {"table": params["embed"]["table"].at[19].set(mean)}}
    changed = batch._replace(tokens=batch.tokens.at[0, 2].set(19))
    before, after = (
        np.asarray(stages.encode(p, stages.embed(p, b), b).states)[0]
        for p, b in ((params, batch), (other, changed))
    )
    assert 19 not in np.asarray(batch.tokens)[0]
    weights = np.asarray(fitted["text"].spreads["encoder"].weights)
    expected = np.sqrt(np.mean(((after - before) * weights[None]) ** 2))
    np.testing.assert_allclose(found[0, 2], expected, rtol=1e-9)
    assert not np.asarray(found)[~np.asarray(batch.words)].any()


def test_answers_that_are_no_candidates_do_not_matter():
    stages, params = small_model(pair=True)
    batch = corpus(pair=True)
    some = jnp.arange(3)[None, :] < 1 + jnp.arange(30)[:, None] % 3
    fit = fit_sample(False)
    plain, chosen = (
        fit(stages, params, [each], KEY)["text"].spreads["logits"].weights
        for each in (batch, batch._replace(candidates=some))
    )
    np.testing.assert_array_equal(plain, chosen)


def test_filler_rows_and_padding_are_no_sample():
    stages, params = small_model()
    some = corpus(count=6)
    row = np.array([SOS, EOS], np.int32)
    padded = batch_of([*(np.asarray(each)[: int((each > 0).sum())] for each in some.tokens), row],
                      length=30)  # fmt: skip
    padded = padded._replace(weight=jnp.asarray([1.0] * 6 + [0.0], jnp.float32))
    found, expected = (fit_sample(False)(stages, params, [b], KEY)["text"] for b in (padded, some))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
