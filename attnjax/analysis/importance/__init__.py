"""Importance methods: how much each word matters to the predicted class's probability.

A method is one function (stages, params, batch, key) -> [batch, length], non-negative, 0 off the
words of the attended text. Adding one here adds it to the command line, the tests and the report.
"""

from attnjax.analysis.importance.deletion import leave_one_out
from attnjax.analysis.importance.gradient import gradient

METHODS = {"gradient": gradient, "leave_one_out": leave_one_out}
