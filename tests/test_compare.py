"""The comparison as a user runs it: folders in, numbers out, one line for each mistake."""

import json
import os
import signal
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from fabricated_runs import PAIRS, example_rows, write_run
from scipy import stats

from attnjax.analysis.statistics import holm
from attnjax.compare import compare, main, parse_arguments
from attnjax.errors import UserError


def compared(tmp_path, *folders, out="out", seed=0):
    """comparison.json of these runs."""
    arguments = [*map(str, folders), f"--out={tmp_path / out}", f"--seed={seed}"]
    assert main(["attnjax", *arguments]) == 0
    return json.loads((tmp_path / out / "comparison.json").read_text())


def rows_of(found, part, **wanted):
    return [row for row in found[part] if all(row[k] == v for k, v in wanted.items())]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("attnjax.runs.compared.RESAMPLES", 2_000)


def test_a_planted_difference_is_found_and_nothing_else(tmp_path, capsys):
    a = write_run(tmp_path / "a", example_rows(noise=0))
    b = write_run(tmp_path / "b", example_rows(noise=1, shift=0.1), adversary__epsilon=2.0)
    found = compared(tmp_path, a, b)
    assert len(found["differences"]) == 7, "accuracy, and two measures of three pairs"
    (planted,) = rows_of(found, "differences", of="attention~gradient", measure="kendall")
    assert planted["difference"] == pytest.approx(0.1, abs=0.02)
    assert 0.08 < planted["ci95"][0] < planted["difference"] < planted["ci95"][1] < 0.12
    (other,) = rows_of(found, "differences", of="attention~gradient", measure="pearson")
    assert other["ci95"][0] < 0 < other["ci95"][1]
    assert found["config"] == {"adversary.epsilon": [1.0, 2.0]}
    printed = capsys.readouterr().out
    assert f"report:  {tmp_path / 'out' / 'comparison.html'}" in printed


def test_one_run_against_one_has_intervals_and_is_not_tested(tmp_path):
    """Neither in the numbers nor on the page and in its files; a condition of two seeds is."""
    a = write_run(tmp_path / "a", example_rows(noise=0))
    b = write_run(tmp_path / "b", example_rows(noise=1, shift=0.1), model__encoder="cnn")
    again = write_run(tmp_path / "a_1", example_rows(noise=2), seed=1)
    for folders, tested in (((a, b), False), ((a, again), False), ((a, again, b), True)):
        found = compared(tmp_path, *folders)
        for each in found["differences"]:
            assert each["ci95"][0] <= each["difference"] <= each["ci95"][1]
            assert (each["p"] is not None) == (each["p_holm"] is not None) == tested
        page = (tmp_path / "out" / "comparison.html").read_text()
        heading = (tmp_path / "out" / "tables" / "differences.csv").read_text().splitlines()[0]
        latex = (tmp_path / "out" / "tables" / "differences.tex").read_text()
        assert ("Holm" in page, "Holm" in heading, "Holm" in latex) == (tested,) * 3
        assert ("One run against one" in page) != tested
        assert tested or ('class="mark"' not in page and "\\textbf{" not in latex)


def test_intervals_over_seeds_stay_inside_the_range_of_the_measure(tmp_path):
    """Two seeds leave one degree of freedom, whose plain interval is from -1.3 to 2.4."""
    runs = [
        write_run(tmp_path / f"s{seed}", example_rows(noise=seed, wrong=wrong), seed=seed)
        for seed, wrong in enumerate((0.3, 0.6))
    ]
    found = compared(tmp_path, *runs)
    (accuracy,) = rows_of(found, "means", name="s (2 seeds)", measure="accuracy")
    low, high = accuracy["ci95"]
    assert 0 <= low < 0.1
    assert 0.9 < high <= 1


def test_equal_runs_do_not_differ(tmp_path):
    rows = example_rows()
    a, b = write_run(tmp_path / "a", rows), write_run(tmp_path / "b", rows, model__hidden_dim=64)
    found = compared(tmp_path, a, b)
    assert {(each["difference"], *each["ci95"]) for each in found["differences"]} == {(0, 0, 0)}
    assert found["divergence"]["mean"] == pytest.approx(0, abs=1e-12)


def test_accuracy_is_of_the_predictions_and_undefined_examples_are_left_out(tmp_path):
    a, b = example_rows(wrong=0.1), example_rows(noise=1, wrong=0.6)
    for rows, holes in ((a, [0, 1]), (b, [1, 2])):
        for k in holes:
            rows[k]["agreement"]["attention~gradient"]["pearson"] = None
    found = compared(
        tmp_path, write_run(tmp_path / "a", a), write_run(tmp_path / "b", b, model__encoder="cnn")
    )
    (accuracy,) = rows_of(found, "differences", measure="accuracy")
    right = [np.mean([row["label"] == row["prediction"] for row in rows]) for rows in (a, b)]
    assert accuracy["difference"] == pytest.approx(right[1] - right[0])
    assert accuracy["ci95"][1] < 0
    (holed,) = rows_of(found, "differences", of="attention~gradient", measure="pearson")
    kept = [
        np.mean([row["agreement"]["attention~gradient"]["pearson"] for row in rows[3:]])
        for rows in (a, b)
    ]
    assert holed["examples"] == 37
    assert holed["difference"] == pytest.approx(kept[1] - kept[0])


def test_seeds_of_one_condition_are_compared_together(tmp_path):
    folders = [
        write_run(
            tmp_path / f"{name}_{seed}",
            example_rows(noise=10 * number + seed, shift=0.1 * number + 0.01 * seed),
            seed=seed,
            data__path=f"here{seed}",
            adversary__technique=name,
        )
        for number, name in enumerate(["none", "word_at"])
        for seed in (0, 1, 2)
    ]
    found = compared(tmp_path, *folders)
    names = ["none (3 seeds)", "word_at (3 seeds)"]
    assert [each["name"] for each in found["conditions"]] == names
    assert {(each["baseline"], each["other"]) for each in found["differences"]} == {tuple(names)}
    (tau,) = rows_of(found, "differences", of="attention~gradient", measure="kendall")
    assert tau["difference"] == pytest.approx(0.1, abs=0.02)
    assert tau["p_holm"] <= 0.05
    adjusted = holm(np.array([each["p"] for each in found["differences"]]))
    np.testing.assert_allclose([each["p_holm"] for each in found["differences"]], adjusted)
    wanted = {"of": "attention~gradient", "measure": "kendall"}
    means = [rows_of(found, "means", name=f"none_{k}", **wanted)[0]["mean"] for k in range(3)]
    (together,) = rows_of(found, "means", name="none (3 seeds)", **wanted)
    assert together["mean"] == pytest.approx(np.mean(means))
    assert together["std"] == pytest.approx(np.std(means, ddof=1))


def test_the_ceiling_is_the_agreement_of_an_explanation_with_itself(tmp_path):
    runs = [example_rows(noise=k) for k in range(3)]
    found = compared(
        tmp_path, *(write_run(tmp_path / f"s{k}", rows, seed=k) for k, rows in enumerate(runs))
    )
    assert {each["explanation"] for each in found["ceiling"]} == {
        "attention",
        "gradient",
        "leave_one_out",
    }
    (tau,) = rows_of(found, "ceiling", explanation="attention", measure="kendall")
    literal = [
        stats.kendalltau(x["attention"], y["attention"]).statistic
        for a, b in combinations(runs, 2)
        for x, y in zip(a, b, strict=True)
    ]
    assert tau["mean"] == pytest.approx(np.mean(literal), abs=1e-6)
    assert tau["seed_pairs"] == 3
    assert tau["ci95"][0] < tau["mean"] < tau["ci95"][1]
    assert {(each["baseline"], each["other"]) for each in found["differences"]} == {
        ("s0", "s1"),
        ("s0", "s2"),
    }, "with one condition only, its seeds are compared"


def test_a_comparison_does_not_depend_on_the_other_runs_beside_it(tmp_path):
    a, b, c = (
        write_run(tmp_path / name, example_rows(noise=k, shift=k / 50), model__hidden_dim=8 * k + 8)
        for k, name in enumerate("abc")
    )
    three, two = compared(tmp_path, a, b, c), compared(tmp_path, a, c, out="two")
    assert [
        {k: v for k, v in each.items() if k != "p_holm"}
        for each in rows_of(three, "differences", other="c")
    ] == [{k: v for k, v in each.items() if k != "p_holm"} for each in two["differences"]]
    assert compared(tmp_path, a, c, seed=1)["differences"] != two["differences"]


def test_sentences_are_those_whose_attention_differs_most_and_least(tmp_path):
    a, b = example_rows(), example_rows()
    moved, length = 7, len(a[7]["tokens"])
    a[moved]["attention"] = [1.0] + [0.0] * (length - 1)
    b[moved]["attention"] = [0.0] * (length - 1) + [1.0]
    for k in range(5, 40):
        if k != moved:
            b[k]["attention"] = (
                0.9 * np.array(a[k]["attention"]) + 0.1 / len(a[k]["tokens"])
            ).tolist()
    found = compared(
        tmp_path, write_run(tmp_path / "a", a), write_run(tmp_path / "b", b, model__encoder="cnn")
    )
    most, *_ = rows_of(found, "sentences", kind="most")
    assert most["id"] == moved
    assert most["divergence"] == pytest.approx(np.log(2))
    assert [each["attention"] for each in most["runs"]] == [
        a[moved]["attention"],
        b[moved]["attention"],
    ]
    least = rows_of(found, "sentences", kind="least")
    median = np.median([len(row["tokens"]) for row in a])
    same = {k for k in range(5) if len(a[k]["tokens"]) >= median}
    assert same <= {each["id"] for each in least}
    assert all(len(each["tokens"]) >= median for each in least)
    ids = [each["id"] for each in found["sentences"]]
    assert len(ids) == len(set(ids)) == 15


def test_notes_say_what_must_be_read_with_care(tmp_path):
    a, b = example_rows(), example_rows(noise=1)
    for row in a:
        row["agreement"]["attention~gradient_norm"] = {"kendall": 0.5}
        row["permutation"] = {"median_change": 0.1, "max_attention": 0.5}
    found = compared(
        tmp_path,
        write_run(tmp_path / "a", a, {"examples": 100}, analysis__top_k=5),
        write_run(tmp_path / "b", b, {"examples": 100}),
    )
    left, analysed, settings = found["notes"]
    assert "attention~gradient_norm, permutation" in left
    assert "40 analysed examples" in analysed
    assert "(analysis.top_k)" in settings
    assert {each["of"] for each in found["differences"]} == {"score", *PAIRS}


def test_counterfactual_attention_is_compared_where_all_runs_have_it(tmp_path):
    a, b = example_rows(), example_rows(noise=1)
    for rows, size in ((a, 0.1), (b, 0.3)):
        for k, row in enumerate(rows):
            row["permutation"] = {"median_change": size + k / 1000, "max_attention": 0.5}
            row["adversarial"] = {"max_jsd": None if k == 3 else 2 * size, "attention": []}
    found = compared(
        tmp_path, write_run(tmp_path / "a", a), write_run(tmp_path / "b", b, model__encoder="cnn")
    )
    (change,) = rows_of(found, "differences", of="permutation")
    (divergence,) = rows_of(found, "differences", of="adversarial")
    assert change["difference"] == pytest.approx(0.2)
    assert divergence["difference"] == pytest.approx(0.4)
    assert divergence["examples"] == 39


def changed(number, **values):
    """The standard examples with one of them changed."""
    rows = example_rows(noise=1)
    rows[number] = {**rows[number], **values}
    return rows


MISTAKES = {
    "one run": (["a"], "at least two runs, not 1"),
    "no run": ([], "at least two runs, not 0"),
    "unknown flag": (["a", "b", "--ou=x"], "Unknown command line flag 'ou'"),
    "bad seed": (["a", "b", "--seed=x"], "bad command line: .*seed"),
    "no folder": (["a", "nowhere"], "nowhere is no folder"),
    "twice": (["a", "b", "./a/"], "./a/ is named twice"),
    "unfinished": (["a", "unfinished"], "unfinished is not finished: it has no results.json"),
    "foreign": (["a", "foreign"], "foreign is no attnjax run"),
    "other results": (["a", "odd"], "odd/results.json is damaged .it has no 'config'.; restore"),
    "other version": (["a", "version"], "version/results.json is of another version: .*no field"),
    "no analysis": (["a", "bare"], r"bare has no analysis.examples.jsonl \(analysis.examples=0;"),
    "fewer examples": (["a", "fewer"], "on 40 and 30 examples; analyse both again with the same"),
    "two analyses": (["a", "mixed"], "is not of the analysis that results.json tells of"),
    "cut short": (["a", "cut"], "has 40 examples where results.json says 50"),
    "damaged": (["a", "damaged"], "line 41 of .*examples.jsonl is no analysed example"),
    "other split": (["a", "split"], "40 and 99 test examples"),
    "other texts": (["a", "texts"], "the tokens of example 5 differs .word 1 is '.*' and 'new'"),
    "other length": (["a", "longer"], "the tokens of example 6 differs .* in 1 of 40 examples"),
    "other labels": (["a", "labels"], "the label of example 9 differs .'.' and 'x'"),
    "other query": (["a", "query"], "the query of example 2 differs .None and .'who'"),
    "other ids": (["a", "ids"], "on different examples of the test split"),
    "out is a run": (["a", "b", "--out=a"], "a holds 'analysis', which is no earlier comparison's"),
    "out is a file": (["a", "b", "--out=file"], "file is a file; choose a folder with --out"),
    "out is inside a file": (["a", "b", "--out=file/x"], "file/x is not writable"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder with every kind of run in it."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "a")
    write_run(root / "b", example_rows(noise=1), model__encoder="cnn")
    for name in ("unfinished", "foreign", "odd"):
        (root / name).mkdir()
    (root / "unfinished" / "config.json").write_text("{}")
    (root / "odd" / "results.json").write_text('{"score": 1}')
    write_run(root / "version", model__size=3)
    write_run(root / "bare", analysis__examples=0)
    bare = json.loads((root / "bare" / "results.json").read_text())
    (root / "bare" / "results.json").write_text(json.dumps({**bare, "analysis": {}}))
    write_run(root / "fewer", example_rows(count=30), {"examples": 40})
    write_run(root / "cut")
    cut = json.loads((root / "cut" / "results.json").read_text())
    cut["analysis"]["examples"] = 50
    (root / "cut" / "results.json").write_text(json.dumps(cut))
    write_run(root / "mixed")
    mixed = json.loads((root / "mixed" / "results.json").read_text())
    mixed["analysis"]["examples_sha256"] = "0"
    (root / "mixed" / "results.json").write_text(json.dumps(mixed))
    write_run(root / "damaged")
    with (root / "damaged" / "analysis" / "examples.jsonl").open("a") as file:
        file.write('{"id": 40, "tok')
    write_run(root / "split", test={"examples": 99})
    rows = example_rows(noise=1)
    write_run(root / "texts", changed(5, tokens=["new", *rows[5]["tokens"][1:]]))
    longer = {**rows[6], "tokens": [*rows[6]["tokens"], "more"]}
    longer["attention"] = [*longer["attention"], 0.0]
    longer["importance"] = {k: [*v, 0.0] for k, v in longer["importance"].items()}
    write_run(root / "longer", changed(6, **longer))
    write_run(root / "labels", changed(9, label="x"))
    write_run(root / "query", changed(2, query=["who"]))
    write_run(root / "ids", changed(3, id=77))
    (root / "file").write_text("mine")
    return root


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line(mistake, folders, monkeypatch, capsys):
    arguments, message = MISTAKES[mistake]
    monkeypatch.chdir(folders)
    assert main(["attnjax", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("attnjax: error:")
    assert "\n" not in error
    with pytest.raises(UserError, match=message):
        compare(*parse_arguments(["attnjax", *arguments]))
    assert not (folders / "runs").exists(), "nothing is left behind"


def test_an_earlier_comparison_is_replaced_and_nothing_else_is(tmp_path):
    a, b, c = (
        write_run(tmp_path / name, model__hidden_dim=8 * k + 8) for k, name in enumerate("abc")
    )
    compared(
        tmp_path,
        a,
        write_run(tmp_path / "seed", example_rows(noise=5), model__hidden_dim=8, seed=5),
    )
    assert (tmp_path / "out" / "tables" / "ceiling.csv").exists()
    compared(tmp_path, b, c)
    assert not (tmp_path / "out" / "tables" / "ceiling.csv").exists(), "the earlier one's"
    assert "ceiling" not in (tmp_path / "out" / "comparison.html").read_text().lower()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    assert main(["attnjax", a, b, f"--out={tmp_path / 'out'}"]) == 2
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_a_signal_ends_it_in_one_line(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "attnjax.runs.compared.read_runs", lambda _: os.kill(os.getpid(), signal.SIGTERM)
    )
    out = tmp_path / "out"
    assert main(["attnjax", str(folders / "a"), str(folders / "b"), f"--out={out}"]) == 2
    assert "stopped before the end" in capsys.readouterr().err


def test_help(capsys):
    assert main(["attnjax", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "RUN RUN ... [--out=DIR]" in shown
    assert "p_holm" in shown, "the form of comparison.json"


@pytest.mark.slow
def test_the_command_itself(folders, tmp_path):
    """Through a process of its own, with no traceback, and without what is slow to load."""
    script = (
        "import sys; from attnjax.compare import main; status = main(); "
        "print([name for name in ('jax', 'scipy', 'sklearn', 'flax') if name in sys.modules]); "
        "sys.exit(status)"
    )
    for arguments, status in (([f"--out={tmp_path / 'out'}"], 0), (["nowhere"], 2)):
        ended = subprocess.run(
            [sys.executable, "-c", script, folders / "a", folders / "b", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, "Traceback" in ended.stderr) == (status, False), ended.stderr
        assert ended.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "out" / "comparison.html").exists()
