"""The sections of the report: a line in `ANSWERS` shows the answer to a question.

Its name is that of the question in `analysis.questions.QUESTIONS`; the order is the page's.
"""

from attnjax.report.answers.agreement import AGREEMENT
from attnjax.report.answers.answer import Answer
from attnjax.report.answers.concepts import CONCEPTS
from attnjax.report.answers.counterfactual import ADVERSARIAL, PERMUTATION
from attnjax.report.answers.faithfulness import CONTINUITY, FAITHFULNESS, RANDOMISATION
from attnjax.report.answers.flips import FLIPS
from attnjax.report.answers.influence import INFLUENCE
from attnjax.report.answers.information import INFORMATION
from attnjax.report.answers.known_word import KNOWN_WORD
from attnjax.report.answers.layers import LAYERS
from attnjax.report.answers.plausibility import PLAUSIBILITY
from attnjax.report.answers.prototypes import PROTOTYPES
from attnjax.report.answers.robustness import ROBUSTNESS
from attnjax.report.answers.self_attention import SELF_ATTENTION
from attnjax.report.answers.usable import USABLE
from attnjax.report.wording import Wording, measure

ANSWERS: dict[str, Answer] = {
    "agreement": AGREEMENT,
    "layers": LAYERS,
    "faithfulness": FAITHFULNESS,
    "continuity": CONTINUITY,
    "randomisation": RANDOMISATION,
    "plausibility": PLAUSIBILITY,
    "information": INFORMATION,
    "concepts": CONCEPTS,
    "known_word": KNOWN_WORD,
    "permutation": PERMUTATION,
    "adversarial_attention": ADVERSARIAL,
    "robustness": ROBUSTNESS,
    "flips": FLIPS,
    "influence": INFLUENCE,
    "self_attention": SELF_ATTENTION,
    "prototypes": PROTOTYPES,
    "usable_information": USABLE,
}


def compared() -> dict[tuple[str, str], Wording]:
    """What two runs are compared in, example by example, beside agreement: (part, name) -> it."""
    return {each: words for answer in ANSWERS.values() for each, words in answer.compared.items()}


def compared_each() -> dict[tuple[str, str], Wording]:
    """What they are compared in of every explanation: (part, measure) -> it."""
    return {
        each: words for answer in ANSWERS.values() for each, words in answer.compared_each.items()
    }


def of_part(part: str, measure: str) -> str:
    """The name of such a measure in a comparison."""
    return f"{part}_{measure}"


def measured(name: str) -> Wording:
    """The words for a measure of agreement, or of what `compare` compares."""
    known = {each: words for (_, each), words in compared().items()}
    known |= {of_part(*each): words for each, words in compared_each().items()}
    return known.get(name) or measure(name)
