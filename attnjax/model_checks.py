"""What goes with which model: its encoder, pretrained or not, its head, and its listed words."""

from operator import attrgetter
from typing import Any

from attnjax.errors import UserError
from attnjax.fields import REGISTERED, options

BY_WORD_VECTORS = (  # techniques, methods and questions that need one vector a word
    *("word_iat", "word_ivat", "prototypes"),
)

ABOUT_LAYERS = (  # fields for encoders with self-attention alone
    *("train.layer_decay", "model.rematerialize", "model.dropout"),
)

# Of a model with listed words: what takes the encoder's input, or the last map, for the whole.
BY_NETWORK = ("pattern_net", "pattern_attribution", "influence")

CLS = "cls"  # model.attention of a classifier trained elsewhere: the state of [CLS] alone is read


def check_model(run: Any) -> None:
    """Raises UserError where something is set or asked that the run's model has no place for.

    run  a `config.RunConfig`
    """
    _check_pretrained(run)
    _check_elsewhere(run)
    check_asked(run)
    _check_layers(run)
    _check_monotonic(run)


def trained_elsewhere(model: Any) -> bool:
    """Whether the model is a classifier out of a folder; model  a `config.ModelConfig`."""
    return model.attention == CLS


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
    if run.analysis.flip_prior >= 0 and "flips" in run.analysis.questions:
        raise UserError(
            f"analysis.flip_prior={run.analysis.flip_prior:g} needs the training examples, and "
            "those of a classifier trained elsewhere are not at hand; leave it out"
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


def attends(encoder: str) -> bool:
    """Whether the encoder of that name has self-attention: it hands out its layers then."""
    return hasattr(REGISTERED.get("model.encoder", {}).get(encoder), "trace")


def check_inner(adversary: Any, model: Any) -> None:
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
    if run.analysis.removal == "zero":
        raise UserError(
            "analysis.removal=zero with model.monotonic: the listed words have no vector that "
            "could be 0; set --config.analysis.removal=delete or unknown"
        )
    for field in ("methods", "questions"):
        for name in getattr(run.analysis, field):
            if name in BY_NETWORK:
                raise UserError(
                    f"analysis.{field} has '{name}', which knows what the network reads and not "
                    "the words of model.monotonic; leave one of the two out"
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
