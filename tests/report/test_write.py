"""The report: made from files alone, escaping what comes from data, fetching nothing."""

import csv
import html.parser
import json
import re

import fabricated
import pytest
from etils import epath
from fabricated import EVIL, fabricated_examples, fabricated_results, write_files, write_run

from attnjax.report.answers.robustness import with_undisturbed
from attnjax.report.examples import SHOWN
from attnjax.report.write import write_report

VOID = {"meta", "link", "input", "br"}


class Structure(html.parser.HTMLParser):
    """Collects ids and links, and the tags that do not match."""

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.ids, self.links, self.tags = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="session")
def structure(page):
    found = Structure()
    found.feed(page)
    return found


def test_text_from_data_stays_text(page):
    assert "alert(" in page
    assert EVIL not in page
    assert page.count("<script>") == 1, "the report's own"


def test_nothing_is_fetched(page):
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)
    assert "default-src 'none'" in page


def test_the_page_is_sound(structure):
    assert structure.wrong == []
    assert structure.open == []
    repeated = {each for each in structure.ids if structure.ids.count(each) > 1}
    assert repeated == set(), "figures must not share ids"
    assert structure.tags.count("h1") == 1


def test_every_link_leads_somewhere(structure, reported):
    inside = [link[1:] for link in structure.links if link.startswith("#")]
    assert len(inside) == 5 + 8, "from the answers on top, and from the contents"
    assert set(inside) <= set(structure.ids)
    files = [link for link in structure.links if not link.startswith("#")]
    assert len(files) > 20
    assert [link for link in files if not (reported[0] / link).is_file()] == []


def test_scores_stand_beside_those_of_uniform_attention(page):
    card = re.search(r"<dt>accuracy</dt>.*?</div>", page, re.S)
    assert card is not None
    assert "<dd>0.810</dd>" in card.group()
    assert "uniform 0.790" in card.group()
    assert "<dd>1,821</dd>" in page


def test_every_measure_has_floor_ceiling_and_direction(page, reported):
    found = reported[1]["analysis"]
    pair = found["agreement"]["attention~gradient"]
    ceiling = found["ceiling"]
    for title, name, badge in (
        ("Kendall&#39;s tau", "kendall", "higher is more alike"),
        ("Jensen-Shannon divergence", "jensen_shannon", "distance: 0 is the same"),
        ("top-k Kendall distance", "top_k_kendall", "distance: 0 is the same"),
        ("top-k overlap", "top_k_overlap", "higher is more alike"),
    ):
        block = page[page.index(f"<h3>{title}") :]
        assert badge in block[: block.index("</h3>")]
        row = re.search(r'<tr><th scope="row">attention ~ gradient</th>(.*?)</tr>', block)
        assert row is not None
        cells = re.findall(r"<td>(.*?)</td>", row.group(1))
        expected = [
            pair[name]["mean"],
            pair[name]["std"],
            ceiling["attention"][name]["mean"],
            ceiling["gradient"][name]["mean"],
        ]
        floor = pair["floor"][name]
        assert cells[3] == f"{floor['mean']:.3f} ± {floor['std']:.3f}"
        if name == "kendall":
            assert cells.pop(4) == f"{floor['significant_fraction']:.3f}"
        assert [cells[k] for k in (0, 1, 4, 5)] == [f"{value:.3f}" for value in expected]
        assert cells[2] == "{:.3f} … {:.3f}".format(*pair[name]["ci95"])


@pytest.mark.parametrize("name", ["agreement", "agreement_by_class", "query_agreement"])
def test_files_have_the_spread_of_the_floor_and_its_share_of_small_p_values(reported, name):
    with (reported[0] / "tables" / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["floor"]
        assert row["floor, std"]
        assert bool(row["floor, p ≤ 0.05"]) == (row["measure"] == "Kendall's tau")


def test_groups_of_examples_have_aligned_rows(page, reported):
    titles = re.findall(r"<h3>((?:Best|Median|Worst|Most).*?)</h3>", page)
    assert titles == [
        "Best agreement",
        "Median agreement",
        "Worst agreement",
        "Most successful adversarial attention",
    ]
    articles = re.findall(r"<article.*?</article>", page, re.S)
    assert len(articles) == 4 * SHOWN
    blocks = re.findall(r"<table.*?</table>", articles[0], re.S)
    explanations = ["attention", "gradient", "leave one out"]
    for block in blocks:
        names = re.findall(r'<tr><th scope="row"><span title="(.*?)">\1</span></th>', block)
        assert names == explanations[-len(names) :], "the query has no attention"
        rows = re.findall(r"<tr>(.*?)</tr>", block)
        assert len({row.count("<td") for row in rows}) == 1
    query = articles[0].partition(">query</p>")[2]
    assert query.count("<td") == 2 * 6, "two importances of the query's six words"
    last = re.findall(r'<tr><th scope="row"><span title="(.*?)">', articles[-1])
    assert last[:2] == ["attention", "adversarial"]
    assert "output change" in articles[-1]


def test_a_hostile_class_name_stays_text_everywhere(tmp_path):
    write_run(tmp_path, labels=(EVIL, "$x_1$"), count=12)
    write_report(epath.Path(tmp_path))
    assert EVIL not in (tmp_path / "report.html").read_text()
    svg = (tmp_path / "figures" / "kendall_attention_gradient.svg").read_text()
    assert EVIL[:8] not in svg
    assert "$x_1$" in svg, "no formula"
    assert EVIL[:8] not in (tmp_path / "tables" / "agreement_by_class.tex").read_text()


def test_an_old_run_without_the_new_parts(tmp_path):
    examples = fabricated_examples(8, ["a", "b"])
    results = fabricated_results(examples, ["a", "b"])
    agreement = results["analysis"]["agreement"]
    for pair in agreement.values():
        for measures in (pair, *pair["by_class"].values()):
            del measures["floor"]
            for name in ("top_k_kendall", "jensen_shannon", "top_k_overlap"):
                del measures[name]
    results["analysis"] = {"examples": 8, "agreement": agreement}
    results["robustness"] = None
    results["test"]["auc"] = None
    for each in examples:
        del each["permutation"], each["adversarial"]
    write_files(tmp_path, results, examples, [])
    write_report(epath.Path(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert re.search(r"<dt>auc</dt><dd>–</dd>", page)
    assert "NaN" not in page
    assert "no second run was given" in page
    assert "this run did not measure it" in page
    for absent in ("permutation", "adversarial", "robustness"):
        assert f'id="{absent}"' not in page
    assert "uniform 0" not in page
    assert ">floor<" not in page
    assert not (tmp_path / "tables" / "permutation.csv").exists()


@pytest.mark.parametrize("analysis", [{}, None])
def test_a_run_without_analysis(tmp_path, analysis):
    results = fabricated_results(fabricated_examples(3, ["a"]), ["a"])
    write_files(tmp_path, {**results, "analysis": analysis}, [], [])
    (tmp_path / "analysis" / "examples.jsonl").unlink()
    (tmp_path / "metrics.jsonl").unlink()
    write_report(epath.Path(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "<dd>0.810</dd>" in page
    assert 'id="agreement"' not in page
    assert 'id="examples"' not in page


def test_the_same_files_give_the_same_report(tmp_path, reported):
    folder = reported[0]
    for name in ("results.json", "metrics.jsonl", "vocab.json", "analysis/examples.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_report(epath.Path(tmp_path))
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "report.html":  # it names its folder in the command
            assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path


def test_what_an_earlier_report_left_is_gone(tmp_path):
    results, examples = write_run(tmp_path, count=9)
    write_report(epath.Path(tmp_path))
    (tmp_path / "figures" / "mine.svg").write_text("kept")
    for each in examples:
        del each["importance"]["leave_one_out"], each["permutation"]
    results["analysis"]["permutation"] = None
    write_files(tmp_path, results, examples, [])
    write_report(epath.Path(tmp_path))
    for gone in (
        "figures/permutation.svg",
        "figures/training_loss.pdf",
        "tables/permutation.csv",
        "analysis/rationales_leave_one_out.jsonl",
    ):
        assert not (tmp_path / gone).exists()
    assert (tmp_path / "figures" / "mine.svg").exists()
    assert (tmp_path / "tables" / "agreement.tex").exists()


def test_hundreds_of_long_examples_stay_small(tmp_path):
    examples = fabricated_examples(30, ["a", "b"])
    for each in examples[1:]:
        for field in ("attention", "tokens"):
            each[field] = each[field] * 60
        each["importance"] = {name: v * 60 for name, v in each["importance"].items()}
        each["adversarial"]["attention"] = each["adversarial"]["attention"] * 60
    results = fabricated_results(examples, ["a", "b"])
    write_files(tmp_path, results, examples * 10, [])
    write_report(epath.Path(tmp_path))
    assert (tmp_path / "report.html").stat().st_size < 1.5e6
    page = (tmp_path / "report.html").read_text()
    assert re.search(r'<details class="rest"><summary>The other \d+ words</summary>', page)
    assert "The first " not in page, "all words are there"


def test_twenty_explanations_fit_on_a_page(tmp_path, monkeypatch):
    """Attention with each importance in full; of all pairs the tau, as a matrix."""
    methods = [f"method_{number}" for number in range(19)]
    monkeypatch.setattr(fabricated, "EXPLANATIONS", ("attention", *methods))
    examples = fabricated_examples(60, ["a", "b"])
    results = fabricated_results(examples, ["a", "b"])
    agreement = results["analysis"]["agreement"]
    for pair, found in agreement.items():
        if not pair.startswith("attention~"):
            for part in (found, found["floor"], *found["by_class"].values()):
                for name in set(fabricated.MEASURES) - {"kendall"}:
                    del part[name]
    write_files(tmp_path, results, examples, fabricated.fabricated_metrics())
    write_report(epath.Path(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert len(page) < 1e6
    assert page.count("<figure>") < 30
    table = page[page.index("<h3>Kendall&#39;s tau") : page.index("<h3>Pearson&#39;s r")]
    pairs = re.findall(r'<th scope="row">(.*? ~ .*?)</th>', table.partition("<details>")[0])
    assert len(pairs) == 19, "each importance with attention; the others are in the matrix"
    rows = list(csv.reader((tmp_path / "tables" / "agreement_matrix.csv").read_text().splitlines()))
    assert rows[0] == ["explanation", "attention", *(each.replace("_", " ") for each in methods)]
    tau = agreement["method_3~method_7"]["kendall"]["mean"]
    assert float(rows[5][9]) == float(rows[9][5]) == tau
    assert rows[5][5] == ""
    assert "method 3" in (tmp_path / "figures" / "agreement_matrix.svg").read_text()


def test_results_hold_numbers_only():
    examples = fabricated_examples(20, ["a", "b"], pair_task=True)
    json.dumps([fabricated_results(examples, ["a", "b"], True), examples], allow_nan=False)


def test_accuracy_under_perturbations_begins_with_that_of_the_same_examples():
    results = {
        "test": {"accuracy": 0.5},
        "analysis": {"model": {"accuracy": 0.4}},
        "robustness": {"epsilon": [0.1, 1.0], "word_random": [0.3, 0.2]},
    }
    assert with_undisturbed(results) == {"epsilon": [0, 0.1, 1], "word_random": [0.4, 0.3, 0.2]}
    given = {"epsilon": [0.0, 1.0], "word_random": [0.4, 0.2]}
    assert with_undisturbed({**results, "robustness": given}) == given
    assert with_undisturbed({**results, "analysis": None}) == results["robustness"]
    assert with_undisturbed({"robustness": None}) is None
