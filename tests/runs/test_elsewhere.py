"""A classifier out of a Hugging Face folder: its logits, and explanations of its [CLS] state."""

from itertools import chain
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_folder import PIECES, TEXTS, write_classifier
from helpers import quick_jit

from attnjax import load_huggingface
from attnjax.analysis.importance import METHODS, method_named
from attnjax.analysis.importance.propagation import relevances
from attnjax.data.batches import Shapes, evaluation_batches
from attnjax.data.examples import Tokenized
from attnjax.errors import UserError
from attnjax.model.attention import forward
from attnjax.model.rules import FROZEN
from attnjax.model_checks import BY_WORD_VECTORS

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "bert_classifier.npz")
BOUNDS = {"float32": 1e-5, "float64": 1e-12}
LABELS = ("negative", "neutral", "positive")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """single/ and cased/, the classifiers that transformers has read as well."""
    made = tmp_path_factory.mktemp("classifiers")
    for name in ("single", "cased"):
        write_classifier(made / name, LABELS, cased=name == "cased")
    return made


def loaded(folder, case):
    name = "cased" if case == "cased" else "single"
    return load_huggingface(folder / name, "nli" if case == "pair" else "classification")


def given(run, texts, dtype=jnp.float64, length=16):
    """(stages, parameters, batch) of these texts."""
    parts = [(each, None) if isinstance(each, str) else each for each in texts]
    words = [
        Tokenized(run.reader.words(a), None if b is None else run.reader.words(b)) for a, b in parts
    ]
    known = run.knowing(words)
    shapes = Shapes((length,), (length,) if run.pair else ())
    (batch,) = evaluation_batches(known.encode(texts), shapes, len(texts))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), run.params)
    batch = jax.tree.map(jnp.asarray, batch)
    return known.stages, params, batch._replace(weight=batch.weight.astype(dtype))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("case", TEXTS)
def test_logits_are_those_of_transformers(folder, case, dtype):
    """Of raw texts in one padded batch, through each side's own tokenizer and head."""
    run = loaded(folder, case)
    stages, params, batch = given(run, TEXTS[case], dtype)
    found = quick_jit(lambda p, b: forward(stages, p, b).logits)(params, batch)
    assert found.dtype == dtype
    expected = GOLDEN[f"{case}_logits"][np.asarray(batch.rows)]  # batches are sorted by length
    np.testing.assert_allclose(found, expected, rtol=0, atol=BOUNDS[dtype])


@pytest.mark.parametrize("case", TEXTS)
def test_words_are_the_tokenizers_own_and_their_pieces_those_of_the_text(folder, case):
    run = loaded(folder, case)
    for text, ids in zip(TEXTS[case], GOLDEN[f"{case}_ids"], strict=True):
        words = [run.reader.words(each) for each in ([text] if isinstance(text, str) else text)]
        pieces = [[3], *(piece for each in words for piece in (*run.reader.split(each), [4]))]
        assert [*chain(*pieces)] == ids[ids >= 0].tolist()
    words = run.reader.words("A\u0301 Don't \U0001f600 [SEP] x\x00y")
    dont = ["Don", "'", "t"] if case == "cased" else ["don", "'", "t"]
    assert words[1:4] == dont
    assert words[-2:] == ["[SEP]", "xy"]
    assert run.reader.split(["[SEP]"]) == [[PIECES.index("[SEP]")]]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("case", ["single", "pair"])
def test_relevances_and_biases_add_up_to_the_score(folder, case):
    """LRP with epsilon 0, through the pooler's tanh; of vectors, biases, places and segments."""
    stages, params, batch = given(loaded(folder, case), TEXTS[case])
    frozen = stages.under(FROZEN)

    def score(params, embedded):
        encoded = frozen.encode(params, embedded, batch)
        weights = frozen.attended(batch).astype(embedded.text.dtype)
        logits = frozen.decode(params, encoded, weights, batch)
        return logits.max(axis=-1).sum()

    embedded = stages.embed(params, batch)
    value, (slopes, by_vectors) = quick_jit(jax.value_and_grad(score, (0, 1)))(params, embedded)
    np.testing.assert_allclose(value, GOLDEN[f"{case}_logits"].max(axis=1).sum(), rtol=1e-12)
    words = sum(
        (g * e).sum()
        for g, e in zip(jax.tree.leaves(by_vectors), jax.tree.leaves(embedded), strict=True)
    )
    parts = words
    for (path, slope), leaf in zip(
        jax.tree_util.tree_leaves_with_path(slopes), jax.tree.leaves(params), strict=True
    ):
        if path[-1].key in ("bias", "positions", "segments"):
            parts += jnp.sum(slope * leaf)
    np.testing.assert_allclose(parts, value, rtol=1e-10)
    shared = jax.jit(lambda p, b: relevances(FROZEN)(stages, p, b, jax.random.key(0)))
    found = shared(params, batch)
    np.testing.assert_allclose(found.score.sum(), value, rtol=1e-10)
    total = sum(each.sum() for each in jax.tree.leaves(found.tokens))
    np.testing.assert_allclose(total, words, rtol=1e-10)


COSTLY = ("smoothgrad", "mask", "lime", "shapley")  # which see the model by its predictions alone
ASKED = [
    name
    for name in METHODS
    for each in [method_named(name)]
    if name not in BY_WORD_VECTORS and not each.pools and each.fit is None
    if (not each.encoders or "bert" in each.encoders) and name not in COSTLY
]


@pytest.mark.slow
def test_every_method_tells_words_apart_and_sees_no_batch_mates(folder):
    """Explained alone and beside longer texts; none is silently 0 or the same for all words."""
    run, texts = loaded(folder, "single"), ["the unbelievably bad film", "a good word film ! a ."]
    alone, both = run.explain(texts[:1], ASKED), run.explain(texts, ASKED)
    assert {"attention_last", "rollout", "norm_attention", "alti", "attn_lrp", "lrp"} <= set(ASKED)
    for name in ASKED:
        bound = 1e-2 if "integrated" in name else 1e-3  # the path is cut where the text decides
        for values in both.importance[name]:
            assert np.isfinite(values).all(), name
            assert np.ptp(values) > 1e-6, name
        scale = np.abs(alone.importance[name][0]).max()
        np.testing.assert_allclose(
            both.importance[name][0], alone.importance[name][0], atol=bound * scale, err_msg=name
        )


@pytest.mark.slow
def test_attention_is_what_cls_gives_words_in_the_last_layer(folder):
    run = loaded(folder, "single")
    found = run.explain(TEXTS["single"], ["attention_last", "gradient_x_input"])
    weights = run.attention(TEXTS["single"]).weights
    for row, each in enumerate(weights):
        given = each[-1].mean(axis=0)[0, 1:-1]
        np.testing.assert_allclose(found.importance["attention_last"][row], given, rtol=1e-4)
        np.testing.assert_allclose(found.attention[row], given / given.sum(), rtol=1e-4)
    assert set(found.agreement) >= {"attention~gradient_x_input", "attention_last~gradient_x_input"}
    predicted = run.predict(TEXTS["single"])
    expected = jax.nn.softmax(GOLDEN["single_logits"], axis=-1)
    np.testing.assert_allclose(predicted.probabilities, expected, atol=1e-5)
    assert predicted.labels == [LABELS[k] for k in GOLDEN["single_logits"].argmax(axis=1)]
    assert "classifier trained elsewhere" in repr(run)
    assert run.results == {}
    assert run.examples() == []
    cut = run.predict(["film " * 30, "good \ud800"])
    assert cut.cut[0] == 8, "24 positions, two of them markers"
    assert "surrogate" in cut.problems[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"architectures": ["BertModel"]}}, r"no BertForSequenceClassification; to tr"),
        ({"config": {"model_type": "roberta"}}, "model_type='roberta'"),
        ({"config": {"architectures": 3}}, "'architectures' is no list"),
        ({"config": {"id2label": None, "num_labels": "2"}}, "'num_labels' is no int"),
        ({"config": {"problem_type": "multi_label_classification"}}, "choose one of several"),
        ({"labels": ("score",)}, "one label, a regression"),
        ({"labels": ("a", "a")}, "names two classes alike"),
        ({"config": {"id2label": {"1": "a", "2": "b"}}}, "must name the classes 0, 1"),
        (
            {"config": {"id2label": {"0": "a", "1": "b", "2": "c"}}},
            r"shape \(2, 32\), where config",
        ),
        (
            {"leave": ["classifier.weight"]},
            r"lacks a pooler or a classifier; to train",
        ),
        ({"leave": ["bert.pooler.dense.weight"]}, "lacks a pooler"),
        ({"leave": ["classifier.bias"]}, r"no tensor 'classifier\.bias'"),
    ],
)
def test_what_is_no_classifier_is_refused(change, message, tmp_path):
    write_classifier(tmp_path / "bert", **change)
    with pytest.raises(UserError, match=message) as refused:
        load_huggingface(tmp_path / "bert")
    assert "\n" not in str(refused.value)


def test_other_tasks_and_questions_are_refused(folder, tmp_path):
    run = loaded(folder, "single")
    for method, message in (
        ("attention_norm", "attention over the encoder's states"),
        ("information", "needs the training examples"),
    ):
        with pytest.raises(UserError, match=message):
            run.explain(["good"], [method])
    with pytest.raises(UserError, match="task is 'qa'"):
        load_huggingface(folder / "single", "qa")
    with pytest.raises(UserError, match="there is no folder"):
        load_huggingface(tmp_path / "nowhere")
    write_classifier(tmp_path / "bare")
    (tmp_path / "bare" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        load_huggingface(tmp_path / "bare")
