"""Questions put to a trained model: a line in `QUESTIONS` adds one to configuration and results.

`report.answers.ANSWERS` has its twin, which shows the answer.
"""

from attnjax.analysis.questions.adversary import ADVERSARIAL
from attnjax.analysis.questions.agreement import AGREEMENT
from attnjax.analysis.questions.concepts import CONCEPTS
from attnjax.analysis.questions.continuity import CONTINUITY
from attnjax.analysis.questions.counterfactual import PERMUTATION, UNIFORM
from attnjax.analysis.questions.faithfulness import FAITHFULNESS
from attnjax.analysis.questions.flips import FLIPS
from attnjax.analysis.questions.influence import INFLUENCE
from attnjax.analysis.questions.information import INFORMATION
from attnjax.analysis.questions.known_word import KNOWN_WORD
from attnjax.analysis.questions.layers import LAYERS
from attnjax.analysis.questions.plausibility import PLAUSIBILITY
from attnjax.analysis.questions.prototypes import PROTOTYPES
from attnjax.analysis.questions.question import Question
from attnjax.analysis.questions.randomisation import RANDOMISATION
from attnjax.analysis.questions.robustness import ROBUSTNESS
from attnjax.analysis.questions.self_attention import SELF_ATTENTION_QUESTION
from attnjax.analysis.questions.usable import USABLE
from attnjax.config import AnalysisConfig
from attnjax.fields import REGISTERED

QUESTIONS: dict[str, Question] = {
    "agreement": AGREEMENT,
    "uniform_attention": UNIFORM,
    "permutation": PERMUTATION,
    "adversarial_attention": ADVERSARIAL,
    "robustness": ROBUSTNESS,
    "faithfulness": FAITHFULNESS,
    "continuity": CONTINUITY,
    "randomisation": RANDOMISATION,
    "plausibility": PLAUSIBILITY,
    "information": INFORMATION,
    "concepts": CONCEPTS,
    "known_word": KNOWN_WORD,
    "layers": LAYERS,
    "flips": FLIPS,
    "influence": INFLUENCE,
    "self_attention": SELF_ATTENTION_QUESTION,
    "prototypes": PROTOTYPES,
    "usable_information": USABLE,
}
REGISTERED["analysis.questions"] = QUESTIONS


def wanted(config: AnalysisConfig) -> dict[str, Question]:
    """The questions that the configuration asks, in the table's order."""
    return {
        name: question
        for name, question in QUESTIONS.items()
        if name in config.questions and question.wanted(config)
    }
