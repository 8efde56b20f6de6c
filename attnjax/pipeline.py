"""One run from configuration to report: data, training, test scores, analysis, files."""

import logging
import time
from typing import Any

from etils import epath

from attnjax.analysis.progress import progress
from attnjax.config import OPTIONS, RunConfig, differences, flatten, to_dict
from attnjax.data.dataset import Dataset, brief, load_dataset, reads_pieces, shared
from attnjax.data.listed import listed_of
from attnjax.errors import UserError
from attnjax.geometry import read_geometry
from attnjax.hosts import is_first_process, require_same
from attnjax.model.pretrained import sums_of
from attnjax.model.stages import build_stages
from attnjax.model_checks import refuse_training
from attnjax.report.wording import in_words
from attnjax.report.write import write_report
from attnjax.runs.analysed import (
    analyse,
    meet_devices,
    names_of,
    score_test,
    stored_vocabulary,
    write_results,
)
from attnjax.runs.configured import config_of, recorded
from attnjax.runs.inner import write_self_attention
from attnjax.runtime import device_summary, keep_heap, peak_memory, use_compile_cache, versions
from attnjax.shapes import METRICS_SHAPE, VOCABULARY_SHAPE
from attnjax.stop import Stop
from attnjax.training.loop import train
from attnjax.training.selection import fallback
from attnjax.training.step import make_evaluate
from attnjax.types import Stages
from attnjax.workdir import (
    CONFIG,
    METRICS,
    REPORT,
    RESULTS,
    VOCABULARY,
    absolute,
    digest,
    finite,
    held,
    open_workdir,
    read_json,
    read_json_lines,
    write_json,
)

logger = logging.getLogger(__name__)


def run_pipeline(config: RunConfig, workdir: str, stop: Stop) -> None:
    """Trains or resumes in the workdir, evaluates, analyses, and writes every file of the run."""
    refuse_training(config.model)
    if config.train.keep_heap:
        keep_heap()
    use_compile_cache(config.train.compile_cache)
    fields = flatten(to_dict(config))
    common = {name: value for name, value in fields.items() if not OPTIONS[name].own}
    require_same("the configuration", {**common, "--workdir": str(absolute(workdir))})
    folder = open_workdir(workdir)
    with held(folder):
        _run(config, folder, stop)


def _run(config: RunConfig, folder: epath.Path, stop: Stop) -> None:
    before = recorded(folder)
    refuse_other_run(config, folder, before)
    training, rows = meet_devices(config)
    dataset = load_dataset(config)
    require_same("the data", {"sum": dataset.fingerprint(), **finite(shared(dataset.summary))})
    refuse_other_data(dataset, folder, before)
    names_of(config, dataset)  # what is wrong with it is said before anything is trained
    devices = device_summary()
    logger.info(  # only now: of data that is not right, one line tells
        "%s x %d (%s) in %d processes, %d cores; workdir %s",
        devices["platform"],
        training.devices,
        devices["kind"],
        devices["processes"],
        devices["cores"],
        folder,
    )
    logger.info("data: %s", in_words(brief(dataset.summary)))
    if note := fallback(config, dataset):
        logger.warning(note)
    write_json(folder / CONFIG, to_dict(config))
    write_vocabulary(folder, dataset)
    stages = model_of(config, dataset)
    record = record_of(config, dataset)
    trained = train(config, dataset, stages, training, folder, stop, record, progress)
    call = training.bind(trained.params)(make_evaluate, stages)
    test = score_test(dataset, call, config.train.batch_size, stop.check)
    started = time.perf_counter()
    params = rows.replicate(trained.params)
    analysed = analyse(config, dataset, stages, rows, params, stop, folder=folder)
    results = {
        "config": to_dict(config),
        "versions": versions(),
        "devices": devices,
        "data": dataset.summary,
        "best": {"step": trained.best_step, "validation": trained.validation},
        "test": test,
        "timing": {
            **trained.timing,
            "analysis_s": time.perf_counter() - started,
            "analysis_peak_bytes": peak_memory(),
        },
    }
    if reads_pieces(config):
        geometry = read_geometry(config.model.pretrained)
        results["pretrained"] = {"folder": geometry.folder, "sha256": sums_of(geometry)}
    write_results(folder, results, analysed, stop)
    if not is_first_process():
        return
    write_self_attention(folder, config, dataset, stages, trained.params)
    write_report(folder)
    logger.info(
        "test: %s", ", ".join(f"{k} {v:.4f}" for k, v in test.items() if isinstance(v, float))
    )
    print(f"results: {folder / RESULTS}\nreport:  {folder / REPORT}")


def write_vocabulary(folder: epath.Path, dataset: Dataset) -> None:
    """Writes vocab.json: what `load_run` needs of the data."""
    write_json(folder / VOCABULARY, stored_vocabulary(dataset))


def record_of(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """What a checkpoint says of its run."""
    return {"config": to_dict(config), "vocabulary": digest(stored_vocabulary(dataset))}


def model_of(config: RunConfig, dataset: Dataset) -> Stages:
    """The model of this configuration, as large as the data set wants it."""
    return build_stages(
        config.model,
        words=len(dataset.vocabulary),
        classes=len(dataset.labels),
        pair=dataset.pair,
        frequencies=dataset.frequencies,
        pieces=dataset.pieces,
        listed=listed_of(dataset.listed, dataset.vocabulary),
    )


def refuse_other_run(config: RunConfig, folder: epath.Path, record: dict[str, Any] | None) -> None:
    """Raises UserError if the workdir holds a run that this configuration would not continue.

    record  what its checkpoints say of it, None where there are none
    """
    if not _has_trained(folder, record):
        return
    trained_with = flatten((record or {}).get("config", {}))
    for name, (value, stored) in differences(config, config_of(folder, record)).items():
        option = OPTIONS[name]
        if name.startswith("analysis.") or option.resumable or option.incidental:
            continue
        if option.own and trained_with.get(name) == value:
            continue  # an analysis has found it elsewhere since
        raise UserError(
            f"workdir {folder} holds a run with {name}={stored!r}, but this one has "
            f"{name}={value!r}; choose another --workdir, or delete that one"
        )
    trained = max(
        [row["epoch"] for row in read_json_lines(folder / METRICS, METRICS_SHAPE)], default=0
    )
    if trained > config.train.epochs:
        raise UserError(
            f"workdir {folder} holds a run of {trained:.4g} epochs, more than "
            f"train.epochs={config.train.epochs}; raise it, or choose another --workdir"
        )


def refuse_other_data(dataset: Dataset, folder: epath.Path, record: dict[str, Any] | None) -> None:
    """Raises UserError if the run in the workdir was trained on other words or other labels."""
    if not _has_trained(folder, record):
        return
    wanted, path = stored_vocabulary(dataset), folder / VOCABULARY
    trained_with = (record or {}).get("vocabulary")
    stored = read_json(path, VOCABULARY_SHAPE) if path.exists() else wanted
    if (trained_with or digest(stored)) != digest(wanted):
        raise UserError(
            f"workdir {folder} holds a run on other data (or of another version of attnjax): the "
            f"words or labels of the train split are not those in {path.name}; restore the data, "
            "or choose another --workdir"
        )
    if stored != wanted:
        raise UserError(
            f"{path} is not what this run wrote, which its checkpoint knows; delete it, and it is "
            "written again"
        )


def _has_trained(folder: epath.Path, record: dict[str, Any] | None) -> bool:
    return record is not None or (folder / RESULTS).exists()
