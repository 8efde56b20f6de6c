import csv
import gzip
import json
import subprocess
import sys

import pytest
from miniatures import read_files

from attnjax.data.examples import Example
from attnjax.data.files import read_unlabelled
from attnjax.data_config import DataConfig, FieldsConfig
from attnjax.errors import UserError

CLASSIFICATION = [
    {"text": "a good film", "label": "pos"},
    {"text": "a bad film", "label": "neg"},
]
NLI = [
    {"premise": "A man sleeps.", "hypothesis": "He is awake.", "label": "contradiction"},
    {"premise": "A man sleeps.", "hypothesis": "He rests.", "label": "entailment"},
]
QA = [
    {"story": ["Mary went home.", "John left."], "question": "Where is Mary?", "answer": "home"},
    {
        "story": ["Mary went home.", "John left.", "Mary left."],
        "question": "Who left?",
        "answer": "Mary",
    },
]
ROWS = {"classification": CLASSIFICATION, "nli": NLI, "qa": QA}


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows, delimiter=","):
    """As csv.writer does it: header row, quotes where they are needed."""
    lines = []

    class Sink:
        write = lines.append

    flat = [
        {key: " ".join(value) if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
    ]
    writer = csv.DictWriter(Sink(), list(flat[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(flat)
    return "".join(lines).encode()


WRITERS = {
    ".jsonl": jsonl,
    ".jsonl.gz": lambda rows: gzip.compress(jsonl(rows)),
    ".csv": table,
    ".tsv": lambda rows: table(rows, "\t"),
    ".csv.gz": lambda rows: gzip.compress(table(rows)),
}


def write(folder, **files):
    """write(folder, train__jsonl=bytes) writes train.jsonl."""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name.replace("__", ".")).write_bytes(data)
    return DataConfig(source="files", path=str(folder))


def fails(config, task, *parts):
    with pytest.raises(UserError) as caught:
        read_files(config, task)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("task", ROWS)
def test_every_format_gives_the_same_examples(tmp_path, task, suffix):
    for name in ("train", "validation", "test"):
        (tmp_path / (name + suffix)).write_bytes(WRITERS[suffix](ROWS[task]))
    splits = read_files(DataConfig(path=str(tmp_path)), task)
    assert list(splits) == ["train", "validation", "test"]
    first = 1 if "jsonl" in suffix else 2
    expected = {
        "classification": Example("a bad film", None, "neg"),
        "nli": Example("A man sleeps.", "He rests.", "entailment"),
        "qa": Example("Mary went home. John left. Mary left.", "Who left?", "Mary"),
    }[task]
    for name, rows in splits.items():
        group = f"{name}{suffix}:1" if task == "qa" else ""
        place = f"{name}{suffix}, line {first + 1}"
        assert rows[1] == expected._replace(group=group, place=place)
        assert len(rows) == 2


@pytest.mark.parametrize("name", ["validation", "valid", "dev"])
def test_names_of_the_validation_file(tmp_path, name):
    rows = jsonl(CLASSIFICATION)
    config = write(tmp_path, train__jsonl=rows, test__jsonl=rows, **{f"{name}__jsonl": rows})
    assert len(read_files(config, "classification")["validation"]) == 2


def test_columns_are_named_by_the_config(tmp_path):
    rows = jsonl([{"body": "x", "class": 1, "text": "not this"}])
    write(tmp_path, train__jsonl=rows, test__jsonl=rows)
    fields = FieldsConfig(text="body", label="class")
    splits = read_files(DataConfig(path=str(tmp_path), fields=fields), "classification")
    assert splits["train"] == [Example("x", None, "1", place="train.jsonl, line 1")]


def test_lines_are_counted_through_quoted_line_ends_and_blank_lines(tmp_path):
    content = '\ufefftext,label\r\n"one\r\n\r\nmore, ""quoted""",a\r\n\r\ntwo,b\r\n'
    config = write(tmp_path, train__csv=content, test__csv=content)
    rows = read_files(config, "classification")["train"]
    assert [row.place for row in rows] == ["train.csv, line 2", "train.csv, line 6"]
    assert [row.text for row in rows] == ['one\r\n\r\nmore, "quoted"', "two"]
    write(tmp_path, test__csv=content + '"x\n",c\n')
    fails(config, "classification", "test.csv, line 7", "label 'c' never occurs in train")


def test_separators_inside_json_strings_end_no_line(tmp_path):
    content = '{"text": "a\u2028b\x85c", "label": "x"}\n\n{"text": "d", "label": "x"}'
    config = write(tmp_path, train__jsonl="\ufeff" + content, test__jsonl=content)
    rows = read_files(config, "classification")["train"]
    assert [(row.text, row.place) for row in rows] == [
        ("a\u2028b\x85c", "train.jsonl, line 1"),
        ("d", "train.jsonl, line 3"),
    ]


def test_a_story_longer_than_csvs_limit(tmp_path):
    content = f"text,label\n{'long ' * 50_000},a\n"
    config = write(tmp_path, train__csv=content, test__csv=content)
    assert len(read_files(config, "classification")["train"][0].text) == 250_000


@pytest.mark.parametrize(
    ("label", "read"), [(1, "1"), (-1, "-1"), (2.0, "2"), ("1", "1"), (" a ", "a"), ("1.0", "1.0")]
)
def test_labels(tmp_path, label, read):
    rows = jsonl([{"text": "x", "label": label}])
    config = write(tmp_path, train__jsonl=rows, test__jsonl=rows)
    assert read_files(config, "classification")["test"][0].label == read


@pytest.mark.parametrize("label", [1.5, ["a"], {"a": 1}])
def test_what_is_no_label(tmp_path, label):
    rows = jsonl([CLASSIFICATION[0], {"text": "x", "label": label}])
    config = write(tmp_path, train__jsonl=rows, test__jsonl=rows)
    fails(config, "classification", "train.jsonl, line 2", "'label' must be a name or a whole")


def test_candidates(tmp_path):
    row = {"story": "s", "question": "q", "answer": 2, "candidates": [1, 2, "x", 2]}
    rows = jsonl([row, {**row, "candidates": None}, {**row, "candidates": "2| 3|"}])
    config = write(tmp_path, train__jsonl=rows, test__jsonl=rows)
    candidates = [each.candidates for each in read_files(config, "qa")["train"]]
    assert candidates == [("1", "2", "x"), (), ("2", "3")]


def test_stories_that_grow_are_one_group(tmp_path):
    stories = ["a.", "a. b.", "a. b.", "a. b. c.", "a.", "a. d", "a. dozen", "x"]
    rows = jsonl([{"story": story, "question": "q", "answer": "y"} for story in stories])
    config = write(tmp_path, train__jsonl=rows, test__jsonl=rows)
    groups = [each.group for each in read_files(config, "qa")["train"]]
    assert groups == [f"train.jsonl:{n}" for n in (1, 1, 1, 1, 2, 2, 3, 4)]


def test_real_stories_have_five_questions(real_data):
    splits = read_files(DataConfig(path=str(real_data / "babi/en/qa1")), "qa")
    groups = [row.group for row in splits["train"]]
    assert len(splits["train"]) == 1000
    assert all(groups.count(group) == 5 for group in set(groups))


@pytest.mark.parametrize(
    ("folder", "task", "sizes"),
    [
        ("sst2", "classification", {"train": 6920, "validation": 872, "test": 1821}),
        ("snli", "nli", {"train": 19999, "validation": 9842, "test": 9824}),
    ],
)
def test_real_folders(real_data, folder, task, sizes):
    """In a process of its own, without the checks of types: they take longer than the reading."""
    program = """
import sys
from attnjax.data_config import DataConfig
from attnjax.data.files import read_files
splits = read_files(DataConfig(path=sys.argv[1]), sys.argv[2]).splits
print({name: len(rows) for name, rows in splits.items()})
print(splits["test"][-1].place)
"""
    command = [sys.executable, "-c", program, str(real_data / folder), task]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == [str(sizes), f"test.jsonl.gz, line {sizes['test']}"]


def test_only_wanted_labels_are_kept(tmp_path):
    rows = [{"text": "x", "label": label} for label in "abcab"]
    config = write(tmp_path, train__jsonl=jsonl(rows), test__jsonl=jsonl(rows[:3]))
    config = DataConfig(path=config.path, labels=("a", "c"))
    splits = read_files(config, "classification")
    assert [row.label for row in splits["train"]] == ["a", "c", "a"]
    assert splits["test"][1].place == "test.jsonl, line 3"
    fails(DataConfig(path=config.path, labels=("d",)), "classification", "no row of train", "'d'")


GOOD = jsonl(CLASSIFICATION)


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        ({}, ["nothing to read", "train and test", "SNLI"]),
        ({"train__txt": b"x"}, ["nothing to read"]),
        ({"test__jsonl": GOOD, "dev__csv": b""}, ["no train file"]),
        ({"train__jsonl": GOOD, "train__csv": b"", "test__jsonl": GOOD}, ["two files for train"]),
        ({"valid__jsonl": GOOD, "dev__csv": b""}, ["two files for validation", "valid.jsonl"]),
        (
            {"train__jsonl": GOOD, "test__jsonl": GOOD + b'{"text": "x", "label": "poss"}'},
            ["test.jsonl, line 3: the label 'poss' never occurs", "did you mean 'pos'"],
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[0],
)
def test_what_is_wrong_in_a_folder_is_one_line(tmp_path, files, parts):
    fails(write(tmp_path, **files), "classification", *parts)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("train.jsonl", b"", ["train.jsonl: has no rows"]),
        ("train.csv", b"text,label\n", ["train.csv: has no rows"]),
        (
            "train.csv",
            b"txt,label\nx,y\n",
            ["train.csv, line 2", "'text'", "it has txt, label", "did you mean 'txt'"],
        ),
        ("train.jsonl", b'{"text": "x"}\n', ["line 1: no column 'label'", "fields.label"]),
        ("train.jsonl", GOOD + b"{'text': 1}\n", ["train.jsonl, line 3: not JSON"]),
        ("train.jsonl", GOOD + b"[1]\n", ["train.jsonl, line 3: a JSON list"]),
        ("train.jsonl", b'{"text": "sad \\ud83d", "label": "a"}', ["line 1: '\\ud83d' is half of"]),
        ("train.jsonl", b'{"text": "x", "label": ' + b"9" * 5000 + b"}", ["line 1: not JSON"]),
        ("train.jsonl", b'{"text": 5, "label": "a"}\n', ["line 1: 'text' must be text, not 5"]),
        ("train.csv", b"text,label\nx, \n", ["train.csv, line 2: no row of train has a label"]),
        (
            "train.csv",
            b"text,label\nx,y\na,b,c\n",
            ["train.csv, line 3: 3 cells", "header has 2 (text, label)"],
        ),
        ("train.csv", b'text,label\nx,y\n"a,b\n', ["train.csv, line 3: not a row of cells"]),
        (
            "train.tsv",
            b'text\tlabel\nx\ty\n"a\tb"\tc\n',
            ["train.tsv, line 3: 3 cells", "quoting=quoted"],
        ),
        (
            "train.tsv",
            b'text\tlabel\nx\ty\n"a\nb\nc"\tc\n',
            ["train.tsv, lines 3 to 5: 1 cells", "quoting=quoted"],
        ),
        ("train.csv", b"text,text\nx,y\n", ["column 'text' occurs twice"]),
        ("train.csv", b"text,label\nx\0,y\n", ["train.csv, line 2: a NUL byte"]),
        ("train.jsonl", GOOD + b'{"text": "\xe9"}', ["train.jsonl, line 3: not UTF-8"]),
        ("train.jsonl.gz", GOOD, ["train.jsonl.gz", "damaged gzip"]),
        (
            "train.jsonl.gz",
            gzip.compress(GOOD * 999, mtime=0)[:-12],
            ["train.jsonl.gz", "damaged gzip"],
        ),
        ("train.jsonl", gzip.compress(GOOD, mtime=0), ["train.jsonl: ", "gzip", "add .gz"]),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path, name, content, parts):
    (tmp_path / name).write_bytes(content)
    fails(write(tmp_path, test__jsonl=GOOD), "classification", *parts)


@pytest.mark.parametrize(
    ("row", "parts"),
    [
        ({"answer": "no"}, ["test.jsonl, line 1: the answer 'no' never occurs in train"]),
        (
            {"answer": "x", "candidates": ["y"]},
            ["answer 'x' is not among the row's candidates (y)"],
        ),
        ({"answer": "x", "candidates": 3}, ["'candidates' must be a list"]),
        ({"answer": "x", "story": ["a", 1]}, ["'story' must be text, not ['a', 1]"]),
    ],
)
def test_what_is_wrong_in_questions(tmp_path, row, parts):
    good = {"story": "s", "question": "q", "answer": "x", "candidates": ["x", "seen"]}
    rows = jsonl([{"story": "s", "question": "q", **row}])
    fails(write(tmp_path, train__jsonl=jsonl([good]), test__jsonl=rows), "qa", *parts)


def test_an_answer_may_be_known_as_a_candidate(tmp_path):
    row = {"story": "s", "question": "q", "answer": "x", "candidates": ["x", "seen"]}
    test = jsonl([{**row, "answer": "seen", "candidates": []}])
    config = write(tmp_path, train__jsonl=jsonl([row]), test__jsonl=test)
    assert read_files(config, "qa")["test"][0].label == "seen"


@pytest.mark.parametrize("path", ["~nosuchuser/data", "x" * 300])
def test_paths_that_no_folder_can_have(path):
    fails(DataConfig(path=path), "classification", "there is no folder")


def test_whole_characters_may_be_escaped(tmp_path):
    row = b'{"text": "glad \\ud83d\\ude00", "label": "a"}'
    config = write(tmp_path, train__jsonl=row, test__jsonl=row)
    assert read_files(config, "classification")["train"][0].text == "glad \U0001f600"


def test_folder_that_is_missing_or_a_file(tmp_path):
    fails(DataConfig(path=str(tmp_path / "gone")), "nli", "there is no folder", "gone")
    (tmp_path / "file").touch()
    fails(DataConfig(path=str(tmp_path / "file")), "nli", "is a file")


@pytest.mark.parametrize("suffix", WRITERS)
def test_unlabelled_files(tmp_path, suffix):
    path = tmp_path / f"more{suffix}"
    path.write_bytes(WRITERS[suffix]([{"text": "x", "id": "1"}, {"text": "y", "id": "2"}]))
    rows, notes = read_unlabelled(path, DataConfig(), "classification")
    assert not notes
    assert [row.columns["id"] for row in rows] == ["1", "2"]
    assert [(row.text, row.label) for row in rows] == [("x", ""), ("y", "")]
    assert rows[0].place.startswith(f"more{suffix}, line ")


def test_unlabelled_files_of_other_tasks_and_with_labels(tmp_path):
    path = tmp_path / "more.jsonl"
    path.write_bytes(jsonl(NLI))
    (row, _), _ = read_unlabelled(path, DataConfig(), "nli")
    assert row.columns == NLI[0]
    row = row._replace(columns=None)
    assert row == Example("A man sleeps.", "He is awake.", "", place="more.jsonl, line 1")
    path.write_bytes(jsonl([{"story": ["a.", "b."], "question": "q"}]))
    (row,), _ = read_unlabelled(path, DataConfig(), "qa")
    assert (row.text, row.query, row.label) == ("a. b.", "q", "")


@pytest.mark.parametrize(("name", "part"), [("gone.jsonl", "no file"), ("x.txt", "must end in")])
def test_unlabelled_files_that_cannot_be_read(tmp_path, name, part):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UserError, match=part):
        read_unlabelled(tmp_path / name, DataConfig(), "nli")
