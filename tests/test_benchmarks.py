"""The peers that benchmarks compare with compute the same thing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model

from attnjax.config import from_config_dict
from attnjax.losses import Context, count_examples, make_gradients
from attnjax.perturb.differences import nearest_words
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.types import EOS, HParams
from benchmarks.peers.naive import make_naive_gradients


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_naive_techniques_have_the_same_gradient(technique):
    stages, params = small_model("average", classes=2)
    config = from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": "x"},
            "adversary": {"technique": technique},
        }
    )
    batch = batch_of(sentences([5, 2, 3]))
    context = Context(
        batch,
        HParams(*(jnp.float32(x) for x in (0.1, 0.7, 0.6, 0.0))),
        jax.random.key(0),
        count_examples(batch),
        nearest_words(params["embed"]["table"], 4, EOS + 1),
    )
    fast, _ = quick_jit(make_gradients(config, stages))(params, context)
    naive, _ = quick_jit(make_naive_gradients(config, stages))(params, context)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=2e-5 * float(jnp.abs(b).max()) + 1e-9
        ),
        fast,
        naive,
    )
