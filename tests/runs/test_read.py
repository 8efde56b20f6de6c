"""Names of runs, and which of them are seeds of one condition."""

import pytest
from fabricated_runs import example_rows, write_run

from attnjax.errors import UserError
from attnjax.runs.read import condition_names, conditions, read_runs, unique_names


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["/x/a", "/x/b"], ["a", "b"]),
        (["/x/a", "/y/a", "/y/b"], ["x/a", "y/a", "b"]),
        (["/x/k/a", "/y/k/a", "/y/a"], ["x/k/a", "y/k/a", "y/a"]),
        (["/x/of", "/measure", "/x/y"], ["x/of", "/measure", "y"]),
        (["/x/marked", "/x/a"], ["x/marked", "a"]),
        (["/a", "/x/a"], ["/a", "x/a"]),
        (["gs://one/a", "gs://two/a"], ["one/a", "two/a"]),
    ],
)
def test_names_take_as_many_parents_as_tell_them_apart(places, names):
    assert unique_names(places) == names


def grouped(tmp_path, *fields):
    """Conditions and their names, of runs in folders run_0, run_1, ... with these fields."""
    rows = example_rows(count=2)
    runs = read_runs(
        [write_run(tmp_path / f"run_{k}", rows, **each) for k, each in enumerate(fields)]
    )
    groups = conditions(runs)
    return groups, condition_names(runs, groups)


def test_only_the_seed_and_what_changes_no_result_may_differ_within_a_condition(tmp_path):
    fields = [
        {"seed": 0},
        {"seed": 1, "data__path": "elsewhere", "train__parallel": "pmap"},
        {"seed": 2, "adversary__epsilon": 2.0},
        {"seed": 3, "data__seed": 1},
        {"seed": 4, "analysis__chunk_size": 7},
        {"seed": 5, "train__profile_steps": [2, 3], "train__compile_cache": "off"},
        {"seed": 6, "data__vectors": "other.vec"},
        {"seed": 7, "train__epochs": 9},
        {"seed": 8, "data__unlabelled": "more.jsonl", "adversary__technique": "attention_vat"},
    ]
    assert grouped(tmp_path, *fields) == (
        [[0, 1, 4, 5], [2], [3], [6], [7], [8]],
        ["run (4 seeds)", "run_2", "run_3", "run_6", "run_7", "run_8"],
    )


def test_the_same_seed_again_is_no_further_seed(tmp_path):
    fields = [{"seed": 0}, {"seed": 1}, {"seed": 0}, {"seed": 1}]
    groups, names = grouped(tmp_path, *fields)
    assert groups == [[0, 1], [2, 3]]
    assert names == ["run_0 (2 seeds)", "run_2 (2 seeds)"], "'run' would not tell them apart"


def test_the_p_value_of_a_tau_is_no_quantity_to_compare(tmp_path):
    rows = example_rows(count=2)
    for row in rows:
        row["agreement"]["attention~gradient"]["p_value"] = 0.5
    (run,) = read_runs([write_run(tmp_path / "a", rows)])
    assert ("attention~gradient", "kendall") in run.examples[0].quantities
    assert "p_value" not in {measure for _, measure in run.examples[0].quantities}


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        (
            "faithfulness",
            {"gradient": {"aopc": "low"}},
            "'faithfulness.gradient.aopc' is no number",
        ),
        ("permutation", {"median_change": 10**400}, "'permutation.median_change' is no number"),
        ("flips", 3, "'flips' is no dict"),
        ("attention", [0.5], "'attention' has 1 values for"),
        ("importance", {"gradient": {}}, "'importance.gradient' is no list"),
        ("agreement", {}, "it has other measures than line 1"),
    ],
)
def test_a_line_that_is_no_analysed_example_is_named_with_what_is_wrong(
    tmp_path, part, value, reason
):
    rows = example_rows(count=3)
    rows[1][part] = value
    with pytest.raises(UserError, match=rf"line 2 of .* is no analysed example \({reason}"):
        read_runs([write_run(tmp_path / "a", rows)])
