"""What the ways to influence have in common: what is asked, and what each of them finds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from attnjax.analysis.influence import Checked
from attnjax.data.batches import EncodedSplit, Shapes
from attnjax.types import Params, Stages


class Asked(NamedTuple):
    """Of which texts, and how.

    params    on the host; training  all training texts, numbered from 0; tests  those asked about
    chunk     texts in one call; most  texts told of each kind
    check     is called between batches and may raise to stop
    """

    stages: Stages
    params: Params
    training: EncodedSplit
    tests: EncodedSplit
    shapes: Shapes
    chunk: int
    most: int
    check: Callable[[], None]


class Found(NamedTuple):
    """What one way finds.

    effects  change of what is asked of each test, in nats, if a training text were left out
    words    (training row, test) of the texts that are told -> `word_numbers` of their words
    summary  what the effects rest on
    check    against retraining, or None
    attended [tests] the number of the most attended word, -1 of none; None where it is not asked
    """

    effects: Float[np.ndarray, "rows tests"]
    words: dict[tuple[int, int], dict[str, np.ndarray]]
    summary: dict[str, Any]
    check: Checked | None
    attended: Int[np.ndarray, " tests"] | None = None


def extremes(effects: Float[np.ndarray, "rows tests"], most: int) -> list[list[int]]:
    """Of each test the rows of the most helpful and of the most harmful texts, helpful first."""
    found = []
    for own in effects.T:
        order = np.argsort(-own, kind="stable")
        ends = [*order[:most].tolist(), *order[max(0, len(order) - most) :].tolist()]
        found.append(list(dict.fromkeys(ends)))
    return found


def words_of(
    values: dict[str, np.ndarray], place: int, split: EncodedSplit, row: int
) -> dict[str, np.ndarray]:
    """One row of a batch's values by token, over the words of that row of the split alone."""
    sides = {"text": split.tokens, "query": split.query}
    found = {}
    for name, each in values.items():
        ids = sides[name.removesuffix("_norm")]
        assert ids is not None
        found[name] = each[place, 1 : len(ids[row]) - 1]
    return found
