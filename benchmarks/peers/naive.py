"""The techniques as one would write them first: every pass encodes again, nothing is shared."""

from functools import partial

import jax
import jax.numpy as jnp

from attnjax.config import RunConfig
from attnjax.losses import Context, Sums, cross_entropy, divergence
from attnjax.model.attention import forward
from attnjax.model.stages import entries_read, inner_scores, word_vectors
from attnjax.perturb.ascent import Settings
from attnjax.perturb.problems import inner_problem, score_problem, word_problem
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.types import Inner, Params, Perturbation, Stages


def make_naive_gradients(config: RunConfig, stages: Stages):
    """gradients(params, context) -> (gradient, sums) for single texts, like attnjax.losses'."""
    technique = TECHNIQUES[config.adversary.technique]

    def gradients(params: Params, context: Context) -> tuple[Params, Sums]:
        batch = context.batch

        def logits_of(params, delta):
            moved = {
                "word": lambda: Perturbation(embed=delta),
                "attention": lambda: Perturbation(score=delta),
                "inner": lambda: Perturbation(inner=Inner(score=jnp.moveaxis(delta, 0, 1))),
            }[technique.level]()
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
            losses, settings = partial(measure, held), (technique, config.adversary)
            if technique.level == "attention":
                problem = score_problem(losses, trace.scores, batch.words, batch, *settings)
            elif technique.level == "inner":
                scores = inner_scores(stages, held, trace.embedded, batch)
                zeros = jnp.zeros_like(scores)
                seen = batch.rows, batch.mask, *settings
                problem = inner_problem(losses, zeros, None, *seen, lambda: scores)
            else:
                read = entries_read(stages, held, trace.embedded, batch)
                vectors, near = partial(word_vectors, stages, held), context.neighbours
                problem = word_problem(
                    losses, trace.embedded, None, read, batch, *settings, near, vectors
                )
            delta = technique.perturb(problem, Settings(context.hparams.epsilon), context.key)
            losses = cross_entropy(clean, batch.labels)
            losses = losses + context.hparams.weight * measure(params, delta)
            return jnp.sum(losses * batch.weight) / context.counts.all

        loss, gradient = jax.value_and_grad(objective)(params)
        return gradient, {"loss": loss}

    return gradients
