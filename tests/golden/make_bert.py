"""Makes bert.npz: states and attentions of a small random BERT by transformers and torch.

In an environment of its own: pip install torch transformers safetensors numpy; then
PYTHONPATH=.. python make_bert.py bert.npz

Prints the versions. Where the file exists, running it again checks what stands there.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from bert_folder import PIECES, write_folder

CASES = {  # activation, pair, lengths
    "single": ("gelu", False),
    "pair": ("gelu", True),
    "tanh": ("gelu_new", False),
}


def inputs(pair):
    """(ids, segments, mask) of two rows, the second padded."""
    random = np.random.default_rng(1)
    ids = random.integers(6, len(PIECES), (2, 9))
    ids[:, 0] = 3
    mask = np.ones((2, 9), np.int64)
    mask[1, 6:] = 0
    ids[1, 6:] = 0
    segments = np.zeros_like(ids)
    if pair:
        segments[0, 5:], segments[1, 3:6] = 1, 1
    return ids, segments, mask


def states(act, pair, dtype):
    """All hidden states [layers + 1, 2, 9, width] and attentions [layers, 2, heads, 9, 9]."""
    ids, segments, mask = inputs(pair)
    with tempfile.TemporaryDirectory() as folder:
        path = write_folder(Path(folder), {"hidden_act": act})
        model = transformers.BertModel.from_pretrained(
            path, attn_implementation="eager", add_pooling_layer=False
        )
    model = model.eval().to(dtype)
    with torch.no_grad():
        found = model(
            torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            token_type_ids=torch.tensor(segments),
            output_hidden_states=True,
            output_attentions=True,
        )
    hidden = np.stack([each.numpy() for each in found.hidden_states])
    attention = np.stack([each.numpy() for each in found.attentions])
    return {"states": hidden, "attention": attention}


def main(path):
    print("torch", torch.__version__, "transformers", transformers.__version__)
    whole = {}
    for name, (act, pair) in CASES.items():
        ids, segments, mask = inputs(pair)
        whole |= {f"{name}_ids": ids, f"{name}_segments": segments, f"{name}_mask": mask}
        for part, value in states(act, pair, torch.float64).items():
            whole[f"{name}_{part}"] = value
    if path.exists():
        stored = np.load(path)
        for name, each in whole.items():
            np.testing.assert_allclose(each, stored[name], rtol=1e-10, atol=1e-12, err_msg=name)
    np.savez_compressed(path, **whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
