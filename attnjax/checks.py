"""What values the fields of a configuration may have, alone and together."""

import math
from collections.abc import Mapping
from typing import Any

from attnjax.errors import UserError, suggest

TASKS = ("classification", "qa", "nli")
SOURCES = ("tfds", "files", "babi_simulator")
ENCODERS = ("bilstm", "cnn", "average")
ATTENTIONS = ("additive", "dot", "uniform")
OPTIMIZERS = ("amsgrad", "adam", "sgd")
SCHEDULES = ("constant", "linear", "cosine")
MONITORS = ("auto", "auc", "accuracy", "f1", "loss")
PARALLEL = ("jit", "pmap")
TECHNIQUES = (
    "none",
    "word_at",
    "word_iat",
    "word_vat",
    "word_ivat",
    "attention_rp",
    "attention_at",
    "attention_iat",
    "attention_vat",
    "attention_ivat",
)
AXES = ("sentence", "word")
COMPATIBLE = ("attention_at", "attention_iat")  # what the released AMEP code has
LARGEST = 1e15  # norm of a perturbation: float32 holds its square, and sums of such
METHODS = ("gradient", "gradient_norm", "integrated_gradients", "leave_one_out")

# field -> the table whose names it may have beside those above, which are known without loading
# JAX. The modules that hold a table put it here: a line in the table is all that a new entry needs.
TABLES: dict[str, Mapping[str, Any]] = {}


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    known = tuple(dict.fromkeys([*known, *TABLES.get(name, ())]))
    if value not in known:
        raise UserError(f"config field '{name}' is '{value}'{suggest(value, known)}")


def check(run: Any) -> None:
    """Raises UserError where a value is unknown, out of range, or at odds with another.

    run  a `config.RunConfig`, which is not named here: `config` builds one and has it checked
    """
    data, model, train = run.data, run.model, run.train
    _choice("task", run.task, TASKS)
    _choice("data.source", data.source, SOURCES)
    _choice("model.encoder", model.encoder, ENCODERS)
    _choice("model.attention", model.attention, ATTENTIONS)
    _choice("train.optimizer", train.optimizer, OPTIMIZERS)
    _choice("train.schedule", train.schedule, SCHEDULES)
    _choice("train.monitor", train.monitor, MONITORS)
    _choice("train.parallel", train.parallel, PARALLEL)
    _choice("adversary.technique", run.adversary.technique, TECHNIQUES)
    for method in run.analysis.methods:
        _choice("analysis.methods", method, METHODS)
    _check_adversary(run)
    smallest = {
        "seed": 0,
        "data.seed": 0,
        "data.min_length": 1,
        "data.min_count": 1,
        "data.buckets": 1,
        "model.embed_dim": 1,
        "model.embed_scale": 0.0,
        "model.hidden_dim": 1,
        "train.epochs": 1,
        "train.batch_size": 1,
        "train.learning_rate": 0.0,
        "train.weight_decay": 0.0,
        "train.warmup_steps": 0,
        "train.gradient_clip": 0.0,
        "train.patience": 0,
        "train.log_steps": 1,
        "train.checkpoint_steps": 1,
        "train.devices": 0,
        "adversary.epsilon": 0.0,
        "adversary.weight": 0.0,
        "adversary.steps": 1,
        "adversary.power_steps": 1,
        "adversary.xi": 1e-6,
        "adversary.neighbours": 1,
        "adversary.unlabelled_batch": 0,
        "relevance.weight": 0.0,
        "analysis.robustness_steps": 1,
        "analysis.chunk_size": 1,
        "analysis.top_k": 1,
        "analysis.permutations": 0,
        "analysis.adversaries": 0,
        "analysis.adversary_steps": 1,
        "analysis.adversary_epsilon": 0.0,
    }
    for name, least in smallest.items():
        value = _lookup(run, name)
        if not (value >= least and math.isfinite(value)):
            raise UserError(f"config field '{name}' must be at least {least}, not {value}")
    for name in ("adversary.epsilon", "adversary.xi"):
        if _lookup(run, name) > LARGEST:
            raise UserError(
                f"config field '{name}' must be at most {LARGEST:g}, not {_lookup(run, name)}"
            )
    for name in ("seed", "data.seed"):
        if _lookup(run, name) >= 2**32:
            raise UserError(f"config field '{name}' must be below 2^32, not {_lookup(run, name)}")
    for name in ("data.train_examples", "data.max_length", "analysis.examples"):
        value = _lookup(run, name)
        if value < 1 and value != -1 and not (name == "analysis.examples" and value == 0):
            raise UserError(f"config field '{name}' must be positive, or -1 for all, not {value}")
    if not all(0 <= epsilon <= LARGEST for epsilon in run.analysis.robustness):
        raise UserError(
            f"config field 'analysis.robustness' lists norms from 0 to {LARGEST:g}, not "
            f"{run.analysis.robustness}"
        )
    steps = train.profile_steps
    if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise UserError(
            "config field 'train.profile_steps' is the first and the last step to trace, "
            f"such as 10,12; not {steps}"
        )
    if not 0.0 <= train.embed_dropout < 1.0:
        raise UserError(
            f"config field 'train.embed_dropout' must lie in [0, 1), not {train.embed_dropout}"
        )
    if not 0.0 < data.validation_fraction < 1.0:
        raise UserError(
            "config field 'data.validation_fraction' must lie between 0 and 1, "
            f"not {data.validation_fraction}"
        )
    if 0 <= data.max_length < data.min_length:
        raise UserError(
            f"data.max_length={data.max_length} is below data.min_length={data.min_length}; "
            "no text could be kept"
        )
    if data.source == "files" and not data.path:
        raise UserError(
            "data.source='files' needs a folder: --config.data.path=DIR with train and test files"
        )
    if data.source == "tfds" and not data.name:
        raise UserError("data.source='tfds' needs --config.data.name, such as 'imdb_reviews'")
    if data.source == "babi_simulator":
        _choice("data.name", data.name, ("1", "2", "3"))
        if run.task != "qa":
            raise UserError(f"data.source='babi_simulator' is a qa task, not task='{run.task}'")
    if (model.encoder, model.attention, model.hidden_dim) == ("average", "additive", 1):
        raise UserError("model.hidden_dim must be at least 2: additive attention is half as wide")
    if model.encoder == "cnn" and model.hidden_dim % 4:
        raise UserError(
            f"model.hidden_dim={model.hidden_dim} must be a multiple of 4: "
            "the cnn encoder shares it among four kernel sizes"
        )


def _check_adversary(run: Any) -> None:
    adversary = run.adversary
    _choice("adversary.difference_axis", adversary.difference_axis, AXES)
    _choice("adversary.alpha_axis", adversary.alpha_axis, AXES)
    _choice("adversary.reference_compat", adversary.reference_compat or "amep", ("amep",))
    if adversary.reference_compat and (
        adversary.technique not in COMPATIBLE or run.task != "classification"
    ):
        raise UserError(
            f"adversary.reference_compat='amep' reproduces {' and '.join(COMPATIBLE)} for "
            f"classification; the released code has no {adversary.technique} for {run.task}"
        )
    technique = TABLES.get("adversary.technique", {}).get(adversary.technique)
    virtual = adversary.technique.endswith("vat") or getattr(technique, "virtual", False)
    if run.data.unlabelled and not virtual:
        raise UserError(
            f"data.unlabelled needs a virtual technique (such as attention_vat), and "
            f"adversary.technique is '{adversary.technique}'"
        )
    if adversary.unlabelled_batch and not run.data.unlabelled:
        raise UserError(
            "adversary.unlabelled_batch asks for unlabelled examples, but there are none; "
            "name their file with --config.data.unlabelled=FILE"
        )


def _lookup(run: Any, name: str) -> Any:
    value: Any = run
    for part in name.split("."):
        value = getattr(value, part)
    return value
