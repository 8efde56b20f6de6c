"""Per-example predictions -> scores, on the host, with scikit-learn's definitions."""

from typing import Any

import numpy as np

Scores = dict[str, float | int | None]  # None for what does not exist


def scores(labels: np.ndarray, probabilities: np.ndarray, losses: np.ndarray) -> Scores:
    """Accuracy, F1, micro-F1, AUC, mean loss and number of examples.

    labels [rows] class numbers; probabilities [rows, classes]; losses [rows], in nats.
    "f1" is that of class 1 where there are two classes, else the mean over classes (macro);
    "auc" exists for two classes that both occur. What does not exist is None.
    """
    from sklearn import metrics  # imported late: it costs start-up time that a sweep never needs

    predictions = probabilities.argmax(axis=1)
    classes = probabilities.shape[1]
    binary = classes == 2
    average: Any = "binary" if binary else "macro"
    undefined: Any = 0  # the F1 of a class that is neither there nor predicted
    present = None if binary else sorted(set(labels) | set(predictions))
    auc = None
    if binary and len(set(labels.tolist())) == 2:
        auc = float(metrics.roc_auc_score(labels, probabilities[:, 1]))
    return {
        "accuracy": float(np.mean(predictions == labels)),
        "f1": float(
            metrics.f1_score(
                labels, predictions, average=average, labels=present, zero_division=undefined
            )
        ),
        "micro_f1": float(metrics.f1_score(labels, predictions, average="micro")),
        "auc": auc,
        "loss": float(np.mean(losses)),
        "examples": len(labels),
    }
