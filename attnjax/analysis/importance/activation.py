"""Importance read off the encoder's states: Grad-CAM, and closed forms of the attention head."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance.method import Method, counted, traced
from attnjax.analysis.importance.propagation import slope_norm, slopes
from attnjax.analysis.importance.target import logit_of
from attnjax.model.attention import attend, forward
from attnjax.model.rules import GUIDED
from attnjax.types import Batch, Embedded, Params, Stages, Trace


def grad_cam(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Trace
) -> Float[Array, "batch length"]:
    """sum_k w_k h_tk, w_k the mean over tokens of df/dh_tk, f the logit (arXiv:1610.02391, eq. 1).

    Signed, without the paper's ReLU, whose zeros would tie. The mean is over real tokens, not over
    padding. df/dh_t holds attention's weight of t: the mean over tokens takes its place away, and
    what is left of it is how much the states' channels matter. On states that are no feature maps
    of a CNN it is not the published method.
    shared  `traced`
    """
    del key
    classes = shared.logits.argmax(axis=-1)

    def score(states: Float[Array, "batch length width"]) -> Float[Array, ""]:
        encoded = shared.encoded._replace(states=states)
        _, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
        return logit_of(logits, classes, batch).sum()

    states, real = shared.encoded.states, batch.mask
    count = jnp.maximum(real.sum(axis=-1), 1).astype(states.dtype)
    slope = jnp.where(real[..., None], jax.grad(score)(states), 0)
    channels = slope.sum(axis=1) / count[:, None]
    return jnp.where(batch.words, jnp.einsum("bk,blk->bl", channels, states), 0)


def guided_grad_cam(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Embedded
) -> Float[Array, "batch length"]:
    """Grad-CAM where it is positive, times guided backpropagation (arXiv:1610.02391, section 3.2).

    shared  `propagation.slopes` of GUIDED
    """
    cam = grad_cam(stages, params, batch, key, forward(stages, params, batch))
    return jax.nn.relu(cam) * slope_norm(stages, params, batch, key, "text", shared)


def gradient_x_attention(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Trace
) -> Float[Array, "batch length"]:
    """a_t df/da_t, f the logit; signed. What attention hands to the output word by word.

    Of a single text the decoder is linear: the sum over words is the logit less its bias.
    shared  `traced`
    """
    del key
    classes = shared.logits.argmax(axis=-1)

    def score(weights: Float[Array, "batch length"]) -> Float[Array, ""]:
        logits = stages.decode(params, shared.encoded, weights, batch)
        return logit_of(logits, classes, batch).sum()

    return shared.weights * jax.grad(score)(shared.weights)


def attention_norm(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], shared: Trace
) -> Float[Array, "batch length"]:
    """||a_t h_t||: attention by how much it hands on (Kobayashi et al., arXiv:2004.10102, eq. 4).

    shared  `traced`
    """
    del stages, params, key
    return shared.weights * jnp.linalg.norm(
        jnp.where(batch.words[..., None], shared.encoded.states, 0), axis=-1
    )


GRAD_CAM = Method(
    grad_cam,
    signed=True,
    shared=traced,
    passes=counted(1, 1),
    reference="Selvaraju et al. 2017, arXiv:1610.02391",
    pools=True,
)
GUIDED_GRAD_CAM = Method(
    guided_grad_cam,
    shared=slopes(GUIDED),
    passes=counted(3, 2),
    encoders=("cnn",),
    reference="Selvaraju et al. 2017, arXiv:1610.02391",
)
GRADIENT_X_ATTENTION = Method(
    gradient_x_attention, signed=True, shared=traced, passes=counted(1, 1), pools=True
)
ATTENTION_NORM = Method(
    attention_norm,
    shared=traced,
    passes=counted(1, 0),
    reference="Kobayashi et al. 2020, arXiv:2004.10102",
    pools=True,
)
