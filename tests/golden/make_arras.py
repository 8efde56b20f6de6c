"""Makes arras.npz: LRP of a small BiLSTM with attention by ArrasL/LRP_for_LSTM (commit 1c3073b).

git clone that repository, whose code needs NumPy alone; then
python make_arras.py FOLDER_OF_THE_CLONE arras.npz

Reads weights and texts from the file where it exists, so that running it again checks what stands
there; else it draws new ones. Their class reads the last state of each direction. Relevance is
linear in what enters, so that attention over all states is a sum of its runs: on the text up to
each word for the forward half, from each word on for the backward half, with output weights that
give that state what attention gives it.
"""

import sys
from pathlib import Path

import numpy as np

EPSILON, VOCABULARY, EMBED, HIDDEN = 1e-3, 30, 7, 6
LENGTHS = {"short": 1, "mid": 5, "long": 12}


def drawn():
    random = np.random.default_rng(0)
    weights = {
        "enc_input": random.normal(0, 0.6, (2, EMBED, 4 * HIDDEN)),
        "enc_recurrent": random.normal(0, 0.5, (2, HIDDEN, 4 * HIDDEN)),
        "enc_bias": random.normal(0, 0.3, (2, 4 * HIDDEN)),
        "E": random.normal(0, 1, (VOCABULARY, EMBED)),
        "w_dec": random.normal(0, 1, 2 * HIDDEN),
        "v": random.normal(0, 1, 2 * HIDDEN),
        "b_dec": np.array(0.2),
    }
    texts = {f"{name}_ids": random.integers(4, VOCABULARY, n) for name, n in LENGTHS.items()}
    return weights | texts


def network(theirs, given, forward, backward):
    """Their class with our weights; theirs have the gates in the order i, g, f, o."""
    net = theirs.__new__(theirs)
    gates = np.arange(4 * HIDDEN).reshape(4, HIDDEN)[[0, 2, 1, 3]].ravel()
    for side, k in (("Left", 0), ("Right", 1)):
        setattr(net, f"Wxh_{side}", given["enc_input"][k].T[gates])
        setattr(net, f"Whh_{side}", given["enc_recurrent"][k].T[gates])
        setattr(net, f"bxh_{side}", given["enc_bias"][k][gates])
        setattr(net, f"bhh_{side}", np.zeros(4 * HIDDEN))
    net.E, net.Why_Left, net.Why_Right = given["E"], forward[None], backward[None]
    return net


def stabilised(values):
    return values + EPSILON * np.where(values >= 0, 1, -1)


def from_state(theirs, given, ids, relevance, state, side):
    """Relevance of the words' vectors from that of the last state of one direction."""
    weights = relevance / state
    nothing = np.zeros(HIDDEN)
    pair = (weights, nothing) if side == 0 else (nothing, weights)
    net = network(theirs, given, *pair)
    found = net.lrp(ids, 0, EPSILON, 0.0)[side]
    score = net.s[0]  # its output layer hands on score / stabilised(score) of what is asked
    return found * stabilised(score) / score


def explained(theirs, given, ids):
    """Attention, output and relevance [words, embed] of one text."""
    count = len(ids)
    net = network(theirs, given, np.zeros(HIDDEN), np.zeros(HIDDEN))
    net.set_input(ids)
    net.forward()
    states = np.concatenate([net.h_Left[:count], net.h_Right[:count][::-1]], axis=1)
    scores = states @ given["v"] / np.sqrt(2 * HIDDEN)
    attention = np.exp(scores - scores.max())
    attention /= attention.sum()
    context = attention @ states
    output = context @ given["w_dec"] + given["b_dec"]
    of_context = context * given["w_dec"] / stabilised(output) * output
    of_states = attention[:, None] * states / stabilised(context) * of_context
    relevance = np.zeros((count, EMBED))
    for place in range(count):
        for side, part in ((0, slice(None, place + 1)), (1, slice(place, None))):
            half = slice(side * HIDDEN, (side + 1) * HIDDEN)
            relevance[part] += from_state(
                theirs, given, ids[part], of_states[place, half], states[place, half], side
            )
    return {"attention": attention, "z": output, "R": relevance}


def main(clone, path):
    sys.path.insert(0, clone)
    from code.LSTM.LSTM_bidi import LSTM_bidi  # pyright: ignore - their package has this name

    stored = dict(np.load(path)) if path.exists() else drawn()
    whole = {name: each for name, each in stored.items() if not name.endswith(("_z", "_R"))}
    whole["eps"] = np.array(EPSILON)
    for name in LENGTHS:
        found = explained(LSTM_bidi, stored, list(stored[f"{name}_ids"]))
        whole |= {f"{name}_{each}": value for each, value in found.items()}
    if path.exists():
        for name, each in stored.items():
            np.testing.assert_allclose(whole[name], each, rtol=1e-9, atol=1e-13, err_msg=name)
    np.savez_compressed(path, **whole)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
