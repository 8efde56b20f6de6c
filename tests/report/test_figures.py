"""Figures: every part drawn as SVG and PDF, honest about what is undefined, any text in labels."""

import re
from xml.etree import ElementTree

import numpy as np
from etils import epath
from fabricated import fabricated_examples, fabricated_metrics

from attnjax.report.answers.agreement import draw_agreement
from attnjax.report.answers.counterfactual import draw_adversarial, draw_permutation
from attnjax.report.figures import by_class, draw_training
from attnjax.report.page import inline


def texts(svg):
    return [
        each.text.strip()
        for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_figures_are_written_as_svg_and_pdf(reported):
    folder = reported[0] / "figures"
    assert {path.stem for path in folder.iterdir()} == {
        "training_loss",
        "training_accuracy",
        "kendall_attention_gradient",
        "kendall_attention_leave_one_out",
        "kendall_gradient_leave_one_out",
        "permutation",
        "adversarial_histogram",
        "adversarial_attention",
        "robustness",
    }
    for path in folder.iterdir():
        start = path.read_bytes()[:400]
        assert start.startswith(b"%PDF") if path.suffix == ".pdf" else b"<svg" in start


def test_histograms_count_every_defined_example(tmp_path):
    examples = fabricated_examples(50, ["$a$", "_b"])
    drawn = draw_agreement(epath.Path(tmp_path), examples)
    found = texts(drawn[0][1])
    defined = [each for each in examples if each["agreement"]["attention~gradient"]["kendall"]]
    for label in ("$a$", "_b"):
        count = sum(each["prediction"] == label for each in defined)
        assert f"{label} ({count})" in found
    assert any(re.fullmatch(r"mean \d\.\d{3}", each) for each in found)
    assert not any(each.startswith("floor") for each in found), "there is none"


def test_the_floor_is_drawn_where_it_is_known(reported, tmp_path):
    _, results, examples = reported
    agreement = results["analysis"]["agreement"]
    drawn = draw_agreement(epath.Path(tmp_path), examples, agreement)
    floor = agreement["attention~gradient"]["floor"]["kendall"]["mean"]
    assert f"floor {floor:.3f}" in texts(drawn[0][1])


def test_bins_of_the_permutation_figure_hold_every_example(tmp_path):
    examples = fabricated_examples(60, ["a", "b"])
    for number, weight in enumerate((0.25, 0.5, 0.75, 1.0, 0.0)):
        examples[number]["permutation"]["max_attention"] = weight
    ((_, svg, _),) = draw_permutation(epath.Path(tmp_path), examples)
    found = [int(each.split()[0]) for each in texts(svg) if each.endswith("examples")]
    weights = [each["permutation"]["max_attention"] for each in examples]
    assert found == [
        sum(low <= weight < high or weight == high == 1 for weight in weights)
        for low, high in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1))
    ]


def test_degenerate_values_are_drawn_too(tmp_path):
    examples = fabricated_examples(20, ["a"])
    for each in examples:
        each["permutation"]["median_change"] = 0.0
        each["adversarial"]["max_jsd"] = 0.0
    examples[3]["permutation"]["median_change"] = None
    examples[4]["permutation"] = None
    assert len(draw_permutation(epath.Path(tmp_path), examples)) == 1
    assert len(draw_adversarial(epath.Path(tmp_path), examples)) == 2
    assert draw_permutation(epath.Path(tmp_path), []) == []
    assert draw_adversarial(epath.Path(tmp_path), []) == []
    assert draw_agreement(epath.Path(tmp_path), []) == []


def test_rare_classes_are_joined_but_not_with_one_of_that_name():
    labels = [f"class {k}" for k in range(29)] + ["other classes"]
    examples = fabricated_examples(200, labels)
    groups = by_class(examples, lambda each: each["agreement"]["attention~gradient"]["kendall"])
    assert len(groups) == 6
    assert list(groups)[-1] is None
    assert sum(len(values) for values in groups.values()) == 199
    for each in examples[:100]:  # it is the most frequent now
        each["prediction"] = "other classes"
    groups = by_class(examples, lambda each: each["agreement"]["attention~gradient"]["kendall"])
    assert len(groups["other classes"]) >= 99
    assert sum(len(values) for values in groups.values()) == 199
    assert all(np.isfinite(values).all() for values in groups.values())


def test_inline_figures_take_the_colours_of_the_page(tmp_path):
    figures = draw_agreement(epath.Path(tmp_path), fabricated_examples(9, ['id="x" url(#y)', "b"]))
    first, second, _ = inline(figures)
    assert "#1d2430" not in first["svg"]
    assert "currentColor" in first["svg"]
    assert "#ffffff" not in first["svg"]
    assert "#1d2430" in (tmp_path / "figures" / f"{first['name']}.svg").read_text()
    assert 'id="x" url(#y)' in first["svg"], "text is left alone"
    ids = [set(re.findall(r'<[^>]*\bid="([^"]+)"', each["svg"])) for each in (first, second)]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', re.sub(">[^<]*<", "><", first["svg"])))
    assert used
    assert used <= ids[0]


def test_the_loss_of_training_is_the_one_that_validation_has(tmp_path):
    metrics = [{**row, "clean_loss": row["loss"]} for row in fabricated_metrics()]
    for row in metrics:
        if row["split"] == "train":
            row["loss"] += 90  # the objective of a technique
        else:
            del row["clean_loss"]
    found = texts(draw_training(epath.Path(tmp_path), metrics)[0][1])
    assert any(each.startswith("0.") for each in found)
    assert not any(re.fullmatch(r"[1-9]\d(\.\d)?", each) for each in found), "no tick near 90"
