"""Importance methods: how much each word matters to what the model predicts.

`METHODS` is the table: a line adds a method to the command line, sweeps, tests and the report. An
entry is a `Method`, or one function (stages, params, batch, key) -> [batch, length] of values of at
least 0 that are 0 off the words of the text.
"""

from collections.abc import Callable
from typing import Any

from attnjax.analysis.importance.activation import (
    ATTENTION_NORM,
    GRAD_CAM,
    GRADIENT_X_ATTENTION,
    GUIDED_GRAD_CAM,
)
from attnjax.analysis.importance.attention import (
    ALTI,
    ATTENTION_LAST,
    ATTENTION_LRP_METHOD,
    GRADIENT_ATTENTION,
    NORM_ATTENTION,
    ROLLOUT,
)
from attnjax.analysis.importance.bottleneck import BOTTLENECK
from attnjax.analysis.importance.deletion import (
    LEAVE_ONE_OUT,
    LEAVE_ONE_OUT_SIGNED,
    OCCLUSION,
)
from attnjax.analysis.importance.gradient import (
    GRADIENT,
    GRADIENT_NORM,
    GRADIENT_X_INPUT,
    INTEGRATED_GRADIENTS,
    INTEGRATED_GRADIENTS_SIGNED,
)
from attnjax.analysis.importance.information import (
    INFORMATION,
    JACOBIAN_NORM,
    REPLACEMENT,
)
from attnjax.analysis.importance.mask import MASK
from attnjax.analysis.importance.mask_model import MASK_MODEL
from attnjax.analysis.importance.method import Method, as_method
from attnjax.analysis.importance.patterns import PATTERN_ATTRIBUTION, PATTERN_NET
from attnjax.analysis.importance.propagation import (
    DECONVOLUTION_NETWORK,
    DEEP_TAYLOR,
    DEEP_TAYLOR_W2,
    GUIDED_BACKPROP,
    LRP,
)
from attnjax.analysis.importance.smooth import SMOOTHGRAD
from attnjax.analysis.importance.subsets import LIME, SHAPLEY
from attnjax.fields import REGISTERED

METHODS: dict[str, Method | Callable[..., Any]] = {
    "gradient": GRADIENT,
    "gradient_norm": GRADIENT_NORM,
    "gradient_x_input": GRADIENT_X_INPUT,
    "integrated_gradients": INTEGRATED_GRADIENTS,
    "integrated_gradients_signed": INTEGRATED_GRADIENTS_SIGNED,
    "smoothgrad": SMOOTHGRAD,
    "leave_one_out": LEAVE_ONE_OUT,
    "leave_one_out_signed": LEAVE_ONE_OUT_SIGNED,
    "occlusion": OCCLUSION,
    "guided_backprop": GUIDED_BACKPROP,
    "deconvolution": DECONVOLUTION_NETWORK,
    "grad_cam": GRAD_CAM,
    "guided_grad_cam": GUIDED_GRAD_CAM,
    "lrp": LRP,
    "deep_taylor": DEEP_TAYLOR,
    "deep_taylor_w2": DEEP_TAYLOR_W2,
    "pattern_net": PATTERN_NET,
    "pattern_attribution": PATTERN_ATTRIBUTION,
    "lime": LIME,
    "shapley": SHAPLEY,
    "mask": MASK,
    "information": INFORMATION,
    "replacement": REPLACEMENT,
    "gradient_x_attention": GRADIENT_X_ATTENTION,
    "attention_norm": ATTENTION_NORM,
    "attention_last": ATTENTION_LAST,
    "rollout": ROLLOUT,
    "norm_attention": NORM_ATTENTION,
    "alti": ALTI,
    "attn_lrp": ATTENTION_LRP_METHOD,
    "gradient_attention": GRADIENT_ATTENTION,
    "jacobian_norm": JACOBIAN_NORM,
    "bottleneck": BOTTLENECK,
    "mask_model": MASK_MODEL,
}
REGISTERED["analysis.methods"] = METHODS


def method_named(name: str) -> Method:
    """The record of a method in the table."""
    return as_method(METHODS[name])
