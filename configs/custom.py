"""Bring your own data: CSV, TSV or JSONL files, single texts or pairs, no code.

python -m attnjax.main --config=configs/custom.py --config.data.path=DIR                  texts
python -m attnjax.main --config=configs/custom.py:pairs --config.data.path=DIR            pairs
python -m attnjax.main --config=configs/custom.py:qa --config.data.path=DIR               questions

DIR holds train.csv and test.csv (or .tsv, .jsonl, .jsonl.gz; validation too, else 15 % of train
are cut off). Columns: text and label; premise, hypothesis and label; or story, question, answer
and, if you have them, candidates. Yours have other names? --config.data.fields.text=review.
2-core CPU time and score: not measured, they are your data's.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config

TASKS = {"texts": "classification", "pairs": "nli", "qa": "qa"}


def get_config(kind: str = "texts") -> ConfigDict:
    if kind not in TASKS:
        raise ValueError(f"custom.py:{kind}: choose one of {', '.join(TASKS)}")
    config = default_config()
    config.task = TASKS[kind]
    config.data.source = "files"
    config.data.name = "custom"
    config.data.min_count = 2
    config.train.epochs = 8
    return config
