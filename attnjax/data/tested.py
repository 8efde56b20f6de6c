"""The test split alone, for a classifier that was trained elsewhere: words, classes and labels.

Texts are split into words by the classifier's own tokenizer, so that it reads of them what it has
always read. Other splits are left unread, and need not be there.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from attnjax.config import RunConfig
from attnjax.data.account import Account, told
from attnjax.data.batches import choose_shapes
from attnjax.data.dataset import (
    Dataset,
    encode,
    label_names,
    read_words,
    word_frequencies,
)
from attnjax.data.examples import Reading
from attnjax.data.files import read_files
from attnjax.data.pieces import pieces_of, read_reader, unread, within_positions
from attnjax.data.splits import is_number
from attnjax.data.tfds import read_tfds
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError
from attnjax.geometry import Classes, read_classes

ATTENTION = (
    "the model has no attention over its last states: what is called attention is what [CLS] gives "
    "each word in the last layer of self-attention, the mean over heads, as a share of all words"
)

logger = logging.getLogger(__name__)


def load_test(config: RunConfig) -> Dataset:
    """The data set of a configuration whose model is a classifier: one split, `test`.

    Its labels are the classifier's classes; what they are taken for is logged, with all else that
    is odd. Raises UserError as `load_dataset`, and where the labels are not those of the classes.
    """
    data, path = config.data, config.model.pretrained
    reader, classes = read_reader(path, own_words=True), read_classes(path)
    reading = _read(config)
    splits, words, dropped, cut = read_words(reading.splits, data, reader.tokenize)
    words, beyond = within_positions(reader, words)
    given = label_names([each._replace(candidates=()) for each in splits["test"]])
    names, labels, note = settled(classes, given, path)
    rows = [each._replace(label=names[each.label]) for each in splits["test"]]
    texts = words["test"]
    vocabulary = Vocabulary.build(part for each in texts for part in each if part is not None)
    pieces = pieces_of(reader, vocabulary, texts)
    test = encode(rows, texts, vocabulary, labels)
    account = Account(reading, {"cut": {}, "passed": {}}, dropped, cut, data.max_length)
    shapes = choose_shapes([test], data.buckets)
    about = told(account, {"test": rows}, words, {"test": test}, False)
    seen = unread(pieces, vocabulary)
    about["notes"] = [*filter(None, [note]), ATTENTION, *about["notes"], *seen]
    summary: dict[str, Any] = {
        "examples": {"test": len(test)},
        "dropped": dropped,
        "cut": sum(cut.values()),
        "words": len(vocabulary),
        "mean_length": float(np.mean([len(each.text) for each in texts])),
        **about,
        "pieces_of_longest": pieces.room[-1],
        "beyond_positions": beyond,
        "padded_lengths": shapes._asdict(),
    }
    for note in summary["notes"]:
        logger.warning("data: %s", note)
    frequencies = word_frequencies(test, len(vocabulary))
    return Dataset(
        {"test": test},
        {"test": rows},
        vocabulary,
        labels,
        frequencies,
        shapes,
        None,
        summary,
        pieces,
    )


def _read(config: RunConfig) -> Reading:
    """The one split that is tested: the test split, else validation, else all that there is."""
    if config.data.source == "tfds":
        reading = read_tfds(config.data, config.task)
    else:
        reading = read_files(config.data, config.task, alone=True)
    split = "test" if "test" in reading.splits else "train"

    def only(parts: dict[str, Any]) -> dict[str, Any]:
        return {"test": parts[split]} if split in parts else {}

    one = {"test": reading.splits[split]}
    return Reading(
        one,
        only(reading.files),
        only(reading.read),
        only(reading.unlabelled),
        only(reading.others),
        reading.unread,
        reading.notes,
    )


def settled(
    classes: Classes, given: Sequence[str], path: str
) -> tuple[dict[str, str], tuple[str, ...], str]:
    """(label of the data -> name of its class, the classes' names in order, what is to be told).

    given  the data's labels, in order: names of classes, whatever their case, or their numbers.
    Classes without names, LABEL_0 and so on, are taken for the data's labels in their order.
    Raises UserError where the labels are none of these.
    """
    names = classes.names
    if set(given) <= set(names):
        return {each: each for each in given}, names, ""
    if not classes.named and len(given) == len(names):
        pairs = ", ".join(f"{name} is '{each}'" for name, each in zip(names, given, strict=True))
        note = f"the classifier's classes have no names, and are taken in their order: {pairs}"
        return {each: each for each in given}, tuple(given), note
    folded = {name.casefold(): name for name in names}
    if len(folded) == len(names) and {each.casefold() for each in given} <= set(folded):
        return {each: folded[each.casefold()] for each in given}, names, ""
    if classes.named and all(is_number(each) and 0 <= int(each) < len(names) for each in given):
        pairs = ", ".join(f"{each} is '{names[int(each)]}'" for each in given)
        note = f"the labels of the data are taken for the numbers of the classes: {pairs}"
        return {each: names[int(each)] for each in given}, names, note
    raise UserError(
        f"the data's labels are {_listed(given)}, and the classes of {path} are "
        f"{_listed(names)} (id2label in its config.json); make them the same"
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(f"'{each:.40}'" for each in names[:10]) + more
