"""AG News: world or business, from TFDS or the released CSV files.

python -m attnjax.main --config=configs/agnews.py                            TFDS ag_news_subset
python -m attnjax.main --config=configs/agnews.py --config.data.source=files --config.data.path=DIR

DIR holds the release's train.csv and test.csv. All four classes: --config.data.labels=, (empty).
2-core CPU time and score: not measured.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.task = "classification"
    config.data.source = "tfds"
    config.data.name = "ag_news_subset"
    config.data.labels = ("World", "Business")
    config.data.min_count = 5
    config.data.max_length = 200
    config.train.epochs = 8
    return config
