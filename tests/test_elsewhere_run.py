"""A classifier of elsewhere analysed by the command: its folder of results, and what is refused."""

import json
import shutil
import sys

import numpy as np
import pytest
from bert_folder import write_classifier
from helpers import write_data

import attnjax
from attnjax.analyze import main as analyze
from attnjax.compare import main as compare
from attnjax.errors import UserError
from attnjax.main import main

KINDS = ("attention", "attention_last", "rollout", "norm_attention", "alti")


def call(*arguments):
    return analyze(["attnjax analyze", "--config.train.keep_heap=False", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(once):
    """data/, bert/ and out/, which one command has made of both."""

    def make(folder):
        write_data(folder / "data")
        write_classifier(folder / "bert")
        assert (
            call(
                f"--pretrained={folder / 'bert'}",
                f"--workdir={folder / 'out'}",
                f"--config.data.path={folder / 'data'}",
                "--config.analysis.methods=attention_last,rollout,norm_attention,alti,lrp",
                "--config.analysis.questions=agreement,faithfulness,robustness,layers",
                "--config.analysis.robustness=1.0",
                "--config.analysis.examples=12",
            )
            == 0
        )

    return once("elsewhere", make)


@pytest.mark.slow
def test_the_folder_is_that_of_a_run(made, tmp_path):
    """Results, report, examples; loaded, compared and analysed again without the command's data."""
    out = shutil.copytree(made / "out", tmp_path / "out")
    results = json.loads((out / "results.json").read_text())
    analysis = results["analysis"]
    assert {f"{kind}~lrp" for kind in KINDS} <= set(analysis["agreement"])
    assert set(results["robustness"]) == {"epsilon", "word_random", "word_worst"}
    assert set(analysis["faithfulness"]) == {*KINDS, "lrp", "random"}
    assert results["test"]["examples"] == 40
    assert set(results["data"]["splits"]) == {"test"}
    notes = " ".join(results["data"]["notes"])
    assert "0 is 'negative', 1 is 'positive'" in notes
    assert "what [CLS] gives each word" in notes
    report = (out / "report.html").read_text()
    assert "attention is what [CLS] gives each word in the last layer" in report
    assert f"--pretrained={made / 'bert'}" in report
    assert not (out / "checkpoints").exists()
    rows = [json.loads(each) for each in (out / "analysis/examples.jsonl").read_text().splitlines()]
    run = attnjax.load_run(out)
    texts = [" ".join(each["tokens"]) for each in rows]
    predicted = run.predict(texts)
    expected = [each["probabilities"] for each in rows]
    np.testing.assert_allclose(predicted.probabilities, expected, atol=1e-5)
    raw = attnjax.load_huggingface(made / "bert").predict(texts)
    np.testing.assert_allclose(raw.probabilities, expected, atol=1e-5)
    assert call(f"--workdir={out}", "--config.analysis.methods=alti,gradient") == 0
    again = json.loads((out / "results.json").read_text())
    assert "alti~gradient" in again["analysis"]["agreement"]
    assert again["test"] == results["test"]
    arguments = ["attnjax compare", str(out), str(made / "out"), f"--out={tmp_path / 'compared'}"]
    assert compare(arguments) == 0


@pytest.mark.slow
def test_other_files_of_the_model_are_refused(made, tmp_path, capsys):
    """The weights lie in the model's folder alone, and are known by their sums."""
    out = shutil.copytree(made / "out", tmp_path / "out")
    moved = shutil.copytree(made / "bert", tmp_path / "moved")
    assert attnjax.load_run(out, pretrained=str(moved)).labels == ("negative", "positive")
    write_classifier(moved, ("negative", "fine"))
    with pytest.raises(UserError, match=r"config\.json in .*moved is not what .*out was analysed"):
        attnjax.load_run(out, pretrained=str(moved))
    data = f"--config.data.path={made / 'data'}"
    assert call(f"--pretrained={moved}", f"--workdir={out}", data) == 2
    assert "holds a run of another model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config.analysis.questions=permutation"], "attention over the encoder's states"),
        (["--config.analysis.questions=influence"], "needs the training examples"),
        (["--config.analysis.questions=prototypes"], "vectors of words"),
        (
            ["--config.analysis.questions=flips", "--config.analysis.flip_prior=2"],
            "analysis.flip_prior=2 needs the training examples",
        ),
        (["--config.analysis.methods=attention_norm"], "attention over the encoder's states"),
        (["--config.task=qa"], "task='qa' has answers"),
        (["--config.model.layers=3"], "model.layers=3 does not go with --pretrained"),
        (["--config.train.epochs=3"], "which trains nothing"),
        (["--config.data.min_count=3"], "data.min_count=3 does not go with --pretrained"),
        (["--text=good"], "--text is for a run that is there"),
        (["--config.data.fields.rationale=why"], "counts words as this package"),
        (["--config.data.path=nowhere"], "there is no folder"),
        (["--pretrained=nowhere"], "there is no folder"),
    ],
)
def test_bad_input_is_one_line(more, message, tmp_path, capsys):
    write_classifier(tmp_path / "bert")
    write_data(tmp_path / "data")
    path = [f"--config.data.path={tmp_path / 'data'}"]
    given = [f"--pretrained={tmp_path / 'bert'}", *path, f"--workdir={tmp_path / 'out'}", *more]
    assert call(*given) == 2
    _one_line(capsys, message)


@pytest.mark.parametrize(
    ("labels", "leave", "missing", "message"),
    [
        (("bad", "good", "none"), [], "", "0, 1"),
        (("score",), [], "", "one label, a regression"),
        (("a", "b"), ["classifier.weight"], "", "to train a classifier on its encoder here"),
        (("a", "b"), [], "model.safetensors", r"has no model.safetensors"),
        (("a", "b"), [], "vocab.txt", "neither tokenizer.json nor vocab.txt"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(
    labels, leave, missing, message, tmp_path, capsys
):
    write_classifier(tmp_path / "bert", labels, leave=leave)
    if missing:
        (tmp_path / "bert" / missing).unlink()
    (tmp_path / "data.jsonl").write_text('{"text": "good", "label": "x"}\n')
    data = f"--config.data.path={tmp_path / 'data.jsonl'}"
    assert call(f"--pretrained={tmp_path / 'bert'}", data, f"--workdir={tmp_path / 'out'}") == 2
    _one_line(capsys, "make them the same" if message == "0, 1" else message)


def test_what_is_missing_is_one_line(tmp_path, monkeypatch, capsys):
    write_classifier(tmp_path / "bert")
    assert call(f"--pretrained={tmp_path / 'bert'}") == 2
    _one_line(capsys, "needs the data to analyse its model on")
    assert call() == 2
    _one_line(capsys, "analyze needs --workdir=DIR")
    line = ["attnjax", f"--config.model.pretrained={tmp_path / 'bert'}", "--config.task=nli"]
    line += ["--config.model.encoder=bert", "--config.model.attention=cls"]
    line += [
        "--config.data.source=files",
        "--config.data.path=x",
        "--config.analysis.questions=agreement",
    ]
    assert main([*line, f"--workdir={tmp_path / 'out'}"]) == 2
    _one_line(capsys, "to train on a pretrained encoder, leave model.attention out")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert call(f"--pretrained={tmp_path / 'bert'}", "--config.data.path=x") == 2
    _one_line(capsys, "attnjax[bert]")


def _one_line(capsys, message):
    lines = capsys.readouterr().err.strip().splitlines()
    wrong = [each for each in lines if "attnjax: error" in each]
    assert len(wrong) == 1
    assert message in wrong[0]
    assert not any("Traceback" in each for each in lines)
