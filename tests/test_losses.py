"""Every technique's total gradient against a naive literal version, and the terms of the loss.

The naive version encodes again for every pass, takes `jax.grad` to an explicit perturbation of one
example at a time, builds the T x T differences, and shares nothing.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.config import from_config_dict
from attnjax.losses import (
    Context,
    Counts,
    count_examples,
    cross_entropy,
    divergence,
    make_gradients,
)
from attnjax.model.attention import attention_weights, forward
from attnjax.perturb.differences import nearest_words
from attnjax.perturb.norms import gaussian
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.training.setup import balanced_class_weights
from attnjax.types import EOS, SOS, Embedded, HParams, Perturbation

KEY = jax.random.key(7)


def configure(technique="none", relevance=0.0, task="classification", **adversary):
    return from_config_dict(
        {
            "task": task,
            "data": {"source": "files", "path": "x"},
            "adversary": {"technique": technique, **adversary},
            "relevance": {"weight": relevance},
        }
    )


def context_of(batch, epsilon=0.7, weight=0.6, relevance=0.3, neighbours=None):
    dtype = batch.weight.dtype
    hparams = HParams(*(jnp.asarray(x, dtype) for x in (0.1, epsilon, weight, relevance)))
    return Context(batch, hparams, KEY, count_examples(batch), neighbours)


# The literal version, one example at a time.


def unit(tree):
    length = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
    return jax.tree.map(lambda leaf: leaf / length, tree)


def only_words(tree, batch, level):
    words = batch.words
    if level == "attention":
        return jnp.where(words, tree, 0)
    text = jnp.where(words[..., None], tree.text, 0)
    if tree.query is None:
        return Embedded(text, None)
    return Embedded(text, jnp.where(batch.query_words[..., None], tree.query, 0))


def literal_loss(stages, params, batch, config, epsilon, neighbours):
    """(clean loss, perturbed loss) of a batch of one example, as a function of the parameters."""
    technique = TECHNIQUES[config.adversary.technique]
    held = jax.lax.stop_gradient(params)

    def perturbation(delta):
        if technique.level == "attention":
            return Perturbation(score=delta)
        return Perturbation(embed=delta)

    def measure(params, delta):
        logits = forward(stages, params, batch, perturbation(delta)).logits
        if not technique.virtual:
            return -jax.nn.log_softmax(logits)[0, batch.labels[0]]
        clean = jax.nn.softmax(forward(stages, held, batch).logits[0])
        return jnp.sum(clean * (jnp.log(clean) - jax.nn.log_softmax(logits[0])))

    trace = forward(stages, held, batch)
    if technique.level == "attention":
        zeros = jnp.zeros_like(trace.scores)
    else:
        zeros = jax.tree.map(jnp.zeros_like, trace.embedded)

    def directions():
        """The T x T (or T x K) difference vectors, and how weights alpha become a perturbation."""
        if technique.level == "attention":
            scores, words = trace.scores[0], batch.words[0]
            pairs = words[:, None] & words[None, :]
            matrix = jnp.where(pairs, scores[:, None] - scores[None, :], 0)
            if config.adversary.difference_axis == "sentence":
                matrix = matrix / jnp.sqrt(jnp.sum(matrix**2))
            else:
                size = jnp.sqrt(jnp.sum(matrix**2, axis=1, keepdims=True))
                matrix = jnp.where(size > 0, matrix / jnp.where(size > 0, size, 1), 0)
            return matrix, lambda alpha: jnp.sum(alpha * matrix, axis=1)[None, :]
        table = held["embed"]["table"]

        def towards(vectors, ids):
            differences = table[neighbours[ids]] - vectors[:, :, None, :]
            size = jnp.linalg.norm(differences, axis=-1, keepdims=True)
            return jnp.where(size > 0, differences / jnp.where(size > 0, size, 1), 0)

        found = [towards(trace.embedded.text, batch.tokens)]
        if batch.query is not None:
            found.append(towards(trace.embedded.query, batch.query))
        return found, lambda alpha: Embedded(
            *(jnp.einsum("blk,blke->ble", a, d) for a, d in zip(alpha, found, strict=True)),
            *([None] * (2 - len(found))),
        )

    def normalised(alpha):
        if config.adversary.alpha_axis == "sentence":
            return unit(alpha)

        def each(leaf):
            size = jnp.sqrt(jnp.sum(leaf**2, axis=-1, keepdims=True))
            return jnp.where(size > 0, leaf / jnp.where(size > 0, size, 1), 0)

        return jax.tree.map(each, alpha)

    def scaled(tree, size):
        return jax.tree.map(
            lambda leaf: size * leaf, unit(only_words(tree, batch, technique.level))
        )

    def step_from(point):
        """Steepest ascent of `measure` at a point, of norm epsilon."""
        if not technique.interpretable:
            return scaled(jax.grad(lambda d: measure(held, d))(point), epsilon)
        matrix, apply = directions()
        zero = jax.tree.map(
            lambda d: jnp.zeros(
                d.shape if technique.level == "attention" else d.shape[:3], d.dtype
            ),
            matrix,
        )

        def at(alpha):
            moved = only_words(apply(alpha), batch, technique.level)
            return measure(held, jax.tree.map(jnp.add, point, moved))

        return scaled(apply(normalised(jax.grad(at)(zero))), epsilon)

    noise = only_words(gaussian(zeros, batch.rows, KEY), batch, technique.level)
    if config.adversary.technique == "attention_rp":
        delta = scaled(noise, epsilon)
    else:
        point = zeros
        if technique.virtual:
            point = noise
            if technique.interpretable:
                matrix, apply = directions()
                ones = jax.tree.map(
                    lambda d: jnp.ones(
                        d.shape if technique.level == "attention" else d.shape[:3], d.dtype
                    ),
                    matrix,
                )
                point = apply(ones)
            for _ in range(config.adversary.power_steps - 1):
                point = step_from(scaled(point, config.adversary.xi))
            point = scaled(point, config.adversary.xi)
        delta = step_from(point)
        for _ in range(config.adversary.steps - 1):
            moved = jax.tree.map(jnp.add, delta, step_from(delta))
            size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(moved)))
            delta = jax.tree.map(lambda d: d * jnp.minimum(1, epsilon / size), moved)  # noqa: B023
    delta = jax.lax.stop_gradient(delta)
    clean = -jax.nn.log_softmax(forward(stages, params, batch).logits)[0, batch.labels[0]]
    return clean, measure(params, delta)


def literal_relevance(stages, params, batch, second_order):
    trace = forward(stages, params, batch)

    def output(states):
        encoded = trace.encoded._replace(states=states)
        weights = attention_weights(stages.score(params, encoded), batch.words)
        return jax.nn.softmax(stages.decode(params, encoded, weights, batch)[0]).max()

    states = trace.encoded.states
    scores = jnp.abs(jnp.sum(states * jax.grad(output)(states), axis=-1))[0]
    words = slice(1, int(np.sum(np.asarray(batch.tokens) > EOS)) + 1)
    target = jax.nn.softmax(scores[words])
    if not second_order:
        target = jax.lax.stop_gradient(target)
    return jnp.sum(target * (jnp.log(target) - jnp.log(trace.weights[0, words])))


CASES = [  # word vectors are those of both texts; below each level has the other kind of batch
    pytest.param(name, each.level == "word", {}, id=name)
    for name, each in TECHNIQUES.items()
    if each.level != "inner"  # test_inner_techniques
] + [
    pytest.param("attention_at", False, {"steps": 3}, id="attention_at-steps"),
    pytest.param("word_at", False, {"steps": 2}, id="word_at-steps"),
    pytest.param("attention_iat", True, {"steps": 2}, id="attention_iat-steps"),
    pytest.param("attention_iat", False, {"difference_axis": "word"}, id="iat-word-sentence"),
    pytest.param("attention_iat", False, {"alpha_axis": "word"}, id="iat-sentence-word"),
    pytest.param(
        "attention_iat",
        False,
        {"alpha_axis": "word", "difference_axis": "word"},
        id="iat-word-word",
    ),
    pytest.param("word_iat", False, {"alpha_axis": "word"}, id="word_iat-word"),
    pytest.param("attention_vat", False, {"power_steps": 2, "xi": 0.5}, id="vat-power"),
    pytest.param("attention_ivat", False, {"power_steps": 2}, id="ivat-power"),
    pytest.param("attention_ivat", False, {"difference_axis": "word"}, id="ivat-word-sentence"),
    pytest.param(
        "attention_ivat",
        False,
        {"alpha_axis": "word", "difference_axis": "word"},
        id="ivat-word-word",
    ),
]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("technique", "pair", "adversary"), CASES)
def test_gradient_equals_the_literal_version_in_float64(technique, pair, adversary):
    kernel = technique in ("attention_iat", "word_at") and not adversary  # slow to compile
    encoder = "bilstm" if kernel else "average"
    stages, params = small_model(encoder, pair=pair, dtype=jnp.float64)
    rows, query = sentences([5, 2, 3]), sentences([3, 1, 2], seed=1) if pair else None
    batch = batch_of(rows, query, length=8, dtype=np.float64)
    batch = batch._replace(weight=jnp.array([1.0, 1.0, 0.0]))
    neighbours = nearest_words(params["embed"]["table"], 4, EOS + 1)
    config = configure(technique, task="nli" if pair else "classification", **adversary)
    context = context_of(batch, neighbours=neighbours)
    found, sums = quick_jit(make_gradients(config, stages))(params, context)

    def literal(params):
        total = jnp.zeros(())
        for row in range(2):
            one = batch_of(
                rows[row : row + 1],
                None if query is None else query[row : row + 1],
                labels=[row % 2],
                dtype=np.float64,
            )._replace(rows=jnp.array([row], jnp.int32))
            clean, perturbed = literal_loss(stages, params, one, config, 0.7, neighbours)
            total = total + (clean + 0.6 * perturbed) / 2
        return total

    loss, expected = quick_jit(jax.value_and_grad(literal))(params)
    np.testing.assert_allclose(sums["loss"] / 2, loss, rtol=1e-9)
    compare(found, expected, 1e-9)


@pytest.mark.parametrize("difference_axis", ["sentence", "word"])
@pytest.mark.parametrize("technique", ["attention_iat", "attention_ivat", "attention_at"])
def test_rows_whose_scores_are_all_equal_are_counted_where_they_train_clean(
    technique, difference_axis
):
    """Rows of equal words, one of a single word, and one that has differences to follow."""
    stages, params = small_model("average")
    # Of most such lengths rounding would leave a gradient, to be stretched to epsilon.
    same = [np.array([SOS, *[9] * count, EOS], np.int32) for count in (3, 5, 11, 23)]
    batch = batch_of([*same, *sentences([1, 4, 4])], length=26)
    batch = batch._replace(weight=jnp.array([1.0] * 6 + [0.0]))
    config = configure(technique, difference_axis=difference_axis)
    _, sums = quick_jit(make_gradients(config, stages))(params, context_of(batch))
    # Of equal words attention AT has no gradient either: moving attention moves nothing.
    assert sums["unperturbed"] == 5
    assert sums["rows"] == 6


def compare(found, expected, tolerance):
    """Each tensor within `tolerance` of its own largest entry."""

    def each(a, b):
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * float(jnp.max(jnp.abs(b))) + 1e-300
        )

    jax.tree.map(each, found, expected)


@pytest.mark.parametrize("technique", ["attention_at", "attention_iat", "word_at", "attention_vat"])
def test_gradient_equals_the_literal_version_in_float32(technique):
    """As training compiles it, with all optimisations."""
    stages, params = small_model(
        "bilstm" if technique in ("attention_iat", "word_at") else "average"
    )
    rows = sentences([5])
    batch = batch_of(rows, labels=[1])
    config = configure(technique)
    found, _ = jax.jit(make_gradients(config, stages))(params, context_of(batch))

    def literal(params):
        clean, perturbed = literal_loss(stages, params, batch, config, 0.7, None)
        return clean + 0.6 * perturbed

    compare(found, quick_jit(jax.grad(literal))(params), 1e-5)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("technique", "second_order"),
    [("none", True), ("attention_at", True), ("word_at", True), ("attention_at", False)],
)
def test_relevance_loss_equals_the_literal_version(technique, second_order):
    encoder = "bilstm" if technique == "none" else "average"
    stages, params = small_model(encoder, dtype=jnp.float64)
    batch = batch_of(sentences([4]), labels=[1], length=8, dtype=np.float64)
    raw = configure(technique, relevance=0.3)
    config = dataclasses.replace(
        raw, relevance=dataclasses.replace(raw.relevance, second_order=second_order)
    )
    found, sums = quick_jit(make_gradients(config, stages))(params, context_of(batch))

    def literal(params):
        loss = 0.3 * literal_relevance(stages, params, batch, second_order)
        if technique == "none":
            logits = forward(stages, params, batch).logits
            return loss - jax.nn.log_softmax(logits)[0, 1]
        clean, perturbed = literal_loss(stages, params, batch, config, 0.7, None)
        return loss + clean + 0.6 * perturbed

    loss, expected = quick_jit(jax.value_and_grad(literal))(params)
    np.testing.assert_allclose(sums["loss"], loss, rtol=1e-9)
    compare(found, expected, 1e-9)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("technique", "sign"), [("attention_at", 1), ("attention_iat", -1)])
def test_amep_compatibility_doubles_the_clean_gradient_and_flips_iat(technique, sign):
    stages, params = small_model("average", classes=2, dtype=jnp.float64)
    batch = batch_of(sentences([4]), labels=[1], dtype=np.float64)
    config = configure(technique, reference_compat="amep")
    found, _ = quick_jit(make_gradients(config, stages))(params, context_of(batch))

    def literal(params):
        held = jax.lax.stop_gradient(params)

        def loss(params, delta):
            logits = forward(stages, params, batch, Perturbation(score=delta)).logits
            return -jax.nn.log_softmax(logits)[0, 1]

        zeros = jnp.zeros(batch.tokens.shape)
        delta = sign * 0.7 * unit(jax.grad(lambda d: loss(held, d))(zeros))
        return 2 * loss(params, zeros) + 0.6 * loss(params, jax.lax.stop_gradient(delta))

    compare(found, quick_jit(jax.grad(literal))(params), 1e-9)


# The plain parts.


def test_cross_entropy_equals_its_definition():
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 300.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    expected = [np.log(np.exp([1, -2, 0.5]).sum()) + 2.0, 300.0, 0.0]
    found = cross_entropy(jnp.asarray(logits), jnp.array([1, 0, -1]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_divergence_equals_its_definition():
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.3, 0.1])
    found = divergence(jnp.log(jnp.array([p], jnp.float32)), jnp.log(jnp.array([q], jnp.float32)))
    np.testing.assert_allclose(found, [np.sum(p * np.log(p / q))], rtol=1e-5)


def test_balanced_class_weights():
    np.testing.assert_allclose(balanced_class_weights([0, 0, 0, 1], 2), [2 / 3, 2.0], rtol=1e-6)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 3.0]])
def test_gradient_is_that_of_the_mean_loss_over_real_examples(weights):
    stages, params = small_model("average")
    weights = None if weights is None else jnp.asarray(weights, jnp.float32)
    rows = sentences([5, 2, 3, 4])
    batch = batch_of(rows)._replace(weight=jnp.array([1.0, 1.0, 1.0, 0.0]))
    found, sums = quick_jit(make_gradients(configure(), stages, weights))(params, context_of(batch))

    def literal(params):
        losses = []
        for row in range(3):
            logits = forward(stages, params, batch_of(rows[row : row + 1])).logits[0]
            scale = 1.0 if weights is None else weights[row % 2]
            losses.append(-scale * jax.nn.log_softmax(logits)[row % 2])
        return sum(losses) / 3

    loss, expected = quick_jit(jax.value_and_grad(literal))(params)
    np.testing.assert_allclose(sums["loss"] / 3, loss, rtol=1e-6)
    assert float(sums["examples"]) == 3
    compare(found, expected, 1e-5)


@pytest.mark.parametrize("technique", ["word_vat", "attention_vat", "attention_ivat"])
def test_unlabelled_rows_enter_the_virtual_term_alone(technique):
    stages, params = small_model("average")
    rows = sentences([5, 2, 3])
    batch = batch_of(rows, labels=[0, 1, -1])
    config = configure(technique)
    _, sums = quick_jit(make_gradients(config, stages))(params, context_of(batch))

    def literal(params, row):
        one = batch_of(rows[row : row + 1], labels=[row % 2], length=7)
        one = one._replace(rows=jnp.array([row], jnp.int32))
        return literal_loss(stages, params, one, config, 0.7, None)

    every = [quick_jit(partial(literal, row=row))(params) for row in range(3)]
    clean, perturbed = zip(*every, strict=True)
    expected = (clean[0] + clean[1]) / 2 + 0.6 * sum(perturbed) / 3
    np.testing.assert_allclose(sums["loss"] / 2, expected, rtol=1e-4)
    assert count_examples(batch) == Counts(2, 3)
    assert float(sums["examples"]) == 2
