"""Adversarial attention: could attention have been another (Jain & Wallace, arXiv:1902.10186)?

In the optimisation arrays are [K, length, batch]: one example a vector lane, and sums over words
run in order, so that padding does not regroup them; hundreds of steps would blow up the difference.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from attnjax.analysis.findings import describe
from attnjax.analysis.questions.counterfactual import outputs, total_variation
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.analysis.rows import AtWords
from attnjax.config import AnalysisConfig
from attnjax.perturb.norms import gaussian
from attnjax.types import Batch, Params, Stages, Trace

FAR = (0.4, 0.6)  # Jensen-Shannon divergences that the papers call a different attention

NOWHERE = -1e9  # logit off the words: weight exactly 0
FACTORS = 4  # sums of two weights whose product fits a float32 with room below
SCALE = 2.0**28  # (2 * SCALE) ** FACTORS < 2 ** 127


class Adversary(NamedTuple):
    """Settings of adversarial attention; the defaults are those of Jain & Wallace's code.

    adversaries    attentions sought per example, K
    steps          of the optimizer, AMSGrad with this learning_rate
    margin         change of the output that costs nothing while optimising
    weight         cost of each unit of change beyond the margin
    epsilon        largest change of the output that a reported attention may cause
    """

    adversaries: int = 5
    steps: int = 500
    learning_rate: float = 0.01
    margin: float = 0.01
    weight: float = 500.0
    epsilon: float = 0.05


def adversarial(
    stages: Stages,
    params: Params,
    batch: Batch,
    trace: Trace,
    key: Key[Array, ""],
    settings: Adversary,
) -> dict[str, Float[Array, "batch ..."]]:
    """Jain & Wallace's algorithm 3: attentions far from the model's that leave its output alone.

    Each example seeks K attentions a_i = softmax(l_i) over its words, from
    l_i = log(1/n) + 3 N(0, 1), that maximise (papers 3.5, with JSD in nats and a the model's)

        sum_i JSD[a_i, a] + 1/(K(K-1)) sum_{i<j} JSD[a_i, a_j]
            - weight * sum_i max(0, change_i - margin)

    The released code differs in the pairs' weight, 2/K^2 (a mean over all K^2 ordered pairs), in
    measuring change by the full sum of |differences| for question answering and inference, and in
    1e-10 inside its logarithms.

    Rounding may tip a candidate across the margin's edge a step earlier or later, so differences
    of 1e-7 in the states (another batch size) can show as 5e-4 in one candidate in a thousand.

    Returns, over the candidates whose change is at most epsilon and the model's own attention
    max_jsd           [batch], the largest JSD from the model's attention, in [0, ln 2]
    output_change     [batch], total variation that this attention causes, at most epsilon
    attention         [batch, length], this attention itself
    and of every candidate, whether its change is small or not
    candidates_jsd, candidates_change  [batch, K]
    """
    output_of = outputs(stages, params, batch, trace)
    output = output_of(trace.weights)[None]
    words, original = stages.attended(batch).T[None], trace.weights.T[None]
    # Drawn as [batch, length, K]: words keep their numbers when padding is added.
    like = jnp.zeros((*batch.words.shape, settings.adversaries), original.dtype)
    noise = jnp.moveaxis(gaussian(like, batch.rows, key), (2, 1, 0), (0, 1, 2))
    count = jnp.sum(words, axis=1, keepdims=True).astype(original.dtype)
    start = jnp.where(words, 3 * noise - jnp.log(jnp.maximum(count, 1)), NOWHERE)
    present = (count > 0).astype(original.dtype)

    def change(weights: Float[Array, "K length batch"]) -> Float[Array, "K batch"]:
        return total_variation(output_of(weights.swapaxes(1, 2)), output)

    def gradient(logits: Float[Array, "K length batch"]) -> Float[Array, "K length batch"]:
        weights = softmax(logits, present)
        changes, pull = jax.vjp(change, weights)
        (cost,) = pull((changes > settings.margin).astype(changes.dtype) * settings.weight)
        return descent(logits, weights, original, cost)

    logits = amsgrad(gradient, start, settings.steps, settings.learning_rate)
    candidates = softmax(logits, present)
    changes, divergences = change(candidates), jensen_shannon(candidates, original)
    # The model's own attention comes first: where nothing is farther away, it is the answer.
    every = jnp.concatenate([original, candidates])
    changes_all = jnp.concatenate([jnp.zeros_like(changes[:1]), changes])
    divergences_all = jnp.concatenate([jnp.zeros_like(divergences[:1]), divergences])
    allowed = jnp.where(changes_all <= settings.epsilon, divergences_all, -1)
    best = jnp.argmax(allowed, axis=0)[None]
    return {
        "max_jsd": jnp.take_along_axis(divergences_all, best, axis=0)[0],
        "output_change": jnp.take_along_axis(changes_all, best, axis=0)[0],
        "attention": jnp.take_along_axis(every, best[:, None], axis=0)[0].T,
        "candidates_jsd": divergences.T,
        "candidates_change": changes.T,
    }


def descent(
    logits: Float[Array, "K length batch"],
    weights: Float[Array, "K length batch"],
    original: Float[Array, "one length batch"],
    cost: Float[Array, "K length batch"],
) -> Float[Array, "K length batch"]:
    """Gradient by the logits of what `adversarial` minimises.

    weights  softmax of the logits; cost  gradient of the penalty by the weights

    dJSD[p, q]/dp = log(p / (p + q)) / 2 up to a constant, which the softmax's Jacobian
    p (g - sum p g) removes; log p is the logit, again up to a constant; and the sum over the other
    candidates j of log(p_i + p_j) is one logarithm of a product.
    """
    others = len(weights) - 1
    pairs = 1 / (others + 1) / max(others, 1)
    tiny = jnp.finfo(weights.dtype).tiny  # off the words: 0 * log(tiny), not 0 * log(0)
    slope = (1 + pairs * others) * logits - jnp.log(jnp.maximum(weights + original, tiny))
    if others:
        slope = slope - pairs * _log_sums(weights)
    slope = slope / 2 - cost
    return weights * (jnp.sum(weights * slope, axis=1, keepdims=True) - slope)


def _log_sums(weights: Float[Array, "K length batch"]) -> Float[Array, "K length batch"]:
    """sum_{j != i} log(a_i + a_j) for every candidate i, up to a constant.

    Weights so small that a product of FACTORS sums underflows (1e-17) get too large a value here;
    the gradient multiplies it by that weight.
    """
    scaled = [each * SCALE for each in weights]
    tiny = jnp.finfo(weights.dtype).tiny

    def row(i: int) -> Float[Array, "length batch"]:
        sums = [scaled[i] + each for j, each in enumerate(scaled) if j != i]
        products = [
            reduce(jnp.multiply, sums[start : start + FACTORS])
            for start in range(0, len(sums), FACTORS)
        ]
        return reduce(jnp.add, [jnp.log(jnp.maximum(each, tiny)) for each in products])

    return jnp.stack([row(i) for i in range(len(scaled))])


def amsgrad(
    gradient: Callable[[Array], Array], start: Array, steps: int, learning_rate: float
) -> Array:
    """Minimises by `torch.optim.Adam(amsgrad=True)`, which the reference uses.

    `optax.amsgrad` corrects the bias of the second moment before it takes the largest; and what
    `attnjax.training` optimises with lies beside this layer, not below it.
    """
    b1, b2, epsilon = 0.9, 0.999, 1e-8

    def step(taken: Int[Array, ""], state: tuple[Array, ...]) -> tuple[Array, ...]:
        here, first, second, largest = state
        slope = gradient(here)
        first = b1 * first + (1 - b1) * slope
        second = b2 * second + (1 - b2) * slope * slope
        largest = jnp.maximum(largest, second)
        power = (taken + 1).astype(here.dtype)
        size = learning_rate / (1 - b1**power)
        here = here - size * first / (jnp.sqrt(largest / (1 - b2**power)) + epsilon)
        return here, first, second, largest

    zeros = jnp.zeros_like(start)
    return jax.lax.fori_loop(0, steps, step, (start, zeros, zeros, zeros))[0]


def softmax(
    logits: Float[Array, "K length batch"], present: Float[Array, "one one batch"]
) -> Float[Array, "K length batch"]:
    """Over the words; zeros where a row has none."""
    exponentials = jnp.exp(logits - jnp.max(logits, axis=1, keepdims=True))
    return exponentials * (present / jnp.sum(exponentials, axis=1, keepdims=True))


def jensen_shannon(
    a: Float[Array, "K length batch"], b: Float[Array, "one length batch"]
) -> Float[Array, "K batch"]:
    """Jensen-Shannon divergence over the words, in nats."""
    tiny = jnp.finfo(a.dtype).tiny
    middle = jnp.log(jnp.maximum((a + b) / 2, tiny))
    parts = a * (jnp.log(jnp.maximum(a, tiny)) - middle)
    parts = parts + b * (jnp.log(jnp.maximum(b, tiny)) - middle)
    return jnp.clip(jnp.sum(parts, axis=1) / 2, 0, np.log(2))


def _settings(config: AnalysisConfig) -> Adversary:
    return Adversary(
        adversaries=config.adversaries,
        steps=config.adversary_steps,
        epsilon=config.adversary_epsilon,
    )


def _ask(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        key, settings = jax.random.key(seed), _settings(config)
        found = adversarial(stages, params, batch, given.trace, key, settings)
        candidates = {name: found.pop(f"candidates_{name}") for name in ("jsd", "change")}
        farthest = AtWords(found["attention"], batch.words)
        return {"adversarial": {**found, "attention": farthest}, "candidates": candidates}

    return ask


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    divergence, settings = found["adversarial"]["max_jsd"], _settings(about.config)
    return {
        "adversarial_attention": {
            "adversaries": settings.adversaries,
            "steps": settings.steps,
            "epsilon": settings.epsilon,
            "margin": settings.margin,
            **describe({"max_jsd": divergence}),
            "share_above": {str(edge): float(np.mean(divergence > edge)) for edge in FAR},
        }
    }


ADVERSARIAL = Question(
    _ask,
    _answer,
    empty={"adversarial_attention": None},
    record=("adversarial",),
    wanted=lambda config: config.adversaries > 0,
    pools=True,
)
