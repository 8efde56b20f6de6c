"""Words to ids and back."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, repeat

import numpy as np

from attnjax.errors import UserError
from attnjax.types import EOS, SOS, UNK

SPECIALS = ("<pad>", "<unk>", "<sos>", "<eos>")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The known words; a word's id is its place in `tokens`, the four specials first."""

    tokens: tuple[str, ...]

    def __post_init__(self):
        if self.tokens[: len(SPECIALS)] != SPECIALS:
            raise UserError(
                f"a vocabulary starts with {' '.join(SPECIALS)}, "
                f"not {' '.join(self.tokens[: len(SPECIALS)])}; restore the run's vocab.json"
            )
        if len(set(self.tokens)) < len(self.tokens):
            twice = Counter(self.tokens).most_common(1)[0][0]
            raise UserError(f"the vocabulary lists '{twice}' twice; restore the run's vocab.json")

    @classmethod
    def build(cls, sentences: Iterable[list[str]], min_count: int = 1) -> "Vocabulary":
        """Returns the words that occur at least `min_count` times, frequent ones first.

        build([["b", "a"], ["b", "c"]], 1).tokens[4:] == ("b", "a", "c")
        """
        counts = Counter(chain.from_iterable(sentences))
        kept = [word for word, n in counts.items() if n >= min_count and word not in SPECIALS]
        return cls(SPECIALS + tuple(sorted(kept, key=lambda word: (-counts[word], word))))

    def extended(self, sentences: Iterable[list[str]]) -> "Vocabulary":
        """With the words of these sentences that it lacks, at its end, in alphabetical order."""
        new = {word for each in sentences for word in each} - set(self.tokens)
        return Vocabulary((*self.tokens, *sorted(new))) if new else self

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        # Specials are left out: a text that spells "<eos>" must not end the sentence.
        return {word: i for i, word in enumerate(self.tokens) if i >= len(SPECIALS)}

    def ids(self, tokens: Sequence[str]) -> np.ndarray:
        """Returns int32 [len(tokens) + 2]: <sos>, one id a token (<unk> if unknown), <eos>."""
        known = map(self._index.get, tokens, repeat(UNK))
        return np.fromiter(chain((SOS,), known, (EOS,)), np.int32, len(tokens) + 2)

    def words(self, ids: np.ndarray | Iterable[int]) -> list[str]:
        """Returns the word of every id, specials and padding included."""
        return [self.tokens[each] for each in ids]

    def __len__(self) -> int:
        return len(self.tokens)
