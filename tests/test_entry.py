"""The command `attnjax`, what ships with it, and its public names."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

import attnjax
from attnjax import shipped
from attnjax.__main__ import LONG, SHORT, main
from attnjax.config import OPTIONS
from attnjax.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_every_configuration_is_listed_with_what_it_is(capsys):
    assert main(["attnjax", "configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == shipped.names()
    assert {"sst", "snli", "babi", "custom"} <= set(shipped.names())
    assert all(len(line.split()) > 3 for line in lines)


def test_one_configuration_is_printed_whole(capsys):
    assert main(["attnjax", "configs", "sst"]) == 0
    assert capsys.readouterr().out == (ROOT / "configs" / "sst.py").read_text()


@pytest.mark.parametrize("wanted", ["sst", "sst.py"])
def test_a_shipped_configuration_is_found_by_name_from_anywhere(wanted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.find(wanted).samefile(ROOT / "configs" / "sst.py")
    own = tmp_path / wanted
    own.write_text("")
    assert shipped.find(wanted).samefile(own)  # the user's comes first


@pytest.mark.parametrize("wanted", ["nope", "configs/nope.py", "other/sst", "", "__init__"])
def test_a_wrong_name_lists_those_there_are(wanted):
    with pytest.raises(UserError, match=r"does not exist; .* agnews, babi, .*, sst"):
        shipped.find(wanted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["frobnicate"], "no command 'frobnicate'; there are train, analyze"),
        (["configs", "nope"], "nope does not exist"),
        (["configs", "sst", "babi"], "unexpected argument 'babi'; usage: attnjax configs"),
        (["notebook", "--here"], "unexpected argument '--here'"),
        (["completion"], "needs a shell: bash or zsh"),
        (["completion", "fish"], "needs a shell: bash or zsh"),
        (["train", "--config=nope"], "nope does not exist"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main(["attnjax", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("attnjax: error: ")
    assert told.count("\n") == 1
    assert message in told


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(arguments, capsys):
    assert main(["attnjax", *arguments]) == 0
    told = capsys.readouterr().out
    assert all(f"attnjax {name}" in told for name in (*LONG, *SHORT))


def test_version(capsys):
    assert main(["attnjax", "--version"]) == 0
    assert capsys.readouterr().out.split()[0] == "attnjax"


def completed(line, tmp_path):
    """What bash offers where the cursor stands behind the line."""
    script = tmp_path / "script"
    if not script.exists():
        script.write_text(_completion("bash"))
    command = (
        f"source {script}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; compopt() {{ :; }}; "
        '_attnjax; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert not found.stderr
    return found.stdout.split()


def _completion(shell):
    from attnjax.completion import script

    return script(shell, [*LONG, *SHORT])


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
def test_bash_completes_commands_fields_and_choices(tmp_path):
    assert completed("attnjax ", tmp_path) == [*LONG, *SHORT]
    assert completed("attnjax tr", tmp_path) == ["train"]
    assert completed("attnjax train --config=s", tmp_path) == ["snli", "sst"]
    found = completed("attnjax train --config.model.", tmp_path)
    assert found == [f"--config.{name}=" for name in OPTIONS if name.startswith("model.")]
    assert "bilstm" in completed("attnjax train --config.model.encoder=", tmp_path)
    several = completed("attnjax train --config.analysis.methods=gradient,shap", tmp_path)
    assert several == ["gradient,shapley"]
    assert completed("attnjax sweep --sweep.eps", tmp_path) == ["--sweep.epsilon="]


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_zsh_can_read_its_script(tmp_path):
    (tmp_path / "script").write_text(_completion("zsh"))
    subprocess.run(["zsh", "-n", tmp_path / "script"], check=True)


def test_the_notebook_is_written_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["attnjax", "notebook"]) == 0
    notebook = json.loads((tmp_path / "attention.ipynb").read_text())
    assert notebook["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    (tmp_path / "attention.ipynb").write_text("mine")
    assert main(["attnjax", "notebook"]) == 2
    assert "attention.ipynb exists" in capsys.readouterr().err
    assert (tmp_path / "attention.ipynb").read_text() == "mine"


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch, capsys):
    from attnjax import config as configuration

    def small():
        config = made()
        config.data.train_examples, config.train.epochs = 64, 1
        config.model.hidden_dim = config.model.embed_dim = 8
        config.analysis.permutations = config.analysis.adversaries = 0
        config.train.keep_heap = False
        return config

    made = configuration.default_config
    monkeypatch.setattr(configuration, "default_config", small)
    monkeypatch.chdir(tmp_path)
    names = {}
    for cell in json.loads((shipped.PACKAGE / "attention.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "test accuracy" in capsys.readouterr().out
    run, found = names["run"], names["found"]
    assert repr(run).startswith("<Run ")
    assert len(repr(run)) < 200
    assert repr(found) == "<Explanations of 1 texts: attention, gradient, leave_one_out>"
    assert run.results["test"]["examples"]
    assert run.examples()[0]["tokens"]
    assert json.loads(json.dumps(found.rows)) == found.rows
    table = found.to_pandas()
    words = table[table.segment == "text"]
    assert list(words.token) == found.tokens[0]
    assert list(words.attention) == pytest.approx(found.attention[0])
    assert list(table[table.segment == "query"].token) == found.queries[0]


def test_public_names_are_shown():
    assert {"load_run", "train", "default_config", "Run", "UserError"} <= set(dir(attnjax))
    assert all(getattr(attnjax, name) is not None for name in attnjax.__all__)
    assert set(attnjax.__all__) == set(attnjax.HOMES)


@pytest.mark.parametrize("config", [None, 3, "sst"])
def test_train_takes_a_configuration(config, tmp_path):
    with pytest.raises(UserError, match="train takes a configuration, not"):
        attnjax.train(config, tmp_path / "run")


@pytest.mark.slow
def test_the_wheel_holds_all_that_an_empty_folder_needs(tmp_path):
    source = tmp_path / "source"  # building leaves files behind
    for name in ("attnjax", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("attnjax-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for folder in ("attnjax", "configs"):
        here = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.*")}
        here = {each for each in here if "__pycache__" not in each and not each.endswith(".md")}
        inside = {each if folder == "attnjax" else f"attnjax/{each}" for each in here}
        assert inside <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    empty = tmp_path / "empty"
    empty.mkdir()

    def attnjax_says(*arguments):
        command = [sys.executable, "-m", "attnjax", *arguments]
        return subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)

    assert "sst" in attnjax_says("configs").stdout
    refused = attnjax_says("train", "--config=sst")
    assert refused.returncode == 2
    assert "data.path=DIR" in refused.stderr
    assert attnjax_says("notebook").returncode == 0
    assert (empty / "attention.ipynb").exists()


@pytest.mark.parametrize(
    ("command", "status", "told"),
    [
        ("configs", 0, ""),
        ("configs | true", 0, ""),
        ("completion bash | head -c 1", 0, "#"),
        ("configs >&-", 0, ""),
        ("configs >&- 2>&- <&-", 0, ""),
        ("nope 2>/dev/full", 2, ""),
        ("--version >/dev/full", 2, "attnjax: error: nothing can be printed (No space left on"),
        ("configs >/dev/full", 2, "attnjax: error: nothing can be printed (No space left on dev"),
    ],
)
def test_streams_that_are_closed_or_full_are_no_traceback(command, status, told, tmp_path):
    line = f"{sys.executable} -m attnjax {command}; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert found.returncode == status
    assert found.stderr.count("\n") == (1 if told.startswith("attnjax") else 0)
    assert told in found.stdout + found.stderr


def test_what_an_encoding_cannot_hold_is_printed_as_an_escape():
    code = "from attnjax.stop import end, settle_streams; settle_streams(); print('é'); end(0)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"\\xe9\n", b"")
