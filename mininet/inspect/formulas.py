"""The closed formulas of the papers for what a layer or block costs, in multiply-adds.

All take sizes as integers and return exact integers (`separable_ratio` an exact fraction), for one
image, and count padding as if it were pixels, as the papers do. ``size`` is always that of the
*output*, (rows, columns): the papers write ``D_F`` for both sides of a square one.

V1 is arXiv:1704.04861, V2 arXiv:1801.04381, V3 arXiv:1905.02244, squeeze-and-excite arXiv:1709.01507.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

from mininet.errors import GraphError
from mininet.ops import Conv2d, DepthwiseConv2d, Linear, PointwiseConv2d
from mininet.ops.base import Op, Shape

Size = tuple[int, int]
"""Rows and columns."""


def standard_convolution(kernel: Size, in_channels: int, out_channels: int, size: Size) -> int:
    """``D_K D_K M N D_F D_F`` (V1, equation 2): every output channel looks at every input channel.

    Parameters
    ----------
    kernel : (int, int)
        ``D_K``, rows and columns.
    in_channels, out_channels : int
        ``M`` and ``N``.
    size : (int, int)
        ``D_F``, rows and columns of the output.
    """
    return prod(kernel) * in_channels * out_channels * prod(size)


def depthwise_convolution(kernel: Size, channels: int, size: Size) -> int:
    """``D_K D_K M D_F D_F`` (V1, equation 4): spatial filtering, one filter per channel."""
    return prod(kernel) * channels * prod(size)


def pointwise_convolution(in_channels: int, out_channels: int, size: Size) -> int:
    """``M N D_F D_F`` (V1, second term of equation 5): linear combination of channels."""
    return standard_convolution((1, 1), in_channels, out_channels, size)


def depthwise_separable(kernel: Size, in_channels: int, out_channels: int, size: Size) -> int:
    """``D_K D_K M D_F D_F + M N D_F D_F`` (V1, equation 5): filter each channel, then combine them."""
    depthwise = depthwise_convolution(kernel, in_channels, size)
    return depthwise + pointwise_convolution(in_channels, out_channels, size)


def separable_ratio(kernel: Size, out_channels: int) -> Fraction:
    """``1/N + 1/D_K^2`` (V1, section 3.1): depthwise separable over standard; the size cancels out."""
    return Fraction(1, out_channels) + Fraction(1, prod(kernel))


def spatially_separable(
    kernel: Size, in_channels: int, between: int, out_channels: int, size: Size, stride: Size = (1, 1)
) -> int:
    """A column filter ``D_K x 1`` and then a row filter ``1 x D_K``, instead of ``D_K x D_K``.

    The other way to take a convolution apart: in space, not in channels (Inception-v3,
    arXiv:1512.00567, section 3.2). The first half strides over rows alone, so its output still has
    all columns of the input.

    Parameters
    ----------
    kernel : (int, int)
        Rows of the first filter, columns of the second.
    in_channels, between, out_channels : int
        Channels that come in, that lie between the two, and that go out.
    size : (int, int)
        Of the output.
    stride : (int, int)
        Over rows (in the first half) and columns (in the second). The input is taken to have
        ``size * stride`` columns.
    """
    rows, columns = size
    first = standard_convolution((kernel[0], 1), in_channels, between, (rows, columns * stride[1]))
    return first + standard_convolution((1, kernel[1]), between, out_channels, size)


def linear(in_features: int, out_features: int) -> int:
    """``M N``: a fully connected layer."""
    return in_features * out_features


def squeeze_excite(channels: int, squeezed: int) -> int:
    """``2 C C/r`` (arXiv:1709.01507, section 3.2): both layers; the scaling itself is not counted."""
    return 2 * channels * squeezed


def inverted_residual(
    kernel: Size,
    in_channels: int,
    expanded: int,
    out_channels: int,
    size: Size,
    stride: Size = (1, 1),
    input_size: Size | None = None,
    expands: bool = True,
    squeezed: int = 0,
) -> int:
    """``h w d' t (d' + k^2 + d'')`` at stride 1 (V2, section 3.3): expand, filter, project.

    Parameters
    ----------
    kernel : (int, int)
        Of the depthwise convolution.
    in_channels, expanded, out_channels : int
        ``d'``, ``t d'`` and ``d''``.
    size : (int, int)
        Of the output.
    stride : (int, int)
        Of the depthwise convolution. The expansion before it runs over the larger input.
    input_size : (int, int), optional
        Of the input; by default ``size * stride``, which an odd input is not.
    expands : bool
        False for the first block, which has no expansion.
    squeezed : int
        Width of the squeeze-and-excite bottleneck (V3, section 5.3); 0 for none.
    """
    before = input_size or (size[0] * stride[0], size[1] * stride[1])
    expansion = pointwise_convolution(in_channels, expanded, before) if expands else 0
    excitation = squeeze_excite(expanded, squeezed) if squeezed else 0
    filtering = depthwise_convolution(kernel, expanded, size)
    return expansion + filtering + excitation + pointwise_convolution(expanded, out_channels, size)


def width_multiplied(
    kernel: Size, in_channels: int, out_channels: int, size: Size, width: Fraction
) -> Fraction:
    """``D_K D_K aM D_F D_F + aM aN D_F D_F`` (V1, equation 6): about ``a^2`` of the cost at width 1.

    Parameters
    ----------
    kernel, in_channels, out_channels, size
        Of the separable block at width 1.
    width : Fraction
        ``a``. Real networks round ``aM`` and ``aN`` to integers, often to multiples of 8.
    """
    channels = width * in_channels
    return (prod(kernel) * channels + channels * width * out_channels) * prod(size)


def resolution_multiplied(
    kernel: Size, in_channels: int, out_channels: int, size: Size, width: Fraction, resolution: Fraction
) -> Fraction:
    """``D_K D_K aM rD_F rD_F + aM aN rD_F rD_F`` (V1, equation 7): exactly ``r^2`` of `width_multiplied`.

    Parameters
    ----------
    kernel, in_channels, out_channels, size, width
        As for `width_multiplied`.
    resolution : Fraction
        ``r``, the share of the side; real pictures have whole pixels.
    """
    return width_multiplied(kernel, in_channels, out_channels, size, width) * resolution**2


def layer_formula(op: Op, *inputs: Shape) -> int:
    """The paper's formula for one op, with its numbers put in.

    Independent of `Op.multiply_adds`: nothing but the op's attributes and the output's size go in.

    Parameters
    ----------
    op : Op
    *inputs : (N, C, H, W) or (N, F)
        Shapes of its inputs.

    Returns
    -------
    int
        0 for ops that the papers do not count.

    Raises
    ------
    GraphError
        For a grouped convolution that is neither standard nor depthwise.
    """
    images, size = inputs[0][0], op.infer_shape(*inputs)[2:]
    if isinstance(op, Linear):
        return images * linear(op.in_features, op.out_features)
    if not isinstance(op, (Conv2d, DepthwiseConv2d, PointwiseConv2d)):
        return 0
    area = (size[0], size[1])
    if isinstance(op, DepthwiseConv2d):
        return images * depthwise_convolution(op.kernel, op.channels, area)
    if isinstance(op, PointwiseConv2d):
        return images * pointwise_convolution(op.in_channels, op.out_channels, area)
    if op.groups != 1:
        raise GraphError(f"no paper has a formula for a convolution of {op.groups} groups")
    return images * standard_convolution(op.kernel, op.in_channels, op.out_channels, area)
