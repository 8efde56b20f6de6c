"""A simulator of reversed sequences: nothing to download, and the word that counts is known.

A text is a row of different symbols; the question names a place, counted from the end; the answer
is the symbol that stands there. So a model that is right has read one word of the text and no
other: the toy of Guan et al. (ICML 2019), one step of its output at a time.
"""

import random

import numpy as np

from attnjax.data.examples import Example, Splits
from attnjax.data_config import DataConfig

_SYMBOLS = """
alpha beta gamma delta epsilon zeta eta theta iota kappa
lambda mu nu xi omicron rho sigma tau upsilon omega
"""
_PLACES = """
first second third fourth fifth sixth seventh eighth ninth tenth
eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth
twentieth
"""
SYMBOLS, PLACES = tuple(_SYMBOLS.split()), tuple(_PLACES.split())
TRAIN, TEST = 10_000, 1_000  # questions


def read_reverse(config: DataConfig) -> Splits:
    """Simulates texts of `config.name` symbols: train (config.train_examples or 10,000) and test.

    The same seed gives the same questions; a longer train split starts with the shorter one.
    """
    length = int(config.name)
    sizes = {"train": config.train_examples if config.train_examples > 0 else TRAIN, "test": TEST}
    splits: Splits = {}
    for number, (split, size) in enumerate(sizes.items()):
        seed = np.random.SeedSequence([config.seed, length, number]).generate_state(1)[0]
        splits[split] = [
            each._replace(place=f"simulated {split}, question {n}")
            for n, each in enumerate(simulate_reverse(length, size, int(seed)), 1)
        ]
    return splits


def simulate_reverse(length: int, questions: int, seed: int) -> list[Example]:
    """Returns so many questions about texts of `length` symbols, 2 to 20.

    text "mu xi tau", query "second from the end", label "xi"
    """
    rng = random.Random(seed)
    found = []
    for _ in range(questions):
        symbols, place = rng.sample(SYMBOLS, length), rng.randrange(length)
        query = f"{PLACES[place]} from the end"
        found.append(Example(" ".join(symbols), query, symbols[-1 - place]))
    return found


def place_needed(text: list[str], query: list[str] | None) -> int | None:
    """The position in the text of the word that the answer is; None in texts of another kind.

    (["mu", "xi", "tau"], ["second", "from", "the", "end"]) -> 1
    """
    if not query or query[0] not in PLACES or query[1:] != ["from", "the", "end"]:
        return None
    position = len(text) - 1 - PLACES.index(query[0])
    return position if position >= 0 else None
