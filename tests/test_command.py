"""The command line as a user types it: one line on stderr and status 2, or a parsed run."""

import gc
import os
import signal
import subprocess
import sys

import jax
import pytest

from attnjax.analysis.importance import METHODS
from attnjax.command import guarded, parse_command
from attnjax.config import OPTIONS, RunConfig
from attnjax.errors import UserError
from attnjax.main import main
from attnjax.perturb.techniques import TECHNIQUES
from attnjax.stop import failed_import


def parse(*arguments):
    return parse_command(["attnjax", *arguments])


def test_no_arguments_run_the_built_in_default():
    config, workdir = parse()
    assert config == RunConfig()
    assert workdir == "runs/babi"


def test_a_config_file_with_argument_and_overrides():
    config, workdir = parse(
        "--config=configs/babi.py:2",
        "--config.train.epochs=3",
        "--config.model.embed_scale=0.5",
        "--config.analysis.methods=gradient",
        "--workdir=there",
    )
    assert (config.data.name, config.train.epochs, config.model.embed_scale) == ("2", 3, 0.5)
    assert config.analysis.methods == ("gradient",)
    assert workdir == "there"
    assert parse("--config=configs/babi.py:2")[1] == "runs/babi_2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/nothing.py"], "configs/nothing.py does not exist"),
        (["--config.train.epoch=3"], "no field 'train.epoch'; did you mean 'train.epochs'"),
        (["--config.train.epochs=three"], "bad command line: .*three"),
        (["--config.train.epochs=1e3"], "'1e3' is no whole number, which is written in digits"),
        (["--config.adversary.epsilon=nan"], "'adversary.epsilon' must be a number, not nan"),
        (["--config.analysis.robustness=1,inf"], r"norms from 0 to 1e.15, not \(1.0, inf\)"),
        (
            ["--config.analysis.methods=gradient", "--config.analysis.methods=leave_one_out"],
            "--config.analysis.methods is given 2 times, .*; join the values with commas",
        ),
        ([f"--config.train.epochs={10**30}"], "'train.epochs' must be at most 1,000,000, not 1000"),
        ([f"--config.model.embed_dim={2**70}"], "'model.embed_dim' must be at most 100,000, not"),
        (
            ["--config.train.weight_decay=inf"],
            "'train.weight_decay' must be at most 1e.06, not inf",
        ),
        (["--config.model.encoder=bilstn"], "'model.encoder' is 'bilstn'; did you mean 'bilstm'"),
        (["--wrokdir=x"], "bad command line: .*wrokdir"),
        (["extra"], "unexpected argument 'extra'"),
        (["--workdir="], "--workdir is empty; name the folder of the run"),
        (["--config=sst", "--config=imdb"], "--config is given 2 times; leave all but one out"),
        (["--config.train.keep_heap=maybe"], "keep_heap=maybe: 'maybe' is neither True nor False"),
        (["--config=configs/custom.py:triples"], "choose one of texts, pairs, qa"),
        (["--config=configs/sst.py"], "--config.data.path=DIR"),
        (["--config.data.path=caf\udce9"], "config field 'data.path' is no UTF-8"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, capsys):
    with pytest.raises(UserError, match=message):
        parse(*arguments)
    assert main(["attnjax", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("attnjax: error:")
    assert "\n" not in error


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('raise RuntimeError("the cause\\nand more")', "RuntimeError: the cause and more;"),
        ("import sys; sys.exit(5)", "SystemExit: 5;"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'"),
    ],
)
def test_what_a_config_file_raises_is_told(body, message, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(f"def get_config():\n    {body}\n")
    assert main(["attnjax", f"--config={tmp_path}/mine.py"]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def help_of(capsys, flag):
    assert main(["attnjax", flag]) == 0
    return capsys.readouterr().out


def test_help_says_of_every_field_what_it_means_and_may_be(capsys):
    shown = help_of(capsys, "--help")
    assert "--config.adversary.epsilon=1.0\n      L2 norm of the perturbation" in shown
    words = " ".join(shown.split())
    for name, option in OPTIONS.items():
        assert f"--config.{name}=" in shown
        assert " ".join(option.meaning.split()) in words
    assert "passes over the train split (1 to 1,000,000)" in words
    assert "(one of classification, qa, nli)" in words
    assert f"(one of none, {', '.join(TECHNIQUES)})" in words
    assert f"(any of {', '.join(METHODS)})" in words
    assert "share_encoder=False one encoder for text and query, where data is scarce (True" in words
    assert "there is no test split (between 0 and 1)" in words
    assert "-1 never cuts (-1, or 1 to 1,000,000,000)" in words
    assert max(map(len, shown.splitlines())) <= 100
    headings = [line.split(":")[0] for line in shown.splitlines() if line[:1].isalpha()][3:]
    groups = ["data", "data.fields", "model", "train", "adversary", "relevance", "analysis"]
    assert headings == ["of the run", *groups]


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        ("y.epsilon", ["adversary.epsilon"]),
        ("relevance.", ["relevance.weight", "relevance.second_order"]),
        ("--config.train.epochs", ["train.epochs"]),
    ],
)
def test_help_on_a_part_of_a_name_prints_the_fields_that_have_it(part, fields, capsys):
    shown = help_of(capsys, f"--help={part}")
    starts = [line.split("=")[0] for line in shown.splitlines() if line.startswith("  --")]
    assert starts == [f"  --config.{name}" for name in fields]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            "epsilom",
            "with 'epsilom' in its name; did you mean adversary.epsilon, analysis.lrp_epsilon?",
        ),
        ("learning_rat3", "did you mean train.learning_rate?"),
        ("seeed", "did you mean seed, data.seed?"),
        ("zzz", "in its name; --help alone prints all"),
    ],
)
def test_help_on_nothing_names_what_is_near(part, message, capsys):
    assert main(["attnjax", f"--help={part}"]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["main", "sweep", "analyze", "compare"])
def test_a_command_that_uses_models_knows_the_tables_before_it_reads_its_line(command):
    code = (
        f"import sys, attnjax.{command}; from attnjax.fields import REGISTERED; "
        "print('jax' in sys.modules, *sorted(REGISTERED))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = sorted(name for name, option in OPTIONS.items() if option.registered)
    expected = ["False"] if command == "compare" else ["True", *names]
    assert shown.stdout.split() == expected


def test_a_signal_that_also_breaks_the_work_under_way_is_a_stop_and_no_failure(capsys):
    broken = RuntimeError("INTERNAL: ptxas exited with non-zero error code 15, output: ")

    def action(stop, error=broken, signalled=True):
        with stop.deferred():
            if signalled:
                os.kill(os.getpid(), signal.SIGTERM)
            raise error

    assert guarded("", action, ["attnjax"]) == 0
    assert capsys.readouterr().err == (
        "attnjax: stopped at once (INTERNAL: ptxas exited with non-zero error code 15, output:); "
        "the same command resumes\n"
    )
    with pytest.raises(RuntimeError, match="ptxas"):
        guarded("", lambda stop: action(stop, signalled=False), ["attnjax"])
    assert guarded("", lambda stop: action(stop, OSError("no space left")), ["attnjax"]) == 2
    assert "error: no space left; mend that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 B.\nstack"),
            "lower train.batch_size, analysis.chunk_size",
        ),
        (MemoryError("Unable to allocate 745. GiB"), "a lower data.train_examples"),
    ],
)
def test_memory_that_is_not_there_is_one_line_that_says_what_to_lower(error, advice, capsys):
    def action(stop):
        raise error

    assert guarded("", action, ["attnjax"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("attnjax: error: out of memory (")
    assert advice in told
    assert told.count("\n") == 1
    if isinstance(error, MemoryError):
        assert "batch_size" not in told, "the data and the model do not fit, whatever the batch"


def test_a_platform_that_is_not_there_is_one_line(capsys):
    def action(stop):
        raise RuntimeError("Unable to initialize backend 'x': it is not known\nmore")

    assert guarded("", action, ["attnjax"]) == 2
    assert "unset JAX_PLATFORMS, or name what is here" in capsys.readouterr().err


def test_a_variable_that_jax_cannot_be_imported_with_is_named(monkeypatch):
    text = "invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'"

    def raised(module):
        with pytest.raises(ValueError, match="invalid") as caught:
            exec("raise ValueError(text)", {"__name__": module, "text": text})
        return caught.value

    error = raised("jax._src.config")
    monkeypatch.setenv("JAX_ENABLE_X64", "maybe")
    assert failed_import(error) == "", "JAX is imported: it is another error"
    monkeypatch.delitem(sys.modules, "jax")
    assert failed_import(raised("attnjax.report.conclusions")) == "", "not of JAX"
    told = failed_import(error)
    assert told.startswith("JAX cannot be imported with JAX_ENABLE_X64='maybe' (invalid truth")
    assert "COMPILATION_CACHE" not in told


def test_what_fails_under_a_debugging_variable_names_it(monkeypatch, capsys):
    def action(stop):
        raise FloatingPointError("invalid value (nan) encountered in jit(x)\nmore")

    monkeypatch.setenv("JAX_DEBUG_NANS", "0")
    with pytest.raises(FloatingPointError):
        guarded("", action, ["attnjax"])
    monkeypatch.setenv("JAX_DEBUG_NANS", "1")
    assert guarded("", action, ["attnjax"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("attnjax: error: this does not run with JAX_DEBUG_NANS=1 (invalid value")
    assert told.endswith("unset it\n")
    assert told.count("\n") == 1


def test_commands_look_for_garbage_rarely():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    try:
        seen = []
        assert guarded("", lambda stop: seen.append(gc.get_threshold()[0]), ["attnjax"]) == 0
        assert seen == [50_000]
    finally:
        gc.set_threshold(*before)
