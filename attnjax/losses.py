"""Parameters and a batch -> the gradient of the training objective, and what it is made of.

    L(clean) + weight * L(perturbed) + relevance * L_relevance

Whatever only touches attention shares one encoding with the clean pass: the head runs again on the
states that are there, and one backward pass through the encoder carries the sum of the cotangents.
What touches word vectors or self-attention must be encoded again; it takes the clean gradients by
parameters and by what is perturbed from one backward pass, and so costs two steps and not three.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from attnjax.config import RunConfig
from attnjax.model.attention import attend, forward
from attnjax.model.dropout import row_keys
from attnjax.model.stages import entries_read, inner_scores, word_vectors
from attnjax.perturb.ascent import Problem, Settings
from attnjax.perturb.norms import Delta, dropout, norms
from attnjax.perturb.problems import inner_problem, score_problem, word_problem
from attnjax.perturb.techniques import TECHNIQUES, Technique
from attnjax.types import (
    Batch,
    Encoded,
    HParams,
    Inner,
    Params,
    Perturbation,
    Stages,
    Trace,
)

Sums = dict[str, Float[Array, ""]]
PerExample = Float[Array, " batch"]


class Counts(NamedTuple):
    """Real examples in the global batch: those with a label, and all."""

    labelled: Float[Array, ""]
    all: Float[Array, ""]


class Context(NamedTuple):
    """What the objective depends on beside the parameters.

    neighbours  [words, nearest] ids for word_iat and word_ivat, else None
    """

    batch: Batch
    hparams: HParams
    key: Key[Array, ""]
    counts: Counts
    neighbours: Int[Array, "words nearest"] | None = None


Gradients = Callable[[Params, Context], tuple[Params, Sums]]


def cross_entropy(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> PerExample:
    """Negative log-probability of each label, in nats; 0 where the label is -1 (unlabelled).

    Two logits [0, z] give the binary cross entropy of the logistic unit z.
    """
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    labelled = jnp.maximum(labels, 0)
    losses = -jnp.take_along_axis(log_probabilities, labelled[:, None], axis=-1)[:, 0]
    return jnp.where(labels >= 0, losses, 0)


def divergence(
    reference: Float[Array, "batch classes"], logits: Float[Array, "batch classes"]
) -> PerExample:
    """KL(softmax(reference) || softmax(logits)), in nats."""
    log_p, log_q = jax.nn.log_softmax(reference, axis=-1), jax.nn.log_softmax(logits, axis=-1)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def count_examples(batch: Batch) -> Counts:
    """Counts the real rows of one (local) batch."""
    labelled = jnp.sum(batch.weight * (batch.labels >= 0).astype(batch.weight.dtype))
    return Counts(labelled, batch.weight.sum())


def reads_whole_table(config: RunConfig) -> bool:
    """Whether the objective reads table rows beyond the batch's words', pieces, or words by id."""
    technique, model = TECHNIQUES.get(config.adversary.technique), config.model
    neighbours = technique is not None and technique.reads_neighbours
    by_ids = model.encoder == "bert" or bool(model.monotonic)
    return neighbours or model.normalize_embeddings or by_ids


class Objective(NamedTuple):
    """What is minimised, as far as it is the same for every step.

    technique      None trains on clean inputs alone
    class_weights  [classes] of the task loss, or None
    """

    config: RunConfig
    stages: Stages
    technique: Technique | None
    class_weights: Float[Array, " classes"] | None

    def task_loss(self, logits: Float[Array, "batch classes"], batch: Batch) -> PerExample:
        """Cross entropy, weighed by class where that is wanted."""
        losses = cross_entropy(logits, batch.labels)
        if self.class_weights is None:
            return losses
        return losses * self.class_weights[jnp.maximum(batch.labels, 0)]

    def perturbed_loss(
        self,
        logits: Float[Array, "batch classes"],
        clean: Float[Array, "batch classes"],
        batch: Batch,
    ) -> PerExample:
        """The task loss; of virtual techniques the divergence from the clean prediction."""
        if self.technique is not None and self.technique.virtual:
            return divergence(jax.lax.stop_gradient(clean), logits)
        return self.task_loss(logits, batch)

    def clean_terms(self, params: Params, trace: Trace, batch: Batch) -> dict[str, PerExample]:
        """What does not hang on a perturbation."""
        terms = {"clean": self.task_loss(trace.logits, batch)}
        relevance = self.config.relevance
        if relevance.weight > 0:
            second = relevance.second_order
            terms["relevance"] = relevance_loss(self.stages, params, trace, batch, second)
        return terms

    def total(self, terms: dict[str, PerExample], context: Context) -> Float[Array, ""]:
        """The weighted means of the per-example terms."""
        batch, hparams, counts = context.batch, context.hparams, context.counts
        virtual = self.technique is not None and self.technique.virtual
        # The released AMEP code applies the clean gradient twice (papers: 2 L + lambda L_adv).
        clean_weight = 2.0 if self.config.adversary.reference_compat == "amep" else 1.0
        shares = {
            "clean": clean_weight / counts.labelled,
            "perturbed": hparams.weight / (counts.all if virtual else counts.labelled),
            "relevance": hparams.relevance / counts.all,
        }
        return sum(
            (
                share * real_sum(terms[name], batch)
                for name, share in shares.items()
                if name in terms
            ),
            start=jnp.zeros((), batch.weight.dtype),
        )

    def settings(self, hparams: HParams) -> Settings:
        """Of the search for a perturbation."""
        each = self.config.adversary
        return Settings(hparams.epsilon, each.steps, each.power_steps, each.xi)

    def disturbance(
        self, params: Params, context: Context, delta: Delta | None = None
    ) -> Perturbation:
        """The dropout of this step, if any, and what the technique adds on the way to the states.

        delta  to the word vectors, or [batch, layers, heads, length, length] to self-attention
        The step drops the same entries in its clean pass and in all perturbed ones. What a
        technique takes from the scores of self-attention beside them, it takes without dropout.
        """
        batch, rate, found = context.batch, self.config.train.embed_dropout, Perturbation()
        if rate > 0:
            key = jax.random.fold_in(context.key, 1)
            like = jax.eval_shape(self.stages.embed, params, batch)
            found = Perturbation(dropout(like, batch.rows, key, rate))
        inner = Inner()
        if self.config.model.dropout > 0:
            inner = Inner(keys=row_keys(batch.rows, jax.random.fold_in(context.key, 2)))
            found = found._replace(inner=inner)
        if delta is None:
            return found
        if self.technique is not None and self.technique.level == "inner":
            return found._replace(inner=inner._replace(score=jnp.moveaxis(delta, 0, 1)))
        return found._replace(embed=delta)

    def undisturbed(self, params: Params, batch: Batch) -> Delta:
        """The delta of `disturbance` that changes nothing."""

        def like(params: Params) -> Delta:
            embedded = self.stages.embed(params, batch)
            if self.technique is not None and self.technique.level == "inner":
                return inner_scores(self.stages, params, embedded, batch)
            return embedded

        shapes = jax.eval_shape(like, params)
        return jax.tree.map(lambda each: jnp.zeros(each.shape, each.dtype), shapes)


def make_gradients(
    config: RunConfig, stages: Stages, class_weights: Float[Array, " classes"] | None = None
) -> Gradients:
    """Builds gradients(params, context) -> (gradient, sums).

    Every term is a mean over the global batch's real examples: labelled ones for the task loss,
    all for virtual techniques. `sums` are not divided: "loss" is the objective times the labelled
    examples, "clean_loss" and "correct" are sums over them, all other terms over all rows; the
    numbers to divide by are "examples" and "rows".
    class_weights multiplies each example's task loss by the weight of its class.
    """
    technique = TECHNIQUES.get(config.adversary.technique)
    objective = Objective(config, stages, technique, class_weights)
    above = technique is None or technique.level == "attention"
    return partial(attention_gradients if above else encoding_gradients, objective)


def attention_gradients(
    objective: Objective, params: Params, context: Context
) -> tuple[Params, Sums]:
    """Clean, or perturbed on the attention scores: one encoding for everything."""
    batch, stages, technique = context.batch, objective.stages, objective.technique

    def loss_of(params: Params) -> tuple[Float[Array, ""], Sums]:
        trace = forward(stages, params, batch, objective.disturbance(params, context))
        terms = objective.clean_terms(params, trace, batch)
        extra: Sums = {}
        if technique is not None:
            held = jax.lax.stop_gradient((params, trace))
            find = _score_problem(objective, technique, *held, batch)
            delta = technique.perturb(find, objective.settings(context.hparams), context.key)
            _, logits = attend(stages, params, trace.encoded, trace.scores + delta, batch)
            terms["perturbed"] = objective.perturbed_loss(logits, trace.logits, batch)
            extra = perturbation_sums(delta, trace.logits, logits, batch)
        loss = objective.total(terms, context)
        return loss, {**sums_of(loss, terms, trace.logits, context), **extra}

    gradient, sums = jax.grad(loss_of, has_aux=True)(params)
    return gradient, sums


def encoding_gradients(
    objective: Objective, params: Params, context: Context
) -> tuple[Params, Sums]:
    """Perturbed on the way to the states: the clean backward pass is that of the delta as well."""
    batch, stages, technique = context.batch, objective.stages, objective.technique
    assert technique is not None
    zeros = objective.undisturbed(params, batch)

    def clean(
        params: Params, delta: Delta
    ) -> tuple[tuple[Float[Array, ""], Float[Array, ""]], tuple[Trace, dict[str, PerExample]]]:
        trace = forward(stages, params, batch, objective.disturbance(params, context, delta))
        terms = objective.clean_terms(params, trace, batch)
        task = {"clean": terms["clean"]}
        rest = {name: term for name, term in terms.items() if name != "clean"}
        losses = objective.total(task, context), objective.total(rest, context)
        return losses, (trace, terms)

    (task, rest), pull, (trace, terms) = jax.vjp(clean, params, zeros, has_aux=True)
    one, zero = jnp.ones_like(task), jnp.zeros_like(rest)
    gradient, by_delta = pull((one, zero))
    if "relevance" in terms:
        gradient = jax.tree.map(jnp.add, gradient, pull((zero, one))[0])

    def losses_at(params: Params, delta: Delta) -> tuple[PerExample, Array]:
        perturbation = objective.disturbance(params, context, delta)
        logits = forward(stages, params, batch, perturbation).logits
        return objective.perturbed_loss(logits, trace.logits, batch), logits

    losses = lambda delta: losses_at(params, delta)[0]  # noqa: E731
    known = None if technique.virtual else by_delta
    held = params, trace, context
    find = _encoding_problem(objective, technique, *held, losses, zeros, known)
    delta = technique.perturb(find, objective.settings(context.hparams), context.key)

    def perturbed(params: Params) -> tuple[Float[Array, ""], tuple[PerExample, Array]]:
        losses, logits = losses_at(params, delta)
        return objective.total({"perturbed": losses}, context), (losses, logits)

    (loss, (losses, logits)), more = jax.value_and_grad(perturbed, has_aux=True)(params)
    terms["perturbed"] = losses
    return jax.tree.map(jnp.add, gradient, more), {
        **sums_of(task + rest + loss, terms, trace.logits, context),
        **perturbation_sums(delta, trace.logits, logits, batch),
    }


def _score_problem(
    objective: Objective, technique: Technique, params: Params, trace: Trace, batch: Batch
) -> Problem:
    """Perturbing the scores of states that are encoded already."""

    def losses(delta: Delta) -> PerExample:
        _, logits = attend(objective.stages, params, trace.encoded, trace.scores + delta, batch)
        return objective.perturbed_loss(logits, trace.logits, batch)

    seen = objective.stages.attended(batch), batch
    return score_problem(losses, trace.scores, *seen, technique, objective.config.adversary)


def _encoding_problem(
    objective: Objective,
    technique: Technique,
    params: Params,
    trace: Trace,
    context: Context,
    losses: Callable[[Delta], PerExample],
    zeros: Delta,
    gradient: Delta | None,
) -> Problem:
    """Perturbing what the states are made from; gradient  of the losses at zero, if it is known."""
    batch, stages, adversary = context.batch, objective.stages, objective.config.adversary
    if technique.level == "inner":
        scores_of = partial(inner_scores, stages, params, trace.embedded, batch)
        seen = batch.rows, stages.places(batch)
        return inner_problem(losses, zeros, gradient, *seen, technique, adversary, scores_of)

    def vectors_of(words: int) -> Float[Array, "words embed"]:
        assert words == len(params["embed"]["table"]), "the whole table is needed here"
        return word_vectors(stages, params, words)

    seen, near = (entries_read(stages, params, trace.embedded, batch), batch), context.neighbours
    return word_problem(
        losses, trace.embedded, gradient, *seen, technique, adversary, near, vectors_of
    )


def relevance_loss(
    stages: Stages, params: Params, trace: Trace, batch: Batch, second_order: bool
) -> PerExample:
    """KL(softmax|g_h| || attention), g_ht = sum_d h_td dy/dh_td (YANS 2019 poster, P23).

    y is the probability of the predicted class; both distributions are over words. With
    second_order the target moves with the parameters too, else it is held constant.
    """

    def output(states: Float[Array, "batch length width"]) -> Float[Array, ""]:
        encoded = Encoded(states, trace.encoded.query)
        _, logits = attend(stages, params, encoded, stages.score(params, encoded), batch)
        return jax.nn.softmax(logits, axis=-1).max(axis=-1).sum()

    states = trace.encoded.states
    importance = jnp.abs(jnp.sum(states * jax.grad(output)(states), axis=-1))
    if not second_order:
        importance = jax.lax.stop_gradient(importance)
    words = stages.attended(batch)
    log_target, log_attention = (_log_softmax(each, words) for each in (importance, trace.scores))
    parts = jnp.exp(log_target) * (log_target - log_attention)
    return jnp.sum(jnp.where(words, parts, 0), axis=-1)


def _log_softmax(values: Float[Array, "batch length"], words: Any) -> Float[Array, "batch length"]:
    """Log-softmax over words, 0 elsewhere; finite however small a weight is."""
    inside = jnp.where(words, values, jnp.finfo(values.dtype).min / 2)
    return jnp.where(words, jax.nn.log_softmax(inside, axis=-1), 0)


def real_sum(values: PerExample, batch: Batch) -> Float[Array, ""]:
    """Sums per-example values over real examples."""
    return jnp.sum(jnp.where(batch.weight > 0, values, 0) * batch.weight)


def sums_of(
    loss: Float[Array, ""],
    terms: dict[str, PerExample],
    logits: Float[Array, "batch classes"],
    context: Context,
) -> Sums:
    """What the log is made of: the objective, its terms, right predictions, numbers of rows."""
    batch = context.batch
    right = (logits.argmax(axis=-1).astype(batch.labels.dtype) == batch.labels).astype(logits.dtype)
    return {
        "loss": loss * context.counts.labelled,
        **({f"{name}_loss": real_sum(term, batch) for name, term in terms.items()}),
        "correct": real_sum(right, batch),
        "examples": count_examples(batch).labelled,
        "rows": batch.weight.sum(),
    }


def perturbation_sums(
    delta: Delta,
    clean: Float[Array, "batch classes"],
    perturbed: Float[Array, "batch classes"],
    batch: Batch,
) -> Sums:
    """The realised norm, how many rows have none, and how many predictions it flips.

    Rows without a direction, as those of attention iAT whose scores are all equal, train clean.
    """
    flipped = (clean.argmax(axis=-1) != perturbed.argmax(axis=-1)).astype(clean.dtype)
    size = norms(delta)
    return {
        "perturbation_norm": real_sum(size, batch),
        "unperturbed": real_sum((size == 0).astype(clean.dtype), batch),
        "flipped": real_sum(flipped, batch),
    }
