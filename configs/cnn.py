"""CNN question answering (Hermann et al. 2015): which entity does the placeholder stand for?

python -m attnjax.main --config=configs/cnn.py --config.data.path=DIR

DIR holds questions/{training,validation,test}/*.question. It has no TFDS builder (cnn_dailymail
is summarisation). Entities that the article does not name cannot be answers. 2-core CPU time and
score: not measured.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.task = "qa"
    config.data.source = "files"
    config.data.name = "cnn"
    config.data.min_count = 8
    config.data.max_length = 1000
    config.train.batch_size = 90
    config.train.epochs = 10
    config.analysis.examples = 500
    config.analysis.methods = ("gradient",)
    config.analysis.chunk_size = 16  # long texts
    return config
