"""Does an explanation depend on the model, and does it hold still where the model does?

Both questions ask each method again: under other parameters, or beside the text's word vectors.
Methods that are fitted, or that run on the host, are left out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from attnjax.analysis.agreement import spearman
from attnjax.analysis.findings import describe
from attnjax.analysis.importance import method_named
from attnjax.analysis.importance.method import Method
from attnjax.analysis.importance.subsets import random_ranks
from attnjax.analysis.questions.question import About, Given, Question
from attnjax.config import AnalysisConfig
from attnjax.model.attention import forward
from attnjax.model.rules import Rules
from attnjax.model.stages import word_vectors
from attnjax.types import Batch, Embedded, Params, Stages

CASCADE = ("decode", "score", "encode", "embed")  # the order in which stages are drawn anew
DRAWS = 10  # disturbances of each text
RADIUS = 0.02  # of a disturbance, in the range of all word vectors' entries

Explain = Callable[[Stages, Params, Batch], Float[Array, "batch length"]]


def _explanations(config: AnalysisConfig, seed: int) -> dict[str, Explain]:
    """Attention, and every method that can be asked again, on the text's words."""
    key = jax.random.key(seed)

    def of_method(method: Method) -> Explain:
        return lambda stages, params, batch: method(
            method.stages(stages, config.detach_attention), params, batch, key
        )

    methods = {name: method_named(name).under(config) for name in config.methods}
    again = {
        name: of_method(method)
        for name, method in methods.items()
        if method.fit is None and not method.on_host
    }
    return {
        "attention": lambda stages, params, batch: forward(stages, params, batch).weights
    } | again


def make_randomisation(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"randomisation": name -> stage -> [batch]}.

    Spearman's correlation, over the text's words, of an explanation's magnitudes with those under
    parameters of which the stages down to this one, from the decoder on, are drawn anew (Adebayo et
    al., arXiv:1810.03292). An explanation that stays near 1 says nothing about what the model has
    learnt. "random" is that of two random orders.
    """
    explanations = _explanations(config, seed)

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        fresh = stages.init(jax.random.fold_in(jax.random.key(seed), len(CASCADE)))
        cascades = [
            {name: fresh[name] if name in CASCADE[: last + 1] else params[name] for name in params}
            for last in range(len(CASCADE))
        ]
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *cascades)

        def compared(explain: Explain) -> dict[str, Array]:
            before = jnp.abs(explain(stages, params, batch))
            after = jnp.abs(jax.lax.map(lambda each: explain(stages, each, batch), stacked))
            return {
                stage: spearman(before, after[place], batch.words)
                for place, stage in enumerate(CASCADE)
            }

        key, alone = jax.random.key(seed), batch._replace(query=None)
        dtype = given.trace.weights.dtype
        one, other = (random_ranks(key, jnp.asarray(k), alone).astype(dtype) for k in range(2))
        chance = spearman(one, other, batch.words)
        found = {name: compared(explain) for name, explain in explanations.items()}
        return {"randomisation": found | {"random": dict.fromkeys(CASCADE, chance)}}

    return ask


def make_continuity(stages: Stages, config: AnalysisConfig, seed: int) -> Any:
    """Builds ask(params, batch, given) -> {"continuity": name -> measure -> [batch]}.

    max_sensitivity  largest ||r(e + d) - r(e)|| / ||r(e)|| over `DRAWS` random d with entries of at
                     most `RADIUS` times the range of all word vectors; r over the text's words,
                     attention and prediction anew (Yeh et al., arXiv:1901.09392, definition 2)
    """
    explanations = _explanations(config, seed)

    def ask(params: Params, batch: Batch, given: Given) -> dict[str, Any]:
        table = word_vectors(stages, params, len(params["embed"]["table"]))
        radius = RADIUS * (table.max() - table.min())
        words, vectors = batch.words, given.trace.embedded.text
        key = jax.random.key(seed)

        def disturbance(number: Array) -> Float[Array, "batch length embed"]:
            def of_row(row: Array) -> Array:
                own = jax.random.fold_in(jax.random.fold_in(key, row), number)
                return jax.random.uniform(own, vectors.shape[1:], vectors.dtype, -1.0, 1.0)

            return jnp.where(words[..., None], radius * jax.vmap(of_row)(batch.rows), 0)

        def sensitivity(explain: Explain) -> Float[Array, " batch"]:
            before = explain(stages, params, batch)

            def change(number: Array) -> Float[Array, " batch"]:
                moved = disturbed(stages, disturbance(number))
                return jnp.linalg.norm(explain(moved, params, batch) - before, axis=-1)

            size = jnp.linalg.norm(before, axis=-1)
            largest = jax.lax.map(change, jnp.arange(DRAWS)).max(axis=0)
            return jnp.where(size > 0, largest / jnp.where(size > 0, size, 1), jnp.nan)

        found = {
            name: {"max_sensitivity": sensitivity(explain)}
            for name, explain in explanations.items()
        }
        return {"continuity": found}

    return ask


def disturbed(stages: Stages, delta: Float[Array, "batch length embed"]) -> Stages:
    """The model with something added to the text's vectors, under every set of rules.

    What else a method looks up, such as the vectors of all words, stays as it is.
    """

    def embed(params: Params, batch: Batch) -> Embedded:
        embedded = stages.embed(params, batch)
        if embedded.text.shape != delta.shape:
            return embedded
        return embedded._replace(text=embedded.text + delta)

    def under(rules: Rules) -> Stages:
        return disturbed(stages.under(rules), delta)

    return stages._replace(embed=embed, under=under)


def _randomisation(found: dict[str, Any], about: About) -> dict[str, Any]:
    del about
    return {
        "randomisation": {name: describe(each) for name, each in found["randomisation"].items()}
    }


def _continuity(found: dict[str, Any], about: About) -> dict[str, Any]:
    """The summary of the largest change, as the contract has it."""
    del about
    rows: dict[str, dict[str, np.ndarray]] = found["continuity"]
    return {"continuity": {name: describe(each)["max_sensitivity"] for name, each in rows.items()}}


RANDOMISATION = Question(
    make_randomisation,
    _randomisation,
    empty={"randomisation": None},
    record=("randomisation",),
)
CONTINUITY = Question(
    make_continuity, _continuity, empty={"continuity": None}, record=("continuity",)
)
