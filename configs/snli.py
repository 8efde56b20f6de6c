"""SNLI: does the premise entail or contradict the hypothesis, or neither?

python -m attnjax.main --config=configs/snli.py                                   TFDS snli
python -m attnjax.main --config=configs/snli.py --config.data.source=files --config.data.path=DIR

DIR holds snli_1.0_{train,dev,test}.jsonl, or {train,validation,test}.jsonl with premise,
hypothesis and label. Pairs labelled "-" are left out. Attention is over the premise.

All of SNLI: not measured. A subset of 20,000 pairs on a 2-core CPU (shared AMD EPYC), with
--config.train.batch_size=32 --config.train.schedule=linear --config.train.epochs=3: 33 s of
training, test accuracy 0.610 ± 0.004 over 3 seeds. With --config.model.match_product=True
--config.adversary.technique=word_vat --config.adversary.epsilon=0.3 besides: 0.622 ± 0.001 over
3 seeds, 4 min of training.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.task = "nli"
    config.data.source = "tfds"
    config.data.name = "snli"
    config.data.min_count = 3
    config.train.batch_size = 128
    config.train.epochs = 8
    config.analysis.examples = 2000
    return config
