"""Other tools' explanations beside a run's own: looked up exactly, or refused in one line."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import batch_of, sentences, small_model

from attnjax.analysis.importance import METHODS
from attnjax.analyze import main as analyze
from attnjax.compare import main as compare
from attnjax.data.examples import Tokenized
from attnjax.errors import UserError
from attnjax.runs.external import External, matched, refuse_taken
from attnjax.runs.foreign import Foreign

WORDS = [Tokenized(["a", "b", "c"], None), Tokenized(["d"], None), Tokenized(["d"], None)]
PAIRS = [Tokenized(["a", "b"], ["q"])]


def foreign(number, values, method="theirs", tokens=None, query=None, spans=None):
    found = {} if values is None else {"text": values}
    return Foreign(
        "x.jsonl, line 3",
        number,
        method,
        found if query is None else {**found, "query": query},
        {} if tokens is None else {"text": tokens},
        {} if spans is None else {"text": spans},
    )


def test_values_are_looked_up_by_row_whatever_the_batch():
    rows = [np.array([3.0, 1.0, 2.0]), np.array([7.0]), np.array([5.0, -4.0])]
    external = External("theirs", {"text": rows, "query": [np.array([each]) for each in range(3)]})
    method = external.method(np.array([10, 40, 90]))
    assert method.signed
    stages, params = small_model("average", pair=True)
    table = jax.tree.map(jnp.asarray, method.fit(stages, params, (), jax.random.key(0)))
    texts, queries = sentences([3, 1, 2]), sentences([1, 1, 1], seed=1)
    order = np.array([2, 0, 1])
    for length in (None, 3 + 2, 11):
        batch = batch_of([texts[n] for n in order], [queries[n] for n in order], length=length)
        batch = batch._replace(rows=jnp.array([90, 10, -1], jnp.int32))
        found = {
            segment: np.asarray(method(stages, params, batch, jax.random.key(0), segment, table))
            for segment in ("text", "query")
        }
        assert found["text"].shape == batch.tokens.shape
        np.testing.assert_array_equal(found["text"][0, :4], [0, 5, -4, 0])
        np.testing.assert_array_equal(found["text"][1, :5], [0, 3, 1, 2, 0])
        assert not found["text"][:2, 5:].any()
        np.testing.assert_array_equal(found["query"][:2], [[0, 2, 0], [0, 0, 0]])


def test_examples_are_found_by_number_or_words():
    rows, (one,) = matched([foreign(1, [2.0]), foreign(0, [1.0, 0.0, 3.0])], WORDS)
    assert rows.tolist() == [0, 1]
    assert [each.tolist() for each in one.values["text"]] == [[1, 0, 3], [2]]
    same = [foreign(None, [value], tokens=["d"]) for value in (4.0, 5.0)]
    rows, (one,) = matched(same, WORDS)
    assert rows.tolist() == [1, 2], "two examples have these words"
    assert [each.tolist() for each in one.values["text"]] == [[4], [5]]
    _, (hard,) = matched([foreign(0, None, spans=[(1, 3)])], WORDS)
    assert hard.values["text"][0].tolist() == [0, 1, 1]
    _, (pair,) = matched([foreign(0, [1.0, 2.0], query=[3.0])], PAIRS)
    assert pair.values["query"][0].tolist() == [3]


@pytest.mark.parametrize(
    ("explanations", "message"),
    [
        ([foreign(3, [1.0])], "there is no example 3; the test split has 3, counted from 0"),
        ([foreign(-1, [1.0])], "there is no example -1"),
        ([foreign(0, [1.0])], "'theirs' has 1 words of the text of example 0, which has 3"),
        ([foreign(0, [1.0, 2.0, 3.0], tokens=["a", "x", "c"])], "word 1 of example 0 is 'b', not"),
        ([foreign(1, [1.0], tokens=["d", "e"])], "has 2 words of the text of example 1"),
        ([foreign(None, [1.0], tokens=["e"])], "no example of the test split has the words 'e'"),
        ([foreign(1, [1.0]), foreign(1, [2.0])], "explains example 1 twice"),
        ([foreign(1, [1.0], query=[1.0])], "example 1 has no query"),
        ([foreign(1, None, spans=[(0, 2)])], "has 2 words of the text of example 1"),
        (
            [foreign(1, [1.0]), foreign(1, [1.0], "b"), foreign(2, [1.0], "b")],
            "of 'b' and 'theirs' only one explains example 2",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(explanations, message):
    with pytest.raises(UserError) as caught:
        matched(explanations, WORDS)
    assert str(caught.value).startswith("x.jsonl")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gradient", "attention", "random", "people"])
def test_names_that_are_taken(name):
    with pytest.raises(UserError, match=rf"x.jsonl, line 3: the name '{name}' is taken"):
        refuse_taken([foreign(0, [1.0], name)])


def call(*arguments):
    return analyze(["attnjax.analyze", *map(str, arguments)])


def assert_close(found, expected):
    """Scores of explanations that batches of two sizes gave: rounded apart in the last places."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run(trained, tmp_path):
    """A copy of two runs, and of their data, whose test split has what two people named."""
    data = shutil.copytree(trained / "data", tmp_path / "data")
    rows = lines_of(data / "test.jsonl")
    for row in rows:
        words = row["text"].split()
        place = next(n for n, word in enumerate(words) if word in ("good", "bad"))
        row["why"] = [[place], sorted({0, place})]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed in (0, 1):
        shutil.copytree(trained / f"seed_{seed}", tmp_path / f"seed_{seed}")
    return tmp_path


WHY = "--config.data.fields.rationale=why"


@pytest.mark.slow
def test_a_copy_of_the_runs_own_explanation_scores_the_same(run, capsys):
    where = (f"--workdir={run / 'seed_0'}", f"--config.data.path={run / 'data'}", WHY)
    assert call(where[0], f"--export={run / 'out'}") == 0
    rows = [each for each in lines_of(run / "out" / "explanations.jsonl") if each["id"] % 2]
    copies = [
        each | {"method": f"copy_{each['method']}"} for each in rows if each["method"] == "gradient"
    ]
    file = run / "theirs.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in copies))
    before = {path: path.read_bytes() for path in (run / "seed_0").rglob("*") if path.is_file()}
    known = dict(METHODS)
    assert call(*where, f"--explanations={file}") == 0
    assert before == {path: path.read_bytes() for path in before}, "the run's own files stay"
    assert known == METHODS
    folder = run / "seed_0" / "explained" / "theirs"
    results = json.loads((folder / "results.json").read_text())
    found = results["analysis"]
    assert found["examples"] == len(copies) == 20
    own, copy = "attention~gradient", "attention~copy_gradient"
    assert_close(found["agreement"][own], found["agreement"][copy])
    assert found["agreement"]["gradient~copy_gradient"]["kendall"]["mean"] == pytest.approx(1)
    for part in ("faithfulness", "plausibility"):
        assert_close(found[part]["gradient"], found[part]["copy_gradient"])
        assert {"attention", "random"} < set(found[part])
    assert "people" in found["plausibility"]
    assert results["explanations"]["methods"] == ["copy_gradient"]
    assert "copy gradient" in (folder / "report.html").read_text()
    # The same file again is scored anew; another one is not written over it, nor over a run.
    capsys.readouterr()
    for output in (folder, run / "seed_1"):
        again = run / "out" / "explanations.jsonl"
        again.write_text(file.read_text())
        assert call(*where, f"--explanations={again}", f"--output={output}") == 2
        assert "of something else; choose another folder" in capsys.readouterr().err
    file.write_text(json.dumps(copies[0] | {"values": [1.0]}) + "\n")
    assert call(*where, f"--explanations={file}") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "theirs.jsonl, line 1: 'copy_gradient' has 1 words" in line


@pytest.mark.slow
def test_plausibility_of_two_runs_is_told_and_compared(run, capsys):
    asks = (f"--config.data.path={run / 'data'}", "--config.analysis.questions=plausibility")
    assert call(f"--workdir={run / 'seed_0'}", *asks) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "'plausibility', which needs --config.data.fields.rationale=COLUMN" in line
    for seed in (0, 1):
        more = (WHY, "--config.analysis.methods=gradient,gradient_x_input")
        assert call(f"--workdir={run / f'seed_{seed}'}", *asks, *more) == 0
    results = json.loads((run / "seed_0" / "results.json").read_text())
    found = results["analysis"]["plausibility"]
    assert list(found) == ["attention", "gradient", "gradient_x_input", "random", "people"]
    own, floor = found["gradient"], found["random"]
    assert own["average_precision"]["mean"] > floor["average_precision"]["mean"] + 0.1
    rows = lines_of(run / "seed_0" / "analysis" / "examples.jsonl")
    assert all(row["tokens"][row["rationale"][0][0]] in ("good", "bad") for row in rows)
    mean = np.mean([row["plausibility"]["gradient"]["iou"] for row in rows])
    assert found["gradient"]["iou"]["mean"] == pytest.approx(mean)
    page = (run / "seed_0" / "report.html").read_text()
    assert "people&#39;s words" in page or "people's words" in page
    table = (run / "seed_0" / "tables" / "plausibility.csv").read_text()
    assert table.startswith("explanation,average precision,")
    folders = [str(run / f"seed_{seed}") for seed in (0, 1)]
    assert compare(["attnjax.compare", *folders, f"--out={run / 'compared'}"]) == 0
    compared = json.loads((run / "compared" / "comparison.json").read_text())
    means = {
        each["name"]: each["mean"]
        for each in compared["means"]
        if (each["of"], each["measure"]) == ("gradient", "plausibility_average_precision")
    }
    assert means["seed_0"] == pytest.approx(found["gradient"]["average_precision"]["mean"])
