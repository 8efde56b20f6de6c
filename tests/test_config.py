"""Defaults, types and ranges of the configuration, and the files in configs/."""

import dataclasses
import importlib.util
import math
import pathlib
from functools import reduce
from operator import attrgetter, getitem

import pytest
from ml_collections import ConfigDict

from attnjax.analysis.importance import METHODS
from attnjax.analysis.importance.method import Method
from attnjax.analysis.questions import QUESTIONS
from attnjax.config import (
    OPTIONS,
    RunConfig,
    changed,
    default_config,
    differences,
    flatten,
    from_config_dict,
    to_dict,
)
from attnjax.errors import UserError
from attnjax.fields import REGISTERED
from attnjax.model.layers import ATTENTIONS, ENCODERS
from attnjax.model_checks import ABOUT_LAYERS
from attnjax.perturb.ascent import random_perturbation
from attnjax.perturb.techniques import TECHNIQUES, Technique
from attnjax.sweeps.points import SWEPT
from attnjax.types import HParams

PAIRS = ("attention", "leave_one_out~gradient")
CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("[!_]*.py"))


def test_round_trip():
    assert from_config_dict(default_config()) == RunConfig()
    assert hash(RunConfig()) == hash(from_config_dict(to_dict(RunConfig())))
    assert sorted(flatten(to_dict(RunConfig()))) == sorted(OPTIONS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_is_valid_and_documented(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    assert isinstance(config, ConfigDict)
    if config.data.source == "files":
        config.data.path = "some/folder"
    from_config_dict(config)
    assert f"python -m attnjax.main --config=configs/{path.name}" in module.__doc__
    assert "2-core CPU" in module.__doc__, "time and score, or that they were not measured"


def raw_with(name, value):
    raw = to_dict(RunConfig())
    *parts, last = name.split(".")
    reduce(getitem, parts, raw)[last] = value
    return raw


def test_every_field_says_what_it_is():
    for name, option in OPTIONS.items():
        assert option.meaning, name
        assert attrgetter(name)(RunConfig()) == option.default
        kind = option.default[0] if option.default and option.lists else option.default
        number = type(kind) in (int, float) or bool(option.lists)
        lower = max(option.least, option.above)
        assert number == (lower > -math.inf), f"{name} needs a lower bound"
        assert number == (min(option.most, option.below) < math.inf), f"{name} needs an upper bound"
        assert lower <= min(option.most, option.below)
    assert {name for name, option in OPTIONS.items() if option.registered} == set(REGISTERED)
    assert {
        "model.encoder": ENCODERS,
        "model.attention": ATTENTIONS,
        "adversary.technique": TECHNIQUES,
        "analysis.methods": METHODS,
        "analysis.questions": QUESTIONS,
    } == REGISTERED


def test_the_roles_of_the_fields():
    """What commands allow follows from these: a field more or less is a decision, no slip."""
    pace = "log_steps checkpoint_steps parallel devices tensorboard profile_steps encodings_gib"
    roles = {
        "resumable": {"train.epochs", "train.patience"},
        "incidental": {
            *(f"train.{name}" for name in (*pace.split(), "compile_cache", "keep_heap")),
            *("analysis.chunk_size", "model.rematerialize"),
            *("data.fields.rationale", "data.fields.tokens"),
        },
        "own": {
            *("data.path", "data.vectors", "data.unlabelled"),
            *("train.compile_cache", "train.keep_heap"),
            *("analysis.flip_costs", "analysis.concepts", "model.pretrained"),
            "model.monotonic",
        },
        "swept": {
            *("adversary.epsilon", "adversary.weight"),
            *("relevance.weight", "train.learning_rate"),
        },
    }
    for role, names in roles.items():
        assert {name for name, option in OPTIONS.items() if getattr(option, role)} == names
    assert set(SWEPT) == set(HParams._fields)
    assert list(SWEPT) == ["epsilon", "weight", "relevance", "learning_rate"]  # seeds the draws


def test_changes_and_differences_are_inverse():
    values = {"seed": 3, "data.fields.text": "body", "train.epochs": 2, "train.patience": 1}
    other = changed(RunConfig(), values)
    assert other.data.fields.text == "body"
    found = differences(RunConfig(), other)
    assert found == {name: (OPTIONS[name].default, value) for name, value in values.items()}
    assert changed(other, {name: OPTIONS[name].default for name in values}) == RunConfig()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.encodr", "cnn", "no field 'model.encodr'; did you mean 'model.encoder'"),
        ("model.encoder", "bilstn", "'bilstn'; did you mean 'bilstm'"),
        ("train.epochs", "many", "'train.epochs' must be a int"),
        ("train.epochs", True, "'train.epochs' must be a int"),
        ("train.epochs", 0, "'train.epochs' must be at least 1"),
        ("train.learning_rate", float("nan"), "'train.learning_rate' must be a number, not nan"),
        ("adversary.epsilon", -1.0, "'adversary.epsilon' must be at least 0"),
        ("adversary.epsilon", 1e16, "'adversary.epsilon' must be at most 1e"),
        ("analysis.robustness", (1.0, 1e20), "lists norms from 0 to 1e"),
        ("adversary.epsilon", float("nan"), "'adversary.epsilon' must be a number, not nan"),
        ("data", 3, "'data' is a group"),
        ("data.train_examples", 0, "positive, or -1"),
        ("data.validation_fraction", 1.5, "between 0 and 1"),
        ("data.name", "4", "'data.name' is '4'"),
        ("data.source", "files", "--config.data.path=DIR"),
        ("data.max_length", 0, "positive, or -1"),
        ("analysis.methods", ("gradiant",), "did you mean 'gradient'"),
        ("analysis.questions", ("agreemnt",), "is 'agreemnt'; did you mean 'agreement'"),
        ("analysis.pairs", ("gradient",), "lists attention, all, or two of attention, gradient"),
        ("analysis.pairs", ("gradient~gradient",), "joined by ~, not 'gradient~gradient'$"),
        ("analysis.pairs", ("attention~gradiant",), "names 'gradiant', which this run does not"),
        ("analysis.pairs", ("lime~attention",), "names 'lime', which this run does not explain"),
        ("analysis.questions", ("concepts",), "name one with --config.analysis.concepts=FILE"),
        ("analysis.questions", ("known_word",), "'reverse_simulator' alone, not of 'babi_sim"),
        ("analysis.information_state", "layer_3", "'layer_3', which the encoder 'bilstm' lacks; "),
        ("analysis.information_state", "", "lacks; it has embedding, encoder, context, logits$"),
        ("analysis.information_rate", 0.0, "information_rate' must lie between 0 and 1, not 0.0$"),
        ("analysis.information_rate", 1.0, "information_rate' must lie between 0 and 1, not 1.0$"),
        ("task", "nli", "'babi_simulator' is a qa task"),
        ("seed", 2**32, "'seed' must be below 2.32, not 4294967296$"),
        ("seed", -1, "'seed' must be at least 0, not -1$"),
        ("train.epochs", 10**30, f"'train.epochs' must be at most 1,000,000, not {10**30}$"),
        ("model.embed_dim", 2**70, f"'model.embed_dim' must be at most 100,000, not {2**70}$"),
        ("analysis.permutations", 10**12, "must be at most 1,000,000, not 1000000000000$"),
        ("analysis.adversaries", 10**9, "must be at most 10,000, not 1000000000$"),
        ("analysis.examples", -2, "'analysis.examples' must be positive, or -1 for all, not -2$"),
        ("analysis.robustness", (1.0, float("nan")), "lists norms from 0 to 1e"),
        ("train.embed_dropout", 1.0, "'train.embed_dropout' must be below 1, not 1.0$"),
        ("train.profile_steps", (0, 3), "lists the first and the last step to trace from 1 to"),
    ],
)
def test_mistakes_are_named(name, value, message):
    with pytest.raises(UserError, match=message):
        from_config_dict(raw_with(name, value))


@pytest.mark.parametrize(
    ("scope", "attention", "message"),
    [
        ("last_layer", "additive", "set analysis.influence_scope to all, or to tracin$"),
        ("all", "uniform", "of model.attention=uniform is made by nothing"),
    ],
)
def test_attention_is_influenced_where_something_makes_it(scope, attention, message):
    raw = raw_with("analysis.questions", ("influence",))
    raw["model"]["attention"] = attention
    raw["analysis"] |= {"influence_scope": scope, "influence_target": "attention"}
    with pytest.raises(UserError, match=message):
        from_config_dict(raw)
    raw["analysis"]["influence_target"] = "loss"
    from_config_dict(raw)


def test_no_number_may_be_infinite_or_none():
    numbers = [name for name, option in OPTIONS.items() if isinstance(option.default, float)]
    assert len(numbers) > 8
    for name in numbers:
        for value in (float("inf"), float("-inf"), float("nan")):
            with pytest.raises(UserError, match=rf"'{name}' must (be|lie) .* not {value}$"):
                from_config_dict(raw_with(name, value))


def test_a_number_of_five_thousand_digits_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"'train.epochs' is larger than any number"):
        from_config_dict(raw_with("train.epochs", 10**5000))
    with pytest.raises(UserError, match=r"'train.learning_rate' must be at most 1e\+38, not inf$"):
        from_config_dict(raw_with("train.learning_rate", 10**5000))


def test_the_bounds_themselves_are_allowed():
    for name, option in OPTIONS.items():
        for value in (option.least, option.most):
            if math.isfinite(value) and not option.lists:
                raw = raw_with(name, type(option.default)(value))
                raw["data"]["unlabelled"] = "more.jsonl"  # which a batch takes some of
                raw["adversary"]["technique"] = "attention_vat"
                if name in ABOUT_LAYERS:
                    raw["model"]["encoder"] = "transformer"
                assert attrgetter(name)(from_config_dict(raw)) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [  # as ml_collections hands over what the command line says
        ("analysis.methods", ("gradient,leave_one_out",), ("gradient", "leave_one_out")),
        ("analysis.methods", ("gradient",), ("gradient",)),
        ("analysis.questions", ("",), ()),
        ("analysis.pairs", ("all",), ("all",)),
        ("analysis.pairs", ("attention,leave_one_out~gradient",), PAIRS),
        ("data.labels", (0, 1), ("0", "1")),
        ("data.labels", 1, ("1",)),
        ("data.labels", ("a, b", "c"), ("a, b", "c")),
        ("analysis.robustness", ("",), ()),
        ("analysis.robustness", (0.1, 3), (0.1, 3.0)),
    ],
)
def test_lists(name, value, expected):
    found = from_config_dict(raw_with(name, value))
    for part in name.split("."):
        found = getattr(found, part)
    assert found == expected


def test_a_table_owns_its_names(monkeypatch):
    mine = Technique("attention", random_perturbation, virtual=True)
    monkeypatch.setitem(TECHNIQUES, "mine", mine)
    raw = raw_with("data.unlabelled", "more.jsonl")
    raw["adversary"]["technique"] = "mine"
    assert from_config_dict(raw).adversary.technique == "mine"
    monkeypatch.setitem(TECHNIQUES, "wordvat", mine._replace(virtual=False))
    raw["adversary"]["technique"] = "wordvat"
    with pytest.raises(UserError, match="needs a virtual technique"):
        from_config_dict(raw)
    monkeypatch.delitem(REGISTERED, "adversary.technique")  # as where no table is loaded
    raw["adversary"]["technique"] = "somebodys"
    assert from_config_dict(raw).adversary.technique == "somebodys"


def test_a_method_may_be_for_some_encoders_alone(monkeypatch):
    monkeypatch.setitem(METHODS, "filters", Method(print, encoders=("cnn", "average")))
    raw = raw_with("analysis.methods", ("gradient", "filters"))
    with pytest.raises(UserError, match="'filters' is defined for the encoders cnn, average, and"):
        from_config_dict(raw)
    raw["model"]["encoder"] = "cnn"
    assert from_config_dict(raw).analysis.methods == ("gradient", "filters")
    raw = raw_with("analysis.questions", ("agreement", "layers"))
    with pytest.raises(
        UserError, match=r"question 'layers' .* leave it out of analysis\.questions"
    ):
        from_config_dict(raw)


def test_average_is_wide_enough_for_its_attention():
    raw = raw_with("model.encoder", "average")
    raw["model"]["hidden_dim"] = 1
    with pytest.raises(UserError, match="at least 2"):
        from_config_dict(raw)
    raw["model"]["attention"] = "dot"
    assert from_config_dict(raw).model.hidden_dim == 1


def test_cnn_shares_its_filters_among_four_widths():
    run = dataclasses.replace(
        RunConfig(), model=dataclasses.replace(RunConfig().model, encoder="cnn", hidden_dim=30)
    )
    with pytest.raises(UserError, match="multiple of 4"):
        from_config_dict(to_dict(run))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"technique": "word_at", "reference_compat": "amep"},
            "released code has no word_at for qa",
        ),
        ({"technique": "attention_at", "reference_compat": "amp"}, "did you mean 'amep'"),
        ({"technique": "attention_vat", "unlabelled_batch": 8}, "there are none; name their file"),
        ({"technique": "atention_at"}, "did you mean 'attention_at'"),
        ({"technique": "attention_iat", "alpha_axis": "words"}, "did you mean 'word'"),
        ({"technique": "attention_vat", "xi": 0.0}, "'adversary.xi' must be at least"),
    ],
)
def test_adversary_mistakes_are_named(overrides, message):
    raw = to_dict(RunConfig())
    raw["adversary"].update(overrides)
    with pytest.raises(UserError, match=message):
        from_config_dict(raw)


def test_unlabelled_texts_need_a_virtual_technique():
    raw = raw_with("data.unlabelled", "more.jsonl")
    with pytest.raises(UserError, match="needs a virtual technique"):
        from_config_dict(raw)


@pytest.mark.parametrize(("name", "cut", "words"), [("8", 5, 8), ("2", 3, 4)])
def test_a_word_that_must_be_known_is_not_cut_off(name, cut, words):
    data = {"source": "reverse_simulator", "name": name}
    asked = {"task": "qa", "analysis": {"questions": ("known_word",), "methods": ("gradient",)}}
    from_config_dict({**asked, "data": {**data, "max_length": words}})
    with pytest.raises(UserError, match=f"max_length={cut} cuts texts or queries of {words} words"):
        from_config_dict({**asked, "data": {**data, "max_length": cut}})
