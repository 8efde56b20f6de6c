"""Files of rows: what each kind of file gives, what quotes mean, and what is told of the rest."""

import builtins
import gzip
import io
import json
import os

import pytest

from attnjax.data.formats import SUFFIXES, read_rows, suffix_of
from attnjax.errors import UserError

ROWS = [{"text": "a good film", "label": 1}, {"text": "a bad film", "label": 0}]


def read(tmp_path, name, content, quoting="auto"):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    notes = []
    return list(read_rows(path, quoting, notes, line="text")), notes


def parquet(rows):
    arrow, store = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    sink = io.BytesIO()
    store.write_table(arrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.json", "\ufeff" + json.dumps(ROWS, indent=1)),
        ("a.JSON", "\n".join(map(json.dumps, ROWS))),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("a.json", json.dumps({"version": 1, "data": ROWS})),
        ("a.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
        ("a.json", json.dumps({key: {"0": ROWS[0][key], "1": ROWS[1][key]} for key in ROWS[0]})),
    ],
)
def test_json_of_every_form_is_the_same_rows(tmp_path, name, content):
    found, notes = read(tmp_path, name, content)
    assert [row for _, row in found] == ROWS
    assert not notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("5", "a JSON int; write a list"),
        ("[[1]]", "row 1: a JSON list, not an object"),
        ('["a"]', "row 1: a JSON str"),
        ('[{"text": "a"', "not JSON"),
        ("[" * 99_999, "not JSON"),
        ('{"train": [{"text": "a"}], "test": [{"text": "b"}]}', "with train, test; write a list"),
        ('{"text": ["a"], "label": []}', "a JSON object with text, label"),
    ],
)
def test_json_that_holds_no_rows(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "a.json", content)


def test_parquet(tmp_path):
    found, _ = read(tmp_path, "a.PARQUET", parquet([*ROWS, {"text": None, "label": None}]))
    assert found == [("row 1", ROWS[0]), ("row 2", ROWS[1]), ("row 3", dict.fromkeys(ROWS[0]))]


@pytest.mark.parametrize("content", [b"", b"text,label\n", b"PAR1" * 9])
def test_what_is_no_parquet_file(tmp_path, content):
    pytest.importorskip("pyarrow")
    with pytest.raises(UserError, match=r"a\.parquet, after row 0: not a Parquet file"):
        read(tmp_path, "a.parquet", content)


def test_parquet_without_its_package(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("pyarrow"):
            raise ImportError("none here")
        return real(name, *rest, **more)

    monkeypatch.setattr("importlib.import_module", without)
    with pytest.raises(UserError, match="pip install pyarrow"):
        read(tmp_path, "a.parquet", b"PAR1")


TSV = 'text\tlabel\n"never closed\t1\nsaid "no"\t0\n"whole ""quoted"" cell"\t"1"\nends "\t0\n'


def test_a_quote_in_tsv_is_text_unless_it_stands_around_a_whole_cell(tmp_path):
    found, notes = read(tmp_path, "a.tsv", TSV)
    assert [tuple(row.values()) for _, row in found] == [
        ('"never closed', "1"),
        ('said "no"', "0"),
        ('whole "quoted" cell', "1"),
        ('ends "', "0"),
    ]
    assert notes[0].startswith("a.tsv: 1 rows (the first: line 2) have a cell that begins with")
    literal, _ = read(tmp_path, "a.tsv", TSV, "literal")
    assert literal[2][1]["text"] == '"whole ""quoted"" cell"'


def test_cells_with_tabs_and_line_ends_are_read_where_the_user_says_so(tmp_path):
    rows = "".join(f"film\t{n % 2}\n" for n in range(6))
    content = f'text\tlabel\n{rows}"one\ttwo\nthree"\t1\n'
    with pytest.raises(UserError, match=r"lines 8 to 9: a quote opens.*quoting=quoted"):
        read(tmp_path, "a.tsv", content)
    found, _ = read(tmp_path, "a.tsv", content, "quoted")
    assert found[-1] == ("line 8", {"text": "one\ttwo\nthree", "label": "1"})


def test_quotes_in_csv_may_be_text(tmp_path):
    found, _ = read(tmp_path, "a.csv", 'text,label\n"open,1\n', "literal")
    assert found == [("line 2", {"text": '"open', "label": "1"})]


def test_rows_that_an_open_quote_swallowed_are_named(tmp_path):
    rows = [f"film {n},{n % 2}" for n in range(8)]
    content = "\n".join(["text,label", *rows, '"never closed,1', 'or late",0', *rows])
    found, notes = read(tmp_path, "a.csv", content)
    assert len(found) == 17
    (note,) = notes
    assert "each line of 1 rows" in note
    assert "lines 10 to 11" in note
    long = '"a text\nof\nmany\nlines, really",1'
    _, notes = read(tmp_path, "a.csv", "\n".join(["text,label", *rows, long]))
    (note,) = notes
    assert "1 rows run over more than 3 lines (the first: lines 10 to 13)" in note
    short = '"a text\nof two lines, really",1'
    assert not read(tmp_path, "a.csv", "\n".join(["text,label", *rows, short]))[1]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("text;label\na;1\n", "separated by ';'"),
        ("text\tlabel\na\t1\n", r"separated by '\t'"),
        ("sep=;\ntext;label\na;1\n", "separated by ';'"),
        ("\ufeff\ufefftext, label\na,1\n", ""),
        ("text,label,,\na,1,,\n", ""),
        ("text,label\na,1,\n", ""),
        ("text,label\n,\na,1\n,\n", "2 rows without any text"),
        ("text,label,\na,1,more\n", "1 rows (the first: line 2) have text in columns without a"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, content, note):
    ((_, row),), notes = read(tmp_path, "a.csv", content)
    assert row == {"text": "a", "label": "1"}
    assert [note in each for each in notes] == [True] * bool(note)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfet\0e\0", "UTF-16 text; save it as UTF-8"),
        (b"text,label\ra,1\r", "a carriage return outside quotes"),
        (b",\na,1\n", "the first row must name the columns"),
    ],
)
def test_files_of_another_age(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, "a.csv", content)


def test_plain_lines_and_suffixes(tmp_path):
    found, _ = read(tmp_path, "a.txt", "one film\r\n\n  \ntwo\n")
    assert found == [("line 1", {"text": "one film"}), ("line 4", {"text": "two"})]
    assert [suffix_of(name) for name in ("Train.CSV.GZ", "x.txt", "json")] == [".csv.gz", "", ""]
    assert suffix_of("a.parquet") in SUFFIXES


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"text,label\n", mtime=0), r"compressed with gzip, not text; add \.gz"),
        (b"PK\x03\x04\x14\0", "a zip archive or a spreadsheet, not text; unpack it, or export"),
        (b"PAR1\x15\x04", r"a Parquet file, not text; let its name end in \.parquet"),
        (b"BZh91AY", "compressed with bzip2, not text"),
        (b"\xfd7zXZ\0", "compressed with xz, not text"),
        (b"(\xb5/\xfd\x04", "compressed with zstd, not text"),
        (b"%PDF-1.7\n", "a PDF, not text"),
    ],
)
def test_what_a_file_is_that_is_no_text(tmp_path, name, content, message):
    with pytest.raises(UserError, match=f"^{name}: it is {message}"):
        read(tmp_path, name, content)


def test_a_name_that_stands_twice_in_an_object_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.jsonl, line 2: 'text' stands twice in one object"):
        read(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": "a", "text": "b"}\n')


def test_a_pipe_would_never_end(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"^a.csv: it is a pipe or a device, not a file"):
        list(read_rows(tmp_path / "a.csv", "auto", []))
