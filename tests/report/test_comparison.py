"""The page over several runs: escaping what comes from data, fetching nothing, and its tables."""

import csv
import json
import re

import pytest
from etils import epath
from fabricated_runs import example_rows, write_run

from attnjax import compare
from attnjax.report.comparison import LONGEST, build_tables, write_comparison
from attnjax.report.comparison_tables import (
    Estimate,
    Table,
    cell_text,
    escape_latex,
    to_csv,
    to_latex,
)

EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A comparison of two seeds of one condition and a run whose name and text are hostile."""
    root = tmp_path_factory.mktemp("comparison")
    words = [EVIL, "$x^2$", "fine", "a&b"]
    runs = [example_rows(noise=k, words=words, shift=0.3 * (k == 2)) for k in range(3)]
    for rows in runs:
        rows[0]["query"], rows[1]["label"] = [EVIL], EVIL
        for pair in rows[0]["agreement"]:
            for row in rows:
                row["agreement"][pair]["jensen_shannon"] = None  # nowhere defined
        long = rows[5]["tokens"] = ["fine"] * (LONGEST + 7)
        rows[5]["attention"] = [1.0] * len(long)
        rows[5]["importance"] = {"gradient": [0.5] * len(long), "leave_one_out": [0.5] * len(long)}
    runs[2][7]["importance"]["gradient"] = [None] * len(runs[2][7]["tokens"])
    names = ["s_0", "s_1", '<i> $a$ & "b"_%']
    folders = [
        write_run(root / name, rows, seed=k, adversary__epsilon=1.0 + (k == 2))
        for k, (name, rows) in enumerate(zip(names, runs, strict=True))
    ]
    assert compare.main(["attnjax", *folders, f"--out={root / 'out'}"]) == 0
    return root / "out"


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "comparison.html").read_text()


def test_text_from_data_and_names_of_runs_stay_text(page):
    assert "alert(" in page
    assert EVIL not in page
    assert "<i>" not in page
    assert "&lt;i&gt; $a$ &amp; &#34;b&#34;_%" in page
    assert page.count("<script>") == 1, "the page's own"


def test_nothing_is_fetched(page):
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)


def test_numbers_that_do_not_exist_are_dashes(folder, page):
    assert not re.search(r"\bNaN\b|\bnan\b|>None<", page)
    found = json.loads((folder / "comparison.json").read_text())
    missing = [each for each in found["differences"] if each["measure"] == "jensen_shannon"]
    assert len(missing) == 3
    assert {(each["difference"], each["p_holm"], each["examples"]) for each in missing} == {
        (None, None, 0)
    }
    assert "<td>–</td>" in page


def test_differences_that_survive_holm_are_marked_and_no_others(folder, page):
    found = json.loads((folder / "comparison.json").read_text())
    adjusted = [each["p_holm"] for each in found["differences"]]
    marked = sum(p is not None and p <= 0.05 for p in adjusted)
    assert marked == page.count(' mark"') == 1


def test_each_sentence_has_aligned_rows_of_every_run(page):
    articles = re.findall(r"<article.*?</article>", page, re.S)
    assert len(articles) == 15
    for article in articles:
        rows = re.findall(r'<tr><th scope="row".*?</tr>', article, re.S)
        assert len(rows) in (8, 9), "three explanations of three runs; one has no value"
        assert len({row.count("<td") for row in rows}) == 1
    kinds = re.findall(r'<th class="kind".*?>(.*?)</th>', articles[0])
    assert kinds == ["attention", "gradient", "leave one out"]


def test_long_sentences_are_cut_and_say_so(folder, page):
    found = json.loads((folder / "comparison.json").read_text())
    if 5 not in [each["id"] for each in found["sentences"]]:
        pytest.fail("choose another seed: the long sentence is not shown")
    assert page.count("and 7 more words") == 1


def test_figures_and_tables_are_written(folder):
    measures = {"accuracy", "kendall", "pearson", "jensen_shannon"}
    for measure in measures:
        assert "<svg" in (folder / "figures" / f"means_{measure}.svg").read_text()
        assert (folder / "figures" / f"means_{measure}.pdf").read_bytes().startswith(b"%PDF")
    names = {path.stem for path in (folder / "tables").iterdir()}
    assert names == {"scores", "configuration", "differences", "agreement", "ceiling"}
    assert len(list((folder / "tables").iterdir())) == 10


def test_the_page_is_made_again_from_the_numbers_alone(folder, page):
    write_comparison(epath.Path(folder))
    assert (folder / "comparison.html").read_text() == page


def test_csv_has_every_digit(folder):
    found = json.loads((folder / "comparison.json").read_text())
    with (folder / "tables" / "differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found["differences"])
    for row, each in zip(rows, found["differences"], strict=True):
        assert row["run"] == each["other"]
        if each["p"] is not None:
            assert float(row["difference"]) == each["difference"]
            assert [float(row["difference low"]), float(row["difference high"])] == each["ci95"]
            assert float(row["p (Holm)"]) == each["p_holm"]


def test_scores_have_the_seeds_mean_and_deviation(folder):
    found = json.loads((folder / "comparison.json").read_text())
    found["runs"][0]["test"]["accuracy"], found["runs"][1]["test"]["accuracy"] = 0.8, 0.9
    (scores,) = (table for table in build_tables(found) if table.name == "scores")
    assert scores.columns == ["run", "seed", "accuracy", "auc"]
    assert scores.rows[-1][0] == "s (2 seeds)"
    assert cell_text(scores.rows[-1][2]) == "0.850 ± 0.071"
    assert cell_text(scores.rows[-1][3]) == "–"


TABLE = Table(
    "t",
    "A caption.",
    ["run_a", "x", "n"],
    [["50 % & {b}", Estimate(-0.5, [-0.75, 0.25], 0.1), 1234], ["b", Estimate(None), None]],
    [True, False],
)


def test_csv_by_hand():
    assert to_csv(TABLE) == (
        "run_a,x,x low,x high,x std,n\n50 % & {b},-0.5,-0.75,0.25,0.1,1234\nb,,,,,\n"
    )


def test_latex_by_hand():
    assert to_latex(TABLE).splitlines() == [
        "% A caption.",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"run\_a & x & n \\",
        r"\midrule",
        r"\textbf{50 \% \& \{b\}} & \textbf{$-$0.500 $\pm$ 0.100 [$-$0.750, 0.250]} & "
        r"\textbf{1,234} \\",
        r"b & -- & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert (
        escape_latex("a\\b~c^d\ne") == r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d e"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (-0.0002, "-0.0002"), (0.0, "0.000"), (1e-17, "0.000"), (7, "7")],
)
def test_numbers_as_people_read_them(value, text):
    assert cell_text(value) == text
