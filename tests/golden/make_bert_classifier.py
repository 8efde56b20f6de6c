"""Makes bert_classifier.npz: logits of a small random BERT classifier by transformers and torch.

In an environment of its own: pip install torch transformers safetensors numpy; then
PYTHONPATH=.. python make_bert_classifier.py bert_classifier.npz

The texts go through transformers' own tokenizer, padded into one batch. Prints the versions. Where
the file exists, running it again checks what stands there.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from bert_folder import TEXTS, write_classifier

LABELS = ("negative", "neutral", "positive")


def logits(name):
    """[texts, classes] in float64, and the pieces of each text, -1 on padding."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_classifier(Path(folder), LABELS, cased=name == "cased")
        tokenizer = transformers.BertTokenizerFast.from_pretrained(path)
        model = transformers.BertForSequenceClassification.from_pretrained(path)
    texts = TEXTS[name]
    parts = zip(*texts, strict=True) if name == "pair" else [texts]
    given = tokenizer(*map(list, parts), padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model.eval().double()(**given).logits.numpy()
    return found, np.where(given["attention_mask"].numpy() > 0, given["input_ids"].numpy(), -1)


def main(path):
    print("torch", torch.__version__, "transformers", transformers.__version__)
    whole = {}
    for name in TEXTS:
        whole[f"{name}_logits"], whole[f"{name}_ids"] = logits(name)
    if path.exists():
        stored = np.load(path)
        for name, each in whole.items():
            np.testing.assert_allclose(each, stored[name], rtol=1e-10, atol=1e-12, err_msg=name)
    np.savez_compressed(path, **whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
