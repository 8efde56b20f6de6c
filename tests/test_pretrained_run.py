"""Runs with a pretrained encoder: trained, loaded, explained, resumed, and refused in one line."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bert_folder import write_folder
from helpers import arguments, write_data

import attnjax
from attnjax.analyze import main as analyze
from attnjax.config import from_config_dict
from attnjax.data.dataset import load_dataset
from attnjax.errors import UserError
from attnjax.main import main
from attnjax.pipeline import model_of
from attnjax.training.optimizer import make_optimizer
from attnjax.training.setup import hparams_of, starting_state, step_of, training_batches

METHODS = ("gradient_x_input", "leave_one_out", "lrp", "rollout", "alti")


def line(folder, workdir, *more):
    """The command line of a run that takes seconds."""
    given = arguments(folder / "data", workdir)
    return [
        *(each for each in given if "hidden_dim" not in each and "embed_dim" not in each),
        "--config.model.encoder=bert",
        f"--config.model.pretrained={folder / 'bert'}",
        "--config.model.freeze_encoder=True",
        f"--config.analysis.methods={','.join(METHODS)}",
        "--config.analysis.questions=agreement,layers",
        "--config.analysis.examples=12",
        *more,
    ]


@pytest.fixture(scope="module")
def folder(once):
    """data/, bert/ and run/, which one command has trained."""

    def make(folder):
        write_data(folder / "data")
        write_folder(folder / "bert")
        assert main(["attnjax", *line(folder, folder / "run")]) == 0

    return once("pretrained", make)


def config_of(folder, **train):
    model = {"encoder": "bert", "pretrained": str(folder / "bert")}
    data = {"source": "files", "path": str(folder / "data")}
    return from_config_dict(
        {"task": "classification", "data": data, "model": model, "train": train}
    )


@pytest.mark.slow
def test_a_run_is_trained_and_explained_by_words(folder):
    """Frozen: the encoder's parameters are the folder's; unseen words are read by their pieces."""
    results = json.loads((folder / "run" / "results.json").read_text())
    assert results["test"]["auc"] > 0.7, "of a random encoder, whose head alone is trained"
    assert set(results["analysis"]["exactness"]) >= {"lrp"}
    rows = [
        json.loads(each)
        for each in (folder / "run" / "analysis" / "examples.jsonl").read_text().splitlines()
    ]
    assert len(rows) == 12
    for row in rows:
        assert all(len(row["importance"][name]) == len(row["tokens"]) for name in METHODS)
    run = attnjax.load_run(folder / "run")
    config = config_of(folder)
    start = starting_state(config, load_dataset(config), run.stages).params
    for part in ("embed", "encode"):
        jax.tree.map(np.testing.assert_array_equal, run.params[part], start[part])
    texts = ["a goodness 77 film", "badly bad"]
    assert not {"goodness", "77"} & set(run.vocab.tokens)
    found = run.explain(texts, ["gradient_x_input", "attention_last"])
    assert found.tokens == [["a", "goodness", "77", "film"], ["badly", "bad"]]
    assert [len(each) for each in found.importance["gradient_x_input"]] == [4, 2]
    predicted = run.predict([*texts, "good " * 30])
    np.testing.assert_allclose(predicted.probabilities[:2], found.probabilities, atol=1e-5)
    assert predicted.cut == [0, 0, 8], "24 positions, two of them markers"
    other = run.predict(["a wordness 77 film"]).probabilities[0]
    assert np.abs(other - predicted.probabilities[0]).max() > 1e-3, "no word is unknown"
    weights = run.attention(texts).weights
    assert [each.shape for each in weights] == [(2, 4, 6, 6), (2, 4, 4, 4)]
    np.testing.assert_allclose(weights[0].sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_moved_folder_is_named_and_can_be_given(folder, tmp_path, capsys):
    """Loading, resuming and analysing end in one line; analyze takes the new place."""
    run = shutil.copytree(folder / "run", tmp_path / "run")
    moved = shutil.copytree(folder / "bert", tmp_path / "moved")
    config = json.loads((run / "config.json").read_text())
    config["model"]["pretrained"] = str(tmp_path / "gone")
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"there is no folder .*gone; say where it is with"):
        attnjax.load_run(run)
    assert attnjax.load_run(run, pretrained=str(moved)).predict(["good"]).labels == ["1"]
    text = ["attnjax", f"--workdir={run}", "--text=a good film", f"--output={tmp_path / 'out'}"]
    assert analyze(text) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert analyze([*text, f"--config.model.pretrained={moved}"]) == 0
    again = ["attnjax", f"--workdir={run}", f"--config.model.pretrained={moved}"]
    assert analyze([*again, "--config.analysis.methods=lrp"]) == 0
    assert json.loads((run / "results.json").read_text())["pretrained"]["sha256"]["vocab.txt"]
    # Another model's words would be read without a sound: the parameters are the run's own.
    other = shutil.copytree(moved, tmp_path / "other")
    lines = (other / "vocab.txt").read_text().split("\n")
    lines[-3:-1] = lines[-2:-4:-1]
    (other / "vocab.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"vocab.txt in .*other is not what .*run was trained with"):
        attnjax.load_run(run, pretrained=str(other))


@pytest.mark.slow
def test_more_epochs_resume(folder, tmp_path):
    run = shutil.copytree(folder / "run", tmp_path / "run")
    assert main(["attnjax", *line(folder, run, "--config.train.epochs=3")]) == 0
    steps = [json.loads(each)["step"] for each in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 60
    assert steps == sorted(steps), "nothing was trained twice"


def test_fine_tuning_moves_the_encoder_and_a_frozen_one_has_no_moments(folder):
    config = config_of(folder, optimizer="adamw", learning_rate=2e-3, weight_decay=0.1)
    dataset = load_dataset(config)
    stages = model_of(config, dataset)
    state = starting_state(config, dataset, stages)
    batch = next(training_batches(config, dataset))
    with jax.numpy_dtype_promotion("standard"):  # Optax's own arithmetic is not strict
        after, sums = jax.jit(step_of(config, dataset, stages))(state, batch, hparams_of(config))
    assert np.isfinite(sums["loss"])
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
    assert all(jax.tree.leaves(moved["encode"]["text"]["layers"]["wide"]))
    model = dataclasses.replace(config.model, freeze_encoder=True)
    frozen = starting_state(dataclasses.replace(config, model=model), dataset, stages)
    count = len(jax.tree.leaves(frozen.opt_state))
    assert count < len(jax.tree.leaves(frozen.params["encode"]))


def test_adamw_takes_its_decay_beside_the_step():
    """The first step is the sign of the gradient, plus decay times the weight; biases have none."""
    config = from_config_dict({"train": {"optimizer": "adamw", "weight_decay": 0.1}}).train
    params = {
        "encode": {"kernel": jnp.full(2, 3.0), "bias": jnp.full(2, 3.0)},
        "score": {"kernel": jnp.full(2, 3.0)},
    }
    optimizer = make_optimizer(config)
    gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.5), params)
    with jax.numpy_dtype_promotion("standard"):  # Optax's own arithmetic is not strict
        found, _ = optimizer.update(gradient, optimizer.init(params), params)
    np.testing.assert_allclose(found["encode"]["kernel"], 1.3, rtol=1e-4)
    np.testing.assert_allclose(found["encode"]["bias"], 1.0, rtol=1e-4)
    np.testing.assert_allclose(found["score"]["kernel"], 1.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"pretrained": "x"}},
            "pretrained is for --config.model.encoder=bert",
        ),
        ({"model": {"freeze_encoder": True}}, "model.freeze_encoder is for"),
        ({"model": {"encoder": "bert"}}, "name its folder"),
        ({"model": {"encoder": "brt"}}, "did you mean 'bert'"),
        ({"data": {"vectors": "x.vec"}}, "data.vectors='x.vec' does not go with"),
        ({"adversary": {"technique": "word_iat"}}, "adversary.technique has 'word_iat'"),
        ({"analysis": {"questions": ["prototypes"]}}, "analysis.questions has 'prototypes'"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    model = {} if "model" in changes else {"encoder": "bert", "pretrained": "x"}
    with pytest.raises(UserError, match=message):
        from_config_dict({"model": model, **changes})
