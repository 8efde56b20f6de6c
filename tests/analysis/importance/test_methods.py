"""Importance methods: definitions, invariance, and the toy model whose one word matters."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.importance.path import MOST, integrals
from attnjax.config import AnalysisConfig
from attnjax.model.attention import attention_weights, forward
from attnjax.model.quick import literal, stages_by_hand
from attnjax.model.rules import HELD
from attnjax.types import EOS, SOS, UNK, Embedded, Encoded

KEY = jax.random.key(0)
MODELS = [
    pytest.param("bilstm", "dot", True, id="bilstm-pair"),
    pytest.param("cnn", "additive", True, id="cnn-pair"),
    pytest.param("average", "dot", False, id="average"),
]
LAYERED = pytest.param("transformer", "additive", True, id="transformer-pair")


FEW = AnalysisConfig(
    lime_samples=100,
    smoothgrad_samples=2,
    shapley_orders=4,
    mask_steps=30,
    mask_model_steps=5,
    information_probes=3,
    bottleneck_steps=3,
    bottleneck_draws=2,
    information_state="logits",  # the one state that says what matters to the prediction
)
DRAWN = (
    "lime",
    "shapley",
    "smoothgrad",
    "mask",
    "bottleneck",
)  # they repeat the model: slow to compile and run
TWINS = {  # signed -> what it is the sign of: the same work, read twice
    "gradient_x_input": "gradient",
    "integrated_gradients_signed": "integrated_gradients",
    "leave_one_out_signed": "leave_one_out",
}
MAY_BE_ZERO = (  # of a whole text
    *("mask", "guided_grad_cam", "deep_taylor", "deep_taylor_w2", "gradient_attention"),
)


def defined(method, encoder, pair):
    """Whether the method is for such models; those that repeat the model are tried on one alone."""
    encoders = method_named(method).encoders
    return (not encoders or encoder in encoders) and (method not in DRAWN or encoder == "average")


@cache
def compiled(stages, method, segments):
    """One function for a model: it is compiled once for each shape."""
    tuned = method_named(method).under(FEW)

    def every(params, batch, fitted):
        found = {}
        for each in segments:
            found[each] = tuned(stages, params, batch, KEY, each, fitted)
        return found

    return quick_jit(every)


def explain(method, stages, params, batch, fitted=None):
    """{segment: importance} of every segment that the batch has and the method measures."""
    segments = ("text",) if batch.query is None else method_named(method).segments
    return jax.tree.map(np.asarray, compiled(stages, method, segments)(params, batch, fitted))


def learnt(method, stages, params, known):
    """What the method learns from one batch of training texts, None of what learns nothing."""
    fit = method_named(method).under(FEW).fit
    return None if fit is None else fit(stages, params, [known], KEY)


@cache
def compiled_forward(stages):
    return quick_jit(lambda params, batch: forward(stages, params, batch).probabilities)


def probability(stages, params, batch):
    return np.asarray(compiled_forward(stages)(params, batch))


def slow(stages):
    """The same model without its shortcuts."""
    return stages._replace(quick=literal(stages.embed, stages.encode, stages.decode))


@pytest.mark.parametrize(
    ("method", "encoder", "attention", "pair"),
    [
        pytest.param(method, *model.values, id=f"{method}-{model.id}")
        for method in METHODS
        if method not in TWINS
        for model in ([LAYERED] if "transformer" in method_named(method).encoders else MODELS)
        if defined(method, *model.values[::2])
    ],
)
def test_depends_on_neither_padding_nor_batch_mates_nor_order(method, encoder, attention, pair):
    stages, params = small_model(encoder, attention, pair)
    record = method_named(method)
    lengths = {"text": [5, 2, 1], "query": [3, 1, 2]}
    rows, query = sentences(lengths["text"]), sentences(lengths["query"], seed=1)
    batch = batch_of(rows, query if pair else None)
    known = batch_of(sentences([12] * 40, seed=2), sentences([12] * 40, seed=3) if pair else None)
    fitted = learnt(method, stages, params, known)
    together = explain(method, stages, params, batch, fitted)
    order = np.array([2, 0, 1])
    moved = explain(method, stages, params, jax.tree.map(lambda a: a[order], batch), fitted)
    assert set(together) == set(record.segments if pair else ("text",))
    for segment, found in together.items():
        np.testing.assert_allclose(moved[segment], found[order], rtol=1e-5, atol=1e-6)
        assert found.any() if method in MAY_BE_ZERO else found.any(axis=1).all()
        for row, length in enumerate(lengths[segment]):
            assert record.signed or (found[row] >= 0).all()
            assert not found[row, [0, *range(length + 1, found.shape[1])]].any()
    for row in range(3):
        one = batch_of(
            rows[row : row + 1],
            query[row : row + 1] if pair else None,
            length=10,
            query_length=6 if pair else None,
        )._replace(rows=jnp.array([row], jnp.int32))
        for segment, alone in explain(method, stages, params, one, fitted).items():
            length = lengths[segment][row] + 2
            expected = together[segment][row, :length]
            np.testing.assert_allclose(alone[0, :length], expected, rtol=1e-5, atol=1e-6)
            assert not alone[0, length:].any()


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("segment", ["text", "query"])
def test_gradients_equal_finite_differences(segment, hold):
    stages, params = small_model(pair=True, dtype=jnp.float64)
    batch = batch_of(sentences([4]), sentences([3], seed=1), dtype=np.float64)
    clean = quick_jit(lambda p, b: forward(stages, p, b))(params, batch)
    predicted = int(clean.logits[0].argmax())
    vectors = getattr(clean.embedded, segment)

    @quick_jit
    def outcome(vectors):
        encoded = stages.encode(params, clean.embedded._replace(**{segment: vectors}), batch)
        scores = stages.score(params, encoded)
        weights = clean.weights if hold else attention_weights(scores, batch.words)
        return jax.nn.softmax(stages.decode(params, encoded, weights, batch)[0])[predicted]

    explained = stages.under(HELD) if hold else stages
    product = explain("gradient", explained, params, batch)[segment]
    norm = explain("gradient_norm", explained, params, batch)[segment]
    for position in range(1, vectors.shape[1] - 1):
        steps = np.zeros((vectors.shape[2], *vectors.shape))
        steps[:, 0, position] = 1e-5 * np.eye(vectors.shape[2])
        slopes = np.array([outcome(vectors + s) - outcome(vectors - s) for s in steps]) / 2e-5
        along = abs(np.dot(vectors[0, position], slopes))
        np.testing.assert_allclose(product[0, position], along, rtol=1e-5)
        np.testing.assert_allclose(norm[0, position], np.linalg.norm(slopes), rtol=1e-5)


def integrated(stages, params, batch, completeness=0.01):
    return jax.device_get(quick_jit(partial(integrals(completeness), stages))(params, batch, KEY))


@pytest.mark.parametrize(("encoder", "attention", "pair"), MODELS)
def test_integrated_gradients_are_as_complete_as_is_asked_for(encoder, attention, pair):
    stages, params = small_model(encoder, attention, pair)
    params["embed"]["table"] *= 4  # the path crosses steep places
    query = sentences([3, 1, 2, 5], seed=1) if pair else None
    batch = batch_of(sentences([5, 2, 7, 3]), query)
    found = integrated(stages, params, batch, 1e-4)
    assert (found.error < 1e-4).all()
    assert (found.points < MOST).all()


def test_a_row_is_cut_as_if_it_were_alone():
    """Whatever rows are beside it, and however many of them take turns in the lanes."""
    stages, params = small_model("average", "dot")
    params["embed"]["table"] *= 20
    rows = sentences([5, 2, 7, 3, 9] * 4)
    whole = integrated(stages, params, batch_of(rows), 1e-3)
    assert len(set(whole.points.tolist())) > 3
    for row in (0, 1, 7, 19):
        alone = integrated(stages, params, batch_of(rows[row : row + 1]), 1e-3)
        length = len(rows[row])
        assert alone.points == whole.points[row]
        np.testing.assert_allclose(
            whole.contributions.text[row, :length], alone.contributions.text[0], atol=1e-5
        )


def test_what_cannot_be_complete_ends_and_tells():
    stages, params = small_model("average", "dot")
    batch = batch_of(sentences([5, 2, 7]))
    held = integrated(stages.under(HELD), params, batch, 1e-3)
    assert (held.error > 2e-3).any()
    np.testing.assert_array_equal(held.points[held.error > 2e-3], MOST)


@pytest.mark.usefixtures("double_precision")
def test_integrated_gradients_equal_many_small_steps():
    """A dense midpoint sum in float64, by the vectors and without the factors' shortcut."""
    stages, params = small_model(dtype=jnp.float64)
    batch = batch_of(sentences([4]), dtype=np.float64)
    embedded = stages.embed(params, batch)
    predicted = int(probability(stages, params, batch)[0].argmax())

    def outcome(vectors):
        encoded = stages.encode(params, Embedded(vectors, None), batch)
        weights = attention_weights(stages.score(params, encoded), batch.words)
        return jax.nn.softmax(stages.decode(params, encoded, weights, batch)[0])[predicted]

    middles = jnp.asarray((np.arange(300) + 0.5) / 300)
    slopes = quick_jit(
        lambda vectors: jax.lax.map(lambda middle: jax.grad(outcome)(middle * vectors), middles)
    )(embedded.text)
    expected = np.abs(np.asarray(embedded.text * slopes.mean(axis=0))[0].sum(axis=-1))[1:-1]
    found = integrated(stages, params, batch, 1e-5).contributions.text[0, 1:-1]
    np.testing.assert_allclose(np.abs(found), expected, rtol=1e-4)


def deletions(stages, params, rows, query, segment, dtype, signed=False):
    """Total variation after deleting each word of the last pair, by running what is left.

    signed  by how much the probability of the class predicted of all words falls
    """
    last = batch_of(rows[-1:], query and query[-1:], dtype=dtype)
    whole = probability(stages, params, last)
    changed = query if segment == "query" else rows
    distances = []
    for position in range(1, len(changed[-1]) - 1):
        shorter = [np.delete(changed[-1], position)]
        if query is None:
            batch = batch_of(shorter, dtype=dtype)
        elif segment == "query":
            batch = batch_of(rows[-1:], shorter, dtype=dtype)
        else:
            batch = batch_of(shorter, query[-1:], dtype=dtype)
        rest = probability(stages, params, batch)
        fallen = whole[0] - rest[0]
        distances.append(fallen[whole[0].argmax()] if signed else np.abs(fallen).sum() / 2)
    return distances


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("encoder", "attention", "pair"),
    [  # the encoders leave words out in ways of their own; one attention reads what they give
        ("bilstm", "additive", True),
        ("bilstm", "dot", False),
        ("cnn", "additive", False),
        ("cnn", "dot", True),
        ("average", "additive", True),
        ("average", "dot", False),
    ],
)
def test_leave_one_out_equals_running_the_shorter_sentence(encoder, attention, pair):
    """With the encoder's own way of leaving words out, and without it, to the last digits."""
    stages, params = small_model(encoder, attention, pair, dtype=jnp.float64)
    rows, query = sentences([3, 5]), sentences([2, 4], seed=1) if pair else None
    batch = batch_of(rows, query, length=9, query_length=7 if pair else None, dtype=np.float64)
    fast = explain("leave_one_out", stages, params, batch)
    generic = explain("leave_one_out", slow(stages), params, batch) if pair else fast
    for segment, found in fast.items():
        expected = deletions(stages, params, rows, query, segment, np.float64)
        assert min(expected) > 1e-6
        np.testing.assert_allclose(found[1, 1 : len(expected) + 1], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(generic[segment], found, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("double_precision")
def test_the_signed_form_is_the_fall_of_the_predicted_class():
    stages, params = small_model("average", "dot", True, dtype=jnp.float64)
    rows, query = sentences([3, 5]), sentences([2, 4], seed=1)
    batch = batch_of(rows, query, length=9, query_length=7, dtype=np.float64)
    signs = set()
    variation = explain("leave_one_out", stages, params, batch)
    for segment, found in explain("leave_one_out_signed", stages, params, batch).items():
        expected = deletions(stages, params, rows, query, segment, np.float64, signed=True)
        signs |= set(np.sign(expected))
        np.testing.assert_allclose(found[1, 1 : len(expected) + 1], expected, rtol=0, atol=1e-12)
        assert (np.abs(found) <= variation[segment] + 1e-12).all()
    assert signs == {-1, 1}


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("encoder", ["bilstm", "cnn", "average"])
@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
def test_factors_of_the_encoder_equal_scaled_vectors(encoder, method):
    stages, params = small_model(encoder, "dot", pair=True, dtype=jnp.float64)
    rows, query = sentences([3, 5]), sentences([2, 4], seed=1)
    batch = batch_of(rows, query, length=9, query_length=7, dtype=np.float64)
    found = explain(method, stages, params, batch)
    generic = explain(method, slow(stages), params, batch)
    for segment, values in found.items():
        assert values.any()
        np.testing.assert_allclose(generic[segment], values, rtol=1e-10, atol=1e-14)


def test_leave_one_out_in_single_precision():
    stages, params = small_model()
    rows = sentences([3, 5])
    found = explain("leave_one_out", stages, params, batch_of(rows))["text"]
    expected = deletions(stages, params, rows, None, "text", np.float32)
    np.testing.assert_allclose(found[1, 1:6], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ["bilstm", "cnn", "average"])
def test_deleting_the_only_word_leaves_sos_and_eos(encoder):
    stages, params = small_model(encoder)
    row = sentences([1])[0]
    found = explain("leave_one_out", stages, params, batch_of([row], length=5))["text"]
    whole = probability(stages, params, batch_of([row]))
    rest = probability(stages, params, batch_of([np.array([SOS, EOS], np.int32)]))
    expected = np.abs(rest - whole).sum() / 2
    np.testing.assert_allclose(found, [[0, expected, 0, 0, 0]], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", [name for name in METHODS if not method_named(name).encoders])
def test_no_words_and_unknown_words_are_defined(method):
    stages, params = small_model("average" if method in DRAWN else "bilstm", pair=True)
    nothing, empty = np.array([], np.int32), np.array([SOS, EOS], np.int32)
    unknown = np.array([SOS, UNK, UNK, EOS], np.int32)
    rows, query = [nothing, empty, unknown, empty], [nothing, empty, empty, unknown]
    known = batch_of(sentences([4] * 9, seed=2), sentences([4] * 9, seed=3))
    fitted = learnt(method, stages, params, known)
    found = explain(method, stages, params, batch_of(rows, query), fitted)
    for segment, filled in (("text", 2), ("query", 3)):
        if segment not in found:
            continue
        assert np.isfinite(found[segment]).all()
        if method not in ("mask", "occlusion"):  # what changes nothing counts nothing
            assert (found[segment][filled, 1:3] != 0).all(), "an unknown word is a word"
        assert not np.delete(found[segment], filled, axis=0).any()


def test_a_single_sequence_has_no_query_to_explain():
    stages, params = small_model()
    batch = batch_of(sentences([3]))
    for name in METHODS:
        if "query" in method_named(name).segments and name not in DRAWN:
            with pytest.raises(ValueError, match="needs pairs"):
                method_named(name)(stages, params, batch, KEY, "query")


@pytest.mark.parametrize(
    "method",
    [  # by stages written by hand, which have no other backward pass, and do not attend
        each
        for each in METHODS
        if not method_named(each).encoders
        # The mean vector that replaces a word is another word, which changes the logit as well;
        # a bottleneck lets something through everywhere, a head of few steps masks everywhere.
        and each not in ("lrp", "gradient_x_attention", "replacement", "bottleneck", "mask_model")
    ],
)
def test_finds_the_only_word_that_matters(method):
    """A model whose logit sums -x * y over word vectors (x, y), all zero but that of word 9."""
    stages, _ = small_model()
    table = jnp.zeros((20, 2)).at[9].set(jnp.array([3.0, -1.0]))

    def encode(params, embedded, batch):
        return Encoded(embedded.text, None)

    def decode(params, encoded, weights, batch):
        logit = -encoded.states.prod(axis=2).sum(axis=1)
        return jnp.stack([jnp.zeros_like(logit), logit], axis=-1)

    def score(params, encoded):
        return jnp.zeros(encoded.states.shape[:2])

    def embed(params, batch):
        return Embedded(params["embed"]["table"][batch.tokens], None)

    toy = stages_by_hand(stages.init, embed, encode, score, decode)
    params = {"embed": {"table": table}}
    batch = batch_of([np.array([SOS, 5, 9, 7, 8, EOS])])
    known = batch_of([np.array([SOS, *row, EOS]) for row in ([5, 9, 9, 9], [5, 9], [9, 9])])
    found = explain(method, toy, params, batch, learnt(method, toy, params, known))["text"]
    assert found[0].argmax() == 2
    assert found[0, 2] > 0.1
    # LIME's samples are few: what a word's neighbours in them do is taken for its own.
    assert (np.abs(np.delete(found[0], 2)) < (0.05 if method == "lime" else 1e-6)).all()


@pytest.mark.parametrize("signed", TWINS)
def test_a_signed_form_has_the_size_of_its_twin(signed):
    """That of leaving out, for two classes: half the sum of both probabilities' changes."""
    stages, params = small_model("average", "dot", pair=True, classes=2)
    batch = batch_of(sentences([5, 2]), sentences([3, 1], seed=1))
    found = explain(signed, stages, params, batch)
    twin = explain(TWINS[signed], stages, params, batch)
    for segment, values in found.items():
        assert (values < 0).any() or segment == "query"
        np.testing.assert_allclose(np.abs(values), twin[segment], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop", "lrp"])
def test_a_filter_that_no_token_of_a_query_switches_on_does_not_see_padding(method):
    """Its maximum is the zero of every token, and of no other place."""
    stages, params = small_model("cnn", "dot", True, hidden_dim=8)
    for bank in params["encode"]["query"].values():
        bank["bias"] = bank["bias"].at[0].set(-1e3)
    rows, query = sentences([4]), sentences([3], seed=1)
    short, long = (
        explain(method, stages, params, batch_of(rows, query, query_length=length))["query"]
        for length in (5, 16)
    )
    assert np.abs(short).max() > 0
    np.testing.assert_allclose(long[:, :5], short, rtol=1e-5, atol=1e-7)
