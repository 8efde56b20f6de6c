"""Self-attention of a loaded run: what the layers give for each text alone, on its own tokens."""

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from helpers import batch_of, small_model

from attnjax.config import from_config_dict
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError
from attnjax.runs.loaded import Run, compile_in_full
from attnjax.training.parallel import remembered
from attnjax.types import EOS, SOS

TOKENS = ("<pad>", "<unk>", "<sos>", "<eos>", "a", "film")


def run_of(encoder="transformer", task="nli"):
    stages, params = small_model(encoder, pair=task == "nli")
    model = {"encoder": encoder, "hidden_dim": 4}
    data = {"source": "files", "path": "x"}
    config = from_config_dict({"task": task, "data": data, "model": model})
    compiled = remembered(compile_in_full)
    labels = ("no", "maybe", "yes")
    return Run(params, stages, Vocabulary(TOKENS), labels, config, compiled, epath.Path("run"))


def test_each_text_has_its_own_tokens_and_rows_that_sum_to_1():
    run = run_of()
    found = run.attention([("a film a film", "film"), None, ("a", "a new film")])
    assert found.tokens[0] == ["<sos>", "a", "film", "a", "film", "<eos>"]
    assert found.tokens[1] == []
    assert found.weights[1].size == 0
    assert "must be a pair" in found.problems[1]
    assert found.query_tokens[2] == ["<sos>", "a", "new", "film", "<eos>"]
    assert "2 layers of 4 heads" in repr(found)
    texts = [np.array([SOS, 4, 5, 4, 5, EOS]), np.array([SOS, 4, EOS])]
    queries = [np.array([SOS, 5, EOS]), np.array([SOS, 4, 1, 5, EOS])]
    for number, text, query in zip((0, 2), texts, queries, strict=True):
        batch = batch_of([text], [query])
        embedded = run.stages.embed(run.params, batch)
        for segment, weights in (("text", found.weights), ("query", found.query_weights)):
            layers = run.stages.layers(run.params, embedded, batch, segment)
            expected = jnp.stack([each.weights[0] for each in layers])
            np.testing.assert_allclose(weights[number], expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(weights[number].sum(axis=-1), 1, rtol=1e-5)


def test_single_texts_have_no_query():
    found = run_of(task="classification").attention(["a film"])
    assert found.query_tokens is None
    assert found.weights[0].shape == (2, 4, 4, 4)


def test_an_encoder_without_self_attention_is_refused():
    with pytest.raises(UserError, match="'attention' is defined for the encoders transformer"):
        run_of("average").attention([("a", "film")])
