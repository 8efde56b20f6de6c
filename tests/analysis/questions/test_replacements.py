"""What may stand in a word's place: within the prior's bound, and first what does most."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import WORDS, batch_of, quick_jit, small_model
from test_flips import CONFIG, LENGTHS, NAMES, balanced, reader, split_of

from attnjax.analysis.bigrams import count_bigrams, log_probability
from attnjax.analysis.importance.target import class_logit
from attnjax.analysis.questions.question import Names
from attnjax.analysis.questions.replacements import (
    at_tokens,
    costs_of,
    nats_lost,
    prepare,
    taken_apart,
)
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import summarise
from attnjax.config import AnalysisConfig
from attnjax.data.batches import choose_shapes, evaluation_batches
from attnjax.errors import UserError
from attnjax.training.parallel import remembered
from attnjax.types import EOS

PRIOR = dataclasses.replace(CONFIG, flip_prior=0.5, flip_neighbours=4)
TRAINING = split_of([9, 12, 7, 3, 14, 8, 10, 11, 9, 6, 5], seed=11)


def of(config, stages, params, split):
    return prepare(stages, params, split, config, NAMES, lambda: TRAINING)


def lost_by_hand(tokens, place, word):
    """log p of the text before less after, by the whole texts."""
    model, edited = count_bigrams(TRAINING.tokens, WORDS), tokens.copy()
    edited[place] = word
    before, after = log_probability(model, np.stack([tokens, edited]))
    return before - after


def test_what_a_word_costs_is_the_difference_of_whole_texts():
    tokens = split_of([7]).tokens[0]
    costly = taken_apart(count_bigrams(TRAINING.tokens, WORDS))
    lost = nats_lost(costly, tokens)
    assert lost.shape == (7, WORDS)
    for place in range(1, 8):
        for word in range(EOS + 1, WORDS):
            assert lost[place - 1, word] == pytest.approx(lost_by_hand(tokens, place, word))


def test_any_word_within_the_bound_is_tried_first_what_lowers_the_logit_most():
    stages, params = small_model("bilstm", classes=2)
    split = split_of(LENGTHS)
    prepared = of(PRIOR, stages, params, split)
    batch = batch_of(split.tokens)
    embedded = stages.embed(params, batch)
    slopes = np.asarray(
        jax.grad(lambda e: class_logit(stages, params, batch)(e).sum())(embedded).text
    )
    table = np.asarray(params["embed"]["table"])
    counts = []
    for row, tokens in enumerate(split.tokens):
        for place in range(1, len(tokens) - 1):
            words = [
                word
                for word in range(EOS + 1, WORDS)
                if word != tokens[place] and lost_by_hand(tokens, place, word) <= PRIOR.flip_prior
            ]
            words.sort(key=lambda word: slopes[row, place] @ table[word])
            options = np.asarray(prepared.options)[row, place]
            assert options[options > 0].tolist() == words[:4]
            for word, nats in zip(words[:4], np.asarray(prepared.nats)[row, place], strict=False):
                assert nats == pytest.approx(lost_by_hand(tokens, place, word), rel=1e-5, abs=1e-6)
            counts.append(len(words))
    assert min(counts) < 4 < max(counts)


def test_rows_find_their_own_options_whatever_the_batch():
    stages, params = small_model("average", "dot")
    split = split_of([5, 3, 9])
    split = dataclasses.replace(split, numbers=np.array([30, 4, 9]))
    prepared = of(PRIOR, stages, params, split)
    for length in (7, 16):
        rows = [1] if length == 7 else [2, 1, 0]
        batch = batch_of([split.tokens[row] for row in rows], length=length)
        batch = batch._replace(rows=jnp.asarray(split.numbers[rows], jnp.int32))
        options, nats = at_tokens(prepared, batch)
        assert options.shape == nats.shape == (len(rows), length, 4)
        for place, row in enumerate(rows):
            alone = of(PRIOR, stages, params, split.take(np.array([row])))
            size = len(split.tokens[row])
            np.testing.assert_array_equal(options[place, :size], alone.options[0])
            assert not np.asarray(options)[place, size:].any()


def test_what_flips_stays_within_the_bound():
    split = split_of(LENGTHS)
    stages, params = balanced(split, "bilstm", classes=2)
    batches = list(evaluation_batches(TRAINING, choose_shapes([TRAINING], 2), 8))
    engine = engine_for(params, remembered(quick_jit))
    (found,) = study(PRIOR, stages, split, 0, engine, lambda: batches, names=NAMES)
    flips = found.found["flips"]["flips"]
    read = reader(stages, params, 12)
    sizes = flips["replacement"]["words"]
    assert np.isfinite(sizes).any()
    for row, tokens in enumerate(split.tokens):
        into, places = flips["replacement"]["into"][row], flips["replacement"]["positions"][row]
        if np.isnan(sizes[row]):
            continue
        words = [int(word[1:]) for word in into]
        lost = [lost_by_hand(tokens, 1 + p, word) for p, word in zip(places, words, strict=True)]
        assert max(lost) <= PRIOR.flip_prior + 1e-6
        assert flips["replacement"]["nats"][row] == pytest.approx(sum(lost), rel=1e-4, abs=1e-5)
        edited = tokens.copy()
        edited[1 + np.array(places)] = words
        assert read([edited])[0].argmax() != read([tokens])[0].argmax()
    answer = summarise(found, PRIOR, ("a", "b"), split.labels)["analysis"]["flips"]
    assert answer["prior"] == 0.5
    assert answer["by_edit"]["replacement"]["nats"]["mean"] <= 0.5 * PRIOR.flip_words
    assert answer["radius"]["mean"] > 0


def test_bounds_that_leave_nothing_and_a_prior_without_texts_are_told():
    stages, params = small_model("average", "dot")
    config = dataclasses.replace(PRIOR, flip_similarity=1.0)
    with pytest.raises(UserError, match=r"analysis.flip_prior=0.5 and analysis.flip_similarity=1"):
        of(config, stages, params, split_of([3]))
    engine = engine_for(params, remembered(quick_jit))
    with pytest.raises(UserError, match="'flips' asks about training data, which is not at hand"):
        study(PRIOR, stages, split_of([3]), 0, engine)


def test_costs_are_of_words_as_texts_are_read(tmp_path):
    path = tmp_path / "costs.txt"
    path.write_text("Good 5\nfine 3\n10 7\nunheard 2\n")
    names = Names(("<pad>", "<unk>", "<sos>", "<eos>", "good", "fine", "<num>", "bad"))
    found = costs_of(AnalysisConfig(flip_costs=str(path)), names, 8)
    assert found[4:].tolist() == [5, 3, 1, 1]
