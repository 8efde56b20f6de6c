"""Which examples are shown: ranked by the first importance method, none twice."""

from fabricated import fabricated_examples

from attnjax.report.examples import MOST, SHOWN, WORDS, card, chosen, ranking_pair, signed_names

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
        (each["title"], len(each["blocks"][0]["rows"]))
        for each in with_query[0]["examples"][0]["heatmaps"]
    ]
    assert titles == [("", 3), ("query", 2)]
    without = fabricated_examples(3, ["a"], pair_task=True)
    for each in without:
        del each["query_importance"]
    shown = chosen(without)[0]["examples"][0]
    assert [each["title"] for each in shown["heatmaps"]] == [""]
    assert len(shown["query"].split()) == 6


def words_of(blocks):
    return [cell["word"] for block in blocks for cell in block["rows"][0]["cells"]]


def test_all_words_of_a_long_text_are_there_the_later_ones_folded():
    tokens = [f"w{k}" for k in range(WORDS + 312)]
    values = [float(k) for k in range(len(tokens))]
    found = card({"id": 1, "tokens": tokens, "label": "a"}, [], {"": {"attention": values}})
    (heatmap,) = found["heatmaps"]
    assert words_of(heatmap["blocks"]) == tokens[:WORDS]
    assert words_of(heatmap["rest"]) == tokens[WORDS:]
    assert heatmap["folded"] == 312
    assert found["cut"] == 0
    last = heatmap["rest"][-1]["rows"][0]["cells"][-1]
    assert last["level"] == "h20", "one scale for both parts"
    assert heatmap["blocks"][0]["rows"][0]["cells"][0]["level"] == "h0"


def test_texts_that_no_page_could_hold_are_cut_and_it_is_said():
    tokens = ["w"] * (MOST // 3 + 1)
    rows = {name: [1.0] * len(tokens) for name in "abc"}
    found = card({"id": 1, "tokens": tokens, "label": "a"}, [], {"": rows})
    assert (found["shown"], found["cut"]) == (MOST // 3, len(tokens))


def test_values_below_zero_anywhere_make_an_explanation_signed():
    examples = fabricated_examples(12, ["a"], pair_task=True)
    assert signed_names(examples) == set()
    examples[7]["importance"]["leave_one_out"][0] = -0.5
    assert signed_names(examples) == {"leave one out"}
    rows = chosen(examples)[0]["examples"][0]["heatmaps"][0]["blocks"][0]["rows"]
    kinds = [{cell["level"][0] for cell in row["cells"]} for row in rows]
    assert kinds == [{"h"}, {"h"}, {"f"}], "in every text, whether it has some or not"
    examples[3]["query_importance"]["gradient"][2] = -1e-9
    assert signed_names(examples) == {"leave one out", "gradient"}
    examples[7]["importance"]["leave_one_out"][0] = None
    assert signed_names(examples) == {"gradient"}
