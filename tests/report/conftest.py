"""Fabricated runs and their pages, written once for every test that only reads them."""

import pytest
from etils import epath
from fabricated import EVIL, fabricated_examples, unlabelled, write_run
from fabricated_runs import example_rows
from fabricated_runs import write_run as write_analysed

from attnjax import compare
from attnjax.report.examples import WORDS
from attnjax.report.words import write_examples_page
from attnjax.report.write import write_report


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """(folder, results, examples) of a pair task with every part and its written report."""
    folder = tmp_path_factory.mktemp("run")
    results, examples = write_run(folder, pair_task=True)
    write_report(epath.Path(folder))
    return folder, results, examples


@pytest.fixture(scope="session")
def page(reported):
    return (reported[0] / "report.html").read_text()


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """A comparison of two seeds of one condition and a run whose name and text are hostile."""
    root = tmp_path_factory.mktemp("comparison")
    words = [EVIL, "$x^2$", "fine", "a&b"]
    # Two seeds leave one degree of freedom: only a shift that no tau has is beyond doubt.
    runs = [example_rows(noise=k, words=words, shift=9.0 * (k == 2)) for k in range(3)]
    for rows in runs:
        rows[0]["query"], rows[1]["label"] = [EVIL], EVIL
        for pair in rows[0]["agreement"]:
            for row in rows:
                row["agreement"][pair]["jensen_shannon"] = None  # nowhere defined
        long = rows[5]["tokens"] = ["fine"] * (WORDS + 7)
        rows[5]["attention"] = [1.0] * len(long)
        rows[5]["importance"] = {"gradient": [0.5] * len(long), "leave_one_out": [0.5] * len(long)}
    runs[2][7]["importance"]["gradient"] = [None] * len(runs[2][7]["tokens"])
    names = ["s_0", "s_1", '<script> $a$ & "b"_%']
    folders = [
        write_analysed(root / name, rows, seed=k, adversary__epsilon=1.0 + (k == 2))
        for k, (name, rows) in enumerate(zip(names, runs, strict=True))
    ]
    assert compare.main(["attnjax", *folders, f"--out={root / 'out'}"]) == 0
    return root / "out"


@pytest.fixture(scope="session")
def explained(tmp_path_factory):
    """The page of a user's explained texts."""
    path = tmp_path_factory.mktemp("explained") / "examples.html"
    examples = unlabelled(fabricated_examples(12, ["negative", "positive"], pair_task=True))
    examples[1]["tokens"][1] = EVIL
    write_examples_page(epath.Path(path), examples, f"{EVIL}, explained")
    return path
