"""The techniques as one would write them first: every pass encodes again, nothing is shared."""

import jax
import jax.numpy as jnp

from attnjax.config import RunConfig
from attnjax.losses import Context, Sums, cross_entropy, divergence
from attnjax.model.attention import forward
from attnjax.model.stages import word_vectors
from attnjax.perturb.ascent import Problem, Settings
from attnjax.perturb.differences import (
    along_directions,
    centred_scores,
    score_direction,
    word_directions,
)
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.types import Embedded, Params, Perturbation, Stages


def make_naive_gradients(config: RunConfig, stages: Stages):
    """gradients(params, context) -> (gradient, sums) for single texts, like attnjax.losses'."""
    technique = TECHNIQUES[config.adversary.technique]
    words = technique.level == "word"

    def gradients(params: Params, context: Context) -> tuple[Params, Sums]:
        batch = context.batch

        def logits_of(params, delta):
            moved = Perturbation(embed=delta) if words else Perturbation(score=delta)
            return forward(stages, params, batch, moved).logits

        def objective(params):
            held = jax.lax.stop_gradient(params)
            clean = forward(stages, params, batch).logits

            def measure(params, delta):
                if technique.virtual:
                    reference = forward(stages, held, batch).logits
                    return divergence(reference, logits_of(params, delta))
                return cross_entropy(logits_of(params, delta), batch.labels)

            trace = forward(stages, held, batch)
            like = trace.embedded if words else trace.scores
            mask = Embedded(batch.words, None) if words else batch.words
            problem = Problem(
                lambda delta: measure(held, delta),
                jax.tree.map(jnp.zeros_like, like),
                mask,
                batch.rows,
            )
            if technique.interpretable and words:
                table = word_vectors(stages, held, len(context.neighbours))
                towards = word_directions(
                    table, trace.embedded.text, batch.tokens, context.neighbours
                )
                problem = problem._replace(
                    direction=lambda g: Embedded(along_directions(g.text, towards), None),
                    start=Embedded(towards.mean(axis=2), None),
                )
            elif technique.interpretable:
                problem = problem._replace(
                    direction=lambda g: score_direction(g, trace.scores, batch.words),
                    start=centred_scores(trace.scores, batch.words),
                )
            delta = technique.perturb(problem, Settings(context.hparams.epsilon), context.key)
            losses = cross_entropy(clean, batch.labels)
            losses = losses + context.hparams.weight * measure(params, delta)
            return jnp.sum(losses * batch.weight) / context.counts.all

        loss, gradient = jax.value_and_grad(objective)(params)
        return gradient, {"loss": loss}

    return gradients
