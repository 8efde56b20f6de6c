"""Explanations of other tools, scored beside a run's own on the examples that they explain."""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, Key

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.method import Method
from attnjax.config import RunConfig, changed, to_dict
from attnjax.data.dataset import Dataset
from attnjax.data.examples import Tokenized
from attnjax.errors import UserError
from attnjax.model import segments
from attnjax.report.rationales import people_share, rationales
from attnjax.report.write import write_report
from attnjax.runs.again import load_same
from attnjax.runs.analysed import Analysed, analyse, found_in, meet_devices, words_of
from attnjax.runs.explained import EXPLAINED, SOURCE
from attnjax.runs.foreign import Foreign, as_inseq, as_lines, read_foreign
from attnjax.runs.loaded import load_run
from attnjax.shapes import RESULTS_SHAPE
from attnjax.stop import Stop
from attnjax.types import Batch, Params, Segment, Stages
from attnjax.workdir import (
    CONFIG,
    EXAMPLES,
    REPORT,
    RESULTS,
    absolute,
    find_workdir,
    held,
    open_workdir,
    read_examples,
    read_json,
    refuse_links,
    write_json,
    write_json_lines,
)

SCORED = ("agreement", "faithfulness", "plausibility")  # questions that need only scores
TAKEN = ("attention", "random", "people")  # rows of tables that are no method's


class External(NamedTuple):
    """One method of another tool.

    values  segment -> one array of numbers a word for each example
    """

    name: str
    values: dict[Segment, list[np.ndarray]]

    def method(self, numbers: np.ndarray) -> Method:
        """A method that looks these values up; numbers  of the examples in their split."""
        tables = {segment: _padded(rows) for segment, rows in self.values.items()}
        fitted = {"numbers": numbers.astype(np.int32), **tables}
        found = np.concatenate([row for rows in self.values.values() for row in rows])
        return Method(
            look_up,
            signed=bool((found < 0).any()),
            segments=tuple(self.values),
            fit=lambda stages, params, batches, key: fitted,
        )


def look_up(
    stages: Stages,
    params: Params,
    batch: Batch,
    key: Key[Array, ""],
    fitted: dict[str, Any],
    segment: Segment = "text",
) -> Float[Array, "batch length"]:
    """The values of a batch's words in tables [examples, length] of all examples."""
    del stages, params, key
    words = segments.words(batch, segment)
    table, length = fitted[segment], words.shape[1]
    table = jnp.pad(table, ((0, 0), (0, max(0, length - table.shape[1]))))[:, :length]
    # The rows that fill a batch have the number -1, and no words that count.
    place = jnp.searchsorted(fitted["numbers"], batch.rows)
    return jnp.where(words, table[place], 0)


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """[examples, 1 + words]: <sos> stands before the first word."""
    table = np.zeros((len(rows), 2 + max(map(len, rows))), np.float32)
    for place, row in enumerate(rows):
        table[place, 1 : 1 + len(row)] = row
    return table


def score_explanations(config: RunConfig, workdir: str, path: str, output: str, stop: Stop) -> None:
    """Analyses the examples that a file explains, with its methods beside the run's own.

    Asks those questions that need only scores: SCORED. The run's own files stay as they are:
    results.json, analysis/examples.jsonl and the report are written into the folder `output`.
    Raises UserError, before anything is computed, for a file whose words, numbers or names do not
    fit, and for a folder that holds something else.
    """
    file = Path(os.path.expanduser(path))
    foreign = read_foreign(file)
    refuse_taken(foreign)
    run = load_run(workdir, config.model.pretrained)
    stored = read_json(find_workdir(workdir) / RESULTS, RESULTS_SHAPE)
    refuse_links(absolute(workdir))
    dataset = load_same(config, run)
    examples = dataset.examples["test"]
    rows, externals = matched(foreign, words_of(dataset, np.arange(len(examples))))
    folder = open_workdir(output, "--output")
    source = {"explanations": os.path.abspath(file), "workdir": os.path.abspath(workdir)}
    refuse_other_source(folder, source)
    parallel = meet_devices(config)[1]
    params = parallel.replicate(run.params)
    with held(folder), registered(externals, dataset, rows):
        asked = changed(
            config,
            {
                "analysis.methods": (*config.analysis.methods, *(each.name for each in externals)),
                "analysis.questions": SCORED if config.data.fields.rationale else SCORED[:-1],
            },
        )
        stages = run.reading(dataset.pieces).stages
        analysed = analyse(asked, dataset, stages, parallel, params, stop, rows)
        stored |= {"config": to_dict(config), "data": dataset.summary, "timing": None}
        stored["explanations"] = {
            "file": file.name,
            "run": find_workdir(workdir).name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "methods": [each.name for each in externals],
        }
        with stop.deferred():
            write_json(folder / SOURCE, source)
            _write(folder, stored, analysed)
        write_report(folder)
    print(f"results: {folder / RESULTS}\nreport:  {folder / REPORT}")


def _write(folder: epath.Path, results: dict[str, Any], analysed: Analysed) -> None:
    """Writes examples.jsonl and results.json of such an analysis."""
    summary = dict(analysed.summary["analysis"])
    summary["examples_sha256"] = write_json_lines(folder / EXAMPLES, analysed.rows)
    write_json(folder / RESULTS, {**results, **found_in(analysed, summary)})


def refuse_taken(foreign: Sequence[Foreign]) -> None:
    """Raises UserError for a name that a method of the table has, or a row of every table."""
    for each in foreign:
        if each.method in (*TAKEN, *METHODS):
            raise UserError(
                f"{each.place}: the name '{each.method}' is taken by an explanation of attnjax's "
                f"own; call it 'other_{each.method}', or as you like"
            )


def refuse_other_source(folder: epath.Path, source: dict[str, str]) -> None:
    """Raises UserError where the folder holds anything but an earlier analysis of this file."""
    names = (SOURCE, RESULTS, CONFIG, EXPLAINED)
    there = [name for name in names if (folder / name).exists()]
    if there and (SOURCE not in there or read_json(folder / SOURCE) != source):
        raise UserError(
            f"{folder} holds '{there[0]}' of something else; choose another folder with --output"
        )


@contextlib.contextmanager
def registered(externals: Sequence[External], dataset: Dataset, rows: np.ndarray) -> Iterator[None]:
    """Has these methods in the table of methods for the block."""
    numbers = dataset.splits["test"].row_numbers[rows]
    METHODS.update({each.name: each.method(numbers) for each in externals})
    try:
        yield
    finally:
        for each in externals:
            del METHODS[each.name]


def matched(
    foreign: Sequence[Foreign], words: Sequence[Tokenized]
) -> tuple[np.ndarray, list[External]]:
    """The numbers of the explained examples, ascending, and each method's values for all of them.

    words  of every example of the test split
    Raises UserError for a number or words that no example has, for values that do not fit the
    words, and for methods that explain different examples.
    """
    by_words: dict[tuple[str, ...], list[int]] = {}
    for number, each in enumerate(words):
        by_words.setdefault(tuple(each.text), []).append(number)
    found: dict[str, dict[int, dict[Segment, np.ndarray]]] = {}
    for each in foreign:
        rows, known = found.setdefault(each.method, {}), _ids(each, by_words, len(words))
        number = next((n for n in known if n not in rows), None)  # several have the same words
        if number is None:
            raise UserError(
                f"{each.place}: '{each.method}' explains example {known[0]} twice; leave one out"
            )
        rows[number] = _values(each, number, words[number])
    numbers = sorted(next(iter(found.values())))
    externals = []
    first = next(iter(found))
    for name, rows in found.items():
        if other := rows.keys() ^ set(numbers):
            raise UserError(
                f"{foreign[0].place.split(',')[0]}: of '{name}' and '{first}' only one explains "
                f"example {min(other)}; all methods of a file explain the same examples"
            )
        kinds = {frozenset(each) for each in rows.values()}
        if len(kinds) > 1:
            raise UserError(
                f"{foreign[0].place.split(',')[0]}: '{name}' explains the query of some examples "
                "and not of others; explain all of them or none"
            )
        names: tuple[Segment, ...] = ("text", "query")
        externals.append(
            External(
                name,
                {
                    segment: [rows[number][segment] for number in numbers]
                    for segment in names
                    if {segment} <= next(iter(kinds))
                },
            )
        )
    return np.array(numbers), externals


def _ids(foreign: Foreign, by_words: dict[tuple[str, ...], list[int]], count: int) -> Sequence[int]:
    """The numbers of the examples that may be meant: of the id, or those with these words."""
    if foreign.id is None:
        text = foreign.tokens["text"]
        known = by_words.get(tuple(text))
        if known is None:
            raise UserError(
                f"{foreign.place}: no example of the test split has the words "
                f"'{' '.join(text)[:60]}', as the run splits them; give the example's 'id'"
            )
        return known
    if foreign.id >= count or foreign.id < 0:
        raise UserError(
            f"{foreign.place}: there is no example {foreign.id}; the test split has "
            f"{count}, counted from 0"
        )
    return [foreign.id]


def _values(foreign: Foreign, number: int, words: Tokenized) -> dict[Segment, np.ndarray]:
    """Each segment's values; raises UserError where they do not fit the example's words."""
    own: dict[Segment, list[str] | None] = {"text": words.text, "query": words.query}
    found: dict[Segment, np.ndarray] = {}
    for segment in (*foreign.values, *foreign.spans):
        tokens = own[segment]
        if tokens is None:
            raise UserError(f"{foreign.place}: example {number} has no query; leave it out")
        told = foreign.tokens.get(segment)
        for place, (a, b) in enumerate(zip(told or (), tokens, strict=False)):
            if a != b:
                raise UserError(
                    f"{foreign.place}: word {place} of example {number} is '{b:.40}', not "
                    f"'{a:.40}'; explain the words of analysis/examples.jsonl"
                )
        if segment in foreign.spans:
            values = np.zeros(max([len(tokens), *(end for _, end in foreign.spans[segment])]))
            for start, end in foreign.spans[segment]:
                values[start:end] = 1
        else:
            values = np.asarray(foreign.values[segment])
        if len(values) != len(tokens) or len(told or tokens) != len(tokens):
            here = len(values) if len(values) != len(tokens) else len(told or ())
            raise UserError(
                f"{foreign.place}: '{foreign.method}' has {here} words of the {segment} of example "
                f"{number}, which has {len(tokens)} as the run reads it; explain the words of "
                "analysis/examples.jsonl"
            )
        found[segment] = values.astype(np.float32)
    return found


def export(workdir: str, output: str) -> None:
    """Writes a run's explanations to a folder, in the forms that `foreign` reads.

    explanations.jsonl holds all; inseq_METHOD.json and rationales_METHOD.jsonl (ERASER) those of
    the texts by each. Raises UserError where the run has none.
    """
    folder = find_workdir(workdir)
    examples = read_examples(folder)
    if not examples:
        raise UserError(f"{folder / EXAMPLES} has no explanations; analyse that run first")
    there, source = open_workdir(output, "--export"), {"exported": os.path.abspath(workdir)}
    lines = there / "explanations.jsonl"
    if (lines.exists() or (there / SOURCE).exists()) and (
        not (there / SOURCE).exists() or read_json(there / SOURCE) != source
    ):
        raise UserError(
            f"{there} holds explanations of something else; choose another folder with --export"
        )
    for each in (*there.glob("inseq_*.json"), *there.glob("rationales_*.jsonl")):
        each.unlink()  # perhaps of a method that was left out since
    write_json(there / SOURCE, source)
    write_json_lines(lines, as_lines(examples))
    share = people_share(examples)
    for name in ("attention", *examples[0]["importance"]):
        write_json(there / f"inseq_{name}.json", as_inseq(examples, name))
        marked = rationales(examples, name, None, share)
        write_json_lines(there / f"rationales_{name}.jsonl", marked)
    print(f"explanations: {there}")
