"""A pretrained BERT in transformers on PyTorch: its forward pass, and one step of fine-tuning.

python -m benchmarks.peers.torch_bert_step FOLDER TEXTS KIND BATCH   serves rounds, see `worker`

In an environment with torch and transformers. TEXTS is a JSON list of [words, label], all of as
many pieces; KIND is forward (the last layer's states) or step (AdamW over everything, additive
attention and two classes on top, as attnjax's). Attention is scaled_dot_product_attention; without
dropout.
"""

import json
import os
import sys

import torch
import transformers
from torch import nn

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from benchmarks.worker import serve


class Classifier(nn.Module):
    """Additive attention over the words' states, one logit."""

    def __init__(self, encoder: transformers.BertModel, hidden: int):
        super().__init__()
        width = encoder.config.hidden_size
        self.encoder = encoder
        self.keys, self.score = nn.Linear(width, hidden), nn.Linear(hidden, 1, bias=False)
        self.logit = nn.Linear(width, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.encoder(input_ids=ids).last_hidden_state[:, 1:-1]
        weights = torch.softmax(self.score(torch.tanh(self.keys(states)))[..., 0], dim=-1)
        return self.logit(torch.einsum("bl,blw->bw", weights, states))[:, 0]


def main() -> None:
    folder, texts, kind, size = sys.argv[1:5]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with open(texts, encoding="utf-8") as file:
        words, labels = zip(*json.load(file), strict=True)
    ids = tokenizer(list(words), is_split_into_words=True, return_tensors="pt")["input_ids"]
    targets = torch.tensor(labels, dtype=torch.float32)
    encoder = transformers.BertModel.from_pretrained(
        folder,
        attn_implementation="sdpa",
        add_pooling_layer=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = Classifier(encoder, 128).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    batches = list(zip(ids.split(int(size)), targets.split(int(size)), strict=True))

    def forward() -> None:
        with torch.inference_mode():
            for each, _ in batches:
                encoder(input_ids=each)

    def step() -> None:
        for each, target in batches:
            optimizer.zero_grad(set_to_none=True)
            loss = nn.functional.binary_cross_entropy_with_logits(model(each), target)
            loss.backward()
            optimizer.step()

    run = {"forward": forward, "step": step}[kind]
    run()
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    serve(run, versions | {"threads": torch.get_num_threads(), "pieces": ids.shape[1]})


if __name__ == "__main__":
    main()
