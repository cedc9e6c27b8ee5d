"""How far one kernel may be from the float64 reference: each op's own error bound, by its name.

A bound takes the op, float64 weights and inputs, and the exact result, and returns an array of the
result's shape. The constants and the theory are in ``tolerances``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from tolerances import EXP_FLOOR, UNIT, activated_error, forward_error

from mininet.ops import OPS, AvgPool, BatchNorm, Op
from mininet.ops.activation import Activation

Array = np.ndarray
ROLES = ("weight", "bias")
Bound = Callable[[Any, Mapping[str, Array], Sequence[Array], Array], Array]


def _exact(op: Op, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    return np.zeros_like(y)


def _one_rounding(op: Op, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    return forward_error(1, np.abs(y))


def _sum_of_products(op: Any, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    """Convolutions and linear: the op applied to absolute values is the sum of the terms' magnitudes."""
    terms = prod(params["weight"].shape[1:]) + 1
    return activated_error(op.activation, forward_error(terms, _magnitude(op, params, inputs[0])), y)


def _magnitude(op: Any, params: Mapping[str, Array], x: Array) -> Array:
    magnitudes = {role: np.abs(value) for role, value in params.items()}
    return replace(op, activation="identity").reference(magnitudes, np.abs(x))


def _pointwise(op: Any, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    """The residual is added last, with one more rounding."""
    if not op.residual:
        return _sum_of_products(op, params, inputs, y)
    alone = replace(op, residual=False)
    product = alone.reference(params, inputs[0])
    return _sum_of_products(alone, params, inputs, product) + forward_error(1, np.abs(y))


def _fused_depthwise(op: Any, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    """The error follows the data: the window adds up its taps' errors, and makes its own."""
    first, second = ({role: params[f"{part}.{role}"] for role in ROLES} for part in ("first", "depthwise"))
    between = op.first.reference(first, inputs[0])
    error = _sum_of_products(op.first, first, inputs, between)
    carried = _magnitude(op.depthwise, {**second, "bias": np.zeros_like(second["bias"])}, error)
    own = forward_error(prod(op.depthwise.kernel) + 1, _magnitude(op.depthwise, second, between))
    return activated_error(op.depthwise.activation, carried + own, y)


def _batch_norm(op: BatchNorm, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    column = {role: value[:, None, None] for role, value in params.items()}
    scale = op.scale(params)[:, None, None]
    magnitude = np.abs((inputs[0] - column["running_mean"]) * scale) + np.abs(column["bias"])
    # The subtraction, the scale as rounded to float32, the product and the sum.
    return activated_error(op.activation, forward_error(4, magnitude), y)


def _activation(op: Op, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    return activated_error(op.kind, np.zeros_like(y), y)


def _add(op: Any, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    return activated_error(op.activation, forward_error(1, np.abs(inputs[0] + inputs[1])), y)


def _softmax(op: Op, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    """An exponent is off by a rounding of itself; the sum by the mean of all exponents' errors."""
    exponent = np.abs(inputs[0] - inputs[0].max(axis=1, keepdims=True))
    shared = (exponent * y).sum(axis=1, keepdims=True)
    return 4 * UNIT * y * (1 + exponent + shared) + EXP_FLOOR


def _global_avg_pool(op: Op, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    terms = prod(inputs[0].shape[2:]) + 1
    return forward_error(terms, np.abs(inputs[0]).mean(axis=(2, 3), keepdims=True))


def _avg_pool(op: AvgPool, params: Mapping[str, Array], inputs: Sequence[Array], y: Array) -> Array:
    return forward_error(prod(op.kernel) + 1, op.reference({}, np.abs(inputs[0])))


BOUNDS: dict[str, Bound] = {
    "conv2d": _sum_of_products,
    "depthwise_conv2d": _sum_of_products,
    "pointwise_conv2d": _pointwise,
    "expand_depthwise": _fused_depthwise,
    "conv_depthwise": _fused_depthwise,
    "linear": _sum_of_products,
    "batch_norm": _batch_norm,
    "add": _add,
    "multiply": _one_rounding,
    "clip": _exact,
    "softmax": _softmax,
    "global_avg_pool": _global_avg_pool,
    "global_max_pool": _exact,
    "avg_pool": _avg_pool,
    "dropout": _exact,
    "flatten": _exact,
    **{kind: _activation for kind, cls in OPS.items() if issubclass(cls, Activation)},
}
"""By the op's registered name. An op that is missing here fails ``test_every_op_has_an_error_bound``."""
