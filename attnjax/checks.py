"""What values the fields of a configuration may have, alone and together."""

import math
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from attnjax.errors import UserError, suggest
from attnjax.fields import Option, options

COMPATIBLE = ("attention_at", "attention_iat")  # what the released AMEP code has

BY_WORD_VECTORS = (  # techniques, methods and questions that need one vector a word
    *("word_iat", "word_ivat", "continuity", "concepts", "flips", "prototypes"),
)

ABOUT_LAYERS = (  # fields for encoders with self-attention alone
    *("train.layer_decay", "model.rematerialize", "model.dropout"),
)

# Of a model with listed words: what reads the encoder's input, or the last map, for the whole; and
# what gives words vectors of their own, by which they are no longer known.
BY_NETWORK = ("pattern_net", "pattern_attribution", "influence", "continuity")

SIMULATED = {  # data.source -> data.name
    "babi_simulator": ("1", "2", "3"),
    "reverse_simulator": tuple(str(length) for length in range(2, 21)),
}

# field -> the table whose names it may have beside its own choices. The modules that hold a table
# put it here when they are imported, so that a line in the table is all that a new entry needs.
# Where none has, as in a process that only reads configurations, any name passes.
REGISTERED: dict[str, Mapping[str, Any]] = {}

CLS = "cls"  # model.attention of a classifier trained elsewhere: the state of [CLS] alone is read


def trained_elsewhere(model: Any) -> bool:
    """Whether the model is a classifier out of a folder; model  a `config.ModelConfig`."""
    return model.attention == CLS


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
    _check_pretrained(run)
    _check_elsewhere(run)
    check_asked(run)
    _check_adversary(run)
    _check_analysis(run)
    _check_layers(run)
    _check_monotonic(run)
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


def _check_pretrained(run: Any) -> None:
    """What goes with a pretrained encoder, whose words are made of pieces, and what does not."""
    model = run.model
    if model.encoder != "bert":
        for name in ("pretrained", "freeze_encoder"):
            if getattr(model, name):
                raise UserError(
                    f"model.{name} is for --config.model.encoder=bert, and model.encoder is "
                    f"'{model.encoder}'; set that, or leave model.{name} out"
                )
        return
    if not model.pretrained:
        raise UserError(
            "model.encoder='bert' reads a pretrained model: name its folder, with config.json, "
            "model.safetensors and tokenizer.json, by --config.model.pretrained=DIR; to train one "
            "from scratch, use --config.model.encoder=transformer"
        )
    for name, usual, why in (
        ("data.vectors", "", "it has vectors of its own"),
        ("model.normalize_embeddings", False, "its vectors are of pieces, not of words"),
        ("model.share_encoder", False, "it reads text and query as one sequence"),
        ("model.monotonic", "", "it reads pieces of words, and knows of no listed word"),
    ):
        if (value := attrgetter(name)(run)) != usual:
            raise UserError(f"{name}={value!r} does not go with model.encoder='bert': {why}")


def check_asked(run: Any) -> None:
    """Raises UserError for methods and questions that the run's model has nothing to say about."""
    if run.model.encoder == "bert":
        _refuse_by_word_vectors(run)
    if not trained_elsewhere(run.model):
        return
    for kind in ("methods", "questions"):
        table = REGISTERED.get(f"analysis.{kind}", {})
        for name in getattr(run.analysis, kind):
            entry = table.get(name)
            if getattr(entry, "pools", False):
                raise UserError(
                    f"analysis.{kind} has '{name}', which is about attention over the encoder's "
                    "states, and a classifier trained elsewhere reads the state of [CLS] alone; "
                    "leave it out"
                )
            if getattr(entry, "fit", None) or getattr(entry, "over", "") == "train":
                raise UserError(
                    f"analysis.{kind} has '{name}', which needs the training examples, and those "
                    "of a classifier trained elsewhere are not at hand; leave it out"
                )


def _refuse_by_word_vectors(run: Any) -> None:
    asked = {
        "adversary.technique": (run.adversary.technique,),
        "analysis.methods": run.analysis.methods,
        "analysis.questions": run.analysis.questions,
    }
    for field, names in asked.items():
        for name in names:
            if name in BY_WORD_VECTORS:
                raise UserError(
                    f"{field} has '{name}', which compares or exchanges vectors of words, and of "
                    "model.encoder='bert' only pieces of words have vectors; leave it out"
                )


def _check_elsewhere(run: Any) -> None:
    """What goes with a classifier trained elsewhere."""
    if not trained_elsewhere(run.model):
        return
    if run.model.encoder != "bert":
        raise UserError(
            f"model.attention='{CLS}' is of classifiers trained elsewhere, with the encoder "
            f"'bert', not '{run.model.encoder}'; leave it out"
        )
    if run.task == "qa":
        raise UserError(
            "a classifier trained elsewhere reads one text, or a pair with "
            "--config.task=nli; task='qa' has answers to choose from"
        )
    if column := run.data.fields.rationale:
        raise UserError(
            f"data.fields.rationale='{column}' counts words as this package splits texts, and a "
            "classifier trained elsewhere has words of its own; leave it out"
        )


def refuse_training(model: Any) -> None:
    """Raises UserError for a model that can be analysed and not trained here."""
    if trained_elsewhere(model):
        raise UserError(
            f"model.attention='{CLS}' is of classifiers trained elsewhere, which attnjax analyze "
            "--pretrained=DIR reads; to train on a pretrained encoder, leave model.attention out"
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
        _check_inner(adversary, run.model)
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


def attends(encoder: str) -> bool:
    """Whether the encoder of that name has self-attention: it hands out its layers then."""
    return hasattr(REGISTERED.get("model.encoder", {}).get(encoder), "trace")


def _check_inner(adversary: Any, model: Any) -> None:
    """Raises UserError where the encoder has no such self-attention to disturb."""
    _require_layers(
        f"adversary.technique='{adversary.technique}' disturbs self-attention", model.encoder
    )
    last = max(adversary.layers, default=0)
    if model.encoder != "bert" and last > model.layers:  # whose folder says how many it has
        raise UserError(
            f"adversary.layers names layer {last}, and the encoder has model.layers={model.layers}"
        )


def _require_layers(what: str, encoder: str) -> None:
    """Raises UserError where the encoder lacks the self-attention that `what` is about."""
    encoders = REGISTERED.get("model.encoder", {})
    if encoders and not attends(encoder):
        able = ", ".join(filter(attends, encoders))
        raise UserError(
            f"{what}, which the encoder '{encoder}' lacks; "
            f"--config.model.encoder must be one of: {able}"
        )


def _check_layers(run: Any) -> None:
    """What is about the layers of self-attention alone, and how they are trained."""
    for name in ABOUT_LAYERS:
        if (value := attrgetter(name)(run)) != options(type(run))[name].default:
            _require_layers(
                f"{name}={value!r} is about layers of self-attention", run.model.encoder
            )
    decay, analysis = run.train.layer_decay, run.analysis
    if decay != 1 and run.model.freeze_encoder:
        raise UserError(
            f"train.layer_decay={decay} says how fast layers learn, and model.freeze_encoder=True "
            "that they do not; leave one of them out"
        )
    if decay != 1 and "influence" in analysis.questions and analysis.influence_scope == "tracin":
        raise UserError(
            "analysis.influence_scope=tracin takes one learning rate for all parameters, and "
            f"train.layer_decay={decay} gives each layer its own; set it to last_layer or all"
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


def _check_monotonic(run: Any) -> None:
    """What would break its promise, and what is not defined for such a model."""
    if not run.model.monotonic:
        return
    if run.task != "classification":
        raise UserError(
            f"model.monotonic is for single texts of two classes, and task is '{run.task}'; leave "
            "it out"
        )
    if run.data.max_length >= 0:
        raise UserError(
            f"model.monotonic with data.max_length={run.data.max_length}: in a text that is cut, "
            "one more word pushes the last one out, which may lower the score; set "
            "--config.data.max_length=-1"
        )
    for field in ("methods", "questions"):
        for name in getattr(run.analysis, field):
            if name in BY_NETWORK:
                raise UserError(
                    f"analysis.{field} has '{name}', which knows what the network reads and not "
                    "the words of model.monotonic; leave one of the two out"
                )


def _check_influence(run: Any) -> None:
    analysis = run.analysis
    if "influence" not in analysis.questions or analysis.influence_target != "attention":
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


def states_of_encoder(model: Any, layers: int) -> tuple[str, ...]:
    """The states of a model that information is measured in, in order of depth.

    model  a `config.ModelConfig`; layers  of its encoder, if that has self-attention
    """
    count = layers if attends(model.encoder) else 1
    inner = (f"layer_{place}" for place in range(1, count))
    first = () if model.encoder == "bert" else ("embedding",)
    return (*first, *inner, "encoder", "context", "logits")


def refuse_state(state: str, model: Any, layers: int) -> None:
    """Raises UserError where analysis.information_state names what the model lacks."""
    if state not in (states := states_of_encoder(model, layers)):
        raise UserError(
            f"analysis.information_state names '{state}', which the encoder '{model.encoder}' "
            f"lacks; it has {', '.join(states)}"
        )


def refuse_encoder(name: str, entry: Any, encoder: str, table: str = "methods") -> None:
    """Raises UserError where a method, or a question, is not defined for the model's encoder."""
    encoders = getattr(entry, "encoders", ())
    if encoders and encoder not in encoders:
        raise UserError(
            f"the {table.removesuffix('s')} '{name}' is defined for the encoders "
            f"{', '.join(encoders)}, and model.encoder is '{encoder}'; leave it out of "
            f"analysis.{table}"
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
