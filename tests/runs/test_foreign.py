"""Every form of other tools' files says the same, is read back, and is refused in one line."""

import gzip
import json

import pytest

from attnjax.errors import UserError
from attnjax.runs.foreign import as_inseq, as_lines, read_foreign

EXAMPLES = [
    {
        "id": 4,
        "tokens": ["a", "fine", "film"],
        "query": ["is", "it"],
        "prediction": "yes",
        "attention": [0.2, 0.5, 0.3],
        "importance": {"theirs": [-1.0, 2.0, 0.0]},
        "query_importance": {"theirs": [0.5, 0.25]},
    },
    {
        "id": 9,
        "tokens": ["dull"],
        "query": ["so"],
        "prediction": "no",
        "attention": [1.0],
        "importance": {"theirs": [3.0]},
        "query_importance": {"theirs": [1.0]},
    },
]


def put(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def lines(rows):
    return "".join(json.dumps(each) + "\n" for each in rows)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz", "mine.json"])
def test_what_is_written_is_read_back(tmp_path, name):
    rows = list(as_lines(EXAMPLES))
    found = read_foreign(put(tmp_path / name, lines(rows) if ".jsonl" in name else rows))
    assert [(each.id, each.method) for each in found] == [
        (4, "attention"),
        (4, "theirs"),
        (9, "attention"),
        (9, "theirs"),
    ]
    assert found[1].values == {"text": [-1.0, 2.0, 0.0], "query": [0.5, 0.25]}
    assert found[1].tokens == {"text": ["a", "fine", "film"], "query": ["is", "it"]}
    assert set(found[0].values) == {"text"}


def test_inseq(tmp_path):
    written = as_inseq(EXAMPLES, "theirs")
    (one, other) = read_foreign(put(tmp_path / "x.json", written))
    assert (one.id, one.method, one.values) == (4, "theirs", {"text": [-1.0, 2.0, 0.0]})
    assert other.tokens == {"text": ["dull"]}

    def saved(name, **attributes):  # as inseq itself does it
        return {"__instance_type__": ["inseq", name], "attributes": attributes}

    tokens = [saved("TokenWithId", token=each, id=7) for each in ("a", "fine")]
    values = {"__ndarray__": [[0.5], [1.5]], "dtype": "float32", "shape": [2, 1]}
    sequence = saved("FeatureAttributionSequenceOutput", source=tokens, source_attributions=values)
    info = {"attribution_method": "saliency"}
    whole = saved("FeatureAttributionOutput", sequence_attributions=[sequence], info=info)
    (found,) = read_foreign(put(tmp_path / "y.json", whole))
    assert (found.id, found.method) == (None, "saliency")
    assert (found.values, found.tokens) == ({"text": [0.5, 1.5]}, {"text": ["a", "fine"]})


def test_eraser(tmp_path):
    spans = [{"start_token": 1, "end_token": 3}]
    documents = [
        {"docid": "4", "soft_rationale_predictions": [0.1, 0.9], "hard_rationale_predictions": []},
        {"docid": "4_query", "hard_rationale_predictions": spans},
    ]
    row = {"annotation_id": "4", "rationales": documents}
    (found,) = read_foreign(put(tmp_path / "soft.jsonl", lines([row])))
    assert (found.id, found.method) == (4, "soft"), "called as the file"
    assert (found.values, found.spans) == ({"text": [0.1, 0.9]}, {"query": [(1, 3)]})


LINE = {"id": 1, "method": "theirs", "values": [1.0]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "values": [1]}, "no explanation, which has id, method and values"),
        (LINE | {"id": "first"}, "the id 'first' is no number"),
        (LINE | {"id": True}, "the id True is no number"),
        (LINE | {"method": "../x"}, "must be named by letters"),
        (LINE | {"method": ""}, "must be named by letters"),
        (LINE | {"values": [1, None]}, "'values' must be a list of finite numbers"),
        (LINE | {"values": [float("nan")]}, "'values' must be a list of finite numbers"),
        (LINE | {"query_values": 3}, "'query_values' must be"),
        (LINE | {"tokens": "a b"}, "'tokens' must be a list of words"),
        ({"annotation_id": 1, "rationales": 3}, "'rationales' must be a list of objects"),
        ({"annotation_id": 1, "rationales": [{"docid": "2"}]}, "the document '2' is neither '1'"),
        ({"annotation_id": 1, "rationales": [{"docid": "1"}]}, "needs soft_rationale_predictions"),
        ({"annotation_id": 1, "rationales": []}, "has no document '1'"),
        ({"sequence_attributions": [3]}, "'sequence_attributions' must be a list of objects"),
        (
            {"sequence_attributions": [{"source": ["a"], "source_attributions": [[1, 2]]}]},
            "one number a word, of one target",
        ),
        ({"sequence_attributions": [{"source_attributions": [1]}]}, "'source' must be a list"),
    ],
)
def test_what_is_wrong_names_file_and_line(tmp_path, row, message):
    with pytest.raises(UserError) as caught:
        read_foreign(put(tmp_path / "x.jsonl", lines([row])))
    assert str(caught.value).startswith("x.jsonl, line 1")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    for path, message in (
        (tmp_path / "x.jsonl", "there is no file"),
        (put(tmp_path / "x.csv", "a"), r"must end in \.jsonl"),
        (put(tmp_path / "y.jsonl", "\n"), "has no explanations"),
        (put(tmp_path / "z.json", "[3]"), "row 1: a JSON int"),
        (put(tmp_path / "z.jsonl", "{"), "line 1: not JSON"),
    ):
        with pytest.raises(UserError, match=message):
            read_foreign(path)
