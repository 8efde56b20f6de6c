"""One small network that masks every text at once, beside `mask`, which is optimised text by text.

A mask is sigmoid(v tanh(W h + b) + c) of each word's state h, v and c being of the predicted class.
Of the model itself nothing changes. It is trained on training texts to minimise what `mask`
minimises of each (Dabkowski & Gal, arXiv:1705.07857, section 3, with this head in place of their
U-Net). A new text then costs passes, not an optimisation; what that loses is the gap between the
objectives.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from scipy.special import logit

from attnjax.analysis.adam import Moments, at_rest, descend
from attnjax.analysis.importance.mask import Keep, hardened, objective, probability_under
from attnjax.analysis.importance.method import Method, counted
from attnjax.analysis.importance.subsets import features
from attnjax.analysis.information.states import DEAD
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.types import Batch, Params, Stages

HIDDEN = 64
SEEN = 100  # words whose states say what the network starts from
RATE = 0.01  # of Adam at the start; it falls to 0
START = 0.9  # of every mask, before anything is learnt
RISE = 0.5  # share of the steps over which the price of a word rises to its value


class Settings(NamedTuple):
    """price, goal and baseline as of `mask.masks`; steps  of training."""

    price: float
    steps: int
    goal: str
    baseline: str


class Head(NamedTuple):
    """The network: W, b, v and c."""

    kernel: Float[Array, "width hidden"]
    bias: Float[Array, " hidden"]
    out: Float[Array, "classes hidden"]
    offset: Float[Array, " classes"]


def initial(
    key: Key[Array, ""],
    states: Float[Array, "batch length width"],
    words: Bool[Array, "batch length"],
    classes: int,
) -> Head:
    """A head that gives every word what `mask` starts from; W h + b of these words is N(0, 1)."""
    kernel = jax.random.normal(key, (states.shape[-1], HIDDEN), states.dtype)
    mean, deviation = (
        each(states, axis=(0, 1), where=words[..., None]) for each in (jnp.mean, jnp.std)
    )
    varies = deviation > DEAD * deviation.max()
    scale = jnp.where(varies, 1 / jnp.where(varies, deviation, 1), 0)
    scale = jnp.where(varies.any(), scale, 1)  # of equal words nothing is known, and all may matter
    kernel = kernel * (scale * jnp.maximum(varies.sum(), 1).astype(scale.dtype) ** -0.5)[:, None]
    return Head(
        kernel,
        -jnp.where(varies, mean, 0) @ kernel,
        jnp.zeros((classes, HIDDEN), states.dtype),
        jnp.full(classes, logit(START), states.dtype),
    )


def _first_words(
    stages: Stages, params: Params, batches: Sequence[Batch]
) -> tuple[Float[Array, "one tokens width"], Bool[Array, "one tokens"], int]:
    """States of as many batches as have SEEN words, which are them, and the number of classes."""
    states, words, count, classes = [], [], 0, 0
    for batch in batches:
        trace = forward(stages, params, batch)
        real = batch.words & (batch.weight > 0)[:, None]
        states.append(trace.encoded.states.reshape(-1, trace.encoded.states.shape[-1]))
        words.append(real.reshape(-1))
        count, classes = count + int(real.sum()), trace.logits.shape[-1]
        if count >= SEEN:
            break
    return jnp.concatenate(states)[None], jnp.concatenate(words)[None], classes


def masked(stages: Stages, params: Params, batch: Batch, head: Head) -> Keep:
    """The mask of each text, 1 off its words and on the query's, whose states nobody hands out."""
    trace = forward(stages, params, batch)
    classes = trace.logits.argmax(axis=-1)
    hidden = jnp.tanh(trace.encoded.states @ head.kernel + head.bias[None, None])
    logits = jnp.einsum("blh,bh->bl", hidden, head.out[classes]) + head.offset[classes][:, None]
    found = jnp.where(batch.words, jax.nn.sigmoid(logits), 1)
    rows, width = features(batch).shape
    return jnp.concatenate([found, jnp.ones((rows, width - found.shape[1]), found.dtype)], axis=1)


@partial(jax.jit, static_argnums=(0, 1))  # compiled once for all runs of a model
def train_step(
    stages: Stages,
    settings: Settings,
    params: Params,
    state: tuple[Head, Moments],
    batch: Batch,
    taken: Any,
) -> tuple[Head, Moments]:
    """One step of training; taken  is how many came before it.

    The price rises from 0, so that the head first learns what moves the prediction.
    """
    head, moments = state
    probability = probability_under(stages, params, batch, settings.baseline)
    done = taken.astype(head.kernel.dtype) / settings.steps
    price = settings.price * jnp.minimum(1, done / RISE)

    def loss(head: Head) -> Float[Array, ""]:
        keep = masked(stages, params, batch, head)
        values = objective(keep, probability(keep), batch, price, settings.goal)
        real = batch.weight > 0
        return jnp.sum(values, where=real) / jnp.maximum(real.sum(), 1).astype(values.dtype)

    return descend(head, moments, jax.grad(loss)(head), taken, RATE * (1 - done))


@cache  # equal settings are one function: what asks for it shares what is learnt
def make_fit(settings: Settings) -> Callable[..., Head]:
    """Makes fit(stages, params, batches, key) -> Head, batches being gone through at random."""

    def fit(stages: Stages, params: Params, batches: Iterable[Batch], key: Key[Array, ""]) -> Head:
        rows = list(batches)
        random = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        rounds = -(-settings.steps // len(rows))
        order = np.concatenate([random.permutation(len(rows)) for _ in range(rounds)])

        states, words, classes = _first_words(stages, params, [rows[each] for each in order])
        head = initial(key, states, words, classes)
        state = head, at_rest(head)
        for taken, number in enumerate(order[: settings.steps].tolist()):
            turn = jnp.asarray(taken, jnp.int32)
            state = train_step(stages, settings, params, state, rows[number], turn)
        return state[0]

    return fit


def deleted(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], fitted: Head
) -> Float[Array, "batch length"]:
    """1 - m of each word: how far the head deletes it, in [0, 1]; fitted  for the goal deletion."""
    return jnp.where(batch.words, 1 - preserved(stages, params, batch, key, fitted), 0)


def preserved(
    stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], fitted: Head
) -> Float[Array, "batch length"]:
    """m of each word: how far the head keeps it, in [0, 1]; fitted  for the goal preservation."""
    del key
    keep = masked(stages, params, batch, fitted)[:, : batch.tokens.shape[1]]
    return jnp.where(batch.words, keep, 0)


@cache
def make_softness(baseline: str) -> Callable[..., Float[Array, " batch"]]:
    """Makes |p under the mask - p under the hardened mask|, as `mask.softness`."""

    def softness(
        stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], fitted: Head
    ) -> Float[Array, " batch"]:
        del key
        keep = masked(stages, params, batch, fitted)
        probability = probability_under(stages, params, batch, baseline)
        return jnp.abs(probability(keep) - probability(hardened(keep)))

    return softness


def _tuned(method: Method, config: AnalysisConfig) -> Method:
    goal, baseline = config.mask_goal, config.mask_baseline
    return method._replace(
        find=deleted if goal == "deletion" else preserved,
        exactness=make_softness(baseline),
        fit=make_fit(Settings(config.mask_price, config.mask_model_steps, goal, baseline)),
    )


MASK_MODEL = _tuned(
    Method(
        deleted,
        tuned=_tuned,
        passes=counted(3, 0),
        reference="Dabkowski & Gal 2017, arXiv:1705.07857",
    ),
    AnalysisConfig(),
)
