"""Files of other tools' explanations -> their values, by example and method; and such files.

Three forms are read, which the objects themselves tell:

lines    {"id": 3, "method": "theirs", "values": [one number a word]}, and for pairs perhaps
         "query_values"; "tokens" and "query", where they are there, must be the words
ERASER   {"annotation_id": "3", "rationales": [{"docid": "3", "soft_rationale_predictions": [...]}]}
         (DeYoung et al. 2020); without soft predictions the words in the spans of the hard ones
         count 1, all others 0. "3_query" is the query's document. The method is called as the file
inseq    {"sequence_attributions": [{"source": [{"token": "a"}], "source_attributions": [[0.1]]}],
         "info": {"attribution_method": "theirs"}}, as it saves them, with one target. An example
         has its "id", or is the one with the words of "source"
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attnjax.data.formats import suffix_of
from attnjax.data.lines import parse_json, read_json_rows, read_lines
from attnjax.errors import UserError
from attnjax.types import Segment

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


class Foreign(NamedTuple):
    """One method's values for one example.

    place   where they stand, for messages
    id      the example's number in the test split; None: the one with these words
    values  segment -> one number a word; tokens  segment -> the words, where they are told
    spans   segment -> first words and ends of the words that count 1, where there are no values
    """

    place: str
    id: int | None
    method: str
    values: dict[Segment, list[float]]
    tokens: dict[Segment, list[str]]
    spans: dict[Segment, list[tuple[int, int]]] = {}  # noqa: RUF012 - of a NamedTuple: never written


def read_foreign(path: Path) -> list[Foreign]:
    """All explanations of a file; raises UserError, naming the line, for what is none."""
    if not path.is_file():
        raise UserError(f"--explanations: there is no file {path}; give a JSON or JSON Lines file")
    suffix = suffix_of(path.name, SUFFIXES)
    if not suffix:
        raise UserError(f"--explanations: {path} must end in {', '.join(SUFFIXES)}")
    stem = path.name[: -len(suffix)]
    found = [each for place, row in _objects(path, suffix) for each in _read(row, stem, place)]
    if not found:
        raise UserError(f"{path.name}: has no explanations")
    return found


def _objects(path: Path, suffix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if suffix.startswith(".jsonl"):
        for number, row in read_json_rows(path):
            yield f"{path.name}, line {number}", row
        return
    whole = _plain(parse_json("".join(line for _, line in read_lines(path)), path.name))
    if isinstance(whole, dict):
        yield path.name, whole
    for number, row in enumerate(whole if isinstance(whole, list) else (), 1):
        if not isinstance(row, dict):
            raise UserError(f"{path.name}, row {number}: a JSON {type(row).__name__}, no object")
        yield f"{path.name}, row {number}", row


def _plain(value: Any) -> Any:
    """Without the names of classes and the types of arrays that inseq saves."""
    if isinstance(value, dict) and "__instance_type__" in value:
        return _plain(value.get("attributes"))
    if isinstance(value, dict) and "__ndarray__" in value:
        return value["__ndarray__"]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _read(row: Mapping[str, Any], stem: str, place: str) -> Iterator[Foreign]:
    if "sequence_attributions" in row:
        yield from _inseq(row, stem, place)
    elif "annotation_id" in row:
        yield _eraser(row, stem, place)
    elif {"id", "method", "values"} <= row.keys():
        values: dict[Segment, list[float]] = {"text": _numbers(row["values"], "values", place)}
        if row.get("query_values") is not None:
            values["query"] = _numbers(row["query_values"], "query_values", place)
        tokens: dict[Segment, list[str]] = {}
        if row.get("tokens") is not None:
            tokens["text"] = _words(row["tokens"], "tokens", place)
        if row.get("query") is not None:
            tokens["query"] = _words(row["query"], "query", place)
        yield Foreign(place, _id(row["id"], place), _name(row["method"], place), values, tokens)
    else:
        raise UserError(
            f"{place}: no explanation, which has id, method and values, or is of ERASER "
            f"(annotation_id) or inseq (sequence_attributions); it has {', '.join(row)[:100]}"
        )


def _eraser(row: Mapping[str, Any], stem: str, place: str) -> Foreign:
    number, documents = str(row["annotation_id"]), row.get("rationales")
    if not isinstance(documents, list) or not all(isinstance(each, dict) for each in documents):
        raise UserError(f"{place}: 'rationales' must be a list of objects; correct the line")
    values: dict[Segment, list[float]] = {}
    spans: dict[Segment, list[tuple[int, int]]] = {}
    for each in documents:
        name = str(each.get("docid", ""))
        if name not in (number, f"{number}_query"):
            raise UserError(
                f"{place}: the document '{name:.40}' is neither '{number}', the text, nor "
                f"'{number}_query'; rename it"
            )
        soft, hard = (each.get(f"{kind}_rationale_predictions") for kind in ("soft", "hard"))
        segment: Segment = "text" if name == number else "query"
        if soft is None:
            spans[segment] = _spans(hard, place)
        else:
            values[segment] = _numbers(soft, "soft_rationale_predictions", place)
    if "text" not in {**values, **spans}:
        raise UserError(f"{place}: has no document '{number}', the text; add it")
    return Foreign(place, _id(number, place), _name(stem, place), values, {}, spans)


def _inseq(row: Mapping[str, Any], stem: str, place: str) -> Iterator[Foreign]:
    name = (row.get("info") or {}).get("attribution_method", stem)
    sequences = row["sequence_attributions"]
    if not isinstance(sequences, list) or not all(isinstance(each, dict) for each in sequences):
        raise UserError(f"{place}: 'sequence_attributions' must be a list of objects")
    for number, each in enumerate(sequences, 1):
        here = f"{place}, sequence {number}"
        source = each.get("source")
        named = isinstance(source, list) and all(isinstance(token, dict) for token in source)
        words = [token.get("token") for token in source or []] if named else source
        values = each.get("source_attributions")
        if isinstance(values, list) and all(isinstance(v, list) and len(v) == 1 for v in values):
            values = [target for (target,) in values]
        elif isinstance(values, list) and any(isinstance(v, list) for v in values):
            raise UserError(
                f"{here}: 'source_attributions' must have one number a word, of one target; "
                "aggregate them in inseq first"
            )
        found = _numbers(values, "source_attributions", here)
        tokens = _words(words, "source", here)
        known = None if each.get("id") is None else _id(each["id"], here)
        yield Foreign(here, known, _name(name, here), {"text": found}, {"text": tokens})


def _spans(value: Any, place: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for each in value if isinstance(value, list) else [None]:
        span = each if isinstance(each, dict) else {}
        start, end = span.get("start_token"), span.get("end_token")
        if not (type(start) is int and type(end) is int and 0 <= start <= end):
            raise UserError(
                f"{place}: needs soft_rationale_predictions, one number a word, or "
                "hard_rationale_predictions, a list of spans with start_token and end_token"
            )
        found.append((start, end))
    return found


def _numbers(value: Any, name: str, place: str) -> list[float]:
    numbers = isinstance(value, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in value
    )
    if not numbers or not all(abs(each) < 1e30 for each in value):  # also NaN: float32 holds it
        raise UserError(f"{place}: '{name}' must be a list of finite numbers, one a word")
    return [float(each) for each in value]


def _words(value: Any, name: str, place: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UserError(f"{place}: '{name}' must be a list of words")
    return value


def _id(value: Any, place: str) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(
            f"{place}: the id {value!r:.40} is no number of an example; it is the row of the test "
            "split, from 0, as in analysis/examples.jsonl"
        )
    return value


def _name(value: Any, place: str) -> str:
    """A name that files and pairs can have: letters, digits and _ . -"""
    fits = isinstance(value, str) and 0 < len(value) <= 60 and value[0].isalpha()
    if not fits or not all(each.isalnum() or each in "_.-" for each in value):
        raise UserError(
            f"{place}: the method {value!r:.70} must be named by letters, digits and _ . -, a "
            "letter first, at most 60; rename it"
        )
    return value


def as_lines(examples: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Objects of examples.jsonl -> one line for each explanation of each example."""
    for each in examples:
        on_query = each.get("query_importance") or {}
        for name, values in {"attention": each["attention"], **each["importance"]}.items():
            line = {"id": each["id"], "method": name, "tokens": each["tokens"], "values": values}
            if each.get("query") is not None:
                line["query"] = each["query"]
            if name in on_query:
                line["query_values"] = on_query[name]
            yield line


def as_inseq(examples: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Objects of examples.jsonl -> one explanation of their texts in the form of inseq's files."""
    explained = [
        (each, each["attention"] if name == "attention" else each["importance"][name])
        for each in examples
    ]
    sequences = [
        {
            "id": each["id"],
            "source": [{"token": token, "id": place} for place, token in enumerate(each["tokens"])],
            "target": [{"token": each["prediction"], "id": 0}],
            "source_attributions": [[value] for value in values],
        }
        for each, values in explained
    ]
    info = {"attribution_method": name}
    return {"sequence_attributions": sequences, "step_attributions": None, "info": info}
