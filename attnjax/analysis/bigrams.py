"""How likely a text is as a text: the add-half bigram model of training texts.

p(w | v) = (c(v, w) + 1/2) / (c(v) + K/2), with c the counts of neighbours in the training texts and
K the number of tokens that may follow: every word, <unk> and <eos>. A text is <sos> words <eos>.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from attnjax.types import PAD, SOS


class Bigrams(NamedTuple):
    """counts [words, words], of the second token after the first; totals [words] of the first."""

    counts: sparse.csr_array
    totals: np.ndarray

    @property
    def support(self) -> int:
        """K: how many tokens may follow another, all but padding and <sos>."""
        return len(self.totals) - 2


def count_bigrams(texts: Sequence[np.ndarray], words: int) -> Bigrams:
    """Counts the neighbours in texts <sos> ... <eos> of ids below `words`.

    count_bigrams([[2, 7, 7, 3]], 9).counts has one each of (2, 7), (7, 7) and (7, 3)
    """
    first = np.concatenate([np.zeros(0, np.int32), *[each[:-1] for each in texts]])
    second = np.concatenate([np.zeros(0, np.int32), *[each[1:] for each in texts]])
    counts = sparse.coo_array((np.ones(len(first)), (first, second)), (words, words)).tocsr()
    return Bigrams(counts, np.bincount(first, minlength=words).astype(float))


def log_probability(model: Bigrams, texts: np.ndarray) -> np.ndarray:
    """[texts, length] ids <sos> ... <eos> -> [texts], in nats; what stands after <eos> is PAD."""
    if not len(texts):  # SciPy finds a number in no place
        return np.zeros(0)
    first, second = texts[:, :-1], texts[:, 1:]
    seen = np.asarray(model.counts[first.reshape(-1), second.reshape(-1)]).reshape(first.shape)
    steps = np.log(seen + 0.5) - np.log(model.totals[first] + model.support / 2)
    return np.where(second == PAD, 0.0, steps).sum(axis=1)


def following(model: Bigrams, token: int) -> np.ndarray:
    """[words] log p(w | token); -inf of padding and <sos>, which follow nothing."""
    seen = model.counts[[token]].toarray()[0]
    found = np.log(seen + 0.5) - np.log(model.totals[token] + model.support / 2)
    found[[PAD, SOS]] = -np.inf
    return found


def preceding(model: Bigrams, token: int) -> np.ndarray:
    """[words] log p(token | v) of every v."""
    seen = model.counts[:, [token]].toarray()[:, 0]
    return np.log(seen + 0.5) - np.log(model.totals + model.support / 2)


def among(model: Bigrams, words: np.ndarray) -> np.ndarray:
    """[some, some] log p of the second of these words after the first."""
    seen = model.counts[words][:, words].toarray()
    return np.log(seen + 0.5) - np.log(model.totals[words] + model.support / 2)[:, None]
