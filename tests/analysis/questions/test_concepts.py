"""What is known of a word beyond its concept: literally, by running every changed text."""

import dataclasses

import jax
import numpy as np
import pytest
from etils import epath
from helpers import WORDS, batch_of, quick_jit, sentences, small_model

from attnjax.analysis.information.states import in_order, states_of
from attnjax.analysis.questions.concepts import fit_concepts
from attnjax.analysis.questions.question import Names
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.analysis.summary import summarise
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit
from attnjax.data.lexicon import Lexicon
from attnjax.report.answers import ANSWERS
from attnjax.report.answers.answer import Shown, Told
from attnjax.training.parallel import remembered
from attnjax.types import EOS
from attnjax.workdir import finite

SETTINGS = AnalysisConfig(methods=(), questions=("concepts",), concepts="words.txt")
LEXICON = Lexicon({"low": np.arange(EOS + 1, 9), "nine": np.array([9])}, np.arange(EOS + 1, WORDS))
NAMES = Names(concepts=LEXICON)


@pytest.fixture(scope="module")
def asked():
    stages, params = small_model("average")
    split = EncodedSplit(sentences([4, 3, 5] * 4, seed=3), None, np.arange(12) % 3, None)
    training = [batch_of(sentences([4, 6] * 8, seed=7))]
    engine = engine_for(params, remembered(quick_jit))
    (found,) = study(SETTINGS, stages, split, 0, engine, lambda: training, names=NAMES)
    return found, stages, params, split, training


def test_it_equals_running_every_changed_text(asked):
    found, stages, params, split, training = asked
    learnt = fit_concepts(SETTINGS, NAMES)(stages, params, training, jax.random.key(0))

    def state(tokens):
        batch = batch_of([np.asarray(tokens, np.int32)])
        every = states_of(stages, params, stages.embed(params, batch), batch, "text")["encoder"]
        spread = learnt.sample.spreads["encoder"]
        return np.asarray(every)[0] * np.asarray(spread.weights)[None] / np.sqrt(spread.live)

    def farther(tokens, place, ids):
        changed = [[*tokens[:place], other, *tokens[place + 1 :]] for other in ids]
        moved = [np.square(state(each) - state(tokens)).sum() for each in changed]
        return np.mean(moved) / len(tokens)

    rows = found.found["concepts"]["concepts"]["low"]["encoder"]
    for row in (0, 1):
        tokens = split.tokens[row].tolist()
        places = [place for place, token in enumerate(tokens) if EOS < token < 9]
        assert places
        word = np.mean([farther(tokens, p, learnt.random.tolist()) for p in places])
        beyond = np.mean([farther(tokens, p, learnt.others["low"].tolist()) for p in places])
        np.testing.assert_allclose(rows["word"][row], word, rtol=1e-4)
        np.testing.assert_allclose(rows["beyond"][row], beyond, rtol=1e-4)
        np.testing.assert_allclose(rows["concept"][row], word - beyond, rtol=1e-3, atol=1e-5)


def test_a_list_stands_by_itself_and_few_words_count_alike(asked):
    _, stages, params, _, training = asked
    other = Lexicon({"a": np.array([10, 11]), **LEXICON.concepts}, LEXICON.words)
    one, two = (
        fit_concepts(SETTINGS, Names(concepts=each))(stages, params, training, jax.random.key(0))
        for each in (LEXICON, other)
    )
    assert one.others["low"].tolist() == LEXICON.concepts["low"].tolist()
    np.testing.assert_array_equal(one.random, two.random)
    assert len(set(one.random.tolist())) == len(one.random) == 12


def test_of_a_word_that_is_all_its_concept_nothing_is_beyond(asked):
    found, _, _, split, _ = asked
    rows = found.found["concepts"]["concepts"]["nine"]
    has = np.array([9 in tokens for tokens in split.tokens])
    assert has.any()
    for each in rows.values():
        assert (each["beyond"][has] == 0).all()
        assert (each["word"][has] > 0).all()
        assert np.isnan(each["word"][~has]).all()


def test_results_and_section_tell_of_every_concept_and_state(asked, tmp_path):
    found, _, _, split, _ = asked
    analysis = finite(summarise(found, SETTINGS, ("a", "b", "c"), split.labels)["analysis"])
    told = analysis["concepts"]
    assert told["states"] == in_order(told["states"]) == [
        "embedding", "encoder", "context", "logits"]  # fmt: skip
    assert {name: each["known_words"] for name, each in told["by_concept"].items()} == {
        "low": 5, "nine": 1}  # fmt: skip
    run = Told(epath.Path(tmp_path), {"analysis": analysis}, analysis, [])
    (shown,) = (each for each in ANSWERS["concepts"].blocks(run) if isinstance(each, Shown))
    texts = sum(bool({EOS + 1, EOS + 2, 6, 7, 8} & set(each.tolist())) for each in split.tokens)
    assert [row[:4] for row in shown.table.text()][:2] == [
        ["low", "5", str(texts), "embedding"], ["low", "5", str(texts), "encoder"]]  # fmt: skip
    said = ANSWERS["concepts"].sentence(run)
    assert said.startswith(
        "Of what the attended state knows of a word, this is beyond its concept: "
    )
    assert " for low" in said
    assert "nine" not in said, "a concept of one word has nothing beyond it, by definition"
    off = dataclasses.replace(SETTINGS, concepts="")
    assert summarise(found, off, ("a", "b", "c"), split.labels)["analysis"]["concepts"] is None
    nothing = Told(epath.Path(tmp_path), {}, {"concepts": None}, [])
    assert ANSWERS["concepts"].blocks(nothing) == []
    assert ANSWERS["concepts"].sentence(nothing) == ""
