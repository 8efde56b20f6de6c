"""States and attentions of a BERT's folder by transformers, for `bert_parity.py` to compare with.

In an environment of its own (pip install torch transformers numpy):
python benchmarks/peers/torch_bert.py --folder=DIR --out=states.npz

The texts are words already, as the model of attnjax is given them.
"""

import argparse

import numpy as np
import torch
import transformers

TEXTS = [
    "an unbelievably clumsy , 2.5 - hour film that nobody needs",
    "fine",
    "it is n't the worst of soderbergh 's films , but its café scenes are tiresomely quirky",
]
PAIRS = ["nobody needs it", "a film is good or bad", "one of the films is n't bad"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", required=True, help="of the model")
    parser.add_argument("--out", required=True, help=".npz file")
    options = parser.parse_args()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.folder)
    model = transformers.BertModel.from_pretrained(
        options.folder, attn_implementation="eager", add_pooling_layer=False
    ).eval()
    found = {"versions": np.array([torch.__version__, transformers.__version__])}
    for dtype in (torch.float32, torch.float64):
        model = model.to(dtype)
        for pair in (False, True):
            for number, text in enumerate(TEXTS):
                parts = [text.split(), *([PAIRS[number].split()] if pair else [])]
                given = tokenizer(*parts, is_split_into_words=True, return_tensors="pt")
                with torch.no_grad():
                    said = model(**given, output_hidden_states=True, output_attentions=True)
                name = f"{str(dtype).rpartition('.')[-1]}_{'pair' if pair else 'single'}_{number}"
                found[f"{name}_ids"] = given["input_ids"][0].numpy()
                found[f"{name}_states"] = torch.cat(said.hidden_states).numpy()
                found[f"{name}_attention"] = torch.cat(said.attentions).numpy()
    np.savez_compressed(options.out, **found)


if __name__ == "__main__":
    main()
