"""Which examples are shown: ranked by the first importance method, none twice."""

from fabricated import fabricated_examples

from attnjax.report.examples import SHOWN, chosen, ranking_pair

PAIR = "attention~gradient"


def ids(group):
    return [each["id"] for each in group["examples"]]


def test_best_median_worst_and_adversarial():
    examples = fabricated_examples(60, ["a", "b"])
    defined = [each for each in examples if each["agreement"][PAIR]["kendall"] is not None]
    assert len(defined) == 59, "one word has no tau"
    order = sorted(defined, key=lambda each: -each["agreement"][PAIR]["kendall"])
    order = [each["id"] for each in order]
    best, median, worst, adversarial = chosen(examples)
    assert ranking_pair(examples) == PAIR
    assert ids(best) == order[:SHOWN]
    assert ids(median) == order[27:32], "around the 30th of 59"
    assert ids(worst) == order[::-1][:SHOWN], "the worst first"
    farthest = sorted(examples, key=lambda each: -each["adversarial"]["max_jsd"])
    assert ids(adversarial) == [each["id"] for each in farthest[:SHOWN]]


def test_no_example_twice_and_ties_by_length():
    examples = fabricated_examples(7, ["a"])
    for each in examples:
        each["agreement"][PAIR]["kendall"] = 1.0
        each["adversarial"]["max_jsd"] = 0.0
    groups = chosen(examples)
    found = [number for group in groups for number in ids(group)]
    assert sorted(found) == list(range(7))
    lengths = {each["id"]: len(each["tokens"]) for each in examples}
    assert [lengths[k] for k in ids(groups[0])] == sorted(lengths.values(), reverse=True)[:SHOWN]


def test_of_the_worst_too_the_longer_come_first():
    examples = fabricated_examples(30, ["a"])
    for each in examples:
        each["agreement"][PAIR]["kendall"] = -1.0 if each["id"] < 8 else 1.0
    worst = chosen(examples)[2]
    lengths = {each["id"]: len(each["tokens"]) for each in examples[:8]}
    assert [lengths[k] for k in ids(worst)] == sorted(lengths.values(), reverse=True)[:SHOWN]


def test_absent_parts_give_no_group():
    assert chosen([]) == []
    examples = fabricated_examples(3, ["a"])
    for each in examples:
        each["adversarial"] = None
        each["agreement"] = {}
    assert chosen(examples) == []


def test_query_rows_only_where_there_is_query_importance():
    with_query = chosen(fabricated_examples(3, ["a"], pair_task=True))
    titles = [
        (each["title"], len(each["rows"])) for each in with_query[0]["examples"][0]["heatmaps"]
    ]
    assert titles == [("", 3), ("query", 2)]
    without = fabricated_examples(3, ["a"], pair_task=True)
    for each in without:
        del each["query_importance"]
    shown = chosen(without)[0]["examples"][0]
    assert [each["title"] for each in shown["heatmaps"]] == [""]
    assert len(shown["query"].split()) == 6
