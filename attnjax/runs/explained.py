"""Texts of the user's explained by a finished run: of a file, of a stream, or one."""

import dataclasses
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnjax.analysis.importance import method_named
from attnjax.analysis.questions import wanted as wanted_questions
from attnjax.config import AnalysisConfig, RunConfig
from attnjax.data.examples import Example
from attnjax.data.files import read_unlabelled
from attnjax.data.lines import BOM
from attnjax.errors import UserError, encodable
from attnjax.report.words import write_examples_page
from attnjax.runs.loaded import load_run
from attnjax.workdir import EXPLAINED as FOLDER
from attnjax.workdir import (
    absolute,
    finite,
    open_workdir,
    read_json,
    refuse_links,
    write_json,
    write_json_lines,
)

logger = logging.getLogger(__name__)

EXPLAINED, SKIPPED = "examples.jsonl", "skipped.jsonl"
SOURCE = "source.json"  # of explained texts: whose they are, and by which run
STREAM = "standard input"
_KINDS = {".json": "JSON", ".csv": "CSV", ".tsv": "TSV", ".txt": "a text a line"}


def explained(workdir: str, name: str) -> str:
    """Where what is found for texts of this name goes unless the user says otherwise.

    Raises UserError where a link stands there.
    """
    output = os.path.join(workdir, FOLDER, name)
    if os.path.islink(output):  # files elsewhere would be overwritten
        raise UserError(f"{output} is a symbolic link; choose a folder with --output")
    return output


def explain_text(
    config: RunConfig, workdir: str, text: str, query: str | None, output: str | None
) -> None:
    """Explains one text, or pair, as `explain_texts`."""
    if not encodable(text + (query or "")):
        raise UserError("--text is no UTF-8; write it so")
    example = Example(text, query, "", place="--text")
    source = {"text": text, "query": query or "", "workdir": os.path.abspath(workdir)}
    name = "text-" + _digest(f"{text}\0{query}".encode())
    output = output or explained(workdir, name)
    explain_texts(config, workdir, [example], source, "One text", output)


def explain_stream(config: RunConfig, workdir: str, content: bytes, output: str | None) -> None:
    """Explains the texts that a stream held: JSON, a table with its header, or a text a line."""
    if not content.strip():
        raise UserError(f"--input=-: {STREAM} has no text")
    kind = _kind(content, config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"texts{kind}"
        path.write_bytes(content)
        examples, notes = read_unlabelled(path, config.data, config.task, "--input", STREAM)
    for note in (f"{STREAM} is read as {_KINDS[kind]}", *notes):
        logger.warning(note)
    digest = _digest(content)
    source = {"input": f"{STREAM} {digest}", "workdir": os.path.abspath(workdir)}
    output = output or explained(workdir, f"stdin-{digest}")
    explain_texts(config, workdir, examples, source, STREAM, output)


def _kind(content: bytes, config: RunConfig) -> str:
    """How the name of a file with this content would end."""
    first = content.removeprefix(BOM).lstrip()[:100_000].split(b"\n")[0]
    if re.match(rb'[\[{]\s*(["\[{\]}]|$)', first):  # a text may begin with a bracket, too
        return ".json"
    header = first.decode("utf-8", "replace").strip("\r").lower()
    fields = config.data.fields
    wanted = {
        "classification": fields.text,
        "nli": fields.premise,
        "qa": fields.story,
    }[config.task].lower()
    for delimiter, suffix in (("\t", ".tsv"), (",", ".csv"), (";", ".csv")):
        cells = [cell.strip(' "') for cell in header.split(delimiter)]
        if wanted in cells or set(wanted.split(",")) <= set(cells):
            return suffix
    return ".txt" if config.task == "classification" else ".csv"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def explain_file(config: RunConfig, workdir: str, path: str, output: str) -> None:
    """Explains every text of a file and writes what is found to the folder, as `explain_texts`."""
    examples, notes = read_unlabelled(path, config.data, config.task, "--input")
    for note in notes:
        logger.warning(note)
    source = {"input": os.path.abspath(path), "workdir": os.path.abspath(workdir)}
    explain_texts(config, workdir, examples, source, os.path.basename(path), output)


def explain_texts(
    config: RunConfig,
    workdir: str,
    examples: list[Example],
    source: dict[str, str],
    title: str,
    output: str,
) -> None:
    """Explains texts: writes examples.jsonl, skipped.jsonl and examples.html to the folder.

    A line of examples.jsonl holds the columns of the file's row and how many words were cut; a line
    of skipped.jsonl the columns of a text that cannot be read, and why. Raises UserError where that
    is so of all.
    source  whose texts they are: a folder with those of another is left alone
    """
    run = load_run(workdir, config.model.pretrained)
    refuse_links(absolute(workdir))  # one of its folders is where the output lies by default
    folder = open_workdir(output, "--output")
    if (folder / EXPLAINED).exists():
        stored = read_json(folder / SOURCE) if (folder / SOURCE).exists() else "something else"
        if stored != source:
            raise UserError(
                f"{folder} holds what was found for {stored}; choose another folder with --output"
            )
    explained = run.study_examples(examples, of_texts(config.analysis))
    columns = [storable(each.columns or {}) for each in examples]
    rows = finite([{**row, "columns": columns[row["id"]]} for row in explained.rows(run.labels)])
    skipped = [
        {"id": number, "problem": problem, "columns": columns[number]}
        for number, problem in enumerate(explained.checked.problems)
        if problem
    ]
    write_json(folder / SOURCE, source)
    write_json_lines(folder / EXPLAINED, rows)
    write_json_lines(folder / SKIPPED, skipped)
    write_examples_page(folder / "examples.html", rows, f"{title}, explained", skipped)
    print(f"examples: {folder / EXPLAINED}\npage:     {folder / 'examples.html'}")
    if skipped:
        print(f"skipped:  {folder / SKIPPED}")


def of_texts(config: AnalysisConfig) -> AnalysisConfig:
    """Without what needs training examples, which are not at hand beside texts; a line names it."""
    methods = [name for name in config.methods if method_named(name).under(config).fit]
    questions = [
        name
        for name, each in wanted_questions(config).items()
        if each.over == "train" or each.fit or (name == "flips" and config.flip_prior >= 0)
    ]
    if left := [*methods, *questions]:
        logger.warning(
            "analysis: %s: need the training examples, and are left out for texts", ", ".join(left)
        )
    pairs = tuple(each for each in config.pairs if not {*each.split("~")} & {*methods})
    return dataclasses.replace(
        config,
        methods=tuple(name for name in config.methods if name not in methods),
        questions=tuple(name for name in config.questions if name not in questions),
        pairs=pairs or AnalysisConfig().pairs,
    )


def storable(value: Any) -> Any:
    """A value of a data file as JSON can hold it: what it has no form for as text."""
    if isinstance(value, Mapping):
        return {str(name): storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value if isinstance(value, str | int | float | None) else str(value)
