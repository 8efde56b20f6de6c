"""The run's configuration: one frozen, hashable dataclass tree; defaults live here.

`default_config()` gives the editable `ml_collections.ConfigDict` that files in `configs/` start
from; `from_config_dict` turns it into the `RunConfig` that everything else reads.
"""

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import Any

from ml_collections import ConfigDict

from attnjax.checks import check
from attnjax.errors import UserError, encodable, suggest


@dataclass(frozen=True)
class FieldsConfig:
    """The column of the data files that each part of an example is read from."""

    text: str = "text"
    label: str = "label"
    premise: str = "premise"
    hypothesis: str = "hypothesis"
    story: str = "story"
    question: str = "question"
    answer: str = "answer"
    candidates: str = "candidates"


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how they become token ids."""

    source: str = "babi_simulator"
    name: str = "1"  # tfds: the official name; babi_simulator: the task; files: unused
    path: str = ""  # files: the folder; tfds: data_dir, empty for TFDS's own default
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    labels: tuple[str, ...] = ()  # keep only rows with these labels; empty keeps all
    seed: int = 0  # of simulation, of the validation cut and of the train prefix
    validation_fraction: float = 0.15  # cut from train where there is no validation split
    train_examples: int = -1  # prefix of the shuffled train split; -1 takes all
    min_length: int = 1  # shortest text kept, in words (all splits)
    max_length: int = -1  # longer texts are cut to this many words; -1 never cuts
    drop_empty: bool = False  # leave out texts without a token instead of stopping
    min_count: int = 1  # rarer words of the train split become <unk>
    vectors: str = ""  # .vec, .txt or .npz with pretrained word vectors
    unlabelled: str = ""  # files: a further file of unlabelled texts, for virtual techniques
    buckets: int = 6  # number of padded lengths, one compilation each


@dataclass(frozen=True)
class ModelConfig:
    """The network's structure."""

    encoder: str = "bilstm"
    attention: str = "additive"
    embed_dim: int = 300
    embed_scale: float = 0.1  # standard deviation of random word vectors
    freeze_embeddings: bool = False
    normalize_embeddings: bool = False  # mean 0, variance 1 over word frequency (Miyato et al.)
    share_encoder: bool = False  # one encoder for text and query, where data is scarce
    match_product: bool = False  # pairs: the decoder sees attended state x query too (Mou et al.)
    hidden_dim: int = 128  # bilstm: per direction; cnn: filters in all; average: width


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, selection, and how steps are compiled."""

    epochs: int = 8
    batch_size: int = 32
    optimizer: str = "amsgrad"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5  # L2 in the gradient of encoder and decoder, none on attention
    schedule: str = "constant"
    warmup_steps: int = 0
    gradient_clip: float = 0.0  # largest global gradient norm; 0 never clips
    embed_dropout: float = 0.0  # share of word-vector entries that each training step drops
    class_weighted: bool = False  # weigh each class by its inverse frequency
    monitor: str = "auto"  # validation metric that picks the best checkpoint
    patience: int = 0  # epochs without a better metric before stopping; 0 never stops
    log_steps: int = 50
    checkpoint_steps: int = 500  # beside the checkpoint after every epoch
    parallel: str = "jit"
    devices: int = 0  # 0: all; on a CPU one, whose steps use all cores, and the analysis all
    tensorboard: bool = False  # needs the extra attnjax[tensorboard]
    profile_steps: tuple[int, ...] = ()  # first and last step to trace into workdir/profile
    compile_cache: str = "auto"  # folder of compiled programs; "auto" (user cache) or "off"
    keep_heap: bool = True  # Linux CPU: glibc keeps freed memory, up to 1.7x faster steps


@dataclass(frozen=True)
class AdversaryConfig:
    """The perturbation that training adds; `none` trains on clean inputs alone."""

    technique: str = "none"
    epsilon: float = 1.0  # L2 norm of the perturbation of one example
    weight: float = 1.0  # lambda, the weight of the perturbed loss
    steps: int = 1  # of the ascent; each ends inside the ball of radius epsilon
    power_steps: int = 1  # of the power iteration that starts virtual techniques
    xi: float = 0.1  # distance at which virtual techniques measure the gradient
    neighbours: int = 10  # nearest words that word_iat and word_ivat move towards
    difference_axis: str = "sentence"  # attention iAT: what its differences are normalised over
    alpha_axis: str = "sentence"  # iAT: what its weights are normalised over
    reference_compat: str = ""  # "amep": what the released code of attention AT and iAT does
    unlabelled_batch: int = 0  # unlabelled examples in every batch; 0: as many as labelled ones


@dataclass(frozen=True)
class RelevanceConfig:
    """The relevance loss; weight 0 leaves it out."""

    weight: float = 0.0
    second_order: bool = True  # the target moves with the parameters; False holds it constant


@dataclass(frozen=True)
class AnalysisConfig:
    """What is measured on the test split after training."""

    examples: int = -1  # of the test split, at random; -1 takes all, 0 skips the analysis
    methods: tuple[str, ...] = ("gradient", "leave_one_out")
    detach_attention: bool = True  # hold attention constant in gradients, as Jain & Wallace do
    chunk_size: int = 128  # examples in one compiled call: bounds memory, changes no result
    top_k: int = 10  # words that the top-k measures look at
    permutations: int = 100  # of attention, per example; 0 skips the permutation test
    adversaries: int = 5  # attentions sought per example; 0 skips adversarial attention
    adversary_steps: int = 500  # of their optimizer
    adversary_epsilon: float = 0.05  # largest total variation of the output that still counts
    robustness: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # norms tried; empty skips it
    robustness_steps: int = 1  # ascent steps of the worst case


@dataclass(frozen=True)
class RunConfig:
    """One run. The defaults are bAbI task 1 from the simulator: nothing to download."""

    task: str = "qa"
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    relevance: RelevanceConfig = field(default_factory=RelevanceConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)


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
    raw = config.to_dict() if isinstance(config, ConfigDict) else config
    run = _build(RunConfig, raw, "")
    check(run)
    return run


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}"""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def field_names(kind: type = RunConfig, prefix: str = "") -> list[str]:
    """Returns every dotted leaf name: ["task", "seed", "data.source", ...]."""
    names: list[str] = []
    for each, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            names += field_names(typing.cast(type, hint), f"{prefix}{each}.")
        else:
            names.append(prefix + each)
    return names


def _build(kind: type, raw: dict[str, Any], prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(raw) - set(hints))
    if unknown:
        name = prefix + unknown[0]
        raise UserError(f"config has no field '{name}'{suggest(name, field_names())}")
    values = {}
    for name, value in raw.items():
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise UserError(
                    f"config field '{prefix}{name}' is a group of fields, not {value!r}"
                )
            values[name] = _build(typing.cast(type, hint), value, f"{prefix}{name}.")
        else:
            values[name] = _coerce(prefix + name, hint, value)
    return kind(**values)


def _coerce(name: str, hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        kind = typing.get_args(hint)[0]
        if isinstance(value, list | tuple) and len(value) == 1:
            (value,) = value  # "--config.data.labels=a,b" arrives as ("a,b",)
        if isinstance(value, str):
            value = [part for part in value.split(",") if part]
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = [value]
        if isinstance(value, list | tuple):
            if kind is str:  # "--config.data.labels=0,1" arrives as numbers
                value = [str(each) if type(each) is int else each for each in value]
            return tuple(_coerce(name, kind, each) for each in value)
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif type(value) is hint:
        if isinstance(value, str) and not encodable(value):
            raise UserError(f"config field '{name}' is no UTF-8: {value!r}; rename what it names")
        return value
    expected = "list" if typing.get_origin(hint) is tuple else hint.__name__
    raise UserError(f"config field '{name}' must be a {expected}, not {value!r}")
