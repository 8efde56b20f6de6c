"""Writes lstm.npz: values and gradients of torch.nn.LSTM on padded rows, in float64.

Run with the bench extra installed: python tests/golden/make_lstm.py
"""

import pathlib

import numpy as np
import torch

torch.manual_seed(0)
BATCH, LENGTH, EMBED, HIDDEN = 3, 5, 4, 3
lengths = torch.tensor([5, 2, 1])
lstm = torch.nn.LSTM(EMBED, HIDDEN, batch_first=True, bidirectional=True).double()
inputs = torch.randn(BATCH, LENGTH, EMBED, dtype=torch.float64, requires_grad=True)
cotangent = torch.randn(BATCH, LENGTH, 2 * HIDDEN, dtype=torch.float64)
packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True)
output, (final, _) = lstm(packed)
states, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=LENGTH)
(states * cotangent).sum().backward()


def both(name: str, grad: bool = False) -> np.ndarray:
    parameters = [getattr(lstm, name + suffix) for suffix in ("", "_reverse")]
    return np.stack([(p.grad if grad else p).detach().numpy() for p in parameters])


np.savez(
    pathlib.Path(__file__).parent / "lstm.npz",
    lengths=lengths.numpy(),
    inputs=inputs.detach().numpy(),
    cotangent=cotangent.numpy(),
    states=states.detach().numpy(),
    final=np.concatenate([final[0].detach().numpy(), final[1].detach().numpy()], axis=-1),
    input=both("weight_ih_l0").transpose(0, 2, 1),
    recurrent=both("weight_hh_l0").transpose(0, 2, 1),
    bias=both("bias_ih_l0") + both("bias_hh_l0"),
    grad_inputs=inputs.grad.numpy(),
    grad_input=both("weight_ih_l0", grad=True).transpose(0, 2, 1),
    grad_recurrent=both("weight_hh_l0", grad=True).transpose(0, 2, 1),
    grad_bias=both("bias_ih_l0", grad=True),
)
