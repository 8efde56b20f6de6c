"""One question put to a trained model, as a record; `report.answers` has how it is shown."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from attnjax.analysis.rows import Ragged
from attnjax.config import AnalysisConfig
from attnjax.data.lexicon import Lexicon
from attnjax.types import Segment, Trace


class Given(NamedTuple):
    """What a question over rows is given: the batch's forward pass and its explanations.

    fitted  what it has learnt from training data, where it is fitted
    """

    trace: Trace
    explanations: dict[str, dict[Segment, Float[Array, "batch length"]]]
    fitted: Any = None


class Study(NamedTuple):
    """What was found about one run, in the split's order.

    explanations   segment -> "attention" (of the text) and each method -> one array a row, over
                   the row's words; a query has those of the methods that measure it
    exactness      method -> [rows], such as the completeness error of integrated gradients
    found          question -> what `ask` returned
    predictions    [rows] class numbers; probabilities  [rows, classes]
    numbers        [rows] of the rows in their data set's split
    """

    explanations: dict[Segment, dict[str, Ragged]]
    exactness: dict[str, np.ndarray]
    found: dict[str, Any]
    predictions: np.ndarray
    probabilities: np.ndarray
    numbers: np.ndarray


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
            lists and arrays with one entry a row
    answer  (what was found, About) -> its part of results.json
    empty   that part where the question is not asked
    record  the parts of what was found that examples.jsonl has for each example
    wanted  whether the configuration asks for it, beside its name in analysis.questions
    place   the object of results.json that the answer goes into
    fit     over "rows": (AnalysisConfig, Lexicon or None) -> `Method.fit`; a method with the same
            one shares what is learnt
    """

    ask: Callable[..., Any]
    answer: Callable[[Any, About], dict[str, Any]]
    empty: dict[str, Any]
    record: tuple[str, ...] = ()
    wanted: Callable[[AnalysisConfig], bool] = lambda config: True
    over: Literal["rows", "explanations"] = "rows"
    place: Literal["analysis", "results"] = "analysis"
    fit: Callable[[AnalysisConfig, Lexicon | None], Callable[..., Any]] | None = None
