"""A classifier that was trained elsewhere, out of its folder: used on texts, and analysed.

The folder is laid out as Hugging Face's are, a `BertForSequenceClassification`. Its weights are
never copied: the folder of an analysis says which files it is of, by their sums.
"""

import dataclasses
import logging
import os
import time

from etils import epath

from attnjax.config import RunConfig, from_config_dict, to_dict
from attnjax.data.dataset import brief
from attnjax.data.pieces import Reader, pieces_of, read_reader
from attnjax.data.tested import load_test
from attnjax.data.vocabulary import SPECIALS, Vocabulary
from attnjax.errors import UserError
from attnjax.geometry import read_classes
from attnjax.model.pretrained import read_classifier, sums_of
from attnjax.model.stages import build_stages
from attnjax.model_checks import CLS, trained_elsewhere
from attnjax.report.wording import in_words
from attnjax.report.write import write_report
from attnjax.runs.analysed import (
    analyse,
    meet_devices,
    score_test,
    stored_vocabulary,
    write_results,
)
from attnjax.runs.configured import read_config
from attnjax.runs.inner import write_self_attention
from attnjax.runs.loaded import Run, classifier_params, compile_in_full
from attnjax.runtime import device_summary, peak_memory, versions
from attnjax.shapes import VOCABULARY_SHAPE
from attnjax.stop import Stop
from attnjax.training.parallel import remembered
from attnjax.training.step import make_evaluate
from attnjax.types import Params
from attnjax.workdir import (
    CONFIG,
    REPORT,
    RESULTS,
    VOCABULARY,
    absolute,
    held,
    open_workdir,
    read_json,
    write_json,
)

TASKS = ("classification", "nli")

logger = logging.getLogger(__name__)


def load_huggingface(folder: str | os.PathLike[str], task: str = "classification") -> Run:
    """The classifier in a folder, as a run without results: nothing is trained.

    folder  with config.json, model.safetensors and tokenizer.json (or vocab.txt) of a
            `BertForSequenceClassification`; task  "nli" where it reads pairs
    Raises UserError for any other model, and without the extra attnjax[bert].

    attnjax.load_huggingface("bert-sst2").predict(["a fine film"]).labels == ["positive"]
    """
    if task not in TASKS:
        raise UserError(f"task is '{task}'; a classifier reads texts: {' or '.join(TASKS)} (pairs)")
    config = classifier_config(os.fspath(folder), task)
    path = config.model.pretrained
    reader, labels = read_reader(path, own_words=True), read_classes(path).names
    vocabulary = Vocabulary(SPECIALS)
    stages = build_stages(
        config.model,
        words=len(vocabulary),
        classes=len(labels),
        pair=task != "classification",
        pieces=pieces_of(reader, vocabulary),
    )
    params = classifier_params(reader, len(labels))
    compiled = remembered(compile_in_full)
    return Run(params, stages, vocabulary, labels, config, compiled, absolute(path), reader)


def classifier_config(folder: str, task: str = "classification") -> RunConfig:
    """What a classifier's analysis starts from: its folder, and what can be asked of it."""
    base = RunConfig()
    config = dataclasses.replace(
        base,
        task=task,
        data=dataclasses.replace(base.data, source="files", path=".", name=""),
        model=dataclasses.replace(
            base.model, encoder="bert", attention=CLS, pretrained=str(absolute(folder))
        ),
        analysis=dataclasses.replace(
            base.analysis,
            methods=(
                *("rollout", "norm_attention", "alti"),
                *("gradient_x_input", "lrp", "leave_one_out"),
            ),
            questions=("agreement", "faithfulness", "layers"),
        ),
    )
    return from_config_dict(to_dict(config))


def analyse_classifier(config: RunConfig, workdir: str, stop: Stop) -> None:
    """Tests and analyses a classifier on a data set; all files of a run but its training's.

    Raises UserError where the workdir holds another run, or the data has other labels.
    """
    reader = read_reader(config.model.pretrained, own_words=True)
    classes = read_classes(config.model.pretrained).names
    params = read_classifier(reader.geometry, len(classes))  # what is none leaves no folder
    folder = open_workdir(workdir)
    with held(folder):
        _analyse(config, reader, params, folder, stop)


def _analyse(
    config: RunConfig, reader: Reader, params: Params, folder: epath.Path, stop: Stop
) -> None:
    sums = sums_of(reader.geometry)
    refuse_other(folder, sums)
    parallel = meet_devices(config)[1]
    dataset = load_test(config)
    logger.info("data: %s", in_words(brief(dataset.summary)))
    write_json(folder / CONFIG, to_dict(config))
    write_json(folder / VOCABULARY, {**stored_vocabulary(dataset), "pretrained": sums})
    stages = build_stages(
        config.model,
        words=len(dataset.vocabulary),
        classes=len(dataset.labels),
        pair=dataset.pair,
        pieces=dataset.pieces,
    )
    placed = parallel.replicate(params)
    evaluate = parallel.bind(placed)(make_evaluate, stages)
    size = parallel.fit(config.train.batch_size)
    test = score_test(dataset, evaluate, size, stop.check)
    started = time.perf_counter()
    analysed = analyse(config, dataset, stages, parallel, placed, stop, folder=folder)
    results = {
        "config": to_dict(config),
        "versions": versions(),
        "devices": device_summary(),
        "data": dataset.summary,
        "pretrained": {"folder": reader.geometry.folder, "sha256": sums},
        "test": test,
        "timing": {
            "analysis_s": time.perf_counter() - started,
            "analysis_peak_bytes": peak_memory(),
        },
    }
    write_results(folder, results, analysed, stop)
    write_self_attention(folder, config, dataset, stages, params)
    write_report(folder)
    print(f"results: {folder / RESULTS}\nreport:  {folder / REPORT}")


def refuse_other(folder: epath.Path, sums: dict[str, str]) -> None:
    """Raises UserError where the folder holds a run of another model; sums  of this one's files."""
    if not (folder / CONFIG).exists() and not (folder / RESULTS).exists():
        return
    known = None
    if trained_elsewhere(read_config(folder).model) and (folder / VOCABULARY).exists():
        known = read_json(folder / VOCABULARY, VOCABULARY_SHAPE).get("pretrained")
    if known != sums:
        raise UserError(
            f"workdir {folder} holds a run of another model; choose another --workdir, or delete "
            "that one"
        )
