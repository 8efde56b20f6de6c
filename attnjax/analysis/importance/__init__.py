"""Importance methods: how much each word matters to what the model predicts.

`METHODS` is the table: a line adds a method to the command line, sweeps, tests and the report. An
entry is a `Method`, or one function (stages, params, batch, key) -> [batch, length] of values of at
least 0 that are 0 off the words of the text.
"""

from collections.abc import Callable
from typing import Any

from attnjax.analysis.importance.deletion import LEAVE_ONE_OUT, LEAVE_ONE_OUT_SIGNED
from attnjax.analysis.importance.gradient import GRADIENT, GRADIENT_NORM, INTEGRATED_GRADIENTS
from attnjax.analysis.importance.method import Method, as_method
from attnjax.checks import REGISTERED

METHODS: dict[str, Method | Callable[..., Any]] = {
    "gradient": GRADIENT,
    "gradient_norm": GRADIENT_NORM,
    "integrated_gradients": INTEGRATED_GRADIENTS,
    "leave_one_out": LEAVE_ONE_OUT,
    "leave_one_out_signed": LEAVE_ONE_OUT_SIGNED,
}
REGISTERED["analysis.methods"] = METHODS


def method_named(name: str) -> Method:
    """The record of a method in the table."""
    return as_method(METHODS[name])
