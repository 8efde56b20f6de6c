"""Reversed sequences: the answer is the word at the place that the question names."""

from attnjax.data.reverse import PLACES, SYMBOLS, place_needed, read_reverse, simulate_reverse
from attnjax.data_config import DataConfig


def test_the_answer_stands_where_the_question_says():
    found = simulate_reverse(8, 300, seed=1)
    for each in found:
        text, query = each.text.split(), each.query.split()
        assert len(set(text)) == 8
        place = place_needed(text, query)
        assert text[place] == each.label
        assert text[::-1].index(each.label) == PLACES.index(query[0])
    assert {each.label for each in found} == set(SYMBOLS)
    assert {each.query.split()[0] for each in found} == set(PLACES[:8])


def test_other_texts_need_no_known_word():
    assert place_needed(["a", "b"], None) is None
    assert place_needed(["a", "b"], ["where", "is", "mary"]) is None
    assert place_needed(["a", "b"], ["third", "from", "the", "end"]) is None
    assert place_needed(["a", "b"], ["second", "from", "the", "end"]) == 0


def test_a_longer_train_split_starts_with_the_shorter():
    config = DataConfig(source="reverse_simulator", name="5", train_examples=20)
    short = read_reverse(config)
    longer = read_reverse(DataConfig(source="reverse_simulator", name="5", train_examples=30))
    assert longer["train"][:20] == short["train"]
    assert longer["test"] == short["test"]
    assert len(short["test"]) == 1000
    assert {each.text for each in short["train"]} != {each.text for each in short["test"][:20]}
    assert read_reverse(DataConfig(source="reverse_simulator", name="5", seed=1)) != short
