"""The nearest class: on a plane, on a circle, among several, and from inside a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.analysis.border import radius
from attnjax.analysis.questions.flips import _radius
from attnjax.model.attention import attend, forward


def found(logits, classes, shape, movable=None):
    classes = jnp.asarray(classes, jnp.int32)
    movable = jnp.ones(shape, bool) if movable is None else movable
    run = quick_jit(lambda: radius(logits, classes, movable, jnp.dtype("float32")))
    return np.asarray(run())


def test_of_a_plane_it_is_the_distance():
    slopes = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    offsets = np.array([0.5, -2.0, 7.0], np.float32)

    def logits(change):
        value = jnp.einsum("blw,blw->b", change, slopes) + offsets
        return jnp.stack([jnp.zeros_like(value), value], axis=1)

    expected = np.abs(offsets) / np.linalg.norm(slopes, axis=(1, 2))
    classes = (offsets > 0).astype(int)
    np.testing.assert_allclose(found(logits, classes, slopes.shape), expected, rtol=1e-3)
    # Entries that may not change are left out of the slope.
    movable = np.arange(2)[None, :, None] == np.zeros((3, 1, 4), int)
    expected = np.abs(offsets) / np.linalg.norm(slopes[:, 0], axis=-1)
    held = found(logits, classes, slopes.shape, jnp.asarray(movable))
    np.testing.assert_allclose(held, expected, rtol=1e-3)


def test_of_a_circle_it_is_the_way_to_the_rim():
    """Class 1 inside the unit circle about (0.6, 0): from the origin 0.4 to the left."""

    def logits(change):
        value = 1 - jnp.square(change - jnp.array([[[0.6, 0.0]]])).sum(axis=(1, 2))
        return jnp.stack([jnp.zeros_like(value), value], axis=1)

    np.testing.assert_allclose(found(logits, [1], (1, 1, 2)), [0.4], rtol=2e-3)


def test_the_nearest_of_several_classes_counts_and_none_is_not_found():
    def logits(change):
        x, y = change[:, 0, 0], change[:, 0, 1]
        return jnp.stack([jnp.ones_like(x), x - 1.0, y, jnp.full_like(x, -jnp.inf)], axis=1)

    np.testing.assert_allclose(found(logits, [0], (1, 1, 2)), [1.0], rtol=1e-3)

    def same(change):
        return jnp.zeros((1, 2)) + jnp.array([[0.0, 1.0]]) + 0 * change.sum()

    assert np.isnan(found(same, [1], (1, 1, 2))).all()


@pytest.mark.parametrize("encoder", ["bilstm", "transformer"])
def test_within_it_random_changes_do_not_flip_and_batch_mates_are_nothing_to_it(encoder):
    stages, params = small_model(encoder, classes=3)
    texts = sentences([5, 2, 8])

    def of(texts, length):
        batch = batch_of(texts, length=length)
        trace = forward(stages, params, batch)
        return batch, trace, np.asarray(_radius(stages, params, trace, batch, batch.words))

    batch, trace, least = of(texts, 12)
    assert (least > 0).all()
    np.testing.assert_allclose(of(texts[1:2], 20)[2], least[1:2], rtol=1e-3)
    embedded, before = trace.embedded, np.asarray(trace.logits.argmax(axis=-1))

    @quick_jit
    def classes(vectors):
        encoded = stages.encode(params, embedded._replace(text=vectors), batch)
        scores = stages.score(params, encoded)
        return attend(stages, params, encoded, scores, batch)[1].argmax(axis=-1)

    for seed in range(200):
        noise = jax.random.normal(jax.random.key(seed), embedded.text.shape)
        noise = jnp.where(batch.words[..., None], noise, 0)
        noise *= (0.9 * least / jnp.linalg.norm(noise, axis=(1, 2)))[:, None, None]
        np.testing.assert_array_equal(classes(embedded.text + noise), before)
