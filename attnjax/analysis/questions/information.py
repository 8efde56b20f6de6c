"""Which words does each state of the model still know? See `analysis.information`.

No data-processing inequality holds, and turning a state moves the figure unless it is whitened: the
report says so beside every curve.
"""

import logging
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attnjax.analysis.findings import describe
from attnjax.analysis.importance.information import asked_of, known_in, settings_of
from attnjax.analysis.information.measure import BOUND, Known, shares_by_distance
from attnjax.analysis.information.states import fit_sample, in_order
from attnjax.analysis.information.word_classes import CLASSES, word_class
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.analysis.rows import AtWords
from attnjax.config import AnalysisConfig
from attnjax.types import EOS, Batch, Params, Stages

logger = logging.getLogger(__name__)

ORIGINS = ("own", "neighbours", "further")
LINEAR = (0.5, 1.5)  # distortion in rate / 2 that is neither saturated nor not converged


def make_information(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"information": state -> ..., "retained": ...}.

    information  of the text's tokens: "retained" nats per dimension at each word, "first" and "end"
                 at <sos> and <eos>, "discarded" = log(sigma / sigma_X), at most log 10, and
                 "distortion"; of pairs the query is held
    retained     state -> [batch], the mean over the words; NaN without any
    units        state -> [batch], those that count, and the dead ones, the same for all rows
    origin       with information_neighbours, of states with a vector a token: state -> ORIGINS ->
                 [batch], see `shares_by_distance`
    """
    settings, probes = settings_of(config), config.information_neighbours

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        sample = given.fitted["text"]
        key = jax.random.key(seed)
        found: dict[str, Any] = {"information": {}, "retained": {}, "units": {}, "origin": {}}
        for name, spread in sample.spreads.items():
            known = known_in(stages, params, batch, key, "text", name, sample, settings)
            found["information"][name] = _of_tokens(known, batch, sample.deviation)
            found["retained"][name] = _mean(known.retained, batch)
            found["units"][name] = {
                each: jnp.broadcast_to(getattr(spread, each), batch.rows.shape)
                for each in ("live", "dead")
            }
            if probes and name not in ("embedding", "context", "logits"):
                asked = asked_of(stages, params, batch, key, "text", name, sample)
                shares = shares_by_distance(*asked, probes)
                found["origin"][name] = dict(zip(ORIGINS, shares.T, strict=True))
        return found

    return ask


def _of_tokens(known: Known, batch: Batch, deviation: jax.Array) -> dict[str, Any]:
    discarded = jnp.log(jnp.minimum(known.sigma / deviation, BOUND))
    end = jnp.where(batch.tokens == EOS, known.retained, 0).sum(axis=-1)
    return {
        "retained": AtWords(known.retained, batch.words),
        "first": known.retained[:, 0],
        "end": end,
        "discarded": _mean(discarded, batch),
        "distortion": known.distortion,
    }


def _outside(shares: np.ndarray) -> float:
    """The share of texts whose distortion, in half rates, says saturated or not converged."""
    return float(np.mean((shares < LINEAR[0]) | (shares > LINEAR[1]))) if len(shares) else 1.0


def _mean(values: jax.Array, batch: Batch) -> jax.Array:
    count = batch.words.sum(axis=-1)
    total = jnp.where(batch.words, values, 0).sum(axis=-1)
    return jnp.where(count > 0, total / jnp.maximum(count, 1).astype(total.dtype), jnp.nan)


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """The figures of each state, in order of depth; warns where the noise is of another size."""
    config, words = about.config, about.words
    texts = None if words is None else [text for text, _ in words]
    states = in_order(found["information"])
    by_state = []
    for name in states:
        rows = found["information"][name]
        shares = np.asarray(rows["distortion"], np.float64) / (config.information_rate / 2)
        # A state that hangs on no token, as that of a text which the model does not see, has none.
        shares = shares[shares > 0]
        share = float(shares.mean()) if len(shares) else 0.0
        distorted = share * config.information_rate / 2
        if not LINEAR[0] <= share <= LINEAR[1]:
            logger.warning(
                "information: the noise distorts the state '%s' by %.3g, and rate / 2 is %.3g: "
                "saturated or not converged; %s",
                name,
                distorted,
                config.information_rate / 2,
                "take more steps" if config.information_steps else "try information_steps=60",
            )
        summary = describe(
            {"retained": found["retained"][name], "discarded": rows["discarded"]},
        )
        units = {each: round(float(v[0])) for each, v in found["units"][name].items()}
        by_state.append(
            {
                **summary,
                "distortion": distorted,
                "distortion_in_half_rates": share,
                "texts_outside": _outside(shares),
                "units": units,
                "origin": describe(found.get("origin", {}).get(name, {})),
                "by_word_class": {} if texts is None else by_word_class(rows, texts),
            }
        )
    return {
        "information": {
            "states": states,
            "by_state": by_state,
            "rate": config.information_rate,
            "form": "optimised" if config.information_steps else "linearised",
            "whitened": config.information_whiten,
        }
    }


def by_word_class(rows: dict[str, Any], texts: Sequence[list[str]]) -> dict[str, Any]:
    """class -> what `describe` says of the texts' means over its words, and how many words it has.

    rows  "retained" at the words of each text, "first" and "end"
    """
    classes = [np.array([word_class(word) for word in text]) for text in texts]
    found: dict[str, Any] = {}
    for name in CLASSES:
        if name in ("first", "end"):
            means, count = np.asarray(rows[name]), len(texts)
        else:
            chosen = [
                np.asarray(values)[kinds == name]
                for values, kinds in zip(rows["retained"], classes, strict=True)
            ]
            means = np.array([each.mean() if len(each) else np.nan for each in chosen])
            count = sum(map(len, chosen))
        if count:
            found[name] = describe({"retained": means})["retained"] | {"words": count}
    return found


INFORMATION = Question(
    make_information,
    _answer,
    empty={"information": None},
    record=("information", "retained"),
    fit=lambda config, names: fit_sample(config.information_whiten),
)
