"""Influence on a convex model is leave-one-out retraining."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attnjax.analysis.influence import (
    Problem,
    check,
    corrected,
    effects,
    fit,
    gradients,
    head,
    hessian,
    inverse,
    planted,
    self_influence,
    solutions,
)
from attnjax.errors import UserError

DAMPING = 0.01


def made(classes, shared, rows=150, width=6, seed=0, some=False):
    """Noisy labels of a linear model, features with a last column of 1."""
    random = np.random.default_rng(seed)
    inputs = np.c_[random.normal(size=(rows, width)), np.ones(rows)]
    scores = inputs @ random.normal(size=(width + 1, classes)) + random.gumbel(size=(rows, classes))
    allowed = None
    if some:
        allowed = np.ones((rows, classes), bool)
        allowed[np.arange(0, rows, 2), scores[::2].argmin(axis=1)] = False
        scores = np.where(allowed, scores, -np.inf)
    return Problem(inputs, scores.argmax(axis=1).astype(np.int32), classes, shared, allowed)


def part(problem, rows):
    allowed = None if problem.allowed is None else problem.allowed[rows]
    return problem._replace(
        inputs=problem.inputs[rows], labels=problem.labels[rows], allowed=allowed
    )


def predicted(problem, test, weights, exact=False):
    found = head(problem, weights)
    inverted = inverse(hessian(problem, found, DAMPING), DAMPING)
    solved = solutions(test, head(test, weights), inverted)
    left = corrected(problem, found, inverted) if exact else found
    return effects(problem, left, solved)


CASES = [(2, True, False), (2, False, False), (4, False, False), (4, False, True)]


@pytest.mark.parametrize(("classes", "shared", "some"), CASES)
def test_derivatives_are_those_of_the_loss(classes, shared, some, double_precision):
    problem = made(classes, shared, rows=9, some=some)
    weights = np.random.default_rng(1).normal(size=(problem.columns, 7))

    def losses(flat):
        logits = problem.inputs @ flat.reshape(weights.shape).T
        if shared:
            logits = jnp.concatenate([jnp.zeros_like(logits), logits], axis=1)
        if some:
            logits = jnp.where(problem.allowed, logits, -1e9)
        return -jax.nn.log_softmax(logits)[jnp.arange(9), problem.labels]

    flat, found = jnp.asarray(weights.ravel()), head(problem, weights)
    np.testing.assert_allclose(found.losses, losses(flat), rtol=1e-10)
    np.testing.assert_allclose(gradients(problem, found), jax.jacrev(losses)(flat), atol=1e-10)
    second = jax.hessian(lambda flat: losses(flat).mean())(flat) + 0.3 * np.eye(len(flat))
    np.testing.assert_allclose(hessian(problem, found, 0.3), second, atol=1e-10)


def trained(problem):
    """The optimum without damping: each fit is held where the last one ended."""
    weights = np.zeros((problem.columns, problem.inputs.shape[1]))
    for _ in range(100):
        weights = fit(problem, weights, DAMPING, centre=weights)
    return weights


def test_damping_holds_where_it_is_told():
    """Weights of which none is 0, and nothing to learn: the fit stays there."""
    problem = made(3, False, rows=30)
    here = np.random.default_rng(2).normal(size=(3, 7))
    found = head(problem, at := fit(problem, here, 5.0, centre=here))
    slope = found.errors.T @ problem.inputs / 30 + 5.0 * (at - here)
    assert np.abs(slope).max() < 1e-9
    nothing = fit(problem, np.zeros((3, 7)), 5.0, np.zeros(30), centre=here)
    np.testing.assert_allclose(nothing, here, rtol=1e-9)


@pytest.mark.parametrize(("classes", "shared", "some"), CASES)
def test_effects_equal_leaving_out_and_retraining(classes, shared, some):
    """Pearson at least 0.99; with leverage the slope is 1 within 5 %."""
    whole = made(classes, shared, rows=220, some=some)
    problem, test = part(whole, np.arange(180)), part(whole, np.arange(180, 220))
    weights = trained(problem)
    found = head(problem, weights)
    assert np.abs(found.errors.T @ problem.inputs / 180).max() < 1e-6
    random = np.random.default_rng(0)
    plain = predicted(problem, test, weights)
    told = check(problem, test, weights, plain, DAMPING, 24, random)
    assert told.removals == 24
    assert told.pearson > 0.99
    assert 1 < told.slope < 1.3, "the first order is too small"
    exact = predicted(problem, test, weights, exact=True)
    told = check(problem, test, weights, exact, DAMPING, 24, np.random.default_rng(0))
    assert told.pearson > 0.99
    assert abs(told.slope - 1) < 0.05
    # A text's effect on itself is its self-influence.
    inverted = inverse(hessian(problem, found, DAMPING), DAMPING)
    own = np.diag(predicted(problem, problem, weights))
    np.testing.assert_allclose(self_influence(problem, found, inverted), own, rtol=1e-8)
    assert (own > 0).all()


def test_planted_labels_are_found():
    random = np.random.default_rng(0)
    inputs = np.c_[random.normal(size=(400, 5)), np.ones(400)]
    labels = (inputs[:, 0] * 3 + inputs[:, 1] > 0).astype(np.int32)
    problem = Problem(inputs, labels, 2, True)
    weights = fit(problem, np.zeros((1, 6)), DAMPING)
    found = planted(problem, weights, DAMPING, 0.05, random)
    assert found.labels == 20
    assert found.self_influence > 0.9
    assert found.loss > 0.9
    assert planted(problem, weights, DAMPING, 1e-4, random) is None


def test_a_hessian_that_is_not_positive_tells_the_damping_that_works():
    problem = made(3, False, rows=20)
    found = head(problem, np.zeros((3, 7)))  # three logits, of which a constant is free
    with pytest.raises(UserError, match=r"influence_damping=0; the smallest that works") as caught:
        inverse(hessian(problem, found, 0.0), 0.0)
    least = float(str(caught.value).split()[-1])
    assert 0 < least < 1e-8
    whole = hessian(problem, found, least)
    np.testing.assert_allclose(inverse(whole, least) @ whole, np.eye(21), atol=0.02)


def test_without_damping_classes_that_can_be_told_apart_have_no_optimum():
    random = np.random.default_rng(0)
    inputs = np.c_[random.normal(size=(40, 5)), np.ones(40)]
    problem = Problem(inputs, (inputs[:, 0] > 0).astype(np.int32), 2, True)
    with pytest.raises(UserError, match=r"not positive with analysis\.influence_damping=0; "):
        fit(problem, np.zeros((1, 6)), 0.0)


def test_too_large_a_layer_is_refused():
    wide = Problem(np.ones((2, 3000)), np.array([0, 1], np.int32), 3, False)
    with pytest.raises(UserError, match="9,000 parameters"):
        hessian(wide, head(wide, np.zeros((3, 3000))), 0.1)
