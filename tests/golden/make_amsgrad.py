"""Writes amsgrad.npz: ten steps of torch.optim.Adam with AMSGrad and L2, in float64.

Run with the bench extra installed: python tests/golden/make_amsgrad.py
"""

import pathlib

import numpy as np
import torch

torch.manual_seed(0)
weight = torch.randn(7, dtype=torch.float64, requires_grad=True)
start = weight.detach().numpy().copy()
gradients = torch.randn(10, 7, dtype=torch.float64) * torch.logspace(0, -2, 10)[:, None]
optimizer = torch.optim.Adam([weight], lr=0.01, amsgrad=True, weight_decay=0.1)
path = []
for gradient in gradients:
    weight.grad = gradient.clone()
    optimizer.step()
    path.append(weight.detach().numpy().copy())
np.savez(
    pathlib.Path(__file__).parent / "amsgrad.npz",
    start=start,
    gradients=gradients.numpy(),
    path=np.array(path),
)
