"""A model with listed words: what the network does not see, and what can never fall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import WORDS, batch_of, quick_jit, small_model

from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.bottleneck import fit_noise
from attnjax.analysis.importance.information import known_in
from attnjax.analysis.information.measure import Settings
from attnjax.analysis.information.states import fit_sample, tokens_read
from attnjax.config import ModelConfig
from attnjax.losses import make_gradients
from attnjax.model import monotonic
from attnjax.model.attention import forward
from attnjax.model.dropout import row_keys
from attnjax.model.rules import HELD
from attnjax.model.stages import build_stages
from attnjax.types import EOS, SOS, Inner, Listed

SIGNS = np.zeros(WORDS, np.int32)
SIGNS[[5, 8, 11]] = 1
SIGNS[[6, 13]] = -1
STRENGTHS = np.zeros(WORDS, np.float32)
STRENGTHS[[5, 8, 11, 6, 13]] = [0.5, 2.0, 1.0, 3.0, 1.5]
ENCODERS = [("bilstm", "additive"), ("cnn", "dot"), ("average", "uniform"), ("transformer", "dot")]
TEXTS = [[4, 5, 7, 8, 8, 9, 6, 10], [5, 6, 11], [12, 14, 15], [13, 4, 13, 5, 9]]


def rows_of(texts):
    return [np.array([SOS, *words, EOS], np.int32) for words in texts]


def models(encoder, attention, strengths=False):
    """(stages with listed words, their parameters, the same network without any)."""
    plain, params = small_model(encoder, attention, classes=2, heads=2)
    config = {"encoder": encoder, "attention": attention, "hidden_dim": 4, "heads": 2}
    config = ModelConfig(**config, embed_dim=6, embed_scale=1.0)
    listed = Listed(SIGNS, STRENGTHS if strengths else None)
    stages = build_stages(config, words=WORDS, classes=2, pair=False, listed=listed)
    random = np.random.default_rng(1)
    part = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype),
        monotonic.initial(listed),
    )
    decode = {**params["decode"], "monotonic": part}
    return stages, {**params, "decode": decode}, plain, listed


@pytest.mark.parametrize(("encoder", "attention"), ENCODERS)
def test_the_logit_is_that_of_the_text_without_its_listed_words_and_what_they_add(
    encoder, attention
):
    stages, params, plain, listed = models(encoder, attention)
    assert jax.tree.structure(jax.eval_shape(stages.init, jax.random.key(0))) == jax.tree.structure(
        params
    )
    batch = batch_of(rows_of(TEXTS))
    trace = quick_jit(lambda batch: forward(stages, params, batch))(batch)
    left = [[word for word in words if not SIGNS[word]] for words in TEXTS]
    free = quick_jit(lambda batch: forward(plain, params, batch))(
        batch_of(rows_of(left), length=10)
    )
    adds = monotonic.added(params["decode"]["monotonic"], listed, batch)
    assert np.ptp(adds) > 0.5
    assert adds[2] == 0
    np.testing.assert_allclose(trace.logits[:, 1], free.logits[:, 1] + adds, rtol=1e-5, atol=1e-5)
    there = SIGNS[np.asarray(batch.tokens)] != 0
    assert not np.asarray(trace.weights)[there].any()
    assert not np.asarray(trace.encoded.states)[there].any()
    for row, words in enumerate(TEXTS):  # what is left has its own states and attention
        stay = 1 + np.flatnonzero(SIGNS[words] == 0)
        np.testing.assert_allclose(
            trace.weights[row, stay], free.weights[row, 1 : 1 + len(stay)], rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            trace.encoded.states[row, stay], free.encoded.states[row, 1 : 1 + len(stay)], atol=1e-5
        )

    def score(embedded):
        encoded = stages.encode(params, embedded, batch)
        weights = jax.nn.softmax(stages.score(params, encoded), axis=-1)
        return stages.decode(params, encoded, weights, batch)[:, 1].sum()

    slopes = np.asarray(quick_jit(jax.grad(score))(trace.embedded).text)
    assert not slopes[there].any(), "no vector of a listed word is read"
    assert slopes[~there].any()


def test_layers_and_what_disturbs_them_stand_at_their_tokens():
    stages, params, plain, _ = models("transformer", "dot")
    words = TEXTS[0]
    stay = np.array([0, *(1 + np.flatnonzero(SIGNS[words] == 0)), len(words) + 1])
    whole, short = batch_of(rows_of([words])), batch_of(rows_of([np.array(words)[stay[1:-1] - 1]]))

    def layers(stages, batch):
        return stages.layers(params, stages.embed(params, batch), batch, "text")

    for found, expected in zip(layers(stages, whole), layers(plain, short), strict=True):
        pairs = np.ix_([0], [0, 1], stay, stay)
        np.testing.assert_allclose(found.weights[pairs], expected.weights, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.states[:, stay], expected.states, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.values[:, :, stay], expected.values, atol=1e-5)
        np.testing.assert_allclose(found.weights.sum(), expected.weights.sum(), rtol=1e-5)
    embedded = (each.embed(params, batch) for each, batch in ((stages, whole), (plain, short)))
    states = stages.layer_states(params, next(embedded), whole, "text")
    expected = plain.layer_states(params, next(embedded), short, "text")
    for found, closed in zip(states, expected, strict=True):
        np.testing.assert_allclose(found[:, stay], closed, rtol=1e-4, atol=1e-5)
    factor = jax.random.uniform(jax.random.key(1), (2, 1, 2, len(words) + 2, len(words) + 2))
    short_factor = factor[np.ix_([0, 1], [0], [0, 1], stay, stay)]

    def states(stages, batch, factor):
        embedded = stages.embed(params, batch)
        return stages.encode(params, embedded, batch, inner=Inner(factor=factor)).states

    found, expected = states(stages, whole, factor), states(plain, short, short_factor)
    np.testing.assert_allclose(found[:, stay], expected, rtol=1e-4, atol=1e-5)


def test_dropout_drops_what_it_drops_of_the_text_without_its_listed_words():
    config = ModelConfig(
        encoder="transformer", attention="dot", hidden_dim=4, heads=2, embed_dim=6, dropout=0.4
    )
    listed = Listed(SIGNS, None)
    stages = build_stages(config, words=WORDS, classes=2, pair=False, listed=listed)
    plain = build_stages(config, words=WORDS, classes=2, pair=False)
    params, batch = stages.init(jax.random.key(0)), batch_of(rows_of(TEXTS))
    left = [[word for word in words if not SIGNS[word]] for words in TEXTS]
    closed = batch_of(rows_of(left), length=batch.tokens.shape[1])
    inner = Inner(keys=row_keys(batch.rows, jax.random.key(1)))

    @quick_jit
    def states(batch, inner):
        return [
            each.encode(params, each.embed(params, batch), batch, inner=inner).states
            for each in (stages, plain)
        ]

    found, expected = states(batch, inner)[0], states(closed, inner)[1]
    whole, without = np.asarray(batch.tokens), np.asarray(closed.tokens)
    for row in range(len(TEXTS)):
        stays = (whole[row] > 0) & (SIGNS[whole[row]] == 0)
        np.testing.assert_allclose(
            found[row][stays], expected[row][without[row] > 0], rtol=1e-5, atol=1e-6
        )
    assert np.abs(found - states(batch, None)[0]).max() > 0.01


@pytest.mark.parametrize("hold", [False, True])
def test_shortcuts_and_other_rules_give_the_same_values(hold):
    stages, params, _, _ = models("bilstm", "additive")
    under = stages.under(HELD) if hold else stages
    batch = batch_of(rows_of(TEXTS))
    trace = forward(stages, params, batch)
    read = under.quick.read(params, trace.encoded, batch)
    np.testing.assert_allclose(read(trace.weights), trace.logits, rtol=1e-5, atol=1e-6)
    # A deleted word, listed or not, is as if it had not been there.
    found = method_named("leave_one_out_signed")(stages, params, batch, jax.random.key(0))
    for row, place in ((0, 2), (0, 3), (1, 1), (3, 2)):
        words = TEXTS[row][: place - 1] + TEXTS[row][place:]
        after = forward(stages, params, batch_of(rows_of([words]))).probabilities[0]
        before = trace.probabilities[row]
        label = int(before.argmax())
        np.testing.assert_allclose(found[row, place], before[label] - after[label], atol=1e-5)


def test_a_calibrator_is_the_integral_of_its_slopes():
    slopes = np.random.default_rng(0).normal(size=len(monotonic.KEYPOINTS)).astype(np.float32)
    sums = np.array([0.0, 0.25, 0.5, 2.5, 5.0, 12.0, 20.0], np.float32)
    found = monotonic.calibrated(jnp.asarray(slopes), jnp.asarray(sums))
    points = np.array([*monotonic.KEYPOINTS, 100])
    values = np.cumsum([0, *(np.diff(points) * np.logaddexp(0, slopes))])
    np.testing.assert_allclose(found, np.interp(sums, points, values), rtol=1e-5)


@pytest.mark.parametrize("strengths", [False, True])
@pytest.mark.parametrize("size", [1.0, 50.0])
def test_whatever_the_parameters_are_nothing_falls(strengths, size):
    """Interval bounds, and a grid: no count of a + word lowers, none of a - word raises."""
    listed = Listed(SIGNS, STRENGTHS if strengths else None)
    for seed in range(5):
        random = np.random.default_rng(seed)
        params = jax.tree.map(
            lambda leaf, random=random: jnp.asarray(
                size * random.normal(size=leaf.shape), leaf.dtype
            ),
            monotonic.initial(listed),
        )
        assert all(bound >= 0 for bound in monotonic.bounds(params, listed).values())
        weights = np.asarray(monotonic.word_weights(params, listed))
        assert (weights[SIGNS == 0] == 0).all()
        assert (weights >= 0).all()
        if strengths:
            assert weights[5] <= weights[11] <= weights[8]
            assert weights[13] <= weights[6]
        for word, other in ((5, 6), (8, 13)):
            texts = [[word] * many + [other] * few for many in range(9) for few in range(9)]
            adds = monotonic.added(params, listed, batch_of(rows_of(texts), length=20))
            grid = np.asarray(adds).reshape(9, 9)
            slack = 1e-6 * np.abs(grid).max()
            assert (np.diff(grid, axis=0) >= -slack).all()
            assert (np.diff(grid, axis=1) <= slack).all()


@pytest.mark.parametrize(
    "case", ["attention_iat", "attention_vat", "word_iat", "word_vat", "relevance"]
)
def test_every_kind_of_technique_trains_both_parts(case):
    from test_losses import configure, context_of

    from attnjax.perturb.differences import nearest_words

    stages, params, _, _ = models("average", "dot")
    technique, relevance = ("none", 0.3) if case == "relevance" else (case, 0.0)
    gradients = make_gradients(configure(technique, relevance), stages)
    batch = batch_of(rows_of(TEXTS))
    near = nearest_words(params["embed"]["table"], 3, EOS + 1) if case == "word_iat" else None
    run = quick_jit(lambda params, batch: gradients(params, context_of(batch, neighbours=near)))
    gradient, sums = run(params, batch)
    assert np.isfinite(sums["loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.asarray(gradient["decode"]["monotonic"]["weights"]).all()
    assert not np.asarray(gradient["embed"]["table"])[SIGNS != 0].any()
    assert sums["loss"] < 50, "what is listed adds no infinite scores"


@pytest.mark.parametrize(
    ("name", "sees"),
    [
        ("leave_one_out", True),
        ("occlusion", True),
        ("lime", True),
        ("shapley", True),
        ("gradient", False),
        ("integrated_gradients", False),
        ("mask", False),
        ("attention_norm", False),
    ],
)
def test_which_methods_see_the_listed_words(name, sees):
    """As the note of a run says: those that edit the text do."""
    stages, params, _, _ = models("average", "dot")
    batch = batch_of(rows_of(TEXTS))
    method = method_named(name)
    found = quick_jit(lambda batch: method(stages, params, batch, jax.random.key(0)))(batch)
    there = SIGNS[np.asarray(batch.tokens)] != 0
    values = np.abs(np.asarray(found))[there]
    assert (values > 1e-4).any() == sees


def test_pairs_and_other_than_two_classes_are_refused():
    for pair, classes in ((True, 2), (False, 3)):
        with pytest.raises(ValueError, match="single texts of two classes"):
            build_stages(
                ModelConfig(), words=WORDS, classes=classes, pair=pair, listed=Listed(SIGNS, None)
            )


def test_information_counts_the_tokens_that_the_network_sees():
    """Linear up to the states: noise distorts them by half the rate, however many are listed."""
    stages, params, _, _ = models("average", "dot")
    batch = batch_of(rows_of(TEXTS))
    seen = np.asarray(tokens_read(stages, batch, "text"))
    assert [*seen.sum(axis=1)] == [6, 2, 5, 4], "<sos> and <eos> among them"
    sample = fit_sample(False)(stages, params, [batch], jax.random.key(0))["text"]
    settings = Settings(rate=0.1, probes=0, steps=0, draws=600)
    asked = stages, params, batch, jax.random.key(1), "text", "encoder", sample, settings
    found = known_in(*asked).distortion / 0.05
    np.testing.assert_allclose(found, 1, atol=0.15)


def test_the_noise_of_a_bottleneck_is_that_of_words_with_states():
    stages, params, _, listed = models("bilstm", "additive")
    batch = batch_of(rows_of([[4, 5, 7, 8], [9, 10, 7]] * 3))
    noise = fit_noise(stages, params, [batch], jax.random.key(0))
    trace = forward(stages, params, batch)
    seen = np.asarray(batch.words) & (listed.signs[np.asarray(batch.tokens)] == 0)
    states = np.asarray(trace.encoded.states)
    assert not states[np.asarray(batch.words) & ~seen].any()
    np.testing.assert_allclose(noise.mean, states[seen].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(noise.deviation, states[seen].std(axis=0), rtol=1e-4)
