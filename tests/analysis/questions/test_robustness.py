"""Robust accuracy: equal to perturbing each example by hand, falling with epsilon."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import batch_of, sentences, small_model

from attnjax.analysis.questions.question import About, Given
from attnjax.analysis.questions.robustness import KINDS, ROBUSTNESS, make_robustness
from attnjax.config import AnalysisConfig
from attnjax.losses import cross_entropy
from attnjax.model.attention import forward
from attnjax.types import Perturbation


def robustness(stages, params, batch, config):
    ask = make_robustness(stages, config, 0)

    def answers(params, batch):
        return ask(params, batch, Given(forward(stages, params, batch), {}))

    return jax.tree.map(np.asarray, jax.jit(answers)(params, batch))


def test_worst_case_on_scores_equals_the_literal_version():
    stages, params = small_model("average", classes=2)
    batch = batch_of(sentences([5, 2, 3, 6] * 5))
    epsilons = (0.5, 5.0)
    found = robustness(stages, params, batch, AnalysisConfig(robustness=epsilons))
    assert set(found) == set(KINDS)

    def losses(delta):
        logits = forward(stages, params, batch, Perturbation(score=delta)).logits
        return cross_entropy(logits, batch.labels)

    slope = jax.grad(lambda d: losses(d).sum())(jnp.zeros(batch.tokens.shape))
    slope = np.where(batch.words, slope, 0)
    for place, epsilon in enumerate(epsilons):
        delta = epsilon * slope / np.linalg.norm(slope, axis=1, keepdims=True)
        logits = forward(stages, params, batch, Perturbation(score=jnp.asarray(delta))).logits
        expected = np.asarray(logits).argmax(axis=1) == np.asarray(batch.labels)
        np.testing.assert_array_equal(found["attention_worst"][:, place], expected)


def test_accuracy_under_nothing_is_clean_and_falls_under_the_worst_case():
    stages, params = small_model("average", classes=2)
    batch = batch_of(sentences(np.random.default_rng(1).integers(2, 9, 200)))
    clean = forward(stages, params, batch).logits.argmax(axis=1)
    batch = batch._replace(labels=clean.astype(jnp.int32))
    config = AnalysisConfig(robustness=(0.0, 1.0, 10.0), robustness_steps=2)
    found = robustness(stages, params, batch, config)
    summary = ROBUSTNESS.answer(found, About(None, config, (), None))["robustness"]
    assert summary["epsilon"] == [0.0, 1.0, 10.0]
    for kind in KINDS:
        assert summary[kind][0] == 1.0
        assert summary[kind][2] <= summary[kind][0]
    assert summary["word_worst"][2] < summary["word_random"][2]
