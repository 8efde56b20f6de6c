"""Importance methods: how much each word matters to the predicted class's probability.

A method is one function (stages, params, batch, key, segment="text") -> [batch, length],
non-negative, 0 off the words of that segment; segment "query" measures the words of the query and
gives [batch, query_length]. One that takes no segment measures the words of the text alone.
Adding one here adds it to the command line, the tests and the report.
"""

import inspect

from attnjax.analysis.importance.deletion import leave_one_out
from attnjax.analysis.importance.gradient import (
    completeness_error,
    gradient,
    gradient_norm,
    integrated_gradients,
)
from attnjax.checks import REGISTERED

METHODS = {
    "gradient": gradient,
    "gradient_norm": gradient_norm,
    "integrated_gradients": integrated_gradients,
    "leave_one_out": leave_one_out,
}
REGISTERED["analysis.methods"] = METHODS


def measures_queries(name: str) -> bool:
    """Whether the method also measures the words of the query."""
    return "segment" in inspect.signature(METHODS[name]).parameters


# Methods that are given `gradient.detached(stages)` where attention is to be held constant; all
# others need the whole model.
DETACHABLE = ("gradient", "gradient_norm")

# method -> (stages, params, batch) -> [batch], how far it is from exact
DIAGNOSTICS = {"integrated_gradients": completeness_error}
