"""Which settings make another explanation of a method, so that two runs cannot be compared."""

import pytest

from attnjax.analysis.importance import METHODS
from attnjax.config import AnalysisConfig, RunConfig
from attnjax.runs.again import _tunes


@pytest.mark.parametrize(
    ("name", "value", "methods"),
    [
        ("lrp_epsilon", 0.1, {"lrp"}),
        ("smoothgrad_form", "norm", {"smoothgrad"}),
        ("mask_price", 0.9, {"mask", "mask_model"}),
        ("information_state", "logits", {"information", "replacement", "jacobian_norm"}),
        ("information_whiten", True, {"information", "replacement", "jacobian_norm"}),
        ("lime_samples", 500, {"lime"}),
        ("completeness", 0.1, {"integrated_gradients", "integrated_gradients_signed"}),
        ("bottleneck_price", 0.2, {"bottleneck"}),
        ("top_k", 3, set()),
        ("permutations", 3, set()),
    ],
)
def test_what_tunes_a_method_makes_another_explanation(name, value, methods):
    """Of these methods and of no other."""
    for method in METHODS:
        config = RunConfig(analysis=AnalysisConfig(methods=(method,)))
        assert _tunes(config, f"analysis.{name}", value) == (method in methods), method
