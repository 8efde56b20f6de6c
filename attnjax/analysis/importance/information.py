"""What a state of the model retains of each word, as an importance: `analysis.information`."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance.method import Method
from attnjax.analysis.information.measure import (
    Known,
    Settings,
    State,
    Words,
    measure,
    squared_jacobian,
)
from attnjax.analysis.information.states import (
    Sample,
    fit_sample,
    scaled_state,
    tokens_read,
)
from attnjax.config import AnalysisConfig
from attnjax.model import segments
from attnjax.types import Batch, Params, Segment, Stages


def settings_of(config: AnalysisConfig) -> Settings:
    """The configuration's settings of the measure."""
    return Settings(
        config.information_rate,
        config.information_probes,
        config.information_steps,
        config.information_draws,
    )


def known_in(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    name: str,
    sample: Sample,
    settings: Settings,
) -> Known:
    """What one state knows of a segment's tokens, the other segment being held."""
    state, words, own = asked_of(stages, params, batch, key, segment, name, sample)
    return measure(state, words, own, settings)


def asked_of(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    segment: Segment,
    name: str,
    sample: Sample,
) -> tuple[State, Words, Key[Array, ""]]:
    """The state as a function of the words, the words, and the state's own key."""
    vectors = segments.values(stages.embed(params, batch), segment)
    mask = tokens_read(stages, batch, segment)
    words = Words(vectors, mask, batch.rows, sample.deviation)
    state = scaled_state(stages, params, batch, segment, name, sample.spreads[name])
    return state, words, jax.random.fold_in(key, sorted(sample.spreads).index(name))


@cache  # equal settings are one function: what is compiled for it is compiled once
def information(state: str, settings: Settings) -> Any:
    """Makes find: the retained information of each word in that state, nats per dimension."""

    def find(
        stages: Stages,
        params: Params,
        batch: Batch,
        key: Key[Array, ""],
        segment: Segment,
        fitted: dict[str, Sample],
    ) -> Float[Array, "batch length"]:
        sample = fitted[segment]
        found = known_in(stages, params, batch, key, segment, state, sample, settings)
        return jnp.where(segments.words(batch, segment), found.retained, 0)

    return find


@cache
def jacobian_norm(state: str, probes: int) -> Any:
    """Makes find: the norm of the state's Jacobian by each word, in the units' deviations.

    What `information` is made of where it is linearised, in the same order within a text.
    """

    def find(
        stages: Stages,
        params: Params,
        batch: Batch,
        key: Key[Array, ""],
        segment: Segment,
        fitted: dict[str, Sample],
    ) -> Float[Array, "batch length"]:
        asked = asked_of(stages, params, batch, key, segment, state, fitted[segment])
        function, words, own = asked
        # By the probes that `measure` would draw.
        change = squared_jacobian(function, words, jax.random.split(own, 3)[0], probes)
        return jnp.where(segments.words(batch, segment), jnp.sqrt(change), 0)

    return find


@cache
def replacement(state: str) -> Any:
    """Makes find: how far the state moves when a word's vector becomes the mean vector.

    Root of the mean square over live units (and tokens), in their standard deviations: what the
    noise of `information` does at random and by little, this does once and wholly.
    """

    def find(
        stages: Stages,
        params: Params,
        batch: Batch,
        key: Key[Array, ""],
        segment: Segment,
        fitted: dict[str, Sample],
    ) -> Float[Array, "batch length"]:
        del key
        sample, words = fitted[segment], segments.words(batch, segment)
        vectors = segments.values(stages.embed(params, batch), segment)
        scaled = scaled_state(stages, params, batch, segment, state, sample.spreads[state])
        base, places = scaled(vectors), jnp.arange(words.shape[1])
        centre = jnp.tile(sample.centre, vectors.shape[-1] // len(sample.centre))

        def moved(place: Array) -> Float[Array, " batch"]:
            there = (words & (places == place)[None, :])[..., None]
            other = scaled(jnp.where(there, centre[None, None], vectors))
            return jnp.linalg.norm((other - base).reshape(len(base), -1), axis=-1)

        return jnp.where(words, jax.lax.map(moved, places).T, 0)

    return find


def _replaced(method: Method, config: AnalysisConfig) -> Method:
    return method._replace(
        find=replacement(config.information_state), fit=fit_sample(config.information_whiten)
    )


def _normed(method: Method, config: AnalysisConfig) -> Method:
    return method._replace(
        find=jacobian_norm(config.information_state, config.information_probes),
        fit=fit_sample(config.information_whiten),
    )


def _tuned(method: Method, config: AnalysisConfig) -> Method:
    return method._replace(
        find=information(config.information_state, settings_of(config)),
        fit=fit_sample(config.information_whiten),
    )


_DEFAULT = AnalysisConfig()
INFORMATION = Method(
    information(_DEFAULT.information_state, settings_of(_DEFAULT)),
    segments=("text", "query"),
    fit=fit_sample(_DEFAULT.information_whiten),
    tuned=_tuned,
    reference="Guan et al. 2019, ICML",
)
REPLACEMENT = INFORMATION._replace(
    find=replacement(_DEFAULT.information_state), tuned=_replaced, reference="Guan et al. 2019"
)
JACOBIAN_NORM = INFORMATION._replace(
    find=jacobian_norm(_DEFAULT.information_state, _DEFAULT.information_probes), tuned=_normed
)
