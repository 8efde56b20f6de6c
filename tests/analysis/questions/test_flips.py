"""The smallest change that flips: brute force finds none smaller, and the text really flips."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import WORDS, batch_of, quick_jit, small_model

from attnjax.analysis.questions.flips import KINDS, spell
from attnjax.analysis.questions.question import Names
from attnjax.analysis.questions.replacements import prepare
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import summarise
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit
from attnjax.errors import UserError
from attnjax.model.attention import forward
from attnjax.training.parallel import remembered
from attnjax.types import EOS, SOS

CONFIG = AnalysisConfig(
    methods=("gradient",), questions=("flips",), flip_words=4, flip_neighbours=3, chunk_size=8
)
LENGTHS = (9, 1, 8, 7, 2, 8, 6, 9)
NAMES = Names(tuple(f"w{number}" for number in range(WORDS)))


def no_training():
    raise AssertionError("near words need no training texts")


def split_of(lengths, seed=2):
    random = np.random.default_rng(seed)
    rows = [random.permutation(np.arange(EOS + 1, WORDS))[:length] for length in lengths]
    rows = [np.array([SOS, *words, EOS], np.int32) for words in rows]
    return EncodedSplit(rows, None, np.zeros(len(rows), np.int32), None)


def asked(config, stages, params, split):
    engine = engine_for(params, remembered(quick_jit))
    return study(config, stages, split, 0, engine)[0]


def balanced(split, *which, **more):
    """A model whose two classes lie near each other on these texts."""
    stages, params = small_model(*which, **more)
    logits = np.asarray(forward(stages, params, batch_of(split.tokens)).logits)
    if logits.shape[1] == 2:
        params["decode"]["logits"]["bias"] -= float(np.median(logits[:, 1]))
    return stages, params


def reader(stages, params, length):
    """Arrays of ids -> probabilities, each text read by itself, padded."""
    run = quick_jit(lambda batch: forward(stages, params, batch).probabilities)

    def read(rows):
        found = []
        for start in range(0, len(rows), 128):
            some = rows[start : start + 128]
            filled = [*some, *[some[0]] * (128 - len(some))]
            found.append(np.asarray(run(batch_of(filled, length=length)))[: len(some)])
        return np.concatenate(found)

    return read


def fewest_deletions(read, row, most):
    """By trying every set of words, one to `most` of them."""
    label = read([row])[0].argmax()
    count = len(row) - 2
    for size in range(1, min(most, count - 1) + 1):
        gone = list(itertools.combinations(range(1, count + 1), size))
        if (read([np.delete(row, each) for each in gone]).argmax(axis=1) != label).any():
            return size
    return np.nan


@pytest.mark.parametrize(
    ("encoder", "attention", "classes"), [("average", "dot", 3), ("bilstm", "additive", 2)]
)
def test_brute_force_finds_none_smaller_and_what_is_found_flips(encoder, attention, classes):
    split = split_of(LENGTHS)
    stages, params = balanced(split, encoder, attention, classes=classes)
    flips = asked(CONFIG, stages, params, split).found["flips"]["flips"]
    read = reader(stages, params, 12)
    deleted = flips["deletion"]["words"]
    expected = [fewest_deletions(read, row, CONFIG.flip_words) for row in split.tokens]
    small = np.array(expected) <= 2
    assert small.any(), "some texts flip"
    np.testing.assert_array_equal(deleted[small], np.array(expected)[small])
    assert not (deleted < np.array(expected)).any()
    assert np.isnan(deleted[1]), "a text of one word keeps it"
    options = prepare(stages, params, split, CONFIG, NAMES, no_training).options
    for row, tokens in enumerate(split.tokens):
        before = read([tokens])[0]
        for kind in KINDS:
            size, changed = flips[kind]["words"][row], flips[kind]["changed"][row]
            places = 1 + np.flatnonzero(changed >= 0)
            assert np.isnan(size) == (len(places) == 0)
            if np.isnan(size):
                continue
            assert size == len(places)
            edited = tokens.copy()
            edited[places] = changed[places - 1]
            after = read([edited[edited > 0]])[0]
            assert after.argmax() != before.argmax()
            np.testing.assert_allclose(
                flips[kind]["probability"][row], after[before.argmax()], rtol=1e-4
            )
            for place in places:  # none of the changes is one too many
                undone = edited.copy()
                undone[place] = tokens[place]
                assert read([undone[undone > 0]])[0].argmax() == before.argmax()
        # Of single words every near one was tried.
        tries = [
            np.concatenate([tokens[:place], [new], tokens[place + 1 :]]).astype(np.int32)
            for place in range(1, len(tokens) - 1)
            for new in np.asarray(options)[tokens[place]]
        ]
        alone = (read(tries).argmax(axis=1) != before.argmax()).any()
        assert alone == (flips["replacement"]["words"][row] == 1)
    both = np.fmin(flips["deletion"]["words"], flips["replacement"]["words"])
    np.testing.assert_array_equal(flips["changed_words"], both)
    assert (flips["overlap"]["attention"][np.isfinite(both)] <= 1).all()
    counts = np.array(LENGTHS)
    np.testing.assert_allclose(flips["overlap"]["random"], both / counts, rtol=1e-5)


def test_of_a_bag_of_words_the_smallest_deletion_is_by_sorting():
    """z is the mean of what each word adds: delete the largest until the rest turns."""
    stages, params = small_model("average", "uniform", classes=2)
    params["decode"]["logits"]["bias"] *= 0
    weights = jax.tree.map(np.asarray, params)
    project = weights["encode"]["text"]["project"]
    states = np.tanh(weights["embed"]["table"] @ project["kernel"] + project["bias"][None])
    adds = (states @ weights["decode"]["logits"]["kernel"])[:, 0]
    split = split_of([12, 9, 10, 7, 11, 3, 2, 8])
    config = dataclasses.replace(CONFIG, flip_words=6)
    found = asked(config, stages, params, split).found["flips"]["flips"]["deletion"]
    expected = []
    for row in split.tokens:
        parts = adds[row[1:-1]]
        own = np.sort(parts * np.sign(parts.sum()))[::-1]
        turned = [k for k in range(1, len(own)) if own[k:].sum() < 0]
        expected.append(turned[0] if turned and turned[0] <= 6 else np.nan)
    assert len(set(expected)) > 3
    np.testing.assert_array_equal(found["words"], expected)


def test_neither_padding_nor_other_rows_change_what_is_found():
    split = split_of(LENGTHS)
    stages, params = balanced(split, "bilstm", classes=2)
    whole = asked(CONFIG, stages, params, split).found["flips"]["flips"]
    some = np.array([6, 2])
    part = asked(dataclasses.replace(CONFIG, chunk_size=1), stages, params, split.take(some))
    for kind in KINDS:
        for place, row in enumerate(some):
            mine, other = part.found["flips"]["flips"][kind], whole[kind]
            np.testing.assert_array_equal(mine["changed"][place], other["changed"][row])
            np.testing.assert_allclose(mine["distance"][place], other["distance"][row], rtol=1e-5)


def test_costs_choose_among_sets_of_one_size(tmp_path):
    split = split_of(LENGTHS)
    stages, params = balanced(split, "average", "dot", classes=2)
    plain = asked(CONFIG, stages, params, split).found["flips"]["flips"]["deletion"]
    row = int(np.nanargmin(plain["words"]))
    assert plain["words"][row] == 1
    tokens = split.tokens[row]
    dear = 1 + int(np.flatnonzero(plain["changed"][row] >= 0)[0])
    costs = tmp_path / "costs.txt"
    costs.write_text(f"# what an edit costs\nw{tokens[dear]} 5.5\nunheard 2\n")
    config = dataclasses.replace(CONFIG, flip_costs=str(costs))
    prepared = prepare(stages, params, split, config, NAMES, no_training)
    assert prepared.costs[tokens[dear]] == 5.5
    assert prepared.costs.sum() == WORDS + 4.5
    engine = engine_for(params, remembered(quick_jit))
    (found,) = study(config, stages, split, 0, engine, names=NAMES)
    priced = found.found["flips"]["flips"]["deletion"]
    read = reader(stages, params, 12)
    turned = [np.delete(tokens, place) for place in range(1, len(tokens) - 1)]
    others = read(turned).argmax(axis=1) != read([tokens])[0].argmax()
    assert others[dear - 1]
    assert priced["words"][row] == 1
    if others.sum() > 1:
        assert priced["cost"][row] == 1
        assert others[priced["positions"][row][0]]
    else:
        assert priced["cost"][row] == 5.5
    assert np.nanmax(priced["words"]) > 1 or others.sum() > 1
    answer = summarise(found, config, ("a", "b"), split.labels)["analysis"]["flips"]
    assert answer["costs"] is True
    assert answer["by_edit"]["deletion"]["cost"]["mean"] >= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("w5 -1\n", "the cost of 'w5' must be above 0"),
        ("w5 1\nw5 2\n", "costs.txt, line 2: 'w5' has 2 here and 1 before; keep one"),
        ("w5 cheap\n", "line 1: write a word and a number"),
        ("w5 nan\n", "line 1: write a word and a number"),
        ("one 2\n", "none of the file's words is one that the model knows"),
        ("\n", "has no word"),
        (None, "there is no file"),
    ],
)
def test_a_wrong_file_of_costs_is_told_in_one_line(content, message, tmp_path):
    stages, params = small_model("average", "dot")
    if content is not None:
        (tmp_path / "costs.txt").write_text(content)
    config = dataclasses.replace(CONFIG, flip_costs=str(tmp_path / "costs.txt"))
    with pytest.raises(UserError, match=r"analysis\.flip_costs") as caught:
        prepare(stages, params, split_of([3]), config, NAMES, no_training)
    assert message in str(caught.value)


def test_what_excludes_every_replacement_is_told():
    stages, params = small_model("average", "dot")
    config = dataclasses.replace(CONFIG, flip_similarity=1.0)
    with pytest.raises(UserError, match=r"analysis.flip_similarity=1: the nearest two have a"):
        prepare(stages, params, split_of([3]), config, NAMES, no_training)
    # More near words than there are: those that there are.
    config = dataclasses.replace(CONFIG, flip_neighbours=99)
    many = prepare(stages, params, split_of([3]), config, NAMES, no_training)
    word = int(split_of([3]).tokens[0][1])
    near = np.asarray(many.options[word])
    assert set(near[near > 0]) == set(range(EOS + 1, WORDS)) - {word}


def test_words_are_spelt():
    found = {
        "deletion": {"words": np.array([1.0]), "changed": [np.array([-1, 0, -1])]},
        "replacement": {"words": np.array([2.0]), "changed": [np.array([7, -1, 5])]},
    }
    flips = spell({"flips": found}, NAMES)["flips"]
    assert flips["deletion"]["positions"] == [[1]]
    assert flips["replacement"]["positions"] == [[0, 2]]
    assert flips["replacement"]["into"] == [["w7", "w5"]]


def test_a_query_is_left_alone_and_a_row_that_only_fills_costs_nothing():
    stages, params = small_model("average", "dot", pair=True)
    split = split_of([4, 3])
    split = dataclasses.replace(split, query=split_of([3, 2], seed=5).tokens)
    flips = asked(CONFIG, stages, params, split).found["flips"]["flips"]
    run = quick_jit(lambda batch: forward(stages, params, batch).logits)
    for row, tokens in enumerate(split.tokens):
        changed = flips["deletion"]["changed"][row]
        gone = 1 + np.flatnonzero(changed >= 0)
        if len(gone):
            query = [split.query[row]] * 2
            both = batch_of([tokens, np.delete(tokens, gone)], query, length=8)
            first, second = np.asarray(jnp.argmax(run(both), axis=-1))
            assert first != second
