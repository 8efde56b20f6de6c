"""Properties of every perturbation: norm, mask, invariance, ascent, degenerate inputs."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.losses import cross_entropy
from attnjax.model.attention import attention_weights, forward
from attnjax.perturb.ascent import Problem, Settings, random_perturbation, virtual, worst_case
from attnjax.perturb.differences import (
    along_directions,
    centred_scores,
    nearest_words,
    score_direction,
    word_directions,
)
from attnjax.perturb.norms import dropout, gaussian, norms, project, rescale
from attnjax.types import Perturbation

KEY = jax.random.key(2)
FUNCTIONS = {"random": random_perturbation, "worst": worst_case, "virtual": virtual}


def problem_of(stages, params, batch, interpretable=False):
    """Perturbing attention scores of a small model."""
    trace = forward(stages, params, batch)

    def losses(delta):
        moved = forward(stages, params, batch, Perturbation(score=delta))
        return cross_entropy(moved.logits, batch.labels)

    problem = Problem(losses, jnp.zeros_like(trace.scores), batch.words, batch.rows)
    if not interpretable:
        return problem
    return problem._replace(
        direction=lambda g: score_direction(g, trace.scores, batch.words),
        start=centred_scores(trace.scores, batch.words),
    )


@cache
def compiled(name, stages, settings, interpretable):
    """One function whatever the size: it is compiled once for each shape."""

    def run(params, batch, epsilon):
        problem = problem_of(stages, params, batch, interpretable)
        delta = FUNCTIONS[name](problem, settings._replace(epsilon=epsilon), KEY)
        return delta, problem.losses(delta)

    return quick_jit(run)


def perturb(name, stages, params, batch, settings, interpretable=False):
    """The perturbation, and each example's loss under it."""
    run = compiled(name, stages, settings._replace(epsilon=None), interpretable)
    return run(params, batch, settings.epsilon)


@pytest.mark.parametrize("interpretable", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_norm_mask_and_invariance(name, interpretable):
    stages, params = small_model()
    rows = sentences([5, 2, 4])
    batch = batch_of(rows, length=9)
    settings = Settings(jnp.float32(2.5), steps=2)
    delta, _ = perturb(name, stages, params, batch, settings, interpretable)
    np.testing.assert_allclose(norms(delta), 2.5, rtol=1e-5)
    assert not np.asarray(delta)[~np.asarray(batch.words)].any()
    for row in range(3):
        one = batch_of(rows[row : row + 1], labels=[row % 2], length=11)
        one = one._replace(rows=jnp.array([row], jnp.int32))
        alone, _ = perturb(name, stages, params, one, settings, interpretable)
        length = len(rows[row])
        np.testing.assert_allclose(alone[0, :length], delta[row, :length], rtol=2e-3, atol=2e-4)
        assert not alone[0, length:].any()


def test_random_noise_differs_by_row_and_key_and_not_by_padding():
    wide = gaussian(jnp.zeros((2, 6, 3)), jnp.array([4, 5]), KEY)
    narrow = gaussian(jnp.zeros((1, 2, 3)), jnp.array([5]), KEY)
    np.testing.assert_array_equal(narrow[0], wide[1, :2])
    assert (np.asarray(wide[0]) != np.asarray(wide[1])).all()
    other = gaussian(jnp.zeros((1, 2, 3)), jnp.array([5]), jax.random.key(3))
    assert (np.asarray(other) != np.asarray(narrow)).all()


@pytest.mark.usefixtures("double_precision")
def test_loss_rises_by_epsilon_times_the_gradient_norm():
    stages, params = small_model(dtype=jnp.float64)
    batch = batch_of(sentences([5, 2, 4]), dtype=np.float64)
    problem = problem_of(stages, params, batch)
    gradient = quick_jit(jax.grad(lambda d: problem.losses(d).sum()))(problem.zeros)
    epsilon = 1e-6
    _, losses = perturb("worst", stages, params, batch, Settings(jnp.asarray(epsilon)))
    rise = (losses - problem.losses(problem.zeros)) / epsilon
    np.testing.assert_allclose(rise, norms(jnp.where(batch.words, gradient, 0)), rtol=1e-4)


def test_worst_case_raises_the_loss_at_least_as_much_as_noise():
    stages, params = small_model("average", classes=2)
    batch = batch_of(sentences(np.random.default_rng(0).integers(2, 12, 300)))
    settings = Settings(jnp.float32(0.5))
    _, worst = perturb("worst", stages, params, batch, settings)
    _, noise = perturb("random", stages, params, batch, settings)
    assert float(jnp.mean((worst >= noise).astype(jnp.float32))) >= 0.95
    _, more = perturb("worst", stages, params, batch, settings._replace(steps=5))
    assert float(more.mean()) >= float(worst.mean())


@pytest.mark.parametrize("interpretable", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("case", ["no gradient", "one word", "equal scores", "no word"])
def test_degenerate_sentences_give_numbers(name, interpretable, case):
    stages, params = small_model("average")
    if case in ("no gradient", "equal scores"):
        params = {**params, "score": jax.tree.map(jnp.zeros_like, params["score"])}
    if case == "no gradient":
        params = {**params, "decode": jax.tree.map(jnp.zeros_like, params["decode"])}
    lengths = {"one word": 1, "no word": 0}.get(case, 4)
    batch = batch_of(sentences([lengths]), length=8)
    settings = Settings(jnp.float32(2.0), steps=2, power_steps=2)
    delta, losses = perturb(name, stages, params, batch, settings, interpretable)
    assert np.isfinite(delta).all()
    assert np.isfinite(losses).all()
    assert float(norms(delta)[0]) in (pytest.approx(0.0), pytest.approx(2.0, rel=1e-5))


# Differences.


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("difference_axis", "alpha_axis"), list(itertools.product(["sentence", "word"], repeat=2))
)
def test_score_direction_equals_the_matrix_of_differences(difference_axis, alpha_axis):
    random = np.random.default_rng(0)
    scores = jnp.asarray(random.normal(size=(1, 7)) * 3 + 50)
    scores = scores.at[0, 3].set(scores[0, 2])
    gradient = jnp.asarray(random.normal(size=(1, 7)))
    words = jnp.array([[False, True, True, True, True, True, False]])
    kept = np.flatnonzero(words[0])
    matrix = np.asarray(scores)[0, kept][:, None] - np.asarray(scores)[0, kept][None, :]
    if difference_axis == "sentence":
        matrix = matrix / np.linalg.norm(matrix)
    else:
        matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)

    def loss(alpha):
        return jnp.sum(gradient[0, kept] * jnp.sum(alpha * matrix, axis=1))

    alpha = jax.grad(loss)(jnp.zeros(matrix.shape))
    if alpha_axis == "word":
        alpha = alpha / jnp.linalg.norm(alpha, axis=1, keepdims=True)
    expected = jnp.sum(alpha * matrix, axis=1)
    found = score_direction(gradient, scores, words, difference_axis, alpha_axis)
    masked = jnp.where(words, found, 0)[0, kept]
    np.testing.assert_allclose(
        masked / jnp.linalg.norm(masked), expected / jnp.linalg.norm(expected), rtol=1e-9
    )


@pytest.mark.usefixtures("double_precision")
def test_attention_iat_with_unit_differences_is_attention_at():
    stages, params = small_model(dtype=jnp.float64)
    batch = batch_of(sentences([5, 3, 4]), dtype=np.float64)
    plain = problem_of(stages, params, batch)
    scores = forward(stages, params, batch).scores
    unit = plain._replace(direction=lambda g: score_direction(g, scores, batch.words, "word"))
    settings = Settings(jnp.asarray(1.5))
    at = worst_case(plain, settings, KEY)
    np.testing.assert_allclose(worst_case(unit, settings, KEY), at, rtol=1e-12, atol=1e-14)
    emphasis = problem_of(stages, params, batch, interpretable=True)
    assert float(jnp.max(jnp.abs(worst_case(emphasis, settings, KEY) - at))) > 0.01


def test_score_direction_worked_example():
    scores, ones = jnp.array([[0.0, 1.0, 5.0]]), jnp.ones((1, 3))
    found = score_direction(ones, scores, jnp.ones((1, 3), bool))
    np.testing.assert_allclose(found, [[26.0, 17.0, 41.0]], rtol=1e-6)


def test_two_tokens_by_hand():
    """Two words, states 2 and -1, logit z = sum a_t h_t, label 1, scores 1 and 0."""
    states, scores, words = jnp.array([2.0, -1.0]), jnp.array([[1.0, 0.0]]), jnp.ones((1, 2), bool)

    def losses(delta):
        weights = attention_weights(scores + delta, words)
        return jnp.logaddexp(0.0, -(weights @ states))

    a = 1 / (1 + np.exp(-1.0))
    z = 2 * a - (1 - a)
    # dL/dz = -sigmoid(-z); dz/ds_1 = a (1 - a) (2 - -1) = -dz/ds_2
    slope = -1 / (1 + np.exp(z)) * a * (1 - a) * 3
    problem = Problem(losses, jnp.zeros((1, 2)), words, jnp.zeros(1, jnp.int32))
    found = jax.grad(lambda d: losses(d).sum())(problem.zeros)
    np.testing.assert_allclose(found, [[slope, -slope]], rtol=1e-5)
    settings = Settings(jnp.float32(1.0))
    expected = [[-np.sqrt(0.5), np.sqrt(0.5)]]
    np.testing.assert_allclose(worst_case(problem, settings, KEY), expected, rtol=1e-5)
    # both words differ from the other by the same amount: iAT weighs them alike
    direction = lambda g: score_direction(g, scores, words)  # noqa: E731
    iat = worst_case(problem._replace(direction=direction), settings, KEY)
    np.testing.assert_allclose(iat, expected, rtol=1e-5)
    # one shift of both scores changes nothing, so VAT must find the direction of their difference
    clean = attention_weights(scores, words) @ states

    def kl(delta):
        p, q = (
            jax.nn.sigmoid(clean),
            jax.nn.sigmoid(attention_weights(scores + delta, words) @ states),
        )
        return p * jnp.log(p / q) + (1 - p) * jnp.log((1 - p) / (1 - q))

    vat = virtual(problem._replace(losses=kl), settings, KEY)
    np.testing.assert_allclose(np.abs(vat), np.abs(expected), rtol=1e-3)
    assert float(vat[0, 0]) == pytest.approx(-float(vat[0, 1]), rel=1e-3)


def test_dropout_keeps_the_mean_and_depends_on_row_and_key_alone():
    like = jnp.zeros((200, 10, 5))
    factor = np.asarray(dropout(like, jnp.arange(200), KEY, 0.3))
    assert set(np.unique(factor)) == {0.0, np.float32(1 / 0.7)}
    assert np.mean(factor == 0) == pytest.approx(0.3, abs=0.02)
    alone = dropout(jnp.zeros((1, 4, 5)), jnp.array([7]), KEY, 0.3)
    np.testing.assert_array_equal(alone[0], factor[7, :4])


def test_nearest_words_by_cosine():
    random = np.random.default_rng(0)
    table = random.normal(size=(40, 5)).astype(np.float32)
    found = np.asarray(nearest_words(jnp.asarray(table), 3, 4, budget=300))
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    similarity = unit @ unit.T
    similarity[:, :4] = -np.inf
    np.fill_diagonal(similarity, -np.inf)
    np.testing.assert_array_equal(found, np.argsort(-similarity, axis=1)[:, :3])


def test_word_directions_are_unit_vectors_towards_neighbours():
    table = jnp.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 4.0]])
    neighbours = jnp.array([[1, 2], [2, 3], [1, 3], [1, 2]], jnp.int32)
    found = word_directions(table, table[None, 1:2], jnp.array([[1]]), neighbours)
    np.testing.assert_allclose(found[0, 0], [[0.0, 0.0], [-1.0, 0.0]], atol=1e-7)
    step = along_directions(jnp.array([[[2.0, 7.0]]]), found)
    np.testing.assert_allclose(step, [[[2.0, 0.0]]], atol=1e-6)


def test_norms_of_trees():
    tree = (jnp.array([[3.0, 0.0], [0.0, 0.0]]), jnp.array([[[4.0]], [[0.0]]]))
    np.testing.assert_allclose(norms(tree), [5.0, 0.0])
    np.testing.assert_allclose(norms(rescale(tree, 2.0)), [2.0, 0.0])
    tiny = rescale(jnp.array([[1e-30, 0.0]]), 1.0)
    np.testing.assert_allclose(tiny, [[1.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(project(jnp.array([[3.0, 4.0]]), jnp.float32(1.0)), [[0.6, 0.8]])
    np.testing.assert_allclose(project(jnp.array([[0.3, 0.4]]), jnp.float32(1.0)), [[0.3, 0.4]])
