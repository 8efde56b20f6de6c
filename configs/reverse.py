"""Reversed sequences, simulated: nothing to download, and the word that counts is known.

python -m attnjax.main --config=configs/reverse.py         texts of 8 symbols
python -m attnjax.main --config=configs/reverse.py:12      of 12 (2 to 20)

The analysis tells of every explanation how often the word that the answer is stands first.

On a 2-core CPU: test accuracy 1.000 with each of three seeds (trained while other work ran, so
that no seconds are told); `benchmarks/README.md` has every explanation's figures.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config

METHODS = (
    "gradient",
    "gradient_norm",
    "gradient_x_input",
    "integrated_gradients",
    "smoothgrad",
    "leave_one_out",
    "occlusion",
    "grad_cam",
    "lrp",
    "lime",
    "shapley",
    "mask",
    "gradient_x_attention",
    "attention_norm",
    "information",
    "replacement",
    "jacobian_norm",
    "bottleneck",
)


def get_config(length: str = "8") -> ConfigDict:
    config = default_config()
    config.task = "qa"
    config.data.source = "reverse_simulator"
    config.data.name = length
    config.model.embed_dim = 32
    config.model.hidden_dim = 64
    config.model.embed_scale = 1.0
    config.train.batch_size = 50
    config.train.learning_rate = 3e-3
    config.train.epochs = 10
    config.analysis.examples = 200
    config.analysis.questions = ("agreement", "information", "known_word")
    config.analysis.methods = METHODS
    return config
