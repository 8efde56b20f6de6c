"""How a run is scored, and which of its validations is the best: alone or in a sweep."""

from collections.abc import Callable

import numpy as np

from attnjax.config import RunConfig
from attnjax.data.batches import evaluation_batches
from attnjax.data.dataset import Dataset
from attnjax.errors import UserError
from attnjax.metrics import scores
from attnjax.types import Batch

Scores = dict[str, float | int | None]  # by name; None where one does not exist

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


def evaluated(
    call: Callable[[Batch], dict[str, np.ndarray]],
    dataset: Dataset,
    split: str,
    batch_size: int,
    check: Callable[[], None],
    axis: int = 0,
) -> dict[str, np.ndarray]:
    """What `call` finds for the rows of a split, in their order.

    axis   of the arrays, along which the rows of a batch stand
    check  is called between batches and may raise to stop
    """
    rows = dataset.splits[split]
    before = (slice(None),) * axis
    collected: dict[str, np.ndarray] = {}
    for batch in evaluation_batches(rows, dataset.shapes, batch_size):
        check()
        real = batch.rows >= 0
        for name, values in call(batch).items():
            if name not in collected:
                shape = (*values.shape[:axis], len(rows), *values.shape[axis + 1 :])
                collected[name] = np.empty(shape, values.dtype)
            collected[name][(*before, batch.rows[real])] = values[(*before, real)]
    return collected


def scores_if_finite(
    labels: np.ndarray, probabilities: np.ndarray, losses: np.ndarray
) -> Scores | None:
    """The scores of a run on a split, or None where a loss is not finite: the run has failed."""
    return scores(labels, probabilities, losses) if np.isfinite(losses).all() else None


def monitored(config: RunConfig, dataset: Dataset) -> str:
    """AUC for binary classification and accuracy for all else, unless the user chose."""
    if config.train.monitor != "auto":
        return config.train.monitor
    binary = config.task == "classification" and len(dataset.labels) == 2
    return "auc" if binary else "accuracy"


def selected(
    found: Scores, monitor: str, best: float | None, stale: int
) -> tuple[bool, float, int]:
    """A validation's scores -> whether they are the best, the best value, validations since then.

    best, stale  what came of the validations before; None before the first
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
