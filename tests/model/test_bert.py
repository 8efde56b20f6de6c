"""A model over words whose encoder reads pieces: beside one written out piece by piece."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_folder import write_folder
from helpers import batch_of, quick_jit

from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.importance.information import known_in
from attnjax.analysis.information.measure import Settings, Words, shares_by_distance
from attnjax.analysis.information.states import (
    fit_sample,
    scaled_state,
    states_of,
    tokens_read,
)
from attnjax.analysis.moved import make_disturbed, make_replaced, with_own_vectors
from attnjax.analysis.questions.concepts import distances_of, fit_concepts
from attnjax.analysis.questions.question import Names
from attnjax.analysis.questions.self_attention import shuffled_heads
from attnjax.analysis.rows import engine_for
from attnjax.analysis.study import study
from attnjax.config import AdversaryConfig, AnalysisConfig, ModelConfig, from_config_dict
from attnjax.data.batches import EncodedSplit
from attnjax.data.examples import Tokenized
from attnjax.data.lexicon import Lexicon
from attnjax.data.pieces import pieces_of, read_reader
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError
from attnjax.losses import Context, count_examples, make_gradients
from attnjax.model.attention import attend, forward
from attnjax.model.pretrained import read_weights
from attnjax.model.rules import FROZEN
from attnjax.model.stages import build_stages, entries_read, mean_vectors
from attnjax.perturb.ascent import Problem, random_perturbation
from attnjax.perturb.ascent import Settings as Ascent
from attnjax.perturb.norms import norms
from attnjax.perturb.problems import inner_problem
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.training.parallel import remembered
from attnjax.types import EOS, HParams

pytestmark = pytest.mark.usefixtures("double_precision")
TEXTS = [["the", "unbelievably", "bad", "wordword"], ["good"], ["film", "wordword"]]
QUERIES = [["unbelievably", "good"], ["a", "film"], ["the"]]
VOCABULARY = Vocabulary.build([*TEXTS, *QUERIES])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_folder(tmp_path_factory.mktemp("small") / "bert"))


@cache
def model(folder, pair=False, room=True, **more):
    """(stages, params, reader) in float64, with the folder's weights."""
    reader = read_reader(folder)
    texts = [Tokenized(*each) for each in zip(TEXTS, QUERIES if pair else [None] * 3, strict=True)]
    pieces = pieces_of(reader, VOCABULARY, texts if room else None)
    config = ModelConfig(encoder="bert", pretrained=folder, **more)
    stages = build_stages(config, words=len(VOCABULARY), classes=3, pair=pair, pieces=pieces)
    params = stages.init(jax.random.key(0))
    table, weights = read_weights(reader.geometry)
    params = {**params, "embed": table, "encode": {"text": weights}}
    return stages, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params), reader


def texts(pair=False, **more):
    rows = [VOCABULARY.ids(each) for each in TEXTS]
    query = [VOCABULARY.ids(each) for each in QUERIES] if pair else None
    return batch_of(rows, query, dtype=np.float64, **more)


def spans(reader, words, query=None):
    """(rows of the table, segments, each word's places) of one text: [CLS] words [SEP] ..."""
    ids, kinds, places = [reader.markers[2]], [0], []
    for number, part in enumerate([words, *([] if query is None else [query])]):
        for each in reader.split(part):
            places.append(list(range(len(ids), len(ids) + len(each))))
            ids += each
            kinds += [number] * len(each)
        ids.append(reader.markers[3])
        kinds.append(number)
    return ids, kinds, places


def alone(stages, params, reader, words, query=None):
    """(states of the words, matrix of each layer and head among words) of one text by itself."""
    from attnjax.model.layers import Bert

    ids, kinds, places = spans(reader, words, query)
    encoder = Bert(reader.geometry.width, reader.geometry)
    vectors = params["embed"]["table"][jnp.array([ids])]
    given = jnp.ones((1, len(ids)), bool), jnp.array([kinds])
    weights = params["encode"]["text"]
    states, _ = encoder.apply({"params": weights}, vectors, given[0], None, given[1])
    layers = encoder.trace(weights, vectors, *given)
    of_words = np.stack([np.asarray(states[0])[each].mean(axis=0) for each in places])
    matrices = np.stack([np.asarray(each.weights[0]) for each in layers])
    summed = np.stack([matrices[..., each].sum(axis=-1) for each in places], axis=-1)
    both = np.stack([summed[:, :, each].mean(axis=2) for each in places], axis=2)
    by_layer = [[np.asarray(each.states[0])[p].mean(axis=0) for p in places] for each in layers]
    return of_words, both, np.array(by_layer)


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.parametrize("pair", [False, True])
def test_words_have_the_means_and_sums_of_their_pieces(folder, pair, room):
    """States, self-attention and the query's summary; padding changes none of them."""
    stages, params, reader = model(folder, pair, room)
    batch = texts(pair, length=9, **({"query_length": 7} if pair else {}))
    embedded = stages.embed(params, batch)
    encoded = stages.encode(params, embedded, batch)
    layers = stages.layers(params, embedded, batch, "text")
    every = stages.of_words(batch, jnp.stack([each.weights for each in layers], axis=1))
    by_layer = np.stack(stages.layer_states(params, embedded, batch, "text"))
    for row, words in enumerate(TEXTS):
        query = QUERIES[row] if pair else None
        states, matrices, expected = alone(stages, params, reader, words, query)
        here = slice(1, 1 + len(words))
        count = len(words)
        np.testing.assert_allclose(encoded.states[row, here], states[:count], atol=1e-12)
        assert not encoded.states[row, len(words) + 2 :].any()
        np.testing.assert_allclose(by_layer[:, row, here], expected[:, :count], atol=1e-12)
        found = np.asarray(every)[row][:, :, here, here]
        np.testing.assert_allclose(found, matrices[:, :, :count, :count], atol=1e-12)
        if pair:
            np.testing.assert_allclose(encoded.query[row], states[count:].mean(axis=0), atol=1e-12)
        else:
            total = np.asarray(every)[row, :, :, : count + 2].sum(axis=-1)
            np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_a_word_left_out_takes_all_its_pieces_and_places_move_on(folder):
    stages, params, reader = model(folder)
    batch = texts()
    without = stages.quick.encode_without(params, stages.embed(params, batch), batch, "text")
    encoded, left = without(jnp.array(2))
    words = [TEXTS[0][0], *TEXTS[0][2:]]
    assert VOCABULARY.words(np.asarray(left[0])) == ["<sos>", *words, "<eos>", "<pad>"]
    np.testing.assert_allclose(
        encoded.states[0, 1:4], alone(stages, params, reader, words)[0], atol=1e-12
    )


@pytest.mark.parametrize("pair", [False, True])
def test_words_that_are_kept_keep_all_their_pieces(folder, pair):
    stages, params, reader = model(folder, pair)
    batch = texts(pair)
    stay = np.asarray(batch.mask).copy()
    stay[0, 1] = False
    query = np.asarray(batch.query_mask) if pair else None
    kept = stages.quick.encode_kept(params, stages.embed(params, batch), batch)
    encoded, closed = kept(jnp.asarray(stay), None if query is None else jnp.asarray(query))
    expected, *_ = alone(stages, params, reader, TEXTS[0][1:], QUERIES[0] if pair else None)
    np.testing.assert_allclose(encoded.states[0, 1:4], expected[:3], atol=1e-12)
    assert VOCABULARY.words(np.asarray(closed.tokens[0]))[1:4] == TEXTS[0][1:]


@pytest.mark.parametrize("technique", ["inner_at", "inner_ivat"])
def test_self_attention_among_pieces_is_disturbed_and_padding_is_not(folder, technique):
    stages, params, _ = model(folder)
    config = from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": "x"},
            "model": {"encoder": "bert", "pretrained": folder},
            "adversary": {"technique": technique},
        }
    )

    def sums(batch):
        hparams = HParams(*(jnp.asarray(each, jnp.float64) for each in (0.1, 0.7, 0.6, 0.0)))
        context = Context(batch, hparams, jax.random.key(0), count_examples(batch))
        return jax.jit(make_gradients(config, stages))(params, context)[1]

    found, padded = sums(texts()), sums(texts(length=9))
    np.testing.assert_allclose(found["perturbation_norm"], 3 * 0.7, rtol=1e-9)
    for name, each in found.items():
        np.testing.assert_allclose(padded[name], each, rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("technique", ["attention_iat", "attention_vat", "attention_ivat"])
def test_a_step_is_the_same_where_the_batch_brings_its_encoding(folder, technique):
    stages, params, _ = model(folder, freeze_encoder=True)
    config = from_config_dict(
        {
            "task": "classification",
            "data": {"source": "files", "path": "x"},
            "model": {"encoder": "bert", "pretrained": folder, "freeze_encoder": True},
            "adversary": {"technique": technique},
        }
    )

    def found(batch):
        hparams = HParams(*(jnp.asarray(each, jnp.float64) for each in (0.1, 0.7, 0.6, 0.0)))
        context = Context(batch, hparams, jax.random.key(0), count_examples(batch))
        slopes, sums = jax.jit(make_gradients(config, stages))(params, context)
        return {part: slopes[part] for part in ("score", "decode")}, sums

    batch = texts()
    known = batch._replace(encoded=stages.encode(params, stages.embed(params, batch), batch))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12),
        found(known),
        found(batch),
    )


@pytest.mark.parametrize("pair", [False, True])
def test_words_without_a_piece_change_nothing(folder, pair):
    r"""\x81 has none: no attention falls on it, and a query with it has the state without it."""
    reader = read_reader(folder)
    rows = [["the", "\x81", "film"], ["the", "film"], ["\x81"]]
    queries = [["good", "\x81"], ["good"], ["\x81"]]
    known = Vocabulary.build([*rows, *queries])
    read = [Tokenized(*each) for each in zip(rows, queries if pair else [None] * 3, strict=True)]
    config = ModelConfig(encoder="bert", pretrained=folder)
    sizes = {"words": len(known), "classes": 3, "pair": pair}
    stages = build_stages(config, pieces=pieces_of(reader, known, read), **sizes)
    params = {**stages.init(jax.random.key(1)), "encode": model(folder, pair)[1]["encode"]}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
    query = [known.ids(each) for each in queries] if pair else None
    batch = batch_of([known.ids(each) for each in rows], query, dtype=np.float64)
    trace = forward(stages, params, batch)
    weights = np.asarray(trace.weights)
    np.testing.assert_allclose(weights[0, [1, 3]], weights[1, [1, 2]], rtol=1e-12)
    assert weights[0, 2] == 0
    assert not weights[2].any()
    assert [*np.asarray(tokens_read(stages, batch, "text"))[0]] == [True, True, False, True, True]
    np.testing.assert_allclose(trace.logits[0], trace.logits[1], rtol=1e-12)
    without = stages.quick.encode_without(params, trace.embedded, batch, "text")
    encoded, left = without(jnp.array(2))
    scores, shorter = stages.score(params, encoded), batch._replace(tokens=left)
    _, logits = attend(stages, params, encoded, scores, shorter)
    np.testing.assert_allclose(logits[0], trace.logits[0], rtol=1e-12)


def test_only_pieces_that_there_are_are_moved(folder):
    """Noise on others would take a part of its norm, more the longer the longest word is."""
    stages, params, _ = model(folder)
    batch = texts()
    embedded = stages.embed(params, batch)
    mask = entries_read(stages, params, embedded, batch)
    width = params["embed"]["table"].shape[1]
    assert embedded.text.shape[-1] == 3 * width
    counts = np.asarray(mask.text[0]).reshape(-1, 3, width).all(axis=-1).sum(axis=-1)
    assert [*counts] == [0, 1, 3, 1, 2, 0], "<sos> and <eos> stay"
    assert mask.text.sum() == width * (1 + 3 + 1 + 2 + 1 + 1 + 2)
    problem = Problem(lambda delta: 0.0, embedded, mask, batch.rows)
    found = random_perturbation(problem, Ascent(jnp.float64(0.5)), jax.random.key(0))
    np.testing.assert_allclose(norms(found), 0.5, rtol=1e-12)
    assert not np.asarray(found.text)[~np.asarray(mask.text)].any()


def test_pairs_need_two_segments(folder):
    reader = read_reader(folder)
    pieces = pieces_of(reader, VOCABULARY)
    pieces = pieces._replace(geometry=pieces.geometry._replace(segments=1))
    config = ModelConfig(encoder="bert", pretrained=folder)
    sizes = {"words": len(VOCABULARY), "classes": 3, "pieces": pieces}
    build_stages(config, pair=False, **sizes)
    with pytest.raises(UserError, match=r"has one segment \(type_vocab_size"):
        build_stages(config, pair=True, **sizes)


def test_a_layer_that_the_folder_lacks_is_refused():
    each = AdversaryConfig(technique="inner_at", layers=(3,))
    zeros, real = jnp.zeros((1, 2, 1, 4, 4)), jnp.ones((1, 4), bool)
    with pytest.raises(UserError, match="names layer 3, and the encoder has 2"):
        inner_problem(sum, zeros, None, jnp.zeros(1, int), real, TECHNIQUES["inner_at"], each, dict)


def test_a_question_by_one_vector_a_word_is_refused():
    config = {
        "task": "classification",
        "data": {"source": "files", "path": "x"},
        "model": {"encoder": "bert", "pretrained": "x"},
        "analysis": {"questions": ("prototypes",)},
    }
    with pytest.raises(UserError, match=r"analysis\.questions has 'prototypes'"):
        from_config_dict(config)


def ids_of(*words):
    return np.array([VOCABULARY.ids([word])[1] for word in words])


def test_concepts_are_asked_with_words_of_one_piece(folder):
    """Each changed text read by itself: its states' mean squared change, in deviations."""
    stages, params, _ = model(folder)
    every = np.arange(EOS + 1, len(VOCABULARY))
    lists = {"judging": ids_of("good", "bad", "unbelievably"), "thing": ids_of("film")}
    names, settings = Names(concepts=Lexicon(lists, every)), AnalysisConfig(concepts="x")
    fit = fit_concepts(settings, names)
    learnt = fit(stages, params, [texts()], jax.random.key(0))
    pieces = np.asarray(mean_vectors(stages, params, len(VOCABULARY))[1])
    assert pieces[lists["judging"]].max() > 1
    for ids in (learnt.random, learnt.others["judging"]):
        assert (pieces[np.asarray(ids)] == 1).all()
    distances = quick_jit(lambda ids: distances_of(stages, params, texts(), learnt.sample)(ids))
    found = distances(learnt.others["judging"])

    @quick_jit
    def states(batch):
        return states_of(stages, params, stages.embed(params, batch), batch, "text")

    for row, words in enumerate(TEXTS):
        tokens = VOCABULARY.ids(words)
        before = states(batch_of([tokens], dtype=np.float64))
        for place in range(1, len(tokens) - 1):
            change = {name: [] for name in learnt.sample.spreads}
            for other in np.asarray(learnt.others["judging"]).tolist():
                changed = tokens.copy()
                changed[place] = other
                after = states(batch_of([changed], dtype=np.float64))
                for name, spread in learnt.sample.spreads.items():
                    moved = np.asarray(after[name] - before[name]) * np.asarray(spread.weights)
                    share = spread.live * (len(tokens) if moved.ndim == 3 else 1)
                    change[name].append(np.square(moved).sum() / share)
            for name, values in change.items():
                assert found[name][row, place] == pytest.approx(np.mean(values), rel=1e-8)
    only = Names(concepts=Lexicon({"long": ids_of("unbelievably", "wordword")}, every))
    with pytest.raises(UserError, match="no known word of 'long' is one piece to this model"):
        fit_concepts(settings, only)(stages, params, [texts()], jax.random.key(0))


def judged(folder, question, **more):
    """(what the question found of the small texts, stages, params)."""
    stages, params, _ = model(folder)
    rows = EncodedSplit([VOCABULARY.ids(each) for each in TEXTS], None, np.arange(3), None)
    settings = AnalysisConfig(methods=("leave_one_out_signed",), questions=(question,), **more)
    engine = engine_for(params, remembered(quick_jit))
    (found,) = study(settings, stages, rows, 0, engine)
    return found.found[question][question], stages, params


def test_a_word_has_its_own_vectors_wherever_it_goes(folder):
    """Its pieces' vectors are moved; a word before it that is left out takes its pieces with it."""
    stages, params, _ = model(folder)
    batch, words = texts(), len(VOCABULARY)
    (moved, far), before = quick_jit(make_disturbed(stages, 0))((params, 0), batch, ()), texts()
    embedded = stages.embed(params, before)
    delta = np.asarray(moved.vectors - embedded.text)
    width = params["embed"]["table"].shape[-1]
    pieces = np.asarray(embedded.text).reshape(*delta.shape[:2], -1, width)
    there = (pieces != 0).any(axis=-1) & np.asarray(batch.words)[..., None]
    assert (np.abs(delta.reshape(pieces.shape)).max(axis=-1) > 0).tolist() == there.tolist()
    np.testing.assert_allclose(far, np.sqrt((delta**2).sum(axis=(1, 2))))
    own, tokens = with_own_vectors(stages, moved.vectors), batch._replace(tokens=moved.tokens)
    literal = stages.encode(params, embedded._replace(text=moved.vectors), batch)
    found = own.encode(params, own.embed(params, tokens), tokens)
    np.testing.assert_allclose(found.states, literal.states, atol=1e-13)
    assert np.abs(found.states - stages.encode(params, embedded, batch).states).max() > 1e-4
    # The second word of the first text goes, of five pieces in all four.
    keep = jnp.array([0, 1, 3, 4, 5])
    short = batch_of([np.asarray(batch.tokens)[0, keep]], dtype=np.float64)
    at_once = stages.encode(params, embedded._replace(text=moved.vectors[:1, keep]), short)
    mine = with_own_vectors(stages, moved.vectors[:1])
    closed = short._replace(tokens=moved.tokens[:1, keep])
    gone = mine.encode(params, mine.embed(params, closed), closed)
    np.testing.assert_allclose(gone.states, at_once.states, atol=1e-13)
    assert (np.asarray(moved.tokens)[np.asarray(batch.words)] >= words).all()


def test_continuity_of_words_made_of_pieces(folder):
    found, stages, params = judged(folder, "continuity", continuity_draws=2)
    batch = texts()
    before = forward(stages, params, batch)
    largest, replaced = np.zeros(3), np.full(3, np.nan)
    disturbed, replace = (quick_jit(make(stages, 0)) for make in (make_disturbed, make_replaced))
    for number in range(2):
        moved, _ = disturbed((params, number), batch, ())
        embedded = stages.embed(params, batch)._replace(text=moved.vectors)
        encoded = stages.encode(params, embedded, batch)
        weights = attend(stages, params, encoded, stages.score(params, encoded), batch)[0]
        change = np.linalg.norm(weights - before.weights, axis=1)
        largest = np.maximum(largest, change / np.linalg.norm(before.weights, axis=1))
        other, far = replace((params, number), batch, ())
        after = forward(stages, params, batch._replace(tokens=other.tokens % len(VOCABULARY)))
        kept = (after.logits.argmax(axis=1) == before.logits.argmax(axis=1)) & (far > 0)
        change = np.linalg.norm(after.weights - before.weights, axis=1)
        change = np.where(kept, change / np.linalg.norm(before.weights, axis=1), np.nan)
        replaced = np.fmax(replaced, change)
    np.testing.assert_allclose(found["attention"]["max_sensitivity"], largest, rtol=1e-6)
    np.testing.assert_allclose(found["attention"]["replacement"], replaced, rtol=1e-6)
    assert np.isfinite(replaced).any()
    assert (np.array(found["leave_one_out_signed"]["max_sensitivity"]) > 0).all()


def test_flips_of_words_made_of_pieces(folder):
    found, stages, params = judged(folder, "flips", flip_words=2)
    batch = texts()
    classes = np.asarray(forward(stages, params, batch).logits.argmax(axis=1))
    pieces, flipped = np.asarray(mean_vectors(stages, params, len(VOCABULARY))[1]), 0
    for row, changed in enumerate(found["replacement"]["changed"]):
        count = found["replacement"]["words"][row]
        if np.isnan(count):
            continue
        tokens = np.asarray(batch.tokens[row]).copy()
        here = np.flatnonzero(np.asarray(batch.words[row]))
        assert (changed >= 0).sum() == count
        there = changed >= 0
        assert (pieces[changed[there]] <= pieces[tokens[here][there]]).all()
        tokens[here] = np.where(changed >= 0, changed, tokens[here])
        after = forward(stages, params, batch_of([tokens[tokens > 0]], dtype=np.float64))
        assert after.logits[0].argmax() != classes[row]
        flipped += 1
    assert flipped


def test_the_vector_of_a_word_is_its_pieces_mean(folder):
    stages, params, reader = model(folder)
    found, count = (np.asarray(each) for each in mean_vectors(stages, params, len(VOCABULARY)))
    table = np.asarray(params["embed"]["table"])
    for word in ("unbelievably", "good"):
        (ids,) = reader.split([word])
        expected = table[np.array(ids)].mean(axis=0)
        np.testing.assert_allclose(found[VOCABULARY.ids([word])[1]], expected, rtol=1e-12)
        assert count[VOCABULARY.ids([word])[1]] == len(ids)


def test_a_head_is_shuffled_among_pieces_and_padding_says_nothing(folder):
    stages, params, _ = model(folder)

    def found(batch):
        trace = forward(stages, params, batch)
        return jax.jit(shuffled_heads, static_argnums=(0, 5))(
            stages, params, batch, trace, jax.random.key(0), 3
        )

    short, long = found(texts()), found(texts(length=9))
    assert short.shape == (3, 2, 4)
    assert (np.asarray(short) > 0).all()
    np.testing.assert_allclose(long, short, rtol=1e-9)


@pytest.mark.parametrize("pair", [False, True])
def test_the_frozen_model_is_affine_and_words_have_the_sum_over_pieces(folder, pair):
    """Vectors, biases, positions and segments add up to any reading of the states."""
    stages, params, _ = model(folder, pair)
    frozen, batch = stages.under(FROZEN), texts(pair)
    reader = jax.random.normal(jax.random.key(0), (32,), jnp.float64)
    embedded = stages.embed(params, batch)

    def read(params, embedded):
        return (frozen.encode(params, embedded, batch).states @ reader).sum()

    value, (by_params, by_vectors) = quick_jit(jax.value_and_grad(read, (0, 1)))(params, embedded)
    parts = sum(
        jnp.sum(g * e)
        for g, e in zip(jax.tree.leaves(by_vectors), jax.tree.leaves(embedded), strict=True)
    )
    for (path, slope), leaf in zip(
        jax.tree_util.tree_leaves_with_path(by_params), jax.tree.leaves(params), strict=True
    ):
        if path[-1].key in ("bias", "positions", "segments"):
            parts += jnp.sum(slope * leaf)
    np.testing.assert_allclose(parts, value, rtol=1e-10)
    width = 32
    pieces = np.asarray(embedded.text).reshape(*batch.tokens.shape, -1, width)
    assert (np.abs(pieces).sum(axis=-1) > 0)[0].sum(axis=-1).tolist() == [1, 1, 3, 1, 2, 1]


EACH = [
    *("gradient", "gradient_norm", "gradient_x_input", "integrated_gradients", "smoothgrad"),
    *("leave_one_out_signed", "occlusion", "lrp", "lime", "mask", "attention_norm"),
    "mask_model",
    *("attention_last", "rollout", "norm_attention", "alti", "attn_lrp", "gradient_attention"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_methods_are_of_words_and_do_not_see_padding(folder, name):
    stages, params, _ = model(folder)
    method, key = method_named(name).under(AnalysisConfig(mask_model_steps=2)), jax.random.key(0)
    assert name in METHODS
    batch, padded = texts(), texts(length=9)
    fitted = None if method.fit is None else method.fit(stages, params, [batch], key)
    call = quick_jit(lambda params, batch: method(stages, params, batch, key, fitted=fitted))
    short, long = call(params, batch), call(params, padded)
    assert np.isfinite(short).all()
    assert not np.asarray(short)[~np.asarray(batch.words)].any()
    assert (np.asarray(short)[np.asarray(batch.words)] != 0).any()
    bound = 1e-3 if name in ("smoothgrad", "integrated_gradients", "mask", "lime") else 1e-10
    np.testing.assert_allclose(long[:, : short.shape[1]], short, rtol=0, atol=bound)


@pytest.mark.parametrize("state", ["layer_1", "encoder", "context"])
def test_information_is_of_words_over_all_their_pieces(folder, state):
    """One noise a word; c_i by the whole Jacobian, in the deviations of a sample by hand."""
    stages, params, _ = model(folder)
    batch, padded = texts(), texts(length=9)
    sample = fit_sample(False)(stages, params, [batch], jax.random.key(0))["text"]
    assert set(sample.spreads) == {"layer_1", "encoder", "context", "logits"}
    vectors = stages.embed(params, batch).text
    pieces = vectors.reshape(-1, params["embed"]["table"].shape[-1])
    pieces = np.asarray(pieces)[np.asarray(pieces != 0).any(axis=-1)]
    deviation = np.sqrt(pieces.var(axis=0).mean())
    np.testing.assert_allclose(sample.deviation, deviation, rtol=1e-9)
    settings = Settings(rate=0.1, probes=0, steps=0, draws=4)

    def known(batch):
        return known_in(stages, params, batch, jax.random.key(0), "text", state, sample, settings)

    found = known(batch)
    np.testing.assert_allclose(known(padded).sigma[:, :6], found.sigma, rtol=1e-9)

    def value(vectors):
        embedded = stages.embed(params, batch)._replace(text=vectors)
        return states_of(stages, params, embedded, batch, "text")[state]

    jacobian = np.asarray(jax.jacobian(value)(vectors))
    values = np.asarray(value(vectors))
    real = np.asarray(batch.mask)
    units = (values[real] if values.ndim == 3 else values).std(axis=0)
    for row, length in enumerate(real.sum(axis=1)):
        own = jacobian[row][..., row, :, :]  # [*places, units, tokens, embed]
        each = np.square(own / units[:, None, None])
        count = len(units) * (length if values.ndim == 3 else 1)
        change = each[:length].sum(axis=(0, 1, 3)) if values.ndim == 3 else each.sum(axis=(0, 2))
        sigma = np.sqrt(0.1 / (2 * length * change[:length] / count))
        np.testing.assert_allclose(found.sigma[row, :length], sigma, rtol=1e-8)
    shares = shares_by_distance(
        scaled_state(stages, params, batch, "text", "encoder", sample.spreads["encoder"]),
        Words(vectors, batch.mask, batch.rows, sample.deviation),
        jax.random.key(0),
        2,
    )
    np.testing.assert_allclose(shares.sum(axis=-1), 1)


def test_norms_over_words_are_roots_of_sums_of_squares(folder):
    """gradient_norm by hand: the gradient by each of the word's pieces."""
    stages, params, _ = model(folder)
    batch = texts()
    embedded = stages.embed(params, batch)

    def probability(vectors):
        moved = embedded._replace(text=vectors)
        encoded = stages.encode(params, moved, batch)
        from attnjax.model.attention import attend

        logits = attend(stages, params, encoded, stages.score(params, encoded), batch)[1]
        return jax.nn.softmax(logits, axis=-1).max(axis=-1).sum()

    slopes = np.asarray(jax.grad(probability)(embedded.text)).reshape(*batch.tokens.shape, -1, 32)
    expected = np.sqrt((slopes**2).sum(axis=(-1, -2))) * np.asarray(batch.words)
    found = method_named("gradient_norm")(stages, params, batch, jax.random.key(0))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_frozen_encoder_has_no_gradient(folder):
    stages, params, _ = model(folder, freeze_encoder=True)
    batch = texts()

    def loss(params):
        return forward(stages, params, batch).logits[:, 0].sum()

    slopes = jax.grad(loss)(params)
    for part in ("embed", "encode"):
        assert not any(each.any() for each in jax.tree.leaves(slopes[part]))
    assert any(each.any() for each in jax.tree.leaves(slopes["decode"]))


def test_sizes_at_odds_with_the_folder_are_refused(folder):
    with pytest.raises(UserError, match=r"model\.embed_dim=8 is at odds with .*bert.* has 32"):
        model(folder, embed_dim=8)
    with pytest.raises(UserError, match=r"model\.layers=3 is at odds"):
        model(folder, layers=3)
    assert model(folder, layers=2, heads=4, hidden_dim=32)[0].words == len(VOCABULARY)
    assert len(VOCABULARY) > EOS
