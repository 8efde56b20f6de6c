"""Defaults, types and ranges of the configuration, and the files in configs/."""

import dataclasses
import importlib.util
import pathlib

import pytest
from ml_collections import ConfigDict

from attnjax.config import (
    RunConfig,
    default_config,
    field_names,
    flatten,
    from_config_dict,
    to_dict,
)
from attnjax.errors import UserError

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))


def test_round_trip():
    assert from_config_dict(default_config()) == RunConfig()
    assert hash(RunConfig()) == hash(from_config_dict(to_dict(RunConfig())))
    assert sorted(flatten(to_dict(RunConfig()))) == sorted(field_names())


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


def changed(name, value):
    raw = to_dict(RunConfig())
    group = raw
    *parts, last = name.split(".")
    for part in parts:
        group = group[part]
    group[last] = value
    return raw


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.encodr", "cnn", "no field 'model.encodr'; did you mean 'model.encoder'"),
        ("model.encoder", "bilstn", "'bilstn'; did you mean 'bilstm'"),
        ("train.epochs", "many", "'train.epochs' must be a int"),
        ("train.epochs", True, "'train.epochs' must be a int"),
        ("train.epochs", 0, "'train.epochs' must be at least 1"),
        ("train.learning_rate", float("nan"), "'train.learning_rate' must be at least 0"),
        ("adversary.epsilon", -1.0, "'adversary.epsilon' must be at least 0"),
        ("adversary.epsilon", 1e16, "'adversary.epsilon' must be at most 1e"),
        ("analysis.robustness", (1.0, 1e20), "lists norms from 0 to 1e"),
        ("adversary.epsilon", float("nan"), "'adversary.epsilon' must be at least 0"),
        ("data", 3, "'data' is a group"),
        ("data.train_examples", 0, "positive, or -1"),
        ("data.validation_fraction", 1.5, "between 0 and 1"),
        ("data.name", "4", "'data.name' is '4'"),
        ("data.source", "files", "--config.data.path=DIR"),
        ("data.max_length", 0, "positive, or -1"),
        ("analysis.methods", ("gradiant",), "did you mean 'gradient'"),
        ("task", "nli", "'babi_simulator' is a qa task"),
        ("seed", 2**32, "'seed' must be below 2.32"),
    ],
)
def test_mistakes_are_named(name, value, message):
    with pytest.raises(UserError, match=message):
        from_config_dict(changed(name, value))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [  # as ml_collections hands over what the command line says
        ("analysis.methods", ("gradient,leave_one_out",), ("gradient", "leave_one_out")),
        ("analysis.methods", ("gradient",), ("gradient",)),
        ("data.labels", (0, 1), ("0", "1")),
        ("data.labels", 1, ("1",)),
        ("data.labels", ("a, b", "c"), ("a, b", "c")),
        ("analysis.robustness", ("",), ()),
        ("analysis.robustness", (0.1, 3), (0.1, 3.0)),
    ],
)
def test_lists(name, value, expected):
    found = from_config_dict(changed(name, value))
    for part in name.split("."):
        found = getattr(found, part)
    assert found == expected


def test_average_is_wide_enough_for_its_attention():
    raw = changed("model.encoder", "average")
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
    raw = changed("data.unlabelled", "more.jsonl")
    with pytest.raises(UserError, match="needs a virtual technique"):
        from_config_dict(raw)
