"""MultiNLI: like SNLI, in ten genres. Its test split is the matched and mismatched dev files.

TFDS multi_nli:
python -m attnjax.main --config=configs/multinli.py

Files:
python -m attnjax.main --config=configs/multinli.py --config.data.source=files \\
    --config.data.path=DIR

DIR holds multinli_1.0_{train,dev_matched,dev_mismatched}.jsonl. 2-core CPU time and score: not
measured.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.task = "nli"
    config.data.source = "tfds"
    config.data.name = "multi_nli"
    config.data.min_count = 3
    config.data.max_length = 200
    config.data.validation_fraction = 0.2
    config.train.batch_size = 128
    config.train.epochs = 8
    config.analysis.examples = 2000
    return config
