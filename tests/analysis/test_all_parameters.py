"""Influence through all parameters against the same equations with every matrix written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model
from jax.flatten_util import ravel_pytree

from attnjax.analysis import all_parameters as every
from attnjax.analysis.conjugate import solve
from attnjax.analysis.influence import removed
from attnjax.analysis.removals import retrained
from attnjax.losses import cross_entropy
from attnjax.model.attention import forward
from attnjax.types import Perturbation

DAMPING = 0.03


def texts(count, seed, pair=False, classes=2):
    sizes = np.random.default_rng(seed).integers(2, 7, count)
    query = sentences(sizes[::-1] // 2 + 1, seed + 50) if pair else None
    labels = np.random.default_rng(seed + 1).integers(0, classes, count)
    return batch_of(sentences(sizes, seed), query, labels, dtype=np.float64)


def literal(stages, params, training, test, target):
    """(effects [rows, tests], gradients of the tests' quantities, the damped matrix)."""
    flat, unravel = ravel_pytree(params)
    attended = forward(stages, params, test).weights.argmax(axis=-1)

    def logits(flat):
        return forward(stages, unravel(flat), training).logits

    def asked(flat):
        trace = forward(stages, unravel(flat), test)
        if target == "loss":
            return cross_entropy(trace.logits, test.labels)
        return -jnp.log(jnp.take_along_axis(trace.weights, attended[:, None], axis=1)[:, 0])

    count = len(training.labels)
    slopes = jax.jit(jax.jacrev(logits))(flat)
    share = np.asarray(jax.nn.softmax(logits(flat)))
    whole = DAMPING * np.eye(len(flat))
    for slope, p in zip(np.asarray(slopes), share, strict=True):
        whole += slope.T @ (np.diag(p) - np.outer(p, p)) @ slope / count
    errors = share - np.eye(share.shape[1])[np.asarray(training.labels)]
    own = np.einsum("nc,ncp->np", errors, slopes)
    asking = np.asarray(jax.jit(jax.jacrev(asked))(flat))
    return own @ np.linalg.solve(whole, asking.T) / count, asking, whole


def found(stages, params, training, test, target, tolerance=1e-10):
    """(effects, solution) by the package."""
    count = len(training.labels)
    parts = [jax.tree.map(lambda leaf: leaf[:3], training), _from(training, 3)]
    work = every.work_on(stages, parts, count, lambda: None)
    places = every.make_places(stages)(params, test)
    slopes = every.make_slopes(stages, target)(params, test, places)
    multiply = every.multiplier(work, params, DAMPING)
    solution = solve(multiply, every.flat(slopes), tolerance, 400)
    vectors = jax.vmap(ravel_pytree(params)[1])(solution.vectors)
    return every.effects_of(work, [every.Side(params, vectors, 1 / count)]), solution, vectors


def _from(batch, row):
    """The rows from this one on, and one of filler."""
    part = jax.tree.map(lambda leaf: jnp.concatenate([leaf[row:], leaf[:1]]), batch)
    return part._replace(weight=part.weight.at[-1].set(0), rows=part.rows.at[-1].set(-1))


@pytest.mark.parametrize(
    ("encoder", "target", "pair"),
    [
        ("average", "loss", False),
        ("average", "loss", True),
        ("bilstm", "loss", False),
        ("bilstm", "attention", False),
        ("cnn", "attention", True),
    ],
)
def test_effects_equal_those_of_the_exact_inverse(encoder, target, pair, double_precision):
    classes = 3 if pair else 2
    stages, params = small_model(encoder, pair=pair, classes=classes, dtype=jnp.float64)
    training, test = texts(7, 0, pair, classes), texts(2, 9, pair, classes)
    expected, asking, whole = literal(stages, params, training, test, target)
    effects, solution, _ = found(stages, params, training, test, target)
    np.testing.assert_allclose(effects, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(solution.vectors, np.linalg.solve(whole, asking.T).T, atol=1e-6)
    assert solution.positive
    assert solution.residuals.max() < 1e-9
    assert np.abs(expected).max() > 1e-3, "of nothing anything is right"


def test_the_gradient_norm_is_that_of_the_mean_loss(double_precision):
    stages, params = small_model("average", classes=2, dtype=jnp.float64)
    training = texts(7, 0)
    work = every.work_on(stages, [_from(training, 0)], 7, lambda: None)

    def loss(params):
        return cross_entropy(forward(stages, params, training).logits, training.labels).mean()

    slope, _ = ravel_pytree(jax.grad(loss)(params))
    assert every.mean_gradient(work, params) == pytest.approx(np.linalg.norm(slope), rel=1e-10)


@pytest.mark.parametrize("pair", [False, True])
def test_a_words_number_is_the_slope_of_the_effect_by_its_length(pair, double_precision):
    stages, params = small_model("average", pair=pair, classes=3, dtype=jnp.float64)
    batch = texts(3, 4, pair, 3)
    random = np.random.default_rng(0)
    vector = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), params)
    words = jax.jit(every.make_by_word(stages))(params, batch, vector)
    embedded = stages.embed(params, batch)

    @jax.jit
    def effects(added):
        def losses(params):
            trace = forward(stages, params, batch, Perturbation(embed=added))
            return cross_entropy(trace.logits, batch.labels)

        slopes = jax.jacrev(losses)(params)
        parts = jax.tree.map(lambda a, b: jnp.tensordot(a, b, b.ndim), slopes, vector)
        return sum(jax.tree.leaves(parts))

    zeros = jax.tree.map(jnp.zeros_like, embedded)
    for name in ("text", "query") if pair else ("text",):
        vectors = getattr(embedded, name)
        for row, place in ((0, 1), (1, 2), (2, 1)):
            step = 1e-4 * vectors[row, place]
            ends = [
                effects(zeros._replace(**{name: jnp.zeros_like(vectors).at[row, place].set(each)}))
                for each in (step, -step)
            ]
            slope = float(ends[0][row] - ends[1][row]) / 2e-4
            assert float(words[name][row, place]) == pytest.approx(slope, rel=1e-5, abs=1e-9)
        norm, value = np.asarray(words[f"{name}_norm"]), np.abs(np.asarray(words[name]))
        length = np.linalg.norm(vectors, axis=-1)
        assert (value <= norm * length + 1e-12).all()
        assert not norm[:, 0].any(), "<sos> is no word"
        assert (norm[:, 1] > 0).all()


def test_effects_foretell_retraining_of_the_whole_model_that_the_damping_holds(double_precision):
    """With much damping the model stays where it is, and the first order is all there is."""
    stages, params = small_model("average", classes=2, dtype=jnp.float64)
    training, test = texts(12, 0), texts(3, 9)
    work = every.work_on(stages, [training], 12, lambda: None)
    places = every.make_places(stages)(params, test)
    told = {}
    for target in ("loss", "attention"):
        slopes = every.make_slopes(stages, target)(params, test, places)
        multiply = every.multiplier(work, params, 20.0)
        vectors = solve(multiply, every.flat(slopes), 1e-10, 400).vectors
        unravelled = jax.vmap(ravel_pytree(params)[1])(vectors)
        effects = every.effects_of(work, [every.Side(params, unravelled, 1 / 12)])
        rows = removed(effects, 4, np.random.default_rng(0))
        quantity = every.make_quantity(stages, target)
        real, unfinished = retrained(
            stages,
            params,
            lambda params, batch, quantity=quantity: quantity(params, batch, places),
            [jax.device_get(training)],
            jax.device_get(test),
            20.0,
            rows,
        )
        assert unfinished == 0
        assert np.corrcoef(real.ravel(), effects[rows].ravel())[0, 1] > 0.99
        slope = (real * effects[rows]).sum() / (effects[rows] ** 2).sum()
        assert abs(slope - 1) < 0.15
        told[target] = effects
    assert not np.allclose(told["loss"], told["attention"])
