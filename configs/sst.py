"""Stanford Sentiment Treebank, sentence level, positive or negative.

python -m attnjax.main --config=configs/sst.py --config.data.path=DIR

DIR holds the treebank's {train,dev,test}.txt as they come out of its archive, or
{train,validation,test}.jsonl with text and label. It has no TFDS builder. Five classes:
--config.data.name=sst5. Random word vectors; pretrained ones: --config.data.vectors=FILE.

On a shared 2-core CPU (Intel Xeon): 40 to 61 s of training; test accuracy 0.822 ± 0.003, AUC
0.895 ± 0.003 over 3 seeds. With --config.model.encoder=transformer --config.train.epochs=3:
0.812 ± 0.006, 0.894 ± 0.003.
"""

from ml_collections import ConfigDict

from attnjax.config import default_config


def get_config() -> ConfigDict:
    config = default_config()
    config.task = "classification"
    config.data.source = "files"
    config.data.name = "sst"
    config.train.epochs = 8
    return config
