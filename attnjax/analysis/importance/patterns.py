"""PatternNet and PatternAttribution: backward passes by what a neuron's signal looks like.

A filter must also cancel what distracts, so that its weights do not show its signal. The signal's
direction, its pattern a, is estimated from data: of a neuron with weights w and y = w x,
a = (E[xy] - E[x] E[y]) / (w (E[xy] - E[x] E[y])), so that w a = 1. E[xy] and E[x] are taken where
the neuron is active, E[y] everywhere (Kindermans et al., arXiv:1705.05598, eq. 7 and 11). For the
CNN: x is each window of word vectors, over all real positions of the training texts.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from attnjax.analysis.importance.method import Method, counted
from attnjax.analysis.importance.target import logit_of
from attnjax.errors import UserError
from attnjax.model import segments
from attnjax.model.attention import attention_weights, forward
from attnjax.model.layers import windows
from attnjax.types import Batch, Params, Segment, Stages

logger = logging.getLogger(__name__)
WIDTHS = (1, 3, 5, 7)  # of the CNN's filters
FEWEST = 100  # active samples below which a neuron's pattern is 0


class Moments(NamedTuple):
    """Sums over the samples of x [in] and of y = w x [out], of each output neuron.

    crossed  [in, out] sum of x y where active; inputs  [in, out] sum of x where active
    active   [out] how many were; outputs  [out] sum of y over all; samples  how many
    """

    crossed: Float[Array, "in out"]
    inputs: Float[Array, "in out"]
    active: Float[Array, " out"]
    outputs: Float[Array, " out"]
    samples: Float[Array, ""]


def moments(
    x: Float[Array, "samples in"],
    w: Float[Array, "in out"],
    b: Float[Array, " out"] | None,
    real: Bool[Array, " samples"],
) -> Moments:
    """The sums of one batch; a neuron is active where w x + b > 0, without a bias b always."""
    y = x @ w
    on = jnp.ones_like(y) if b is None else (y + b[None, :] > 0).astype(y.dtype)
    on = jnp.where(real[:, None], on, 0)
    return Moments(
        x.T @ (on * y),
        x.T @ on,
        on.sum(axis=0),
        jnp.where(real[:, None], y, 0).sum(axis=0),
        real.sum().astype(y.dtype),
    )


def pattern(found: Moments, w: Float[Array, "in out"]) -> Float[Array, "in out"]:
    """The patterns a of all neurons; 0 of one that was hardly ever active, or whose w a is 0."""
    active = jnp.maximum(found.active, 1)[None, :]
    mean = (found.outputs / jnp.maximum(found.samples, 1))[None, :]
    direction = found.crossed / active - found.inputs / active * mean
    along = jnp.sum(w * direction, axis=0)
    known = (found.active >= FEWEST) & (jnp.abs(along) > 1e-12)
    return jnp.where(known[None, :], direction / jnp.where(known, along, 1)[None, :], 0)


def fit(
    stages: Stages, params: Params, batches: Iterable[Batch], key: Key[Array, ""]
) -> dict[str, Any]:
    """The patterns of every filter and, of single texts, of the decoder's map.

    {"text": {"convolution_3": [in, out]}, perhaps "query", perhaps "logits": [width, out]}
    """
    del key
    collect = jax.jit(partial(_moments_of_batch, stages))
    total: Any = None
    for batch in batches:
        found = collect(params, batch)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    weights = _weights(params, list(total))
    texts = int(total["decoder"]["logits"].samples) if "decoder" in total else FEWEST
    if texts < FEWEST:
        raise UserError(
            f"pattern_net and pattern_attribution: patterns need {FEWEST} training texts or more, "
            f"and there are {texts}; leave these methods out of analysis.methods"
        )
    found = {
        name: {each: pattern(total[name][each], weights[name][each]) for each in total[name]}
        for name in total
    }
    known = np.concatenate([np.any(each, axis=0) for each in jax.tree.leaves(found)])
    if missing := int(np.sum(~known)):
        logger.warning(
            "patterns: %d of %d neurons have none, active in fewer than %d samples; nothing comes "
            "back through them",
            missing,
            len(known),
            FEWEST,
        )
    return found


def _weights(params: Params, names: list[str]) -> dict[str, dict[str, Array]]:
    """The matrices [in, out] beside which patterns stand."""
    found: dict[str, dict[str, Array]] = {}
    for name in names:
        if name == "decoder":
            found[name] = {"logits": params["decode"]["logits"]["kernel"]}
            continue
        filters = _encoder_of(params, name)
        found[name] = {
            f"convolution_{width}": _flat(filters[f"convolution_{width}"]["kernel"])
            for width in WIDTHS
        }
    return found


def _encoder_of(params: Params, segment: str) -> Any:
    encoders = params["encode"]
    return encoders[segment] if segment in encoders else encoders["text"]


def _flat(kernel: Float[Array, "width embed filters"]) -> Float[Array, "in filters"]:
    return kernel.reshape(-1, kernel.shape[-1])


def _moments_of_batch(stages: Stages, params: Params, batch: Batch) -> dict[str, Any]:
    trace = forward(stages, params, batch)
    here = batch.weight > 0
    sequences = {"text": (trace.embedded.text, batch.mask)}
    if trace.embedded.query is not None:
        sequences["query"] = (trace.embedded.query, batch.query_mask)
    found: dict[str, Any] = {}
    for name, (vectors, mask) in sequences.items():
        real, filters = (mask & here[:, None]).reshape(-1), _encoder_of(params, name)
        found[name] = {}
        for width in WIDTHS:
            seen = windows(vectors, width)
            bank = filters[f"convolution_{width}"]
            found[name][f"convolution_{width}"] = moments(
                seen.reshape(-1, seen.shape[-1]), _flat(bank["kernel"]), bank["bias"], real
            )
    if batch.query is None:
        context = jnp.einsum("bl,blw->bw", trace.weights, trace.encoded.states)
        kernel = params["decode"]["logits"]["kernel"]
        found["decoder"] = {"logits": moments(context, kernel, None, here)}
    return found


def _propagated(
    stages: Stages, params: Params, batch: Batch, fitted: Any, segment: Segment, attribution: bool
) -> Float[Array, "batch length embed"]:
    """What comes back to a segment's vectors, attention held, from the explained logit.

    It starts at y = w x, as patterns have it: without the bias. A shared logit's class 0 has the
    weights -w, whose pattern is -a: their product is class 1's. A pair's decoder, which has a tanh,
    is differentiated as it is, and an attribution starts at the states times their gradients.
    """

    def swapped(weights: Array, found: Array) -> Array:
        return weights * found if attribution else found

    trace = forward(stages, params, batch)
    classes = trace.logits.argmax(axis=-1)
    head, single = params["decode"], batch.query is None
    if single:
        kernel = swapped(head["logits"]["kernel"], fitted["decoder"]["logits"])
        head = head | {"logits": head["logits"] | {"kernel": kernel}}
    weights = attention_weights(trace.scores, batch.words)

    def score(encoded: Any) -> Float[Array, ""]:
        logits = stages.decode(params | {"decode": head}, encoded, weights, batch)
        if attribution and single and logits.shape[-1] == 2:
            return logits[:, 1].sum()
        return logit_of(logits, classes, batch).sum()

    slope = jax.grad(score)(trace.encoded)
    if single:
        nothing = jax.tree.map(jnp.zeros_like, trace.encoded)
        bias = stages.decode(params, nothing, weights, batch)
        value = logit_of(trace.logits - bias, classes, batch)
        slope = jax.tree.map(lambda each: each * value[:, None, None], slope)
    elif attribution:
        slope = jax.tree.map(jnp.multiply, slope, trace.encoded)
    vectors = segments.values(trace.embedded, segment)
    encoder = _encoder_of(params, segment)
    mask = batch.mask if segment == "text" else batch.query_mask

    def convolved(inputs: Float[Array, "batch length embed"]) -> Float[Array, "..."]:
        real = jnp.where(mask[..., None], inputs, 0)
        maps = [
            windows(real, width)
            @ swapped(
                _flat(encoder[f"convolution_{width}"]["kernel"]),
                fitted[segment][f"convolution_{width}"],
            )
            for width in WIDTHS
        ]
        return jnp.concatenate(maps, axis=-1)

    def plain(inputs: Float[Array, "batch length embed"]) -> Float[Array, "..."]:
        banks = [encoder[f"convolution_{width}"] for width in WIDTHS]
        maps = [
            windows(inputs, width) @ _flat(bank["kernel"]) + bank["bias"][None, None]
            for width, bank in zip(WIDTHS, banks, strict=True)
        ]
        return jnp.where(mask[..., None], jax.nn.relu(jnp.concatenate(maps, axis=-1)), 0)

    states = plain(vectors)
    if segment == "text":
        back = slope.states
    else:  # the summary is the largest state of each filter
        back = jax.vjp(lambda each: each.max(axis=1), states)[1](slope.query)[0]
    return jax.vjp(convolved, vectors)[1](jnp.where(states > 0, back, 0))[0]


def pattern_net(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    fitted: dict[str, Any],
) -> Float[Array, "batch length"]:
    """L2 norm of the signal that PatternNet finds at each word: patterns in place of weights."""
    del key
    found = _propagated(stages, params, batch, fitted, segment, attribution=False)
    return jnp.where(segments.words(batch, segment), jnp.linalg.norm(found, axis=-1), 0)


def pattern_attribution(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    fitted: dict[str, Any],
) -> Float[Array, "batch length"]:
    """Sum over the vector of what PatternAttribution finds: weights times patterns; signed."""
    del key
    found = _propagated(stages, params, batch, fitted, segment, attribution=True)
    return jnp.where(segments.words(batch, segment), found.sum(axis=-1), 0)


PATTERN_NET = Method(
    pattern_net,
    segments=("text", "query"),
    fit=fit,
    passes=counted(2, 2),
    encoders=("cnn",),
    reference="Kindermans et al. 2018, arXiv:1705.05598",
)
PATTERN_ATTRIBUTION = Method(
    pattern_attribution,
    signed=True,
    segments=("text", "query"),
    fit=fit,
    passes=counted(2, 2),
    encoders=("cnn",),
    reference="Kindermans et al. 2018, arXiv:1705.05598",
)
