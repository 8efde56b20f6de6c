"""Rationales in ERASER's form: spans, scores, and the invariants that its scorer asserts."""

import json
import math

import numpy as np
import pytest
from fabricated import fabricated_examples

from attnjax.report.rationales import SHARE, rationales, soft_scores, spans, top_words


def test_spans_join_neighbours_with_an_exclusive_end():
    assert spans([]) == []
    assert spans([0, 1, 2, 5, 7, 8]) == [
        {"start_token": 0, "end_token": 3},
        {"start_token": 5, "end_token": 6},
        {"start_token": 7, "end_token": 9},
    ]


@pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 10, 11, 35])
def test_the_hard_rationale_is_a_fifth_rounded_up(length):
    values = np.random.default_rng(length).random(length) + 0.01
    places = top_words(values.tolist())
    assert SHARE == 0.2
    assert len(places) == -(-length // 5)
    rest = np.delete(values, places)
    assert not len(rest) or values[places].min() > rest.max()
    assert places == sorted(places)


def test_ties_zeros_and_missing_values():
    assert top_words([0.3, 0.3, 0.3, 0.3, 0.3, 0.3]) == [0, 1], "the earlier first"
    assert top_words([0.0, 0.0]) == []
    assert top_words([None, 1.0, None]) == [1]
    assert top_words([]) == []
    assert soft_scores([0.0, 0.0]) == [0.0, 0.0]
    assert soft_scores([None, 3.0, 1.0]) == [0.0, 0.75, 0.25]


def test_one_object_an_example(reported):
    folder, _, examples = reported
    for name in ("attention", "gradient", "leave_one_out"):
        lines = (folder / "analysis" / f"rationales_{name}.jsonl").read_text().splitlines()
        assert len(lines) == len(examples)
        for line, example in zip(lines, examples, strict=True):
            row = json.loads(line)
            text, *query = row["rationales"]
            assert row["annotation_id"] == text["docid"] == str(example["id"])
            assert [each["docid"] for each in query] == (
                [] if name == "attention" else [f"{example['id']}_query"]
            )
            scores = text["soft_rationale_predictions"]
            assert len(scores) == len(example["tokens"]), "its scorer asserts this"
            assert math.isclose(sum(scores), 1.0, abs_tol=1e-4)
            chosen = [
                k
                for span in text["hard_rationale_predictions"]
                for k in range(span["start_token"], span["end_token"])
            ]
            assert max(scores) == max(scores[k] for k in chosen)
            assert row["classification"] == example["prediction"]
            best = max(row["classification_scores"], key=row["classification_scores"].__getitem__)
            assert best == row["classification"], "labels stand in the probabilities' order"


def test_without_labels_there_are_no_class_scores():
    (row,) = rationales(fabricated_examples(1, ["a", "b"]), "attention", None)
    assert "classification_scores" not in row
