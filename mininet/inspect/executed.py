"""Multiplications truly executed: the weighted ops once more, through a multiplier that counts.

Slow and plain. Every product of an input and a weight goes through `Multiplier.times`, so the count is of
what was done, not of what a formula says should be; that the sums equal `Op.reference` shows that these
products are all that the op needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mininet.errors import GraphError
from mininet.ops import Conv2d, DepthwiseConv2d, Linear, PointwiseConv2d
from mininet.ops.activation import activate
from mininet.ops.base import Array, Op, Params
from mininet.ops.geometry import Pads, resolve_padding


class Multiplier:
    """Multiplies arrays and counts the products."""

    def __init__(self) -> None:
        self.products = 0

    def times(self, left: Array, right: Array) -> Array:
        """``left * right`` by NumPy's broadcasting; every element of the result is one product."""
        result: Array = np.multiply(left, right)
        self.products += result.size
        return result


@dataclass(frozen=True, eq=False)
class Executed:
    """One op, executed twice.

    Attributes
    ----------
    padded : int
        Products when the border is filled up with zeros, which are multiplied like pixels: what the
        papers count.
    valid : int
        Products when taps that fall outside the picture are left out: what must be executed.
    padded_value, valid_value : array
        What each yields: the same but for the order of rounding.
    """

    padded: int
    valid: int
    padded_value: Array
    valid_value: Array


def execute(op: Op, params: Params, x: Array) -> Executed:
    """Execute a convolution or linear layer and count its products.

    Parameters
    ----------
    op : Op
        `Conv2d`, `DepthwiseConv2d`, `PointwiseConv2d` or `Linear`.
    params : mapping of str to array
        Weights by role, as `Op.reference` takes them.
    x : array (N, C, H, W) or (N, F)
        In the dtype to compute in.

    Raises
    ------
    GraphError
        If the op multiplies nothing by weights.
    """
    if isinstance(op, Linear):
        multiplier = Multiplier()
        value = multiplier.times(x[:, None], params["weight"][None]).sum(axis=2)
        value = _finish(op, params, value)
        return Executed(multiplier.products, multiplier.products, value, value)
    if not isinstance(op, (Conv2d, DepthwiseConv2d, PointwiseConv2d)):
        raise GraphError(f"{op.kind} multiplies nothing by weights")
    conv = op.as_conv2d()
    pads = resolve_padding(conv.padding, (x.shape[2], x.shape[3]), conv.kernel, conv.stride, conv.dilation)
    everywhere, inside = Multiplier(), Multiplier()
    filled = np.pad(x, ((0, 0), (0, 0), pads[:2], pads[2:]))
    shape = op.infer_shape(x.shape)
    padded = _taps(conv, params["weight"], filled, (0, 0, 0, 0), shape, everywhere)
    valid = _taps(conv, params["weight"], x, pads, shape, inside)
    return Executed(
        everywhere.products, inside.products, _finish(conv, params, padded), _finish(conv, params, valid)
    )


def _taps(
    conv: Conv2d, weight: Array, x: Array, pads: Pads, shape: tuple[int, ...], multiplier: Multiplier
) -> Array:
    """Sum over taps; each is multiplied only where it lies inside ``x``."""
    y = np.zeros(shape, x.dtype)
    outs, ins = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    for row in range(conv.kernel[0]):
        to_rows, from_rows = _reach(row, 0, conv, pads[0], x.shape[2], shape[2])
        for column in range(conv.kernel[1]):
            to_columns, from_columns = _reach(column, 1, conv, pads[2], x.shape[3], shape[3])
            seen = x[:, :, from_rows, from_columns]
            if not seen.size:
                continue
            grouped = seen.reshape(seen.shape[0], conv.groups, 1, ins, *seen.shape[2:])
            taps = weight[:, :, row, column].reshape(1, conv.groups, outs, ins, 1, 1)
            products = multiplier.times(grouped, taps).sum(axis=3)
            y[:, :, to_rows, to_columns] += products.reshape(seen.shape[0], -1, *seen.shape[2:])
    return y


def _reach(tap: int, axis: int, conv: Conv2d, pad: int, length: int, outputs: int) -> tuple[slice, slice]:
    """Outputs for which a tap lies inside the input along one axis, and the inputs it meets there."""
    stride, offset = conv.stride[axis], tap * conv.dilation[axis] - pad
    first = max(0, -(offset // stride))  # the least output with output * stride + offset >= 0
    last = min(outputs - 1, (length - 1 - offset) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    return slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)


def _finish(op: Conv2d | Linear, params: Params, value: Array) -> Array:
    if op.bias:
        value = value + params["bias"].reshape(-1, *(1,) * (value.ndim - 2))
    return activate(op.activation, value)
