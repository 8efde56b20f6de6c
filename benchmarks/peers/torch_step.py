"""The strongest exact PyTorch version of the vanilla training step, as a peer for step_throughput.

Padded batches through two one-directional `nn.LSTM`s, the backward one on rows reversed by length
(packed sequences are slower; plain padding would be another model); fused Adam with AMSGrad.
"""

import torch
from torch import nn


class Classifier(nn.Module):
    """BiLSTM, additive attention, one logit: the same model as attnjax's."""

    def __init__(self, words: int, embed: int, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(words, embed, padding_idx=0)
        self.forward_lstm = nn.LSTM(embed, hidden, batch_first=True)
        self.backward_lstm = nn.LSTM(embed, hidden, batch_first=True)
        self.keys = nn.Linear(2 * hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.logit = nn.Linear(2 * hidden, 1)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        place = torch.arange(tokens.shape[1], device=tokens.device)[None]
        real = place < lengths[:, None]
        reverse = torch.where(real, lengths[:, None] - 1 - place, place)
        vectors = self.embedding(tokens)
        ahead, _ = self.forward_lstm(vectors)
        back, _ = self.backward_lstm(vectors.gather(1, _wide(reverse, vectors)))
        states = torch.cat([ahead, back.gather(1, _wide(reverse, back))], dim=-1)
        scores = self.score(torch.tanh(self.keys(states)))[..., 0]
        words = real & (place > 0) & (place < lengths[:, None] - 1)  # without <sos> and <eos>
        weights = torch.softmax(scores.masked_fill(~words, -torch.inf), dim=-1)
        return self.logit(torch.einsum("bl,blw->bw", weights, states))[:, 0]


def _wide(index: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return index[..., None].expand(-1, -1, like.shape[-1])


def make_step(words: int, embed: int, hidden: int, device: torch.device):
    """Returns step(tokens, lengths, labels), one whole training step, of tensors on the device."""
    torch.manual_seed(0)
    model = Classifier(words, embed, hidden).to(device)
    attention = [*model.keys.parameters(), *model.score.parameters()]
    lstms = [*model.forward_lstm.parameters(), *model.backward_lstm.parameters()]
    optimizer = torch.optim.Adam(
        [
            {"params": [*lstms, *model.logit.parameters()], "weight_decay": 1e-5},
            {"params": [*attention, *model.embedding.parameters()]},
        ],
        lr=1e-3,
        amsgrad=True,
        fused=True,
    )

    def step(tokens: torch.Tensor, lengths: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        logits = model(tokens, lengths)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step
