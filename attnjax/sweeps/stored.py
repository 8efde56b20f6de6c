"""What the folder of a sweep holds: which sweep it is, and a row of the table for each run."""

from typing import Any

from etils import epath

from attnjax.config import OPTIONS, RunConfig, differences, flatten, to_dict, unchecked
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.shapes import RESULTS_SHAPE
from attnjax.sweeps.points import Point
from attnjax.training.selection import monitored
from attnjax.workdir import (
    CONFIG,
    RESULTS,
    read_json,
)

SWEEP = "sweep.json"
SWEEP_SHAPE = {"config": dict, "points": {str: dict}, "ways": [dict]}
_MEASURES = {"kendall?": {"mean": (float, None)}, "pearson?": {"mean": (float, None)}}
_ROW_SHAPE = RESULTS_SHAPE | {
    "analysis": {"agreement?": {"attention~gradient?": _MEASURES}},
    **{name: RESULTS_SHAPE[f"{name}?"] for name in ("best", "failed", "failed_step")},
}


def same_sweep(
    folder: epath.Path, config: RunConfig, points: list[Point], dataset: Dataset
) -> dict[str, Any]:
    """The content of sweep.json; raises UserError if the folder holds something else."""
    if (folder / CONFIG).exists():
        raise UserError(f"workdir {folder} holds a single run; choose another --workdir")
    wanted = {
        "config": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in flatten(to_dict(config)).items()
            if not OPTIONS[name].incidental  # those may change when a sweep goes on
        },
        "points": {point.name: point.varied for point in points},
        "data": dataset.fingerprint(),
    }
    if not (folder / SWEEP).exists():
        return {**wanted, "ways": []}
    stored = read_json(folder / SWEEP, SWEEP_SHAPE)
    for name, value in wanted["config"].items():
        if stored["config"].get(name) != value:
            raise UserError(
                f"workdir {folder} holds a sweep with {name}={stored['config'].get(name)!r}, but "
                f"this one has {name}={value!r}; choose another --workdir, or delete that one"
            )
    if stored["points"] != wanted["points"]:
        raise UserError(
            f"workdir {folder} holds a sweep of {len(stored['points'])} other points than these "
            f"{len(points)}; choose another --workdir, or delete that one"
        )
    if stored.get("data") != wanted["data"]:
        raise UserError(
            f"workdir {folder} holds a sweep on other data (or of another version of attnjax): its "
            "finished points would stand beside others; restore the data, or choose another "
            "--workdir"
        )
    return stored


def row_of(folder: epath.Path, point: Point, dataset: Dataset) -> dict[str, Any]:
    """One row of the table, from the point's results.json; None for what a failed run lacks.

    Raises UserError where that file is damaged, or of another run.
    """
    path = folder / point.name / RESULTS
    results = read_json(path, _ROW_SHAPE)
    try:
        found = differences(unchecked(results["config"]), point.config)
    except UserError as error:
        raise UserError(f"the configuration in {path}: {error}") from error
    for name, (value, wanted) in found.items():
        if not (name.startswith("analysis.") or OPTIONS[name].incidental or OPTIONS[name].own):
            raise UserError(
                f"{path} is of another run, with {name}={value!r:.80} and not {wanted!r:.80}; "
                f"restore it, or delete the folder {point.name}, and it is trained again"
            )
    test = results["test"] or {}
    pair = results["analysis"].get("agreement", {}).get("attention~gradient", {})
    validation = results["best"]["validation"] or {}
    return {
        "point": point.name,
        **point.varied,
        "validation": validation.get(monitored(point.config, dataset)),
        **{name: test.get(name) for name in ("accuracy", "f1", "auc")},
        **{name: pair.get(name, {}).get("mean") for name in ("kendall", "pearson")},
        "best_step": results["best"]["step"],
        "failed": results["failed"],
        "failed_step": results["failed_step"],
    }
