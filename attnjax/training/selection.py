"""How a run is scored, and which of its validations is the best: alone or in a sweep."""

import numpy as np

from attnjax.config import RunConfig
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.metrics import Scores, scores

PER_LABEL = ("loss", "correct", "clean_loss")  # sums over labelled examples; all else over rows


def step_means(sums: dict[str, float]) -> dict[str, float]:
    """Sums over steps -> the means over their rows that metrics.jsonl holds."""
    counts = {"examples": sums["examples"], "rows": sums["rows"]}
    means = {
        name: value / counts["examples" if name in PER_LABEL else "rows"]
        for name, value in sums.items()
        if name not in counts
    }
    return {"loss": means.pop("loss"), "accuracy": means.pop("correct"), **means}


def scores_if_finite(
    labels: np.ndarray, probabilities: np.ndarray, losses: np.ndarray
) -> Scores | None:
    """The scores of a run on a split, or None where a loss is not finite: the run has failed."""
    return scores(labels, probabilities, losses) if np.isfinite(losses).all() else None


def monitored(config: RunConfig, dataset: Dataset) -> str:
    """AUC for binary classification and accuracy for all else, unless the user chose.

    Where validation has one class alone, it has no AUC, and accuracy serves.
    Raises UserError where the user chose a metric that the validation split does not have.
    """
    if config.train.monitor == "auc" and not _has_auc(dataset):
        raise UserError(
            "the validation split has no auc, which takes two classes that both occur; choose "
            "another measure with --config.train.monitor=accuracy"
        )
    if config.train.monitor != "auto":
        return config.train.monitor
    return "auc" if _binary(config, dataset) and _has_auc(dataset) else "accuracy"


def fallback(config: RunConfig, dataset: Dataset) -> str:
    """What is told where `auto` cannot take the measure of its choice; empty where it can.

    Raises UserError as `monitored` does, before anything is trained.
    """
    monitor = monitored(config, dataset)
    if config.train.monitor != "auto" or monitor == "auc" or not _binary(config, dataset):
        return ""
    return (
        "the validation split has one class alone, so it has no AUC; the best checkpoint is picked "
        f"by its {monitor}"
    )


def _binary(config: RunConfig, dataset: Dataset) -> bool:
    return config.task == "classification" and len(dataset.labels) == 2


def _has_auc(dataset: Dataset) -> bool:
    return len(dataset.labels) == 2 and len(np.unique(dataset.splits["validation"].labels)) == 2


def selected(
    found: Scores, monitor: str, best: float | None, stale: int
) -> tuple[bool, float, int]:
    """A validation's scores -> whether they are the best, the best value, validations since then.

    best   the value of the best one before, or None; stale  validations since that
    A value is that of the metric `monitor`, negated for the loss. Raises UserError where the split
    has none.
    """
    value = found[monitor]
    if value is None:
        raise UserError(
            f"the validation split has no {monitor}; choose another measure with "
            "--config.train.monitor=accuracy"
        )
    value = -value if monitor == "loss" else float(value)
    if best is None or value > best:
        return True, value, 0
    return False, best, stale + 1


def exhausted(stale: int, patience: int) -> bool:
    """Whether a run ends, so many validations after its best; a patience of 0 has no end."""
    return bool(patience) and stale >= patience
