"""Figures: every part drawn as SVG and PDF, honest about what is undefined, any text in labels."""

import re
import shutil
from itertools import pairwise
from xml.etree import ElementTree

import fabricated
import numpy as np
import pytest
from etils import epath
from fabricated import fabricated_examples, fabricated_metrics, write_run

from attnjax.report import compared_page, figures
from attnjax.report import sweep as sweep_report
from attnjax.report.answers import agreement, counterfactual, robustness
from attnjax.report.answers.agreement import draw_agreement
from attnjax.report.answers.counterfactual import draw_adversarial, draw_permutation
from attnjax.report.figures import by_class, draw_training
from attnjax.report.page import inline
from attnjax.report.write import write_report


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
    found = [int(each.split()[0]) for each in texts(svg) if "example" in each]
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


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved, as it was drawn last."""
    found = {}
    save = figures.save_figure

    def saved(figure, folder, name, caption):
        result = save(figure, folder, name, caption)
        found[name] = figure
        return result

    for module in (figures, agreement, counterfactual, robustness, compared_page, sweep_report):
        monkeypatch.setattr(module, "save_figure", saved)
    return found


def cut_off(figure):
    """Texts that are not wholly on the figure, as it is saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    FigureCanvasAgg(figure).draw()
    box = figure.bbox.padded(1)
    unseen = {
        tick.label1
        for axis in (each for axes in figure.axes for each in (axes.xaxis, axes.yaxis))
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    shown = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    shown = [text for text in shown if text not in unseen]
    ends = [(text, text.get_window_extent()) for text in shown]
    assert min(text.get_fontsize() for text in shown) >= 8
    return [
        text.get_text()
        for text, place in ends
        if not (box.x0 <= place.x0 and place.x1 <= box.x1)
        or not (box.y0 <= place.y0 and place.y1 <= box.y1)
    ]


@pytest.mark.parametrize("largest", [0.95, 0.09, 0.00025, 3e-9])
def test_numbers_along_violins_stand_apart(largest):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    random = np.random.default_rng(0)
    examples = [
        {"prediction": "a", "change": change, "weight": weight}
        for change, weight in zip(random.uniform(0, largest, 40), random.random(40), strict=True)
    ]
    label = "median change of the output, total variation"
    figure = figures.violins(examples, lambda x: x["change"], lambda x: x["weight"], label)
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    ticks = [each for each in axes.xaxis.get_major_ticks() if low <= each.get_loc() <= high]
    places = [each.label1.get_window_extent() for each in ticks]
    assert len(places) > 2
    assert all(a.x1 + 2 < b.x0 for a, b in pairwise(places))
    power, label = axes.xaxis.get_offset_text(), axes.xaxis.label.get_window_extent()
    assert bool(power.get_text()) == (largest < 0.1)
    assert not power.get_text() or power.get_window_extent().x0 >= label.x1
    assert cut_off(figure) == []


LONG_CLASSES = [f"A CLASS OF FORTY LETTERS, AND NUMBER {k:03d}" for k in range(6)]
LONG_METHODS = [f"an_importance_method_with_a_long_name_{k}" for k in range(4)]


def test_nothing_is_cut_off_and_histograms_keep_their_room(tmp_path, monkeypatch, drawn):
    methods = ["gradient", "leave_one_out", LONG_METHODS[0]]
    monkeypatch.setattr(fabricated, "EXPLANATIONS", ("attention", *methods))
    write_run(tmp_path, count=60, labels=tuple(LONG_CLASSES))
    write_report(epath.Path(tmp_path))
    assert len(drawn) == 6 + 6 + 1, "of every pair, of every answer and of the training"
    for name, figure in drawn.items():
        assert cut_off(figure) == [], name
        assert figure.get_size_inches()[0] == figures.WIDTH or name == "agreement_matrix"
    one = drawn[f"kendall_attention_{LONG_METHODS[0]}"]
    (axes,) = one.axes
    assert axes.get_window_extent().height / one.dpi > 1.2, "inches of bars"
    legend = one.legends[0].get_window_extent()
    assert legend.y1 < axes.get_window_extent().y0, "it covers no bar"
    assert [
        text.get_text().replace("\n", " ").split(" (")[0]
        for text in (one.legends[0].get_texts()[:6])
    ] == LONG_CLASSES


@pytest.mark.parametrize(
    ("count", "start"), [(4, LONG_METHODS[0]), (12, LONG_METHODS[0]), (21, "integrated_gradients")]
)
def test_a_matrix_of_many_names_fits_a_page(tmp_path, drawn, count, start):
    names = [f"{start}{k}" for k in range(count)]
    taus = {
        f"{a}~{b}": {"kendall": {"mean": -0.5}}
        for place, a in enumerate(names)
        for b in names[place + 1 :]
    }
    agreement.draw_matrix(epath.Path(tmp_path), agreement.matrix_table(taus, "m", "text"))
    assert cut_off(drawn["m"]) == []
    assert drawn["m"].get_size_inches()[0] < 7
    assert min(drawn["m"].axes[0].get_window_extent().size) / drawn["m"].dpi > 0.17 * count


def test_no_label_of_a_comparison_or_a_sweep_is_cut_off(compared, tmp_path, drawn):
    shutil.copytree(compared, tmp_path / "out")
    compared_page.write_comparison(epath.Path(tmp_path / "out"))
    rows = [
        {
            "point": "p",
            "technique": technique,
            "epsilon": epsilon,
            "weight": None,
            "failed": None,
            "relevance": None,
            "learning_rate": 0.1,
            "seed": 0,
            "validation": 0.5,
            "accuracy": 0.5,
            "f1": 0.5,
            "kendall": 0.1,
            "pearson": 0.1,
            "failed_step": None,
        }
        for technique in LONG_METHODS
        for epsilon in (0.1, 1.0)
    ]
    sweep_report.write_sweep(epath.Path(tmp_path), rows, ["epsilon"], "grid", "loss", {})
    assert len(drawn) == 8
    for name, figure in drawn.items():
        assert cut_off(figure) == [], name
