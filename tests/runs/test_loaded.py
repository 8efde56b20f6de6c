"""What a loaded run takes for a text."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from helpers import small_model

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.method import Method
from attnjax.config import changed, from_config_dict
from attnjax.data.examples import Example
from attnjax.data.vocabulary import Vocabulary
from attnjax.errors import UserError
from attnjax.runs import texts
from attnjax.runs.explained import of_texts
from attnjax.runs.loaded import Run, compile_in_full, require_list
from attnjax.training.parallel import remembered

FOLDER = epath.Path("run")


def example_of(task, text):
    """What a run of the task, with the labels yes and no, makes of a text."""
    return texts.example_of(7, text, task, ("no", "yes"))


def small_run():
    stages, params = small_model("average")
    config = from_config_dict({"task": "classification", "data": {"source": "files", "path": "x"}})
    words = Vocabulary(("<pad>", "<unk>", "<sos>", "<eos>", "a", "film"))
    compiled = remembered(compile_in_full)
    return Run(params, stages, words, ("no", "maybe", "yes"), config, compiled, FOLDER)


@pytest.mark.parametrize(
    ("task", "text", "expected"),
    [
        ("classification", "a film", ("a film", None, ())),
        ("nli", ("a", "b"), ("a", "b", ())),
        ("nli", ["a", "b"], ("a", "b", ())),
        ("nli", np.array(["a", "b"]), ("a", "b", ())),
        ("qa", (["A.", "B."], "Who?"), ("A. B.", "Who?", ())),
        ("qa", ("A.", "Who?", ["yes", "unseen"]), ("A.", "Who?", ("yes", "unseen"))),
        ("qa", ("A.", "Who?", []), ("A.", "Who?", ())),
    ],
)
def test_texts(task, text, expected):
    assert example_of(task, text) == Example(
        expected[0], expected[1], "", expected[2], place="text 7"
    )


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("classification", ("a", "b"), "text 7 must be a string, not tuple"),
        ("classification", None, "must be a string"),
        ("nli", "ab", r"must be a pair \(premise, hypothesis\)"),
        ("nli", ("a", "b", "yes"), "must be a pair"),  # a label: what is to be predicted
        ("nli", ("a",), "must be a pair"),
        ("nli", {"premise": "a", "hypothesis": "b"}, "must be a pair"),  # its keys are no texts
        ("nli", {"a", "b"}, "must be a pair"),  # in which order?
        ("nli", ("a", None), "not None"),
        ("nli", ("a", 5), "not 5"),
        ("nli", 5, "must be a pair"),
        ("qa", ("a", "b", "yes"), "candidates are a list"),
        ("qa", ("a", "b", ["unseen"]), "some of which are known"),
        ("qa", ("a", "b", [1]), "texts or lists of texts"),
        ("qa", ("a", "b", None), "texts or lists of texts"),
    ],
)
def test_what_is_no_text(task, text, message):
    with pytest.raises(UserError, match=message):
        example_of(task, text)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("predict", ["a"], "takes a list of texts, not 'a'"),
        ("explain", ["a"], "takes a list of texts, not 'a'"),
        ("explain", [["a"], "gradient"], "takes a list of methods, not 'gradient'"),
        ("explain", [["a \ud83d film"]], "text 0 has half of a surrogate pair"),
        ("predict", [["a \ud83d film"]], "text 0 has half of a surrogate pair"),
    ],
)
def test_what_is_no_list_of_texts_or_methods(method, arguments, message):
    with pytest.raises(UserError, match=message):
        getattr(small_run(), method)(*arguments)


def test_a_text_that_cannot_be_read_is_marked(caplog):
    found = small_run().predict(["a film", "", None, "film", "\ud83d"])
    assert [label is None for label in found.labels] == [False, True, True, False, True]
    assert np.isnan(found.probabilities).all(axis=1).tolist() == [False, True, True, False, True]
    assert found.problems[1:3] == [
        "text 1 has no token; leave it out",
        "text 2 must be a string, not NoneType",
    ]
    assert found.problems[0] == ""
    assert "3 of 5 texts cannot be read" in caplog.text
    alone = small_run().predict(["film"])
    np.testing.assert_allclose(found.probabilities[3], alone.probabilities[0], rtol=1e-6)


def test_what_is_cut_is_told(caplog):
    run = small_run()
    run = run._replace(config=changed(run.config, {"data.max_length": 2}))
    assert run.predict(["a film a film", "a"]).cut == [2, 0]
    assert "1 of 2 texts have more than data.max_length=2 words" in caplog.text


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["gradiant"], "no importance method 'gradiant'; did you mean 'gradient'"),
        (["filters"], "'filters' is defined for the encoders cnn, and model.encoder is 'bilstm'"),
    ],
)
def test_methods_that_cannot_explain_this_model(monkeypatch, methods, message):
    monkeypatch.setitem(METHODS, "filters", Method(print, encoders=("cnn",)))
    with pytest.raises(UserError, match=message):
        small_run().explain(["a film"], methods=methods)


def test_a_fitted_method_has_no_training_data_here(monkeypatch):
    monkeypatch.setitem(METHODS, "patterns", Method(print, fit=print))
    with pytest.raises(UserError, match="'patterns' is fitted on training data, which is not at"):
        small_run().explain(["a film"], methods=["patterns"])


def test_what_needs_training_examples_is_left_out_of_texts_with_a_line(caplog):
    run = small_run()
    questions = ("prototypes", "permutation", "usable_information", "flips")
    asked = {"questions": questions, "methods": ("gradient", "information", "mask_model")}
    settings = dataclasses.replace(run.config.analysis, permutations=2, **asked)
    settings = dataclasses.replace(settings, flip_prior=1.0, pairs=("information~gradient",))
    left = of_texts(settings)
    told = "analysis: information, mask_model, flips, prototypes, usable_information: need the"
    assert told in caplog.text
    assert left.questions == ("permutation",)
    assert left.methods == ("gradient",)
    assert left.pairs == ("attention",)
    found = run.study_examples([Example("a film", None, "", place="text 0")], left)
    assert "permutation" in found.found.found
    caplog.clear()
    assert of_texts(left) == left
    assert not caplog.text


def test_what_is_drawn_for_a_text_hangs_on_its_own_place():
    run = small_run()
    texts = ["good film", "a film good a film"]
    whole, marked = (run.explain([one, texts[1]], ["lime"]) for one in (texts[0], None))
    np.testing.assert_allclose(whole.importance["lime"][1], marked.importance["lime"][1], rtol=1e-6)


@pytest.mark.parametrize("value", [None, 5, "a", b"a", {"text": "a"}])
def test_what_is_no_list(value):
    with pytest.raises(UserError, match="explain takes a list of texts, not "):
        require_list("explain", "texts", value)


@pytest.mark.parametrize(("set_before", "expected"), [(None, "HIGHEST"), ("high", "HIGH")])
def test_products_keep_all_digits_unless_the_user_says_otherwise(set_before, expected):
    with jax.default_matmul_precision(set_before):
        found = jax.make_jaxpr(compile_in_full(lambda a: a @ a))(jnp.ones((2, 2)))
    assert f"precision=(Precision.{expected}, Precision.{expected})" in str(found)
