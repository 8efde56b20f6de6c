"""The peers that benchmarks compare with compute the same thing; their records say how."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, quick_jit, sentences, small_model
from test_main import ROOT

from attnjax.analysis.importance import METHODS
from attnjax.analysis.questions.agreement import agree
from attnjax.config import from_config_dict
from attnjax.losses import Context, count_examples, make_gradients
from attnjax.model.attention import forward
from attnjax.model.rules import HELD
from attnjax.perturb.differences import nearest_words
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.types import EOS, HParams
from benchmarks import models, record
from benchmarks.peers.naive import make_naive_gradients


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_naive_techniques_have_the_same_gradient(technique):
    encoder = "transformer" if TECHNIQUES[technique].level == "inner" else "average"
    stages, params = small_model(encoder, classes=2)
    config = from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": "x"},
            "model": {"encoder": encoder},
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


TEXTS = [*sentences([5, 1, 3, 9, 4, 7]), *sentences([6] * 30, seed=1)]  # two batches of 32


@pytest.fixture(scope="module")
def peer():
    pytest.importorskip("torch", reason="the peer needs torch: pip install 'attnjax[bench]'")
    from benchmarks.peers import torch_analysis

    return torch_analysis


@pytest.mark.parametrize("name", ["attention", "gradient", "leave_one_out"])
def test_the_torch_analysis_explains_the_same_model_alike(name, peer):
    stages, params = small_model("bilstm", "additive", classes=2)
    batch, key = batch_of(TEXTS), jax.random.key(0)
    if name == "attention":
        explain = quick_jit(lambda params: forward(stages, params, batch).weights)
    else:
        explain = quick_jit(lambda params: METHODS[name](stages.under(HELD), params, batch, key))
    expected = np.asarray(explain(params))
    found = getattr(peer, name)(peer.Classifier(jax.device_get(params)), TEXTS)
    assert len(found) == len(TEXTS)
    tolerance = 1e-5 * expected.max()  # float32, other orders of summation
    for row, words, values in zip(found, np.asarray(batch.words), expected, strict=True):
        np.testing.assert_allclose(row, values[words], rtol=0, atol=tolerance)


def test_the_torch_counterfactuals_keep_their_bounds(peer):
    model = peer.Classifier(jax.device_get(small_model(classes=2)[1]))
    change = peer.permutation(model, TEXTS, count=20)
    assert change[1] == 0  # one word has one permutation
    assert 0 < np.median(change) < change.max() < 1
    none, free = (peer.adversarial(model, TEXTS, steps=9, epsilon=each) for each in (0.0, 1.0))
    assert np.all(none == 0)
    assert np.all((free >= 0) & (free <= np.log(2) + 1e-6))
    #  where nothing restrains it, the optimizer drives the attentions apart
    farther = peer.adversarial(model, TEXTS, steps=90, epsilon=1.0, margin=1.0)
    assert farther.mean() > free.mean() + 0.02


def test_the_peer_measures_agreement_alike(peer):
    random = np.random.default_rng(0)
    a = [random.random(size).astype(np.float32) for size in (12, 5, 1, 30, 7)]
    b = [(each + random.random(len(each))).astype(np.float32) for each in a]
    b[4] = np.ones_like(b[4])
    expected = agree({"a~b": (a, b)}, top_k=6)["a~b"]
    found = peer.agreement(a, b, 6)
    for name, column in zip(peer.MEASURES, found.T, strict=True):
        np.testing.assert_allclose(column, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_record_names_the_command_and_not_where_files_lie(monkeypatch):
    line = "/here/x.py --out a.json --data=/b --rounds=2 -- --config.data.path=/c --heap kept"
    monkeypatch.setattr(sys, "argv", [*line.split(), "--out=d"])
    assert record.command_line() == (
        "python benchmarks/x.py --data=DIR --rounds=2 -- --config.data.path=DIR --heap kept"
    )
    assert record.machine()["processor"]


@pytest.mark.parametrize("data", sorted(each.name for each in models.STORED.iterdir()))
def test_models_are_told_by_what_they_were_asked(data, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["models.py", f"--name={data}"])
    models.main()
    printed = capsys.readouterr().out
    asked = json.loads(next((models.STORED / data).glob("*/*")).read_text())["analysis"]
    for question, heading in (
        ("faithfulness", "| model | accuracy | explanation |"),
        ("information", "| model | state | content |"),
        ("usable_information", "| model | accuracy | usable information, bits |"),
    ):
        assert (heading in printed) == (question in asked), question
    for table in printed.split("\n\n"):
        assert len({line.count(" | ") for line in table.strip().splitlines()}) <= 1
        assert "nan" not in table
        assert "None" not in table


@pytest.mark.slow
def test_a_benchmark_writes_its_record(tmp_path):
    out = tmp_path / "step.json"
    small = "--encoder=average --length=8 --batch=4 --steps=1 --rounds=1"
    step = ["benchmarks/step_throughput.py", *small.split(), f"--out={out}"]
    subprocess.run([sys.executable, *step], cwd=ROOT, check=True, capture_output=True)
    found = json.loads(out.read_text())
    assert found["command"] == f"python benchmarks/step_throughput.py {small}"
    assert found["machine"]["cores"] >= 1
    (variant,) = found["variants"]
    assert 0 < variant["fastest_step_ms"] <= variant["step_ms"]
    assert variant["ready"]["device"]["platform"] == "cpu"
