"""The analysis of Jain & Wallace (arXiv:1902.10186) in eager PyTorch, as their code does it.

Padded batches of 32 texts of like length, packed sequences, Python loops over positions,
permutations and optimizer steps, scipy sentence by sentence. Nothing is slower than that design
makes it: parameters ask for no gradient, the loops run under `no_grad` where they can, contexts
are matrix products, and a text takes no part in deletions at positions that it does not have. The
permutation test computes attention anew each time, as theirs does.

A model comes as the parameters of attnjax's BiLSTM + additive attention for two classes, as nested
dicts of NumPy arrays; texts as one array of ids each. Results are lists in the order of the texts.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from scipy.spatial.distance import jensenshannon
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BATCH = 32
UNK, EOS = 1, 3  # ids; words are UNK and all above EOS

Texts = Sequence[np.ndarray]


class Texts32(NamedTuple):
    """Up to 32 texts, the longest first: ids [batch, length], lengths, True on words."""

    rows: list[int]
    tokens: torch.Tensor
    lengths: torch.Tensor
    words: torch.Tensor


class Classifier(nn.Module):
    """Embedding, bidirectional LSTM, additive attention over words, one logit."""

    def __init__(self, params: dict[str, Any]):
        super().__init__()
        lstm, score = params["encode"]["text"], params["score"]
        table, inputs = params["embed"]["table"], lstm["input"]
        hidden = lstm["recurrent"].shape[1]
        self.embedding = nn.Embedding(*table.shape, padding_idx=0)
        self.lstm = nn.LSTM(inputs.shape[1], hidden, batch_first=True, bidirectional=True)
        self.keys = nn.Linear(2 * hidden, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.logit = nn.Linear(2 * hidden, 1)
        values = {
            "embedding.weight": table,
            "keys.weight": score["states"]["kernel"].T,
            "keys.bias": score["states"]["bias"],
            "score.weight": score["score"]["kernel"].T,
            "logit.weight": params["decode"]["logits"]["kernel"].T,
            "logit.bias": params["decode"]["logits"]["bias"],
        }
        for side, suffix in enumerate(("", "_reverse")):
            values[f"lstm.weight_ih_l0{suffix}"] = inputs[side].T
            values[f"lstm.weight_hh_l0{suffix}"] = lstm["recurrent"][side].T
            values[f"lstm.bias_ih_l0{suffix}"] = lstm["bias"][side]
            values[f"lstm.bias_hh_l0{suffix}"] = np.zeros_like(lstm["bias"][side])
        self.load_state_dict({name: torch.tensor(np.array(each)) for name, each in values.items()})
        self.requires_grad_(False)

    def encode(self, vectors: torch.Tensor, texts: Texts32) -> torch.Tensor:
        """Hidden states [batch, length, 2 * hidden], 0 on padding."""
        packed = pack_padded_sequence(vectors, texts.lengths, batch_first=True)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]

    def attend(self, states: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Attention weights [batch, length]; a text without words gets zeros."""
        scores = self.score(torch.tanh(self.keys(states)))[..., 0]
        scores = scores.masked_fill(~words, -1e9)
        return torch.softmax(scores, dim=-1) * words

    def decode(self, states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Probability of class 1: weights [batch, many, length] -> [batch, many]."""
        return torch.sigmoid(self.logit(torch.bmm(weights, states)))[..., 0]

    def forward(self, texts: Texts32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(states, attention weights, probability [batch])."""
        states = self.encode(self.embedding(texts.tokens), texts)
        weights = self.attend(states, texts.words)
        return states, weights, self.decode(states, weights[:, None])[:, 0]


def batches(texts: Texts) -> Iterator[Texts32]:
    """The texts in order of length, 32 at a time."""
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH][::-1]
        yield collate(rows, [texts[row] for row in rows])


def collate(rows: list[int], texts: Texts) -> Texts32:
    """Pads the texts, which come longest first."""
    lengths = torch.tensor([len(each) for each in texts])
    tokens = torch.zeros(len(texts), len(texts[0]), dtype=torch.long)
    for place, each in enumerate(texts):
        tokens[place, : len(each)] = torch.from_numpy(each.astype(np.int64))
    return Texts32(rows, tokens, lengths, (tokens == UNK) | (tokens > EOS))


def attention(model: Classifier, texts: Texts) -> list[np.ndarray]:
    """Attention on each text's words."""
    found: list[Any] = [None] * len(texts)
    with torch.no_grad():
        for batch in batches(texts):
            _store(found, batch, model(batch)[1])
    return found


def gradient(model: Classifier, texts: Texts, detach: bool = True) -> list[np.ndarray]:
    """|sum_d e_d * dy/de_d| on each text's words; detach  holds attention constant."""
    found: list[Any] = [None] * len(texts)
    for batch in batches(texts):
        vectors = model.embedding(batch.tokens).requires_grad_()
        states = model.encode(vectors, batch)
        weights = model.attend(states.detach() if detach else states, batch.words)
        model.decode(states, weights[:, None]).sum().backward()
        assert vectors.grad is not None
        _store(found, batch, (vectors.grad * vectors.detach()).sum(dim=-1).abs())
    return found


def leave_one_out(model: Classifier, texts: Texts) -> list[np.ndarray]:
    """|p' - p| on each text's words: one forward pass for every position of every batch."""
    found: list[Any] = [None] * len(texts)
    with torch.no_grad():
        for batch in batches(texts):
            whole = model(batch)[2]
            changes = torch.zeros(batch.tokens.shape)
            for position in range(1, batch.tokens.shape[1] - 1):
                rows = [row for row in batch.rows if position < len(texts[row]) - 1]
                shorter = collate(rows, [np.delete(texts[row], position) for row in rows])
                without = model(shorter)[2]
                changes[: len(rows), position] = (without - whole[: len(rows)]).abs()
            _store(found, batch, changes)
    return found


def permutation(model: Classifier, texts: Texts, count: int = 100, seed: int = 0) -> np.ndarray:
    """Median |p' - p| over random permutations of each text's attention, [texts]."""
    random = np.random.default_rng(seed)
    found = np.zeros(len(texts), np.float32)
    with torch.no_grad():
        for batch in batches(texts):
            states, _, whole = model(batch)
            changes = []
            for _ in range(count):
                weights = model.attend(states, batch.words)
                order = np.tile(np.arange(weights.shape[1]), (len(weights), 1))
                for place, length in enumerate(batch.lengths.tolist()):
                    order[place, 1 : length - 1] = random.permutation(np.arange(1, length - 1))
                shuffled = weights.gather(1, torch.from_numpy(order))
                changes.append((model.decode(states, shuffled[:, None])[:, 0] - whole).abs())
            found[batch.rows] = np.median(torch.stack(changes).numpy(), axis=0)
    return found


def adversarial(
    model: Classifier,
    texts: Texts,
    adversaries: int = 5,
    steps: int = 500,
    learning_rate: float = 0.01,
    margin: float = 0.01,
    weight: float = 500.0,
    epsilon: float = 0.05,
    seed: int = 0,
) -> np.ndarray:
    """Largest Jensen-Shannon divergence of an attention that moves p by at most epsilon, [texts].

    Each text seeks `adversaries` attentions far from the model's and from each other.
    """
    random = torch.Generator().manual_seed(seed)
    found = np.zeros(len(texts), np.float32)
    for batch in batches(texts):
        with torch.no_grad():
            states, original, whole = model(batch)
        nowhere = ~batch.words[:, None]
        count = batch.words.sum(dim=1).clamp(min=1)
        noise = torch.randn(len(whole), adversaries, original.shape[1], generator=random)
        logits = (3 * noise - torch.log(count)[:, None, None]).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=learning_rate, amsgrad=True)
        for _ in range(steps):
            candidates = torch.softmax(logits.masked_fill(nowhere, -1e9), dim=-1)
            change = (model.decode(states, candidates) - whole[:, None]).abs()
            apart = _jensen_shannon(candidates, original[:, None])
            mutual = _jensen_shannon(candidates[:, :, None], candidates[:, None])
            loss = (weight * torch.relu(change - margin) - apart).sum()
            loss = loss - mutual.mean(dim=(1, 2)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            candidates = torch.softmax(logits.masked_fill(nowhere, -1e9), dim=-1)
            change = (model.decode(states, candidates) - whole[:, None]).abs()
            apart = _jensen_shannon(candidates, original[:, None])
            # The model's own attention is always a candidate, at divergence 0.
            allowed = torch.where(change <= epsilon, apart, torch.zeros_like(apart))
            found[batch.rows] = allowed.clamp(min=0).max(dim=1).values.numpy()
    return found


def _jensen_shannon(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """In nats, with 1e-10 inside the logarithms."""
    middle = torch.log((a + b) / 2 + 1e-10)
    parts = a * (torch.log(a + 1e-10) - middle) + b * (torch.log(b + 1e-10) - middle)
    return parts.sum(dim=-1) / 2


MEASURES = (
    "kendall",
    "pearson",
    "spearman",
    "top_k_kendall",
    "jensen_shannon",
    "top_k_overlap",
    "p_value",
)


def agreement(a: Sequence[np.ndarray], b: Sequence[np.ndarray], top_k: int) -> np.ndarray:
    """MEASURES of each text, [texts, 7]; NaN where undefined: scipy, text by text."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")  # of constant rows
        return np.array([_measures(x, y, top_k) for x, y in zip(a, b, strict=True)])


def _measures(a: np.ndarray, b: np.ndarray, top_k: int) -> tuple[Any, ...]:
    tau: Any = stats.kendalltau(a, b)
    correlations: list[Any] = [np.nan, np.nan]
    if len(a) > 1:
        correlations = [each(a, b).statistic for each in (stats.pearsonr, stats.spearmanr)]
    k = min(top_k, len(a))
    top_a, top_b = (set(np.argsort(-each, kind="stable")[:k].tolist()) for each in (a, b))
    shared = sorted(top_a & top_b)
    divergence = jensenshannon(a, b) ** 2 if a.any() and b.any() else np.nan
    distance = _top_k_kendall(a, b, top_a, top_b, shared)
    return (tau.statistic, *correlations, distance, divergence, len(shared) / k, tau.pvalue)


def _top_k_kendall(
    a: np.ndarray, b: np.ndarray, top_a: set[int], top_b: set[int], shared: list[int]
) -> float:
    """Their Kendall distance of two lists of words, for p = 1/2."""
    tau: Any = stats.kendalltau(a[shared], b[shared])
    reversed_pairs = np.nan_to_num((1 - tau.statistic) / 2 * len(shared) ** 2)
    outranked = sum(a[i] < a[j] for i in shared for j in top_a - top_b)
    outranked += sum(b[i] < b[j] for i in shared for j in top_b - top_a)
    missing = len(top_a) - len(shared)
    pairs = reversed_pairs + outranked + missing * (missing - 1) / 2
    return float(pairs / (len(top_a) + missing) ** 2)


def _store(found: list[Any], batch: Texts32, values: torch.Tensor) -> None:
    for place, row in enumerate(batch.rows):
        found[row] = values[place][batch.words[place]].numpy()
