"""Influence through the last layer by a loop over texts' gradients, on the PyTorch twin.

python -m benchmarks.peers.torch_influence FILE DAMPING OUT   serves rounds, see `worker`

FILE is as `torch_lime` takes it, with "train" and "test" in the place of "tokens", and with
"train_labels" and "test_labels". Each text is read alone and its loss differentiated by the last
layer; the Hessian is autograd's. OUT gets the effects [train, test], an .npy.
"""

import os
import sys

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from benchmarks.peers.torch_analysis import Classifier, collate
from benchmarks.peers.torch_lime import nested
from benchmarks.worker import serve

TEXTS = ("train", "test")


def slopes(
    model: Classifier, rows: list[np.ndarray], labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(what comes into the last layer, with 1 for the bias; each text's gradient by it)."""
    inputs, found = [], []
    for row, label in zip(rows, labels, strict=True):
        text = collate([0], [row])
        with torch.no_grad():
            states, weights, _ = model(text)
            attended = torch.bmm(weights[:, None], states)[:, 0]
        loss = functional.binary_cross_entropy_with_logits(model.logit(attended)[0, 0], label)
        by_weight, by_bias = torch.autograd.grad(loss, list(model.logit.parameters()))
        inputs.append(torch.cat([attended[0], torch.ones(1)]))
        found.append(torch.cat([by_weight[0], by_bias]))
    return torch.stack(inputs), torch.stack(found)


def effects(
    model: Classifier,
    rows: dict[str, list[np.ndarray]],
    labels: dict[str, torch.Tensor],
    damping: float,
) -> torch.Tensor:
    """[train, test] the change of a test text's loss if a training text were left out."""
    model.logit.requires_grad_(True)
    inputs, train = slopes(model, rows["train"], labels["train"])
    _, test = slopes(model, rows["test"], labels["test"])
    last = torch.cat([model.logit.weight[0], model.logit.bias]).detach().double()

    def loss(weights: torch.Tensor) -> torch.Tensor:
        logits = inputs.double() @ weights
        return functional.binary_cross_entropy_with_logits(logits, labels["train"].double())

    whole = torch.autograd.functional.hessian(loss, last)
    assert isinstance(whole, torch.Tensor)
    whole = whole + damping * torch.eye(len(last), dtype=torch.float64)
    return train.double() @ torch.linalg.solve(whole, test.double().T) / len(train)


def main() -> None:
    stored, damping, out = np.load(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    tree = nested(stored)
    rows = {name: [row[row > 0] for row in tree.pop(name)] for name in TEXTS}
    labels = {name: torch.tensor(tree.pop(f"{name}_labels")).float() for name in TEXTS}
    model = Classifier(tree)

    def run() -> None:
        np.save(out, effects(model, rows, labels, damping).numpy())

    serve(run, {"texts": sum(map(len, rows.values()))})


if __name__ == "__main__":
    main()
