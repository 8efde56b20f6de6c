"""SmoothGrad: the gradient, averaged over noisy copies of the word vectors."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.analysis.importance.method import Method
from attnjax.analysis.importance.subsets import with_another
from attnjax.analysis.importance.target import class_probability
from attnjax.config import AnalysisConfig
from attnjax.model import segments
from attnjax.model.stages import vocabulary_size, word_vectors
from attnjax.types import Batch, Embedded, Params, Segment, Stages


@cache  # equal settings are one function: what is compiled for it is compiled once
def smoothgrad(samples: int, sigma: float, form: str) -> Any:
    """Makes the method's function (Smilkov et al., arXiv:1706.03825).

    R = mean over i of dp/de (e + xi_i), xi_i normal with standard deviation sigma times the range
    of all word vectors' entries; noise comes in pairs +xi, -xi, so that a quadratic p gives its
    gradient exactly. p is the predicted class's probability, attention its own.
    samples  even; an odd number is raised by one
    form     product   sum_d e_d R_d, e without noise; signed
             norm      ||R||
             squared   square root of the sum over d of the mean square of dp/de_d (SmoothGrad^2)
             variance  square root of the sum over d of the variance of dp/de_d (VarGrad)
    """

    def find(
        stages: Stages, params: Params, batch: Batch, key: Key[Array, ""], segment: Segment
    ) -> Float[Array, "batch length"]:
        embedded = stages.embed(params, batch)
        table = word_vectors(stages, params, vocabulary_size(stages, params))
        scale = sigma * (table.max() - table.min())
        probability = class_probability(stages, params, batch)
        slope = jax.grad(lambda vectors: probability(vectors).sum())

        def add(moments: Any, number: Int[Array, ""]) -> Any:
            noise = _noise(key, number, embedded, batch, scale)
            for place, sign in enumerate((1, -1)):
                found = slope(jax.tree.map(lambda e, xi, s=sign: e + s * xi, embedded, noise))
                found = segments.values(found, segment)
                moments = with_another(moments, found, 2 * number + place)
            return moments, None

        vectors = segments.values(embedded, segment)
        nothing = jnp.zeros_like(vectors)
        pairs = -(-samples // 2)
        (mean, squares), _ = jax.lax.scan(add, (nothing, nothing), jnp.arange(pairs))
        variance = squares / (2 * pairs)
        values = {
            "product": lambda: jnp.sum(vectors * mean, axis=-1),
            "norm": lambda: jnp.linalg.norm(mean, axis=-1),
            "squared": lambda: jnp.sqrt((variance + jnp.square(mean)).sum(axis=-1)),
            "variance": lambda: jnp.sqrt(variance.sum(axis=-1)),
        }[form]()
        return jnp.where(segments.words(batch, segment), values, 0)

    return find


def _noise(
    key: Key[Array, ""],
    number: Int[Array, ""],
    embedded: Embedded,
    batch: Batch,
    scale: Float[Array, ""],
) -> Embedded:
    """Normal noise on every token, drawn by (key, row, number, position); none on padding."""
    masks = Embedded(batch.mask, None if batch.query is None else batch.query_mask)  # pyright: ignore

    def of_row(row: Int[Array, ""], place: int, shape: tuple[int, ...], dtype: Any) -> Array:
        own = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, row), number), place)
        return jax.random.normal(own, shape, dtype)

    def of_segment(place: int, vectors: Array, real: Array) -> Array:
        draw = partial(of_row, place=place, shape=vectors.shape[1:], dtype=vectors.dtype)
        return jnp.where(real[..., None], scale * jax.vmap(draw)(batch.rows), 0)

    text = of_segment(0, embedded.text, masks.text)
    query = None if embedded.query is None else of_segment(1, embedded.query, masks.query)  # pyright: ignore
    return Embedded(text, query)


def _tuned(method: Method, config: AnalysisConfig) -> Method:
    find = smoothgrad(config.smoothgrad_samples, config.smoothgrad_sigma, config.smoothgrad_form)
    return method._replace(find=find, signed=config.smoothgrad_form == "product")


SMOOTHGRAD = Method(
    smoothgrad(50, 0.15, "product"),
    signed=True,
    segments=("text", "query"),
    tuned=_tuned,
    passes=lambda config, words: (
        1 + 2 * -(-config.smoothgrad_samples // 2),
        2 * -(-config.smoothgrad_samples // 2),
    ),
    reference="Smilkov et al. 2017, arXiv:1706.03825",
)
