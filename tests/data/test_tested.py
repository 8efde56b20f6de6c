"""A test split for a classifier of elsewhere: which rows, whose words, and what labels mean."""

import json

import pytest
from bert_folder import write_classifier

from attnjax.config import changed
from attnjax.data.tested import load_test, settled
from attnjax.errors import UserError
from attnjax.geometry import Classes
from attnjax.runs.elsewhere import classifier_config

NAMED = Classes(("negative", "positive"), True)
NAMELESS = Classes(("LABEL_0", "LABEL_1"), False)


@pytest.mark.parametrize(
    ("classes", "given", "renamed", "labels", "told"),
    [
        (NAMED, ("negative", "positive"), {}, NAMED.names, ""),
        (NAMED, ("positive",), {}, NAMED.names, ""),
        (NAMED, ("Negative",), {"Negative": "negative"}, NAMED.names, ""),
        (NAMED, ("1",), {"1": "positive"}, NAMED.names, "numbers of the classes: 1 is 'positive'"),
        (NAMELESS, ("bad", "good"), {}, ("bad", "good"), "LABEL_0 is 'bad', LABEL_1 is 'good'"),
        (NAMELESS, ("LABEL_1",), {}, NAMELESS.names, ""),
    ],
)
def test_labels_become_classes(classes, given, renamed, labels, told):
    found, names, note = settled(classes, given, "DIR")
    assert found == {each: renamed.get(each, each) for each in given}
    assert names == labels
    assert told in note
    assert bool(note) == bool(told)


@pytest.mark.parametrize(
    ("classes", "given"),
    [
        (NAMED, ("bad", "good")),
        (NAMED, ("1", "2")),
        (NAMED, ("negative", "neutral")),
        (NAMELESS, ("a", "b", "c")),
        (NAMELESS, ("1",)),
    ],
)
def test_other_labels_are_refused_with_both_lists(classes, given):
    with pytest.raises(UserError, match="make them the same") as refused:
        settled(classes, given, "DIR")
    assert all(f"'{each}'" in str(refused.value) for each in (*given, *classes.names))


@pytest.mark.parametrize("names", [("test", "train"), ("validation", "train"), ("train",)])
def test_one_split_is_read_and_it_alone(names, tmp_path):
    """The test split, else validation, else all there is; words are the tokenizer's own."""
    rows = [{"text": "It isn't GOOD", "label": "positive"}, {"text": "bad", "label": "negative"}]
    other = [{"text": "", "label": "strange"}]
    for number, name in enumerate(names):
        lines = [json.dumps(each) for each in (other if number else rows)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    config = classifier_config(str(write_classifier(tmp_path / "bert")))
    config = changed(config, {"data.path": str(tmp_path)})
    found = load_test(config)
    assert set(found.splits) == {"test"}
    assert found.labels == ("negative", "positive")
    assert found.splits["test"].labels.tolist() == [1, 0]
    words = [found.vocabulary.words(each[1:-1]) for each in found.splits["test"].tokens]
    assert words == [["it", "isn", "'", "t", "good"], ["bad"]]
    assert found.summary["splits"]["test"]["files"] == [f"{names[0]}.jsonl"]
