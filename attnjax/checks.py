"""What values the fields of a configuration may have, alone and together."""

import math
from operator import attrgetter
from typing import Any

from attnjax.errors import UserError, suggest
from attnjax.fields import REGISTERED, Option, options
from attnjax.model_checks import check_inner, check_model, refuse_encoder, refuse_state

COMPATIBLE = ("attention_at", "attention_iat")  # what the released AMEP code has


REVERSE_QUERY = 4  # words of a query of the reverse_simulator
SIMULATED = {  # data.source -> data.name
    "babi_simulator": ("1", "2", "3"),
    "reverse_simulator": tuple(str(length) for length in range(2, 21)),
}


def choices_of(name: str, option: Option) -> tuple[str, ...]:
    """The values that a field may have; empty where any will do, or none is known here."""
    if option.registered and name not in REGISTERED:
        return ()
    return (*option.choices, *REGISTERED.get(name, ()))


def bounds_of(option: Option) -> str:
    """The numbers that a field may have: "1 to 100", "0.0 to below 1.0"; empty for all else."""
    if math.isfinite(option.above):
        return f"between {_digits(option.above)} and {_digits(option.below)}"
    if not math.isfinite(option.least):
        return ""
    end = f"below {_digits(option.below)}" if option.below < option.most else _digits(option.most)
    return f"{'-1, or ' if option.unlimited else ''}{_digits(option.least)} to {end}"


def check(run: Any) -> None:
    """Raises UserError where a value is unknown, out of range, or at odds with another.

    run  a `config.RunConfig`, which is not named here: `config` builds one and has it checked
    """
    data, model, train = run.data, run.model, run.train
    for name, option in options(type(run)).items():
        _check_alone(name, option, attrgetter(name)(run))
    check_model(run)
    _check_adversary(run)
    _check_analysis(run)
    steps = train.profile_steps
    if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise UserError(
            "config field 'train.profile_steps' is the first and the last step to trace, "
            f"such as 10,12; not {steps}"
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
    if data.source == "tfds" and data.fields.rationale:
        raise UserError(
            "data.fields.rationale is read from files: set --config.data.source=files and data.path"
        )
    if data.source == "tfds" and not data.name:
        raise UserError("data.source='tfds' needs --config.data.name, such as 'imdb_reviews'")
    if data.source in SIMULATED:
        _check_choice("data.name", data.name, SIMULATED[data.source])
        if run.task != "qa":
            raise UserError(f"data.source='{data.source}' is a qa task, not task='{run.task}'")
    if (model.encoder, model.attention, model.hidden_dim) == ("average", "additive", 1):
        raise UserError("model.hidden_dim must be at least 2: additive attention is half as wide")
    if model.encoder == "cnn" and model.hidden_dim % 4:
        raise UserError(
            f"model.hidden_dim={model.hidden_dim} must be a multiple of 4: "
            "the cnn encoder shares it among four kernel sizes"
        )
    if model.encoder == "transformer" and model.hidden_dim % model.heads:
        raise UserError(
            f"model.hidden_dim={model.hidden_dim} must be a multiple of model.heads={model.heads}: "
            "the heads of the transformer encoder share it evenly"
        )


def _check_adversary(run: Any) -> None:
    adversary = run.adversary
    if adversary.reference_compat and (
        adversary.technique not in COMPATIBLE or run.task != "classification"
    ):
        raise UserError(
            f"adversary.reference_compat='amep' reproduces {' and '.join(COMPATIBLE)} for "
            f"classification; the released code has no {adversary.technique} for {run.task}"
        )
    techniques = REGISTERED.get("adversary.technique")
    virtual = techniques is None or getattr(techniques.get(adversary.technique), "virtual", False)
    if getattr((techniques or {}).get(adversary.technique), "level", "") == "inner":
        check_inner(adversary, run.model)
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


def _check_analysis(run: Any) -> None:
    analysis = run.analysis
    for name in ("methods", "questions"):
        table = REGISTERED.get(f"analysis.{name}", {})
        for each in getattr(analysis, name):
            refuse_encoder(each, table.get(each), run.model.encoder, name)
    questions = REGISTERED.get("analysis.questions", {})
    for name in analysis.questions:
        needs = getattr(questions.get(name), "needs", "")
        if needs and not attrgetter(needs)(run):
            raise UserError(
                f"analysis.questions has '{name}', which needs --config.{needs}=COLUMN: "
                f"{options(type(run))[needs].meaning}"
            )
    state = analysis.information_state
    if run.model.encoder != "bert" or not state.startswith("layer_"):  # its folder says how many
        refuse_state(state, run.model, run.model.layers)
    if "concepts" in analysis.questions and not analysis.concepts:
        raise UserError(
            "analysis.questions asks concepts, and no file names their words; name one with "
            "--config.analysis.concepts=FILE, a line for each: 'positive: good fine'"
        )
    if "known_word" in analysis.questions and run.data.source != "reverse_simulator":
        raise UserError(
            "analysis.questions asks known_word, and which word must be known is known of "
            f"data.source='reverse_simulator' alone, not of '{run.data.source}'; leave it out"
        )
    if "known_word" in analysis.questions and 0 < run.data.max_length < (
        longest := max(int(run.data.name), REVERSE_QUERY)
    ):
        raise UserError(
            f"analysis.questions asks known_word, and data.max_length={run.data.max_length} cuts "
            f"texts or queries of {longest} words, so that no place is what it was; set it to -1"
        )
    if "prototypes" in analysis.questions and run.task != "classification":
        raise UserError(
            f"analysis.questions asks prototypes, and task is '{run.task}': of pairs, what is "
            "typical of a class hangs on the query; leave it out"
        )
    _check_influence(run)
    for pair in analysis.pairs:
        if pair in ("attention", "all"):
            continue
        first, _, second = pair.partition("~")
        known = ("attention", *analysis.methods)
        if not second or first == second:
            raise UserError(
                f"config field 'analysis.pairs' lists attention, all, or two of "
                f"{', '.join(known)} joined by ~, not '{pair}'"
            )
        for each in (first, second):
            if each not in known:
                raise UserError(
                    f"analysis.pairs names '{each}', which this run does not explain with"
                    f"{suggest(each, known)}"
                )


def _check_influence(run: Any) -> None:
    analysis = run.analysis
    if "influence" not in analysis.questions:
        return
    if analysis.influence_leverage and analysis.influence_scope != "last_layer":
        raise UserError(
            "analysis.influence_leverage=True is of the last layer; leave it out, or set "
            "--config.analysis.influence_scope=last_layer"
        )
    if analysis.influence_target != "attention":
        return
    if analysis.influence_scope == "last_layer":
        raise UserError(
            "analysis.influence_target=attention asks what made the attention, which the last "
            "layer comes after; set analysis.influence_scope to all, or to tracin"
        )
    if run.model.attention == "uniform":
        raise UserError(
            "analysis.influence_target=attention asks what made the attention, and that of "
            "model.attention=uniform is made by nothing; leave the target at loss"
        )


def _check_alone(name: str, option: Option, value: Any) -> None:
    """What a field may be whatever the others are: one of its choices, within its bounds."""
    known = choices_of(name, option)
    for each in value if isinstance(value, tuple) else (value,):
        if known:
            _check_choice(name, each, known)
        if isinstance(each, bool | str) or not (wrong := _out_of_bounds(option, each)):
            continue
        if option.lists:
            raise UserError(
                f"config field '{name}' lists {option.lists} from {_digits(option.least)} to "
                f"{_digits(option.most)}, not {value}"
            )
        raise UserError(f"config field '{name}' must {wrong}, not {value}")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"config field '{name}' is '{value}'{suggest(value, filter(None, known))}")


def _out_of_bounds(option: Option, value: int | float) -> str:
    """What the number must be and is not, such as "be at least 1"; NaN is within no bounds."""
    if option.unlimited and value == -1:
        return ""
    if math.isnan(value):
        return "be a number"
    if math.isfinite(option.above):
        return "" if option.above < value < option.below else f"lie {bounds_of(option)}"
    if not value >= option.least:
        return "be positive, or -1 for all" if option.unlimited else f"be at least {option.least}"
    if value > option.most:
        return f"be at most {_digits(option.most)}"
    return f"be below {_digits(option.below)}" if value >= option.below else ""


def _digits(value: int | float) -> str:
    """As one would write it: 2**32 -> 2^32, 1000000 -> 1,000,000, 1e15 -> 1e+15."""
    if isinstance(value, float):
        return f"{value:g}"
    return "2^32" if value == 2**32 else f"{value:,}"
