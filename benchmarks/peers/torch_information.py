"""The procedure of Guan et al. (ICML 2019) on the PyTorch twin of the model, sentence by sentence.

python -m benchmarks.peers.torch_information FILE STEPS   serves rounds, see benchmarks/worker.py

FILE is as `torch_lime` takes it. Of each sentence's encoder states one noise a word is sought, as
their released class does: sigma = bound * sigmoid(rho), one draw a step, Adam at 0.01, loss the
mean squared change over the states' variance less rate * mean log(sigma / bound), and the sigma of
the lowest loss is kept.
"""

import os
import sys

import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from benchmarks.peers.torch_analysis import Classifier, collate
from benchmarks.peers.torch_lime import nested
from benchmarks.worker import serve

RATE, LEARNING_RATE, BOUND = 0.1, 0.01, 10.0  # the bound in deviations of the word vectors


def sigma_of(model: Classifier, row: np.ndarray, steps: int) -> torch.Tensor:
    """[tokens] the noise that the sentence's states do not notice."""
    text = collate([0], [row])
    vectors = model.embedding(text.tokens)
    states = model.encode(vectors, text)
    variance, bound = states.var(dim=(0, 1)), BOUND * vectors.std()
    rho = torch.randn(len(row), requires_grad=True)
    optimizer = torch.optim.Adam([rho], lr=LEARNING_RATE)
    lowest, best = float("inf"), rho
    for _ in range(steps):
        ratio = torch.sigmoid(rho)
        noise = bound * ratio[None, :, None] * torch.randn_like(vectors)
        change = torch.square(model.encode(vectors + noise, text) - states) / variance
        loss = change.mean() - RATE * torch.log(ratio).mean()
        optimizer.zero_grad()
        loss.backward()
        if loss.item() < lowest:
            lowest, best = loss.item(), rho.detach().clone()
        optimizer.step()
    return bound * torch.sigmoid(best)


def main() -> None:
    torch.manual_seed(0)
    stored, steps = np.load(sys.argv[1]), int(sys.argv[2])
    model = Classifier(nested(stored))
    rows = [row[row > 0] for row in stored["tokens"]]

    def run() -> None:
        for row in rows:
            sigma_of(model, row, steps)

    serve(run, {"texts": len(rows)})


if __name__ == "__main__":
    main()
