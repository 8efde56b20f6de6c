"""An encoder, a technique, a method and a question of somebody's own, each one entry in one table.

They stand on the command line's help, in a run, in a sweep and in a comparison.
"""

import json
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import arguments, write_data
from scipy import stats

import attnjax
from attnjax import compare, sweep
from attnjax.analysis.findings import describe
from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.method import Method
from attnjax.analysis.questions import QUESTIONS
from attnjax.analysis.questions.question import Question
from attnjax.main import main
from attnjax.model.attention import attend
from attnjax.model.layers import ENCODERS, Affine
from attnjax.model.rules import PLAIN, Rules, held_attend, held_gate
from attnjax.perturb.ascent import worst_case
from attnjax.perturb.techniques import TECHNIQUES, Technique
from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Answer, Files, Paragraph, Shown
from attnjax.report.tables import Table
from attnjax.report.wording import Wording

pytestmark = pytest.mark.slow


class Gated(nn.Module):
    """sigmoid(G x + c) * tanh(W x + b) of each word; the summary is the mean over tokens."""

    hidden: int
    rules: Rules = PLAIN

    @nn.compact
    def __call__(self, inputs, mask):
        values = self.rules.linear(Affine(self.hidden, name="values")(inputs))
        gates = jax.nn.sigmoid(self.rules.linear(Affine(self.hidden, name="gates")(inputs)))
        states = self.rules.gate(gates, self.rules.act(jnp.tanh, values))
        states = jnp.where(mask[..., None], states, 0)
        count = jnp.maximum(mask.sum(axis=-1, keepdims=True), 1)
        return states, states.sum(axis=1) / count.astype(states.dtype)


def calm(problem, settings, key):
    """Away from the worst case."""
    return jax.tree.map(jnp.negative, worst_case(problem, settings, key))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def straight(function, x):
    """function(x), differentiated as x."""
    return function(x)


straight.defvjp(lambda function, x: (function(x), None), lambda function, _, grad: (grad,))
STRAIGHT = Rules(act=straight, gate=held_gate, attend=held_attend)


def contribution(stages, params, batch, key):
    """e . dy/de under STRAIGHT, y how far the predicted of two classes is ahead."""
    model, embedded = stages.under(STRAIGHT), stages.embed(params, batch)

    def ahead(text):
        encoded = model.encode(params, embedded._replace(text=text), batch)
        logits = attend(model, params, encoded, model.score(params, encoded), batch)[1]
        return jnp.abs(logits[:, 1] - logits[:, 0]).sum()

    products = embedded.text * jax.grad(ahead)(embedded.text)
    return jnp.where(batch.words, products.sum(axis=-1), 0)


def ask_entropy(stages, config, seed):
    def entropy(params, batch, given):
        probabilities = given.trace.probabilities
        return {"entropy": {"nats": -jnp.sum(probabilities * jnp.log(probabilities), axis=-1)}}

    return entropy


def answer_entropy(found, about):
    return {"entropy": describe(found["entropy"])}


def entropy_blocks(told):
    found = told.analysis.get("entropy")
    if not found:
        return []
    table = Table("entropy", "Entropy of the output.", ("mean",), [{"mean": found["nats"]["mean"]}])
    return [Paragraph("Of the output, in nats."), Shown(table), Files(table)]


SURE = Answer(
    "entropy",
    "Entropy",
    "How sure is the model?",
    entropy_blocks,
    files=("tables/entropy.*",),
    compared={("entropy", "nats"): Wording("entropy", None, "nats", "0 is sure.")},
    sentence=lambda told: f"Its output has {told.analysis['entropy']['nats']['mean']:.3f} nats.",
)
ENTROPY = Question(ask_entropy, answer_entropy, empty={"entropy": None}, record=("entropy",))
OWN = (
    (ENCODERS, "gated", Gated),
    (TECHNIQUES, "attention_calm", Technique("attention", calm)),
    (METHODS, "contribution", Method(contribution, signed=True)),
    (QUESTIONS, "entropy", ENTROPY),
    (ANSWERS, "entropy", SURE),
)
ASKED = (
    "--config.model.encoder=gated",
    "--config.analysis.methods=gradient,contribution",
    "--config.analysis.questions=agreement,entropy",
)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with pytest.MonkeyPatch.context() as patch:
        for table, name, entry in OWN:
            patch.setitem(table, name, entry)
        yield


@pytest.fixture(scope="module")
def runs(once, _registered):
    """A folder with two seeds of one run and with a sweep of two points."""

    def make(folder):
        data = write_data(folder / "data")
        for seed in (0, 1):
            technique = ("--config.adversary.technique=attention_calm", f"--config.seed={seed}")
            line = arguments(data, folder / f"seed_{seed}", *ASKED, *technique)
            assert main(["attnjax", *line]) == 0
        points = ("--sweep.technique=attention_calm", "--sweep.epsilon=0.5,1", "--sweep.mode=vmap")
        line = arguments(data, folder / "sweep", *ASKED, *points)
        assert sweep.main(["attnjax.sweep", *line]) == 0

    return once("extension", make)


def read(path):
    return json.loads(path.read_text())


def examples_of(run):
    lines = (run / "analysis" / "examples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("model.encoder", "gated"),
        ("adversary.technique", "attention_calm"),
        ("analysis.methods", "contribution"),
        ("analysis.questions", "entropy"),
    ],
)
def test_help_lists_it(capsys, field, name):
    assert main(["attnjax", f"--help={field}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"--config.{field}=" in printed
    assert f", {name})" in printed
    assert main(["attnjax", f"--config.{field}={name}s"]) == 2
    assert f"did you mean '{name}'" in capsys.readouterr().err


def test_a_run_trains_with_them_and_tells_what_they_found(runs):
    results, examples = read(runs / "seed_0" / "results.json"), examples_of(runs / "seed_0")
    assert results["config"]["model"]["encoder"] == "gated"
    assert results["config"]["adversary"]["technique"] == "attention_calm"
    assert results["test"]["accuracy"] > 0.7
    nats = [-np.dot(row["probabilities"], np.log(row["probabilities"])) for row in examples]
    np.testing.assert_allclose([row["entropy"]["nats"] for row in examples], nats, rtol=1e-4)
    mean = results["analysis"]["entropy"]["nats"]["mean"]
    assert mean == pytest.approx(np.mean(nats), rel=1e-4)
    assert results["analysis"]["permutation"] is None
    assert "uniform_attention" not in results["analysis"]
    assert set(results["analysis"]["agreement"]["attention~contribution"]) >= {"pearson", "kendall"}


def test_the_methods_values_equal_the_formula_of_its_rules(runs):
    """a_t sum_h d_h sigmoid(G x_t + c)_h (W x_t)_h, with the sign of the predicted class."""
    run = attnjax.load_run(str(runs / "seed_0"))
    params = jax.tree.map(np.asarray, run.params)
    gates, values = (params["encode"]["text"][name] for name in ("gates", "values"))
    numbers = {token: number for number, token in enumerate(run.vocab.tokens)}
    examples = examples_of(runs / "seed_0")
    assert {row["prediction"] for row in examples} == {"0", "1"}
    for row in examples:
        words = params["embed"]["table"][[numbers[token] for token in row["tokens"]]]
        open_gates = 1 / (1 + np.exp(-(words @ gates["kernel"] + gates["bias"][None])))
        states = open_gates * (words @ values["kernel"])
        logits = states @ params["decode"]["logits"]["kernel"][:, 0]
        sign = 1 if row["prediction"] == "1" else -1
        expected = sign * np.array(row["attention"]) * logits
        found = row["importance"]["contribution"]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    everything = np.concatenate([row["importance"]["contribution"] for row in examples])
    assert everything.min() < 0 < everything.max()


def test_a_sweep_has_them_in_every_point(runs):
    points = sorted((runs / "sweep").glob("point_*"))
    assert len(points) == 2
    alone = read(runs / "seed_0" / "results.json")["analysis"]
    for point in points:
        results = read(point / "results.json")
        assert results["config"]["adversary"]["technique"] == "attention_calm"
        assert set(results["analysis"]["agreement"]) == set(alone["agreement"])
        assert set(results["analysis"]["entropy"]["nats"]) == set(alone["entropy"]["nats"])
    # The second point is the run of seed 0: epsilon 1 is the default.
    same = read(points[1] / "results.json")["analysis"]
    assert same["entropy"]["nats"]["mean"] == pytest.approx(
        alone["entropy"]["nats"]["mean"], rel=1e-3
    )


def test_runs_are_compared_where_nobody_knows_them(runs, tmp_path, monkeypatch):
    for table, name, _ in OWN:
        monkeypatch.delitem(table, name)
    folders = [str(runs / f"seed_{seed}") for seed in (0, 1)]
    assert compare.main(["attnjax.compare", *folders, f"--out={tmp_path / 'out'}"]) == 0
    found = read(tmp_path / "out" / "comparison.json")
    quantities = {(each["of"], each["measure"]) for each in found["means"]}
    assert ("attention~contribution", "pearson") in quantities
    assert ("entropy", "nats") not in quantities, "what is compared is said by the answer"
    (ceiling,) = (
        each
        for each in found["ceiling"]
        if (each["explanation"], each["measure"]) == ("contribution", "kendall")
    )
    pairs = zip(*(examples_of(runs / f"seed_{seed}") for seed in (0, 1)), strict=True)
    taus = [
        stats.kendalltau(*(np.abs(each["importance"]["contribution"]) for each in pair)).statistic
        for pair in pairs
    ]
    assert ceiling["mean"] == pytest.approx(np.nanmean(taus), abs=1e-3)
    assert len(found["sentences"][0]["runs"][0]["importance"]["contribution"]) > 0
    assert (tmp_path / "out" / "comparison.html").exists()


def test_the_report_shows_the_answer_of_the_question(runs):
    page = (runs / "seed_0" / "report.html").read_text()
    section = page[page.index('<section id="entropy">') :].partition("</section>")[0]
    mean = read(runs / "seed_0" / "results.json")["analysis"]["entropy"]["nats"]["mean"]
    assert "<h2>How sure is the model?</h2>" in section
    assert f"{mean:.3f}" in section
    assert (runs / "seed_0" / "tables" / "entropy.csv").exists()
    assert '<a href="#entropy">Entropy</a>' in page
    assert f'<p class="answer">Its output has {mean:.3f} nats.</p>' in section
    assert f"<dd>Its output has {mean:.3f} nats.</dd>" in page.partition("<main>")[0]


def test_what_the_answer_compares_is_compared(runs, tmp_path):
    folders = [str(runs / f"seed_{seed}") for seed in (0, 1)]
    assert compare.main(["attnjax.compare", *folders, f"--out={tmp_path / 'out'}"]) == 0
    found = read(tmp_path / "out" / "comparison.json")
    (mean,) = (
        each["mean"]
        for each in found["means"]
        if (each["name"], each["of"], each["measure"]) == ("seed_1", "entropy", "nats")
    )
    nats = [row["entropy"]["nats"] for row in examples_of(runs / "seed_1")]
    assert mean == pytest.approx(np.mean(nats), rel=1e-4)
