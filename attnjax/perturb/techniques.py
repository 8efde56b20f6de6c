"""The table of techniques: a line here adds one to configuration, losses, tests and benchmarks."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Array, Key

from attnjax.fields import REGISTERED
from attnjax.perturb.ascent import Problem, Settings, random_perturbation, virtual, worst_case
from attnjax.perturb.norms import Delta


class Technique(NamedTuple):
    """One way to disturb training.

    level          "word": word vectors; "attention": unnormalised attention scores; "inner": those
                   of self-attention within the encoder
    perturb        (problem, settings, key) -> perturbation
    interpretable  along differences to other words or scores (iAT, iVAT)
    virtual        the loss is the divergence from the clean prediction; needs no label (VAT, iVAT)
    """

    level: Literal["word", "attention", "inner"]
    perturb: Callable[[Problem, Settings, Key[Array, ""]], Delta]
    interpretable: bool = False
    virtual: bool = False

    @property
    def reads_neighbours(self) -> bool:
        """Whether it reads the vectors of words that are not in the text."""
        return self.level == "word" and self.interpretable


TECHNIQUES: dict[str, Technique] = {
    "word_at": Technique("word", worst_case),
    "word_iat": Technique("word", worst_case, interpretable=True),
    "word_vat": Technique("word", virtual, virtual=True),
    "word_ivat": Technique("word", virtual, interpretable=True, virtual=True),
    "attention_rp": Technique("attention", random_perturbation),
    "attention_at": Technique("attention", worst_case),
    "attention_iat": Technique("attention", worst_case, interpretable=True),
    "attention_vat": Technique("attention", virtual, virtual=True),
    "attention_ivat": Technique("attention", virtual, interpretable=True, virtual=True),
    "inner_rp": Technique("inner", random_perturbation),
    "inner_at": Technique("inner", worst_case),
    "inner_iat": Technique("inner", worst_case, interpretable=True),
    "inner_vat": Technique("inner", virtual, virtual=True),
    "inner_ivat": Technique("inner", virtual, interpretable=True, virtual=True),
}
REGISTERED["adversary.technique"] = TECHNIQUES
