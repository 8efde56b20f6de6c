"""Analyses a finished run again with other settings, or explains the user's own texts with it.

python -m attnjax.analyze --workdir=runs/sst [--config.analysis.FIELD=VALUE ...] [--second=DIR]
python -m attnjax.analyze --workdir=runs/sst --input=my_texts.jsonl [--output=DIR]
python -m attnjax.analyze --workdir=runs/sst --text="A fine film." [--query="..."] [--output=DIR]
python -m attnjax.analyze --workdir=runs/sst --explanations=FILE.jsonl [--output=DIR]
python -m attnjax.analyze --workdir=runs/sst --export=DIR
python -m attnjax.analyze --pretrained=DIR --config.data.path=DATA [--workdir=OUT] [...]

The first reads the data again, trains nothing, and rewrites results.json, analysis/ and the report;
--second names the same run trained with another seed, whose explanations give the ceiling of every
agreement. The second reads the columns that config.data.fields names (a label is not needed), of
.txt a text a line, and of --input=- standard input: lines, JSON or a table. It writes
examples.jsonl, examples.html and, of texts that cannot be read, skipped.jsonl to --output (default
WORKDIR/explained/my_texts). The third explains one text; --query is its hypothesis or question.
The fourth scores another tool's explanations of test examples beside the run's own, by agreement,
faithfulness and, where the data has people's rationales, plausibility. A line of FILE is {"id":
row of the test split, "method": NAME, "values": [one number a word]}, for pairs with
"query_values"; ERASER's and inseq's JSON are read too. The run's own files stay as they are. The
fifth writes the run's explanations in these forms. The sixth analyses a classifier that was
trained elsewhere, the folder of a Hugging Face BertForSequenceClassification, on the test split of
DATA, and makes OUT (default runs/NAME of DIR) the folder of its run; --config.task=nli reads pairs.
"""

import os
import sys

from attnjax.stop import Stop, end, starting

with starting(__name__):
    from absl import flags

    from attnjax.command import guarded, parse_overrides
    from attnjax.config import OPTIONS, RunConfig, changed, differences
    from attnjax.data.formats import LINES, SUFFIXES, suffix_of
    from attnjax.errors import UserError
    from attnjax.runs.again import reanalyse
    from attnjax.runs.configured import read_config
    from attnjax.runs.elsewhere import analyse_classifier, classifier_config
    from attnjax.runs.explained import explain_file, explain_stream, explain_text, explained
    from attnjax.runs.external import export, score_explanations
    from attnjax.runtime import keep_heap, use_compile_cache
    from attnjax.workdir import find_workdir

OF_TRAINING = (  # fields of the data that only training reads
    *("data.train_examples", "data.min_count", "data.vectors", "data.unlabelled"),
    "data.validation_fraction",
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0, or 2 for a user's mistake.

    arguments  as `sys.argv`, which is the default: the first is the program's name
    """
    arguments = sys.argv if arguments is None else arguments
    return guarded(__doc__ or "", lambda stop: analyze(arguments, stop), arguments)


def analyze(arguments: list[str], stop: Stop) -> None:
    """Parses the command line and does what it asks for; raises UserError."""
    values = flags.FlagValues()
    for name, text in (
        ("workdir", "folder of a finished run"),
        ("pretrained", "folder of a classifier trained elsewhere, to be analysed into the workdir"),
        ("second", "folder of the same run with another seed"),
        ("input", "JSONL, JSON, CSV, TSV, Parquet or .txt file of texts to explain; - reads stdin"),
        ("text", "one text to explain"),
        ("query", "the hypothesis or question that goes with --text"),
        ("explanations", "JSONL or JSON file of another tool's explanations to score"),
        ("export", "folder for the run's explanations in the forms of other tools"),
        ("output", "folder for what is found in --input, --text or --explanations"),
    ):
        flags.DEFINE_string(name, None, text, flag_values=values)
    if (folder := _flag(arguments, "pretrained")) is not None:
        _analyze_pretrained(arguments, values, folder, stop)
        return
    workdir = _flag(arguments, "workdir")
    if workdir is None:
        raise UserError(
            "analyze needs --workdir=DIR, the folder of a finished run, or --pretrained=DIR, that "
            "of a classifier"
        )
    stored = _own_places(read_config(find_workdir(workdir)))
    config = parse_overrides(arguments, values, stored)
    _refuse_other_fields(stored, config)
    _refuse_stored_download(stored, config)
    if config.train.keep_heap:
        keep_heap()
    use_compile_cache(config.train.compile_cache)
    names = ("input", "text", "explanations", "export", "query", "output", "second")
    given = {name: values[name].value for name in names}
    _refuse_combination(given, config)
    path, text = given["input"], given["text"]
    if text is not None:
        explain_text(config, workdir, text, given["query"], given["output"])
    elif (file := given["explanations"]) is not None:
        output = given["output"] or explained(workdir, _stem(file))
        score_explanations(config, workdir, file, output, stop)
    elif given["export"] is not None:
        export(workdir, given["export"])
    elif path == "-":
        explain_stream(config, workdir, sys.stdin.buffer.read(), given["output"])
    elif path is not None:
        explain_file(config, workdir, path, given["output"] or explained(workdir, _stem(path)))
    else:
        reanalyse(config, workdir, given["second"], stop)


def _analyze_pretrained(
    arguments: list[str], values: flags.FlagValues, folder: str, stop: Stop
) -> None:
    """Analyses a classifier that was trained elsewhere; raises UserError."""
    base = classifier_config(folder)
    config = parse_overrides(arguments, values, base)
    for name in ("input", "text", "explanations", "export", "query", "output", "second"):
        if values[name].value is not None:
            raise UserError(
                f"--{name} is for a run that is there: give --workdir=OUT without --pretrained, "
                "once that has made it"
            )
    given = [each.lstrip("-").split("=")[0] for each in arguments]
    if config.data.source == "files" and "config.data.path" not in given:
        raise UserError(
            "--pretrained needs the data to analyse its model on: --config.data.path=DATA, a file "
            "or a folder, with --config.data.fields.text and .label for its columns"
        )
    if config.model.pretrained != base.model.pretrained:
        raise UserError("--pretrained and --config.model.pretrained name one folder; leave one out")
    for name, (_, value) in differences(base, config).items():
        free = name in ("task", "seed", "train.batch_size") or OPTIONS[name].incidental
        ours = name.startswith(("data.", "analysis.")) and name not in OF_TRAINING
        if not (free or ours or name == "train.compile_cache"):
            raise UserError(
                f"{name}={value!r} does not go with --pretrained, which trains nothing; beside "
                "data.* and analysis.* only task and seed can change"
            )
    if config.train.keep_heap:
        keep_heap()
    use_compile_cache(config.train.compile_cache)
    name = os.path.basename(config.model.pretrained.rstrip("/"))
    analyse_classifier(config, values["workdir"].value or os.path.join("runs", name), stop)


def _stem(path: str) -> str:
    """The name of a data file without its ending."""
    name = os.path.basename(path)
    return name[: len(name) - len(suffix_of(name, (*SUFFIXES, *LINES)))]


def _refuse_combination(given: dict[str, str | None], config: RunConfig) -> None:
    """Raises UserError for flags that have nothing to do with each other."""
    wanted = ("input", "text", "explanations", "export")
    texts = [f"--{name}" for name in wanted if given[name] is not None]
    if texts in ([], ["--export"]) and given["output"] is not None:
        raise UserError("--output says where to explain --input, which is missing")
    if len(texts) > 1:
        raise UserError(f"{texts[0]} and {texts[1]} each say what to do; leave one out")
    if texts and given["second"] is not None:
        raise UserError(f"--second compares two runs on the test split; leave out {texts[0]}")
    pair = config.task != "classification"
    if given["query"] is not None and (given["text"] is None or not pair):
        raise UserError("--query goes with --text, where the run reads two texts; leave it out")
    if given["text"] is not None and pair and given["query"] is None:
        raise UserError("this run reads two texts: give the hypothesis or question by --query")


def _flag(arguments: list[str], name: str) -> str | None:
    """The last value of a flag that must be known before the others are read; None without it."""
    found = None
    for place, each in enumerate(arguments):
        if each.startswith(f"--{name}="):
            found = each.removeprefix(f"--{name}=")
        if each == f"--{name}" and place + 1 < len(arguments):
            found = arguments[place + 1]
    return found


def _own_places(stored: RunConfig) -> RunConfig:
    """The configuration without what a folder from elsewhere must not choose.

    Programs are run from the compile cache: the command line names it, or it is this user's own.
    """
    return changed(stored, {"train.compile_cache": RunConfig().train.compile_cache})


def _refuse_stored_download(stored: RunConfig, config: RunConfig) -> None:
    """Raises UserError where TFDS would prepare data in a folder that only the stored file names.

    Nor does a stored name load a data set's own code ("namespace:name").
    """
    data = config.data
    if data.source != "tfds" or data.path != stored.data.path:
        return
    if ":" in data.name.split("/")[0]:
        raise UserError(
            f"data.name='{data.name}' of this run loads code from elsewhere; to run it, say where "
            "its data is with --config.data.path=DIR"
        )
    if data.path and not os.path.isdir(os.path.expanduser(data.path)):
        raise UserError(
            f"the run's data is not at data.path='{data.path}', and is not downloaded to where a "
            "stored file says; say where it is, or may lie, with --config.data.path=DIR"
        )


def _refuse_other_fields(stored: RunConfig, config: RunConfig) -> None:
    """Raises UserError where more changed than the analysis, its pace, and where things lie."""
    movable = [name for name, each in OPTIONS.items() if each.incidental or each.own]
    for name, (trained, value) in differences(stored, config).items():
        if not (name.startswith("analysis.") or name in movable):
            raise UserError(
                f"analyze trains nothing, and this run was trained with {name}={trained!r}, not "
                f"{value!r}; beside analysis.* only {', '.join(movable)} can change; use "
                "attnjax.main for another run"
            )


if __name__ == "__main__":
    end(main())
