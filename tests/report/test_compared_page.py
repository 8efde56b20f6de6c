"""The page over several runs: escaping what comes from data, fetching nothing, and its tables."""

import csv
import json
import re

import pytest
from etils import epath
from fabricated import EVIL

from attnjax.report.compared_page import _trained_once, build_tables, write_comparison


@pytest.fixture
def folder(compared):
    return compared


@pytest.fixture
def page(compared):
    return (compared / "comparison.html").read_text()


def test_text_from_data_and_names_of_runs_stay_text(page):
    assert "alert(" in page
    assert EVIL not in page
    assert page.count("&lt;script&gt; $a$ &amp; &#34;b&#34;_%") > 10
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
    assert marked == page.count('<tr class="mark">') == 1
    latex = (folder / "tables" / "differences.tex").read_text()
    bold = [line for line in latex.splitlines() if line.startswith("\\textbf{")]
    assert len(bold) == latex.count("\\begin{table}"), "in each part of its columns"


def test_each_sentence_has_aligned_rows_of_every_run(page):
    articles = re.findall(r"<article.*?</article>", page, re.S)
    assert len(articles) == 15
    for article in articles:
        parts = article.split('<div class="heatmap">')[1:]
        rows = [re.findall("<tr>", part.partition("</table>")[0]) for part in parts]
        assert sum(map(len, rows)) in (8, 9), "three explanations of three runs; one has no value"
        for block in re.findall(r"<table.*?</table>", article, re.S):
            assert len({row.count("<td") for row in block.split("<tr>")[1:]}) == 1
        kinds = re.findall(r'<p class="note">(\w[\w ]*)</p>', article)
        assert kinds == ["attention", "gradient", "leave one out"]


def test_the_later_words_of_long_sentences_are_folded(folder, page):
    found = json.loads((folder / "comparison.json").read_text())
    if 5 not in [each["id"] for each in found["sentences"]]:
        pytest.fail("choose another seed: the long sentence is not shown")
    assert page.count("<summary>The other 7 words</summary>") == 3, "of each explanation"


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
            assert [float(row[f"difference, {end}"]) for end in ("low", "high")] == each["ci95"]
            assert float(row["p (Holm)"]) == each["p_holm"]


def test_scores_have_the_seeds_mean_and_deviation(folder):
    found = json.loads((folder / "comparison.json").read_text())
    found["runs"][0]["test"]["accuracy"], found["runs"][1]["test"]["accuracy"] = 0.8, 0.9
    (scores,) = (table for table in build_tables(found) if table.name == "scores")
    assert scores.columns == ("run", "seed", "accuracy", "auc")
    assert scores.text()[-1] == ["s (2 seeds)", "–", "0.850 ± 0.071", "–"]


def test_what_states_retain_is_drawn_in_order_of_depth(folder, tmp_path):
    found = json.loads((folder / "comparison.json").read_text())
    names = dict.fromkeys(each["name"] for each in found["means"])
    for place, name in enumerate(names):
        for state, mean in (("embedding", 1.5), ("encoder", 0.4), ("context", 0.3)):
            mean = mean + place / 100
            row = {"name": name, "of": "retained", "measure": state, "mean": mean, "std": None}
            found["means"].append(row | {"ci95": [mean - 0.01, mean + 0.01]})
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    page = write_comparison(epath.Path(tmp_path)).read_text()
    section = page[page.index('<section id="information">') :].partition("</section>")[0]
    assert '<th scope="row">embedding</th>' in section
    assert "<svg" in (tmp_path / "figures" / "information.svg").read_text()
    assert not (tmp_path / "figures" / "means_encoder.svg").exists()
    (table,) = (each for each in build_tables(found) if each.name == "information")
    assert [row[0] for row in table.text()] == ["embedding", "encoder", "context"]
    assert 'id="information"' not in (folder / "comparison.html").read_text()


def test_runs_without_a_second_seed_are_told_apart(page):
    def once(sizes, compared):
        return _trained_once(
            {
                "conditions": [{"name": k, "runs": ["run"] * n} for k, n in sizes.items()],
                "differences": [{"baseline": a, "other": b} for a, b in compared],
            }
        )

    assert once({"a": 1, "b": 1, "c": 2}, [("a", "b"), ("a", "b"), ("a", "c")]) == ["b"]
    assert once({"a": 2, "b": 1}, [("a", "b")]) == []
    assert once({"all (3 seeds)": 3}, [("s_0", "s_1"), ("s_0", "s_2")]) == ["s_1", "s_2"]
    assert "One run against one" not in page
