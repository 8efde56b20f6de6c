"""Makes captum.npz: explanations of a small text CNN by captum 0.9.0 and zennit 0.5.1, in float64.

pip install captum==0.9.0 zennit==0.5.1, in an environment of their own; then
python make_captum.py captum.npz

Reads weights and word vectors from the file where it exists, so that running it again checks what
stands there; else it draws new ones. The network: convolutions 1, 3, 5 and 7 wide with ReLU,
additive attention, one logit. zennit sees attention as weights of a linear layer, as relevance
treats a gate.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from captum.attr import (
    Deconvolution,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
)
from zennit.composites import NameMapComposite
from zennit.rules import Epsilon, Pass, WSquare, ZPlus

WIDTHS, EMBED, FILTERS, LENGTH = (1, 3, 5, 7), 5, 3, 9


class TextCNN(torch.nn.Module):
    def __init__(self):
        super().__init__()
        convolutions = [torch.nn.Conv1d(EMBED, FILTERS, w, padding=w // 2) for w in WIDTHS]
        self.convs = torch.nn.ModuleList(convolutions)
        self.relus = torch.nn.ModuleList(torch.nn.ReLU() for _ in WIDTHS)
        self.cat = torch.nn.Identity()  # Grad-CAM hooks here
        width = FILTERS * len(WIDTHS)
        self.W = torch.nn.Linear(width, width // 2)
        self.v = torch.nn.Linear(width // 2, 1, bias=False)
        self.out = torch.nn.Linear(width, 1)

    def states(self, vectors):
        channels = vectors.transpose(1, 2)
        maps = [r(c(channels)) for c, r in zip(self.convs, self.relus, strict=True)]
        return self.cat(torch.cat(maps, dim=1)).transpose(1, 2)

    def attention(self, states):
        return torch.softmax(self.v(torch.tanh(self.W(states)))[..., 0], dim=-1)

    def forward(self, vectors):
        states = self.states(vectors)
        return self.out((self.attention(states)[..., None] * states).sum(dim=1))


class Gated(torch.nn.Module):
    """The same with one text's attention as the weights of a linear layer."""

    def __init__(self, net, attention):
        super().__init__()
        self.convs, self.relus, self.out = net.convs, net.relus, net.out
        width, length = FILTERS * len(WIDTHS), len(attention)
        self.pool = torch.nn.Linear(width * length, width, bias=False)
        self.pool.weight.data = torch.kron(torch.eye(width), attention[None])

    def forward(self, vectors):
        channels = vectors.transpose(1, 2)
        maps = [r(c(channels)) for c, r in zip(self.convs, self.relus, strict=True)]
        return self.out(self.pool(torch.cat(maps, dim=1).flatten(1)))


def relevance(net, vectors, first):
    """Epsilon rule with 0.001, another rule in the convolutions."""
    rows = []
    attention = net.attention(net.states(vectors)).detach()
    rules = [
        ([f"convs.{k}" for k in range(len(WIDTHS))], first),
        (["out", "pool"], Epsilon(1e-3)),
        ([f"relus.{k}" for k in range(len(WIDTHS))], Pass()),
    ]
    for text, weights in zip(vectors, attention, strict=True):
        one = text[None].detach().requires_grad_()
        with NameMapComposite(rules).context(Gated(net, weights)) as explained:
            score = explained(one)
            (found,) = torch.autograd.grad(score, one, score.detach())
        rows.append(found[0].numpy())
    return np.stack(rows)


def main(path):
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    net, vectors = TextCNN(), torch.randn(2, LENGTH, EMBED)
    if path.exists():
        stored = {name: torch.from_numpy(each) for name, each in np.load(path).items()}
        net.load_state_dict({name: stored[name] for name in net.state_dict()})
        vectors = stored["x"]
    vectors.requires_grad_()
    path_of = IntegratedGradients(net)
    found = {
        "guided_backprop": GuidedBackprop(net).attribute(vectors),
        "deconvolution": Deconvolution(net).attribute(vectors),
        "input_x_gradient": InputXGradient(net).attribute(vectors),
        "grad_cam": LayerGradCam(net, net.cat).attribute(vectors),
        "integrated_gradients_200": path_of.attribute(vectors, n_steps=200, method="gausslegendre"),
    }
    found = {name: each.detach().numpy() for name, each in found.items()}
    found["lrp_epsilon"] = relevance(net, vectors, Epsilon(1e-3))
    found["lrp_zplus"] = relevance(net, vectors, ZPlus(stabilizer=1e-12, zero_params="bias"))
    found["lrp_w2"] = relevance(net, vectors, WSquare(stabilizer=1e-12, zero_params="bias"))
    whole = {name: each.numpy() for name, each in net.state_dict().items()} | found
    whole |= {"x": vectors.detach().numpy(), "z": net(vectors).detach().numpy()}
    whole["attention"] = net.attention(net.states(vectors)).detach().numpy()
    if path.exists():
        for name, each in np.load(path).items():
            np.testing.assert_allclose(whole[name], each, rtol=1e-9, atol=1e-13, err_msg=name)
    np.savez_compressed(path, **whole)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
