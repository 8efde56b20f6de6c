"""The run's configuration: one frozen, hashable dataclass tree; each field says all about itself.

`default_config()` gives the editable `ml_collections.ConfigDict` that files in `configs/` start
from; `from_config_dict` turns it into the `RunConfig` that everything else reads.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from attnjax.analysis_config import AnalysisConfig
from attnjax.checks import check
from attnjax.data_config import DataConfig
from attnjax.errors import UserError, suggest
from attnjax.fields import LARGEST, MANY, coerce, option, options


@dataclass(frozen=True)
class ModelConfig:
    """The network's structure."""

    encoder: str = option("bilstm", "what turns word vectors into states", registered=True)
    attention: str = option(
        "additive", "what scores states; cls: [CLS] is read", choices=("cls",), registered=True
    )
    embed_dim: int = option(300, "width of the word vectors", least=1, most=100_000)
    embed_scale: float = option(
        0.1, "standard deviation of random word vectors", least=0.0, most=1e6
    )
    freeze_embeddings: bool = option(False, "leave the word vectors as they start")
    normalize_embeddings: bool = option(
        False, "word vectors of mean 0 and variance 1 over word frequency (Miyato et al.)"
    )
    share_encoder: bool = option(False, "one encoder for text and query, where data is scarce")
    match_product: bool = option(
        False, "pairs: the decoder sees attended state x query too (Mou et al.)"
    )
    hidden_dim: int = option(
        128,
        "bilstm: width per direction; cnn: filters in all; average, transformer: width",
        least=1,
        most=100_000,
    )
    layers: int = option(2, "transformer: of self-attention", least=1, most=1000)
    heads: int = option(4, "transformer: that share the width in a layer", least=1, most=1000)
    feedforward: int = option(
        0,
        "transformer: width between the two maps after self-attention; 0: four times hidden_dim",
        least=0,
        most=1_000_000,
    )
    norm: str = option(
        "pre", "transformer: layer norm before each part or after its sum", choices=("pre", "post")
    )
    pretrained: str = option(
        "",
        "bert: folder with config.json, model.safetensors and tokenizer.json (or vocab.txt); it "
        "sets all widths, layers and heads. Needs the extra attnjax[bert]",
        own=True,
    )
    freeze_encoder: bool = option(
        False, "bert: train attention and decoder alone, the encoder stays as it was read"
    )
    rematerialize: bool = option(
        False,
        "encoders with self-attention: backward passes compute each layer again, which takes less "
        "memory and more time",
        incidental=True,
    )
    dropout: float = option(
        0.0,
        "encoders with self-attention: share of its weights, and of what each part of a layer "
        "adds, that a training step drops; nothing else drops any",
        least=0.0,
        below=1.0,
    )
    monotonic: str = option(
        "", "file: words that never lower ('good 1') or raise ('bad -1') class 2's score", own=True
    )


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, selection, and how steps are compiled."""

    epochs: int = option(8, "passes over the train split", least=1, most=1_000_000, resumable=True)
    batch_size: int = option(32, "examples in a step", least=1, most=1_000_000)
    optimizer: str = option(
        "amsgrad", "how gradients become steps", choices=("amsgrad", "adam", "sgd", "adamw")
    )
    learning_rate: float = option(
        1e-3, "size of a step", least=0.0, most=1e38, swept="learning_rate"
    )
    weight_decay: float = option(
        1e-5,
        "L2 in the gradient of encoder and decoder, none on attention; adamw: share of these that "
        "a step takes off beside it, times the learning rate, none of biases and layer norms",
        least=0.0,
        most=1e6,
    )
    schedule: str = option(
        "auto",
        "course of the learning rate after its warm-up; auto: linear to 0 for encoders with "
        "self-attention, else constant",
        choices=("auto", "constant", "linear", "cosine"),
    )
    layer_decay: float = option(
        1.0,
        "encoders with self-attention: by what a layer learns more slowly than the one above it; "
        "word vectors and what else comes before the first layer, as much again",
        least=0.0,
        most=1.0,
    )
    warmup_steps: int = option(
        0, "over which the learning rate rises to its value", least=0, most=MANY
    )
    gradient_clip: float = option(
        0.0, "largest global gradient norm; 0 never clips", least=0.0, most=LARGEST
    )
    embed_dropout: float = option(
        0.0, "share of word-vector entries that each training step drops", least=0.0, below=1.0
    )
    class_weighted: bool = option(False, "weigh each class by its inverse frequency")
    monitor: str = option(
        "auto",
        "validation metric that picks the best checkpoint",
        choices=("auto", "auc", "accuracy", "f1", "loss"),
    )
    patience: int = option(
        0,
        "epochs without a better metric before stopping; 0 never stops",
        least=0,
        most=1_000_000,
        resumable=True,
    )
    log_steps: int = option(
        50, "steps from one line of metrics.jsonl to the next", least=1, most=MANY, incidental=True
    )
    checkpoint_steps: int = option(
        500,
        "steps from one checkpoint to the next, beside that after every epoch",
        least=1,
        most=MANY,
        incidental=True,
    )
    parallel: str = option(
        "jit", "how a step uses several devices", choices=("jit", "pmap"), incidental=True
    )
    devices: int = option(
        0,
        "how many are used; 0: all; on a CPU one, whose steps use all cores, and the analysis all",
        least=0,
        most=1_000_000,
        incidental=True,
    )
    encodings_gib: float = option(
        4.0,
        "memory for the states of a frozen encoder, which then reads each text of train and "
        "validation once; where they take more, it runs at every step",
        least=0.0,
        most=1e6,
        incidental=True,
    )
    tensorboard: bool = option(
        False, "log for TensorBoard too; needs the extra attnjax[tensorboard]", incidental=True
    )
    profile_steps: tuple[int, ...] = option(
        (),
        "first and last step to trace into workdir/profile, such as 10,12; empty traces none",
        lists="the first and the last step to trace",
        least=1,
        most=MANY,
        incidental=True,
    )
    compile_cache: str = option(
        "auto", "folder of compiled programs, auto (user cache) or off", incidental=True, own=True
    )
    keep_heap: bool = option(
        True,
        "Linux CPU: glibc keeps freed memory, up to 1.7x faster steps",
        incidental=True,
        own=True,
    )


@dataclass(frozen=True)
class AdversaryConfig:
    """The perturbation that training adds; `none` trains on clean inputs alone."""

    technique: str = option("none", "what perturbs training", choices=("none",), registered=True)
    epsilon: float = option(
        1.0, "L2 norm of the perturbation of one example", least=0.0, most=LARGEST, swept="epsilon"
    )
    weight: float = option(
        1.0, "lambda, the weight of the perturbed loss", least=0.0, most=1e6, swept="weight"
    )
    steps: int = option(
        1, "of the ascent; each ends inside the ball of radius epsilon", least=1, most=10_000
    )
    power_steps: int = option(
        1, "of the power iteration that starts virtual techniques", least=1, most=10_000
    )
    xi: float = option(
        0.1, "distance at which virtual techniques measure the gradient", least=1e-6, most=LARGEST
    )
    neighbours: int = option(
        10, "nearest words that word_iat and word_ivat move towards", least=1, most=1_000_000
    )
    difference_axis: str = option(
        "sentence",
        "attention and inner iAT: what its differences are normalised over",
        choices=("sentence", "word"),
    )
    alpha_axis: str = option(
        "sentence", "iAT: what its weights are normalised over", choices=("sentence", "word")
    )
    reference_compat: str = option(
        "", "amep: as the released code of attention AT and iAT does it", choices=("", "amep")
    )
    unlabelled_batch: int = option(
        0,
        "unlabelled examples in every batch; 0: as many as labelled ones",
        least=0,
        most=1_000_000,
    )
    layers: tuple[int, ...] = option(
        (),
        "inner techniques: those whose self-attention they disturb, such as 1,2; empty: all",
        lists="layers",
        least=1,
        most=1000,
    )


@dataclass(frozen=True)
class RelevanceConfig:
    """The relevance loss; weight 0 leaves it out."""

    weight: float = option(0.0, "of the relevance loss", least=0.0, most=1e6, swept="relevance")
    second_order: bool = option(
        True, "the target moves with the parameters; False holds it constant"
    )


@dataclass(frozen=True)
class RunConfig:
    """One run. The defaults are bAbI task 1 from the simulator: nothing to download."""

    task: str = option("qa", "what an example is", choices=("classification", "qa", "nli"))
    seed: int = option(
        0, "of the parameters, the batches and what is drawn at random", least=0, below=2**32
    )
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    relevance: RelevanceConfig = field(default_factory=RelevanceConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)


OPTIONS = options(RunConfig)  # dotted name -> facts of every field: "task", "data.source", ...


def default_config() -> ConfigDict:
    """Returns the editable defaults; `configs/*.py` change what their data set needs."""
    return ConfigDict(to_dict(RunConfig()))


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Returns nested plain dicts, tuples kept: what `config.json` stores."""
    return dataclasses.asdict(config)


def from_config_dict(config: ConfigDict | dict[str, Any]) -> RunConfig:
    """Builds and checks the `RunConfig`.

    Raises UserError for an unknown field, a value of the wrong type, or one out of range.
    """
    run = unchecked(config.to_dict() if isinstance(config, ConfigDict) else config)
    check(run)
    return run


def unchecked(raw: dict[str, Any]) -> RunConfig:
    """The `RunConfig` of a stored run, whose techniques and methods this process may not know.

    Raises UserError for an unknown field, or a value of the wrong type.
    """
    return _build(RunConfig, raw, "")


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted name -> the two values, of every field in which the configurations differ."""
    here, there = flatten(to_dict(one)), flatten(to_dict(other))
    return {name: (here[name], there[name]) for name in OPTIONS if here[name] != there[name]}


def changed(tree: Any, values: Mapping[str, Any]) -> Any:
    """The configuration with other values in these dotted fields, unchecked.

    changed(RunConfig(), {"seed": 1, "adversary.epsilon": 2.0}).adversary.epsilon == 2.0
    """
    for name, value in values.items():
        first, _, rest = name.partition(".")
        new = changed(getattr(tree, first), {rest: value}) if rest else value
        tree = dataclasses.replace(tree, **{first: new})
    return tree


def _build(kind: type, raw: dict[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(raw) - set(hints))
    if unknown:
        name = prefix + unknown[0]
        raise UserError(f"config has no field '{name}'{suggest(name, OPTIONS)}")
    values = {}
    for name, value in raw.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise UserError(
                    f"config field '{prefix}{name}' is a group of fields, not {value!r:.80}"
                )
            values[name] = _build(typing.cast(type, hint), value, f"{prefix}{name}.")
        else:
            values[name] = coerce(prefix + name, hint, value)
    return kind(**values)
