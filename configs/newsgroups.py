"""20 Newsgroups: baseball or hockey, from the by-date release.

python -m attnjax.main --config=configs/newsgroups.py --config.data.path=DIR

DIR holds 20news-bydate-train/ and 20news-bydate-test/. Headers, quotes and footers are removed.
Other groups: --config.data.labels=sci.med,sci.space. 2-core CPU time and score: not measured.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.task = "classification"
    config.data.source = "files"
    config.data.name = "newsgroups"
    config.data.labels = ("rec.sport.baseball", "rec.sport.hockey")
    config.data.min_count = 2
    config.data.min_length = 6
    config.data.max_length = 500
    config.analysis.chunk_size = 32  # long texts
    config.data.drop_empty = True
    config.train.epochs = 8
    return config
