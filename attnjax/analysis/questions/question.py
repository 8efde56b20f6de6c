"""One question put to a trained model, as a record; `report.answers` has how it is shown."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from attnjax.analysis.rows import Engine, Ragged
from attnjax.config import AnalysisConfig
from attnjax.data.batches import EncodedSplit
from attnjax.data.lexicon import Lexicon
from attnjax.types import Params, Segment, Stages, Trace


class Given(NamedTuple):
    """What a question over rows is given: the batch's forward pass and its explanations.

    fitted  what it has learnt from training data, where it is fitted
    """

    trace: Trace
    explanations: dict[str, dict[Segment, Float[Array, "batch length"]]]
    fitted: Any = None


class Again(NamedTuple):
    """The compiled methods of a study, for questions that ask them again.

    engine   with the runs' parameters
    names    "attention" and the methods of the text that do not run on the host
    fitted   of them, those that learn from training data
    bind     engine -> explain(placed batch, moved, names) -> for each run {"probabilities", each
             name -> [batch, length]}; see `analysis.explaining.bind`. Nothing is compiled again; a
             signal stops it between two calls
    """

    engine: Engine
    names: tuple[str, ...]
    fitted: frozenset[str]
    bind: Callable[[Engine], Callable[..., list[dict[str, np.ndarray]]]]


class Names(NamedTuple):
    """What ids and class numbers are called; empty where nobody says.

    concepts  the word lists that `analysis.concepts` names
    """

    words: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    concepts: Lexicon | None = None


NAMELESS = Names()


class Kept(NamedTuple):
    """A checkpoint that a run kept: after which step, and the learning rate of that step."""

    step: int
    params: Params
    rate: float


class Subject(NamedTuple):
    """What a question over the training examples is given.

    split     the rows that are analysed; training  all training rows, by their number
    check     is called between batches and may raise to stop
    kept      gives the run's checkpoints, () where none are at hand
    """

    stages: Stages
    params: Params
    split: EncodedSplit
    training: EncodedSplit
    names: Names
    check: Callable[[], None]
    kept: Callable[[], Sequence[Kept]] = lambda: ()


class Study(NamedTuple):
    """What was found about one run, in the split's order.

    explanations   segment -> "attention" (of the text) and each method -> one array a row, over
                   the row's words; a query has those of the methods that measure it
    exactness      method -> [rows], such as the completeness error of integrated gradients
    found          question -> what `ask` returned
    predictions    [rows] class numbers; probabilities  [rows, classes]
    numbers        [rows] of the rows in their data set's split
    rationales     for each person the numbers of the text's words that they name as the reason for
                   the label, None of a row without; None where no row has any
    cost           method -> seconds an example, and passes
    """

    explanations: dict[Segment, dict[str, Ragged]]
    exactness: dict[str, np.ndarray]
    found: dict[str, Any]
    predictions: np.ndarray
    probabilities: np.ndarray
    numbers: np.ndarray
    rationales: Sequence[tuple[tuple[int, ...], ...] | None] | None = None
    cost: Mapping[str, dict[str, Any]] = MappingProxyType({})


class About(NamedTuple):
    """What an answer may need beside what was found.

    labels  class names; truth  [rows] class numbers
    words   (text, query or None) of each row, as people wrote them; None where they are not known
    """

    study: Study
    config: AnalysisConfig
    labels: tuple[str, ...]
    truth: np.ndarray
    words: Sequence[tuple[list[str], list[str] | None]] | None = None


class Question(NamedTuple):
    """One question.

    ask     over "rows": (stages, config, seed) -> row function (params, batch, Given) -> tree, see
            `analysis.rows`; over "explanations", on the host: (study, config, seed) -> tree of
            lists and arrays with one entry a row; over "methods", which it asks again: (stages,
            config, seed, Again) -> ask(host batch, what `Again.bind` gives of the batch itself,
            names of those to ask again, advance) -> for each run {key -> name -> tree of arrays
            with one row an example}, NaN of what is not asked; advance  is to be told of how many
            examples are done, or of parts; over "train", on the host:
            (Subject, config, seed) -> tree, of which what `record` names has one entry a row
    answer  (what was found, About) -> its part of results.json
    empty   that part where the question is not asked
    record  the parts of what was found that examples.jsonl has for each example
    wanted  whether the configuration asks for it, beside its name in analysis.questions
    place   the object of results.json that the answer goes into
    needs   the field of the configuration that must be set where it is asked; "" for none
    fit     over "rows": (AnalysisConfig, Names) -> `Method.fit`; a method with the same one shares
            what is learnt
    encoders  of the models it can be put to; () for all
    prepare once a run, (stages, params, split, config, Names, () -> training rows) -> tree of
            arrays; the row function then takes the pair (params, tree) for params
    spell   (what was found, Names) -> what was found, with words for ids
    pools   as of a `Method`
    """

    ask: Callable[..., Any]
    answer: Callable[[Any, About], dict[str, Any]]
    empty: dict[str, Any]
    record: tuple[str, ...] = ()
    wanted: Callable[[AnalysisConfig], bool] = lambda config: True
    over: Literal["rows", "explanations", "methods", "train"] = "rows"
    place: Literal["analysis", "results"] = "analysis"
    needs: str = ""
    fit: Callable[[AnalysisConfig, Names], Callable[..., Any]] | None = None
    encoders: tuple[str, ...] = ()
    prepare: Callable[..., Any] | None = None
    spell: Callable[[Any, Names], Any] | None = None
    pools: bool = False
