"""Operations: one file per family, every one registered by name in :data:`~mininet.ops.base.OPS`."""

from mininet.ops.activation import Clip, HardSigmoid, HardSwish, Relu, Relu6, Sigmoid, Softmax
from mininet.ops.base import OPS, Cost, Op, get_op
from mininet.ops.combine import Add, Multiply
from mininet.ops.conv import Conv2d, DepthwiseConv2d, PointwiseConv2d
from mininet.ops.fused_depthwise import ConvDepthwise, ExpandDepthwise
from mininet.ops.linear import Linear
from mininet.ops.norm import BatchNorm
from mininet.ops.pool import AvgPool, GlobalAvgPool, GlobalMaxPool
from mininet.ops.structure import Dropout, Flatten

__all__ = [
    "OPS",
    "Add",
    "AvgPool",
    "BatchNorm",
    "Clip",
    "Conv2d",
    "ConvDepthwise",
    "Cost",
    "DepthwiseConv2d",
    "Dropout",
    "ExpandDepthwise",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Linear",
    "Multiply",
    "Op",
    "PointwiseConv2d",
    "Relu",
    "Relu6",
    "Sigmoid",
    "Softmax",
    "get_op",
]
