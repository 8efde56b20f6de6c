"""Techniques on self-attention: gradients against the literal version, masks, noise, refusals.

The literal version takes one text at a time, without padding, builds every difference within a row
of scores out of the weights, and encodes again for every pass.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.config import from_config_dict
from attnjax.errors import UserError
from attnjax.losses import Context, count_examples, make_gradients
from attnjax.model.attention import forward
from attnjax.perturb.norms import gaussian_pairs
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.types import HParams, Inner, Perturbation

KEY, EPSILON, WEIGHT = jax.random.key(7), 0.7, 0.6
INNER = [name for name, each in TECHNIQUES.items() if each.level == "inner"]
LENGTHS = [5, 2, 3]


def configure(technique, task="classification", encoder="transformer", **adversary):
    return from_config_dict(
        {
            "task": task,
            "data": {"source": "files", "path": "x"},
            "model": {"encoder": encoder, "heads": 2},
            "adversary": {"technique": technique, **adversary},
        }
    )


def gradients(technique, batch, stages, params, epsilon=EPSILON, **more):
    dtype = batch.weight.dtype
    hparams = HParams(*(jnp.asarray(each, dtype) for each in (0.1, epsilon, WEIGHT, 0.0)))
    context = Context(batch, hparams, KEY, count_examples(batch))
    return quick_jit(make_gradients(configure(technique, **more), stages))(params, context)


def divided(values, axis):
    size = jnp.sqrt(jnp.sum(values**2, axis=axis, keepdims=True))
    return jnp.where(size > 0, values / jnp.where(size > 0, size, 1), 0)


def literal_loss(stages, params, one, config):
    """clean + WEIGHT * perturbed of a batch of one text; scores are [layers, 1, heads, n, n]."""
    technique, adversary = TECHNIQUES[config.adversary.technique], config.adversary
    held = jax.lax.stop_gradient(params)
    layers = stages.layers(held, stages.embed(held, one), one, "text")
    weights = jnp.stack([each.weights for each in layers])
    chosen = [not adversary.layers or k + 1 in adversary.layers for k in range(len(layers))]
    chosen = jnp.asarray(chosen)[:, None, None, None, None]
    logs = jnp.log(weights)
    pairs = jnp.where(chosen[..., None], logs[..., :, None] - logs[..., None, :], 0)
    every = tuple(range(pairs.ndim))
    pairs = divided(pairs, every if adversary.difference_axis == "sentence" else -1)

    def logits_of(params, delta):
        return forward(stages, params, one, Perturbation(inner=Inner(score=delta))).logits[0]

    def measure(params, delta):
        found = jax.nn.log_softmax(logits_of(params, delta))
        if not technique.virtual:
            return -found[one.labels[0]]
        clean = jax.nn.log_softmax(forward(stages, held, one).logits[0])
        return jnp.sum(jnp.exp(clean) * (clean - found))

    def scaled(delta, size):
        delta = jnp.where(chosen, delta, 0)
        return size * delta / jnp.sqrt(jnp.sum(delta**2))

    def along(alpha):
        return jnp.sum(alpha * pairs, axis=-1)

    def step_from(point):
        if not technique.interpretable:
            return scaled(jax.grad(lambda delta: measure(held, delta))(point), EPSILON)
        slope = jax.grad(lambda alpha: measure(held, point + along(alpha)))(jnp.zeros(pairs.shape))
        return scaled(along(divided(slope, every if axis == "sentence" else -1)), EPSILON)

    axis = adversary.alpha_axis
    noise = gaussian_pairs(jnp.moveaxis(jnp.zeros(weights.shape), 0, 1), one.rows, KEY)
    start = jnp.moveaxis(noise, 1, 0)
    if config.adversary.technique == "inner_rp":
        delta = scaled(start, EPSILON)
    else:
        if technique.interpretable:
            start = along(jnp.ones(pairs.shape))
        start = scaled(start, adversary.xi) if technique.virtual else jnp.zeros(weights.shape)
        delta = step_from(start)
        for _ in range(adversary.steps - 1):
            moved = delta + step_from(delta)
            delta = moved * jnp.minimum(1, EPSILON / jnp.sqrt(jnp.sum(moved**2)))
    delta = jax.lax.stop_gradient(delta)
    clean = -jax.nn.log_softmax(forward(stages, params, one).logits[0])[one.labels[0]]
    return clean + WEIGHT * measure(params, delta)


CASES = [(name, {}) for name in INNER] + [
    ("inner_at", {"task": "nli"}),
    ("inner_at", {"steps": 2, "layers": [2]}),
    ("inner_iat", {"difference_axis": "word", "alpha_axis": "word", "layers": [1]}),
    ("inner_ivat", {"difference_axis": "word"}),
]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("technique", "more"), CASES)
def test_the_gradient_equals_the_literal_version(technique, more):
    """Two texts of other lengths and a third that does not count, padded."""
    pair = more.get("task") == "nli"
    stages, params = small_model("transformer", heads=2, pair=pair, dtype=jnp.float64)
    rows, query = sentences(LENGTHS), sentences([3, 1, 2], seed=1) if pair else None
    batch = batch_of(rows, query, length=9, dtype=np.float64)
    batch = batch._replace(weight=jnp.array([1.0, 1.0, 0.0]))
    found, sums = gradients(technique, batch, stages, params, **more)
    np.testing.assert_allclose(sums["perturbation_norm"], 2 * EPSILON, rtol=1e-12)

    def literal(params):
        total = jnp.zeros(())
        for row in range(2):
            asked = None if query is None else query[row : row + 1]
            one = batch_of(rows[row : row + 1], asked, labels=[row % 2], dtype=np.float64)
            one = one._replace(rows=jnp.array([row], jnp.int32))
            total += literal_loss(stages, params, one, configure(technique, **more)) / 2
        return total

    loss, expected = quick_jit(jax.value_and_grad(literal))(params)
    np.testing.assert_allclose(sums["loss"] / 2, loss, rtol=1e-10)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-10 * float(jnp.abs(b).max()) + 1e-300
        ),
        found,
        expected,
    )


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("technique", "times"), [("inner_at", 1 + WEIGHT), ("inner_ivat", 1.0)])
def test_a_perturbation_of_no_size_trains_clean(technique, times):
    stages, params = small_model("transformer", heads=2, dtype=jnp.float64)
    batch = batch_of(sentences(LENGTHS), length=9, dtype=np.float64)
    clean, _ = gradients("none", batch, stages, params)
    found, sums = gradients(technique, batch, stages, params, epsilon=0.0)
    assert sums["unperturbed"] == 3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, times * b, rtol=1e-9, atol=1e-14), found, clean
    )


def test_noise_of_pairs_is_the_example_s_own_under_any_padding():
    wide = np.asarray(gaussian_pairs(jnp.zeros((2, 3, 2, 6, 6)), jnp.array([4, 5]), KEY))
    narrow = np.asarray(gaussian_pairs(jnp.zeros((1, 3, 2, 4, 4)), jnp.array([5]), KEY))
    np.testing.assert_array_equal(narrow[0], wide[1, ..., :4, :4])
    assert len(np.unique(wide)) == wide.size, "no pair, layer, head or row has another's"
    many = np.asarray(gaussian_pairs(jnp.zeros((40, 2, 2, 9, 9)), jnp.arange(40), KEY))
    assert abs(many.mean()) < 0.03
    assert many.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("encoder", ["bilstm", "average"])
def test_encoders_without_self_attention_are_refused(encoder):
    with pytest.raises(UserError, match=rf"'inner_vat' .* '{encoder}' lacks; .* transformer"):
        configure("inner_vat", encoder=encoder)
    configure("attention_vat", encoder=encoder, layers=[1])


@pytest.mark.parametrize(
    ("layers", "complaint"), [([1, 3], "names layer 3, and .*model.layers=2"), ([0], "from 1 to")]
)
def test_layers_that_there_are_not_are_refused(layers, complaint):
    with pytest.raises(UserError, match=complaint):
        configure("inner_at", layers=layers)
