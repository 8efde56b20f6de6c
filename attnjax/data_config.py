"""The section of the configuration that says where examples come from."""

from dataclasses import dataclass, field

from attnjax.fields import MANY, option


@dataclass(frozen=True)
class FieldsConfig:
    """The column of the data files that each part of an example is read from."""

    text: str = option("text", "classification: the text; title,body joins several columns")
    label: str = option("label", "classification and nli: the class")
    premise: str = option("premise", "nli: the first text")
    hypothesis: str = option("hypothesis", "nli: the second text")
    story: str = option("story", "qa: what is read")
    question: str = option("question", "qa: what is asked about it")
    answer: str = option("answer", "qa: the class")
    candidates: str = option("candidates", "qa: the answers to choose from, where there are some")
    rationale: str = option(
        "",
        "the words of the text (premise, story) that people name as the reason for the label: "
        "numbers from 0, or one 0 or 1 for each word, or a list of such lists, one for each "
        "person; empty reads none. The releases have: SST leaves, bAbI supporting",
        incidental=True,
    )
    tokens: str = option(
        "tokens",
        "the words that rationale numbers count, where a row lists its own; else those of the text "
        "as it is split here",
        incidental=True,
    )


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from and how they become token ids."""

    source: str = option(
        "babi_simulator",
        "what is read",
        choices=("tfds", "files", "babi_simulator", "reverse_simulator"),
    )
    name: str = option(
        "1",
        "tfds: the official name; babi_simulator: the task; reverse_simulator: symbols of a text; "
        "files: unused",
    )
    path: str = option(
        "", "files: the folder, or one file; tfds: data_dir, empty for TFDS's own default", own=True
    )
    fields: FieldsConfig = field(default_factory=FieldsConfig)
    quoting: str = option(
        "auto",
        "CSV, TSV: quotes enclose a cell (quoted) or are text (literal); auto: quoted in CSV, "
        "and in TSV literal but around a whole cell",
        choices=("auto", "quoted", "literal"),
    )
    labels: tuple[str, ...] = option((), "keep only rows with these labels; empty keeps all")
    seed: int = option(
        0, "of simulation, of the validation cut and of the train prefix", least=0, below=2**32
    )
    validation_fraction: float = option(
        0.15,
        "share cut from train where there is no validation split, and where there is no test split",
        above=0,
        below=1,
    )
    train_examples: int = option(
        -1,
        "prefix of the shuffled train split; of a simulation the questions drawn, those for "
        "validation among them; -1 takes all",
        least=1,
        most=MANY,
        unlimited=True,
    )
    min_length: int = option(1, "shortest text kept, in words (all splits)", least=1, most=MANY)
    max_length: int = option(
        -1,
        "longer texts are cut to this many words; -1 never cuts",
        least=1,
        most=MANY,
        unlimited=True,
    )
    drop_empty: bool = option(False, "leave out texts without a token instead of stopping")
    min_count: int = option(
        1,
        "words that train has less often become <unk>; of a pretrained encoder, which reads "
        "pieces of words, none does",
        least=1,
        most=MANY,
    )
    vectors: str = option("", ".vec, .txt or .npz with pretrained word vectors", own=True)
    unlabelled: str = option(
        "", "a further file of unlabelled texts, for virtual techniques", own=True
    )
    buckets: int = option(6, "padded lengths, one compilation each", least=1, most=10_000)
