"""How much a text tells of its label, in bits: pointwise V-information.

PVI(x -> y) = -log2 g0(y) + log2 g(x)(y) (Ethayarajh et al., ICML 2022, arXiv:2110.08420, eq. 4),
where g is the model and g0 the best one of its kind that sees no text. A model that sees nothing
has one logit a class, and the best are the shares of the training labels; of questions whose
candidates differ, the logits that fit the training answers among their candidates. The mean over
texts is the V-usable information H(Y) - H(Y|X). Below 0 the text misleads the model: it is hard,
or its label is wrong.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from attnjax.analysis.findings import describe
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.types import Batch, Params, Stages

STEPS = 10_000  # of the fit among candidates, at most
GAIN = 1e-9  # nats an example by which a step raises the likelihood, so that another is taken
HARDEST = 20  # texts of least information whose numbers results.json has


def without_text(
    labels: Int[np.ndarray, " examples"],
    classes: int,
    candidates: Bool[np.ndarray, "examples classes"] | None = None,
) -> Float[np.ndarray, " classes"]:
    """Shares of the classes of which the labels are likeliest, each drawn among its candidates.

    Without candidates how often each stands; else the iteration of Hunter (Annals of Statistics
    32, 2004, section 2), which raises the likelihood in each of its steps.

    without_text([0, 1, 1, 1], 2) == [0.25, 0.75]
    """
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    shares = counts / max(counts.sum(), 1)
    if candidates is None:
        return shares
    allowed, before = candidates.astype(np.float64), -np.inf
    for _ in range(STEPS):
        among = np.maximum(allowed @ shares, 1e-30)
        likelihood = float(np.mean(np.log(shares[labels]) - np.log(among))) if len(labels) else 0.0
        if likelihood - before < GAIN:
            break
        before = likelihood
        shares = counts / np.maximum(allowed.T @ (1 / among), 1e-30)
        shares /= max(shares.sum(), 1e-30)
    return shares


def fit(stages: Stages, params: Params, batches: Iterable[Batch], key: Key[Array, ""]) -> Any:
    """log of `without_text`'s shares over the training examples; -inf of a class that has none."""
    del key
    labels, candidates, classes = [], [], 0
    for batch in batches:
        if not classes:
            found = jax.eval_shape(partial(forward, stages), params, batch)
            classes = found.logits.shape[-1]
        real = np.asarray(batch.rows) >= 0
        labels.append(np.asarray(batch.labels)[real])
        if batch.candidates is not None:
            candidates.append(np.asarray(batch.candidates)[real])
    allowed = np.concatenate(candidates) if candidates else None
    with np.errstate(divide="ignore"):
        found = np.log(without_text(np.concatenate(labels), classes, allowed))
    return jnp.asarray(found.astype(np.float32))


def make_usable(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"usable_information": {"bits", "of_label"}}, [batch].

    bits      PVI, at most of_label; NaN of a label that no training example has
    of_label  -log2 g0(y): what a model gets from its text that is sure of the label
    """
    del stages, config, seed

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        del params
        logits, rows = given.trace.logits, jnp.arange(len(batch.labels))
        free = jnp.broadcast_to(given.fitted[None].astype(logits.dtype), logits.shape)
        if batch.candidates is not None:
            free = jnp.where(batch.candidates, free, -jnp.inf)
        with_text = jax.nn.log_softmax(logits)[rows, batch.labels]
        without = jax.nn.log_softmax(free)[rows, batch.labels]
        without = jnp.where(jnp.isfinite(without), without, jnp.nan)
        bit = jnp.log(jnp.asarray(2, logits.dtype))
        return {
            "usable_information": {"bits": (with_text - without) / bit, "of_label": -without / bit}
        }

    return ask


def _answer(found: dict[str, Any], about: About) -> dict[str, Any]:
    """Means in bits, of all texts and of those of each label, and the texts of least information.

    "negative_fraction" is the share of the texts that mislead the model.
    """
    measured = {name: np.asarray(each) for name, each in found["usable_information"].items()}
    bits = measured["bits"].astype(np.float64)

    def told(chosen: np.ndarray) -> dict[str, Any]:
        known = bits[chosen & np.isfinite(bits)]
        below = float(np.mean(known < 0)) if len(known) else None
        means = describe({name: each[chosen] for name, each in measured.items()})
        return means | {"texts": int(chosen.sum()), "negative_fraction": below}

    least = [number for number in np.argsort(bits, kind="stable") if np.isfinite(bits[number])]
    by_label = {
        label: told(about.truth == number)
        for number, label in enumerate(about.labels)
        if (about.truth == number).any()
    }
    return {
        "usable_information": told(np.ones(len(bits), bool))
        | {
            "by_label": by_label,
            "least": [
                {"id": int(about.study.numbers[number]), "bits": float(bits[number])}
                for number in least[:HARDEST]
            ],
        }
    }


USABLE = Question(
    make_usable,
    _answer,
    empty={"usable_information": None},
    record=("usable_information",),
    fit=lambda config, names: fit,
)
