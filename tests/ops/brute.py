"""Every op once more as plain Python loops, straight from its textbook formula, counting its products.

Nothing here is shared with ``mininet``: paddings are handled by asking whether a pixel exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Pads = tuple[int, int, int, int]
ROLES = ("weight", "bias")


class Tally:
    """Counts the products that a formula accumulates, those with padding included."""

    def __init__(self) -> None:
        self.products = 0

    def multiply(self, a: float, b: float) -> float:
        """``a b``, counted."""
        self.products += 1
        return float(a) * float(b)


Brute = Callable[[Any, Mapping[str, Array], list[Array], Tally], Array]


def scalar_activation(name: str, x: float) -> float:
    """One value through the activation called ``name``."""
    six = min(max(x + 3.0, 0.0), 6.0)
    return {
        "identity": lambda: x,
        "relu": lambda: max(x, 0.0),
        "relu6": lambda: min(max(x, 0.0), 6.0),
        "hard_sigmoid": lambda: six / 6.0,
        "hard_swish": lambda: x * six / 6.0,
        "sigmoid": lambda: 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0,
    }[name]()


def explicit_pads(padding: str | Pads, size: tuple[int, int], op: Any) -> Pads:
    """Four paddings from a policy, each by its framework's own formula."""
    if not isinstance(padding, str):
        return padding
    kernel, stride = op.kernel, op.stride
    dilation = getattr(op, "dilation", (1, 1))
    if padding == "keras" and stride != (1, 1):
        return 0, 1, 0, 1
    pads: list[int] = []
    for length, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        reach = (k - 1) * d + 1
        if padding == "symmetric":
            pads += [(k - 1) // 2 * d] * 2
        else:  # TensorFlow's documentation of SAME, word for word
            total = max(reach - s, 0) if length % s == 0 else max(reach - length % s, 0)
            pads += [total // 2, total - total // 2]
    return pads[0], pads[1], pads[2], pads[3]


def _outputs(length: int, before: int, after: int, k: int, s: int, d: int) -> int:
    """How many windows fit, found by sliding one along."""
    count = 0
    while count * s + (k - 1) * d + 1 <= before + length + after:
        count += 1
    return count


def convolution(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """Any of the three convolutions, as the general one, without a residual."""
    x = inputs[0]
    conv = op.as_conv2d()
    n, _, h, w = x.shape
    weight = params["weight"]
    depth, per_group = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    (kh, kw), (sh, sw), (dh, dw) = conv.kernel, conv.stride, conv.dilation
    pt, pb, pl, pr = explicit_pads(conv.padding, (h, w), conv)
    y = np.zeros((n, conv.out_channels, _outputs(h, pt, pb, kh, sh, dh), _outputs(w, pl, pr, kw, sw, dw)))
    for image, oc, oy, ox in np.ndindex(*y.shape):
        total = float(params["bias"][oc]) if conv.bias else 0.0
        for k, ky, kx in np.ndindex(depth, kh, kw):
            row, column = oy * sh + ky * dh - pt, ox * sw + kx * dw - pl
            inside = 0 <= row < h and 0 <= column < w
            pixel = x[image, oc // per_group * depth + k, row, column] if inside else 0.0
            total += tally.multiply(pixel, weight[oc, k, ky, kx])
        y[image, oc, oy, ox] = scalar_activation(conv.activation, total)
    return y


def pointwise(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """The residual comes last."""
    y = convolution(op, params, inputs, tally)
    if op.residual:
        for at in np.ndindex(*y.shape):
            y[at] += float(inputs[1][at])
    return y


def fused_depthwise(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """First every value of the tensor between, then the window over each of its channels."""
    first, second = ({role: params[f"{part}.{role}"] for role in ROLES} for part in ("first", "depthwise"))
    between = convolution(op.first, first, inputs, tally)
    return convolution(op.depthwise, second, [between], tally)


def linear(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """One dot product per output."""
    y = np.zeros((len(inputs[0]), op.out_features))
    for i, o in np.ndindex(*y.shape):
        total = float(params["bias"][o]) if op.bias else 0.0
        total += sum(tally.multiply(a, b) for a, b in zip(inputs[0][i], params["weight"][o], strict=True))
        y[i, o] = scalar_activation(op.activation, total)
    return y


def batch_norm(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """Whitened by the running statistics, then scaled and shifted."""
    y = np.zeros(inputs[0].shape)
    for i, c, row, column in np.ndindex(*y.shape):
        centred = float(inputs[0][i, c, row, column]) - float(params["running_mean"][c])
        white = centred / math.sqrt(float(params["running_var"][c]) + op.eps)
        value = white * float(params["weight"][c]) + float(params["bias"][c])
        y[i, c, row, column] = scalar_activation(op.activation, value)
    return y


def clip(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """The value, or the bound that it is beyond."""
    values = [sorted((op.low, float(v), op.high))[1] for v in inputs[0].reshape(-1)]
    return np.array(values).reshape(inputs[0].shape)


def softmax(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """Along the channels of every pixel."""
    channels_last = np.moveaxis(inputs[0], 1, -1)
    rows = []
    for vector in channels_last.reshape(-1, channels_last.shape[-1]):
        powers = [math.exp(float(v) - float(max(vector))) for v in vector]
        rows.append([p / math.fsum(powers) for p in powers])
    return np.moveaxis(np.array(rows).reshape(channels_last.shape), -1, 1)


def average(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """Mean of the pixels that exist under a window; the whole picture is a window too."""
    (x,) = inputs
    n, c, h, w = x.shape
    kh, kw = getattr(op, "kernel", (h, w))
    sh, sw = getattr(op, "stride", (1, 1))
    pt, pb, pl, pr = explicit_pads(getattr(op, "padding", (0, 0, 0, 0)), (h, w), op)
    y = np.zeros((n, c, _outputs(h, pt, pb, kh, sh, 1), _outputs(w, pl, pr, kw, sw, 1)))
    for i, k, oy, ox in np.ndindex(*y.shape):
        taps = [(oy * sh + a - pt, ox * sw + b - pl) for a in range(kh) for b in range(kw)]
        pixels = [float(x[i, k, r, q]) for r, q in taps if 0 <= r < h and 0 <= q < w]
        y[i, k, oy, ox] = math.fsum(pixels) / len(pixels)
    return y


def greatest(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """The greatest pixel of each channel, found by looking at all of them."""
    y = np.zeros((*inputs[0].shape[:2], 1, 1))
    for i, c in np.ndindex(*y.shape[:2]):
        y[i, c] = max(float(v) for row in inputs[0][i, c] for v in row)
    return y


def _elementwise(name: str) -> Brute:
    def run(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
        values = [scalar_activation(name, float(v)) for v in inputs[0].reshape(-1)]
        return np.array(values).reshape(inputs[0].shape)

    return run


def add(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """Value by value."""
    pairs = zip(inputs[0].reshape(-1), inputs[1].reshape(-1), strict=True)
    return np.array([scalar_activation(op.activation, float(a) + float(b)) for a, b in pairs]).reshape(
        inputs[0].shape
    )


def multiply(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """Whichever operand is one pixel is the gate."""
    image, gate = inputs if inputs[1].shape[2:] == (1, 1) else inputs[::-1]
    y = np.zeros(image.shape)
    for i, c, row, column in np.ndindex(*y.shape):
        y[i, c, row, column] = float(image[i, c, row, column]) * float(gate[i, c, 0, 0])
    return y


def flatten(op: Any, params: Mapping[str, Array], inputs: list[Array], tally: Tally) -> Array:
    """Channel after channel, row after row."""
    return np.array([[float(v) for plane in image for row in plane for v in row] for image in inputs[0]])


BRUTE: dict[str, Brute] = {
    "conv2d": convolution,
    "depthwise_conv2d": convolution,
    "pointwise_conv2d": pointwise,
    "expand_depthwise": fused_depthwise,
    "conv_depthwise": fused_depthwise,
    "linear": linear,
    "batch_norm": batch_norm,
    "clip": clip,
    "softmax": softmax,
    "avg_pool": average,
    "global_avg_pool": average,
    "global_max_pool": greatest,
    "add": add,
    "multiply": multiply,
    "flatten": flatten,
    "dropout": _elementwise("identity"),
    **{name: _elementwise(name) for name in ("relu", "relu6", "hard_sigmoid", "hard_swish", "sigmoid")},
}
"""By the op's registered name. An op that is missing here fails ``test_every_op_has_a_brute_force_twin``."""
