"""A depthwise step and the 1x1 convolution behind it, done in turns of a few rows.

The tensor between the two, the largest of an inverted residual, is then in no memory as a whole (V2
paper, section 5.1): what a turn writes it finds in the cache, and the next turn overwrites it.
"""

from __future__ import annotations

from dataclasses import replace

from mininet._native import BLOCK
from mininet.ops.step import Step, blocked, floats_of

WINDOWS = {"depthwise", "expand_depthwise", "conv_depthwise"}
"""Kernels that can be the first of two in turns (csrc/kernels/window.c)."""

PRODUCTS = {"pointwise", "pointwise_half"}
"""Kernels that can be the second (csrc/kernels/pointwise.c)."""

LEAST_FLOATS = 3 << 16
"""Of a tensor that is worth it: 768 KB, most of an L2 of 1 MB. A smaller one is in the cache as it is."""

TURN_FLOATS = 1 << 15
"""Of all channels in a turn, about: 128 KB, which leave room for the rings and for what is read."""


def take_turns(step: Step, after: Step) -> bool:
    """Whether ``after``, which alone reads what ``step`` writes, should be done in turns with it.

    Not if the means of whole planes are wanted first, as squeeze-and-excite does.
    """
    able = step.kernel in WINDOWS and after.kernel in PRODUCTS and not step.means
    return able and floats_of(step.output) >= LEAST_FLOATS


def in_turns(step: Step, after: Step) -> Step:
    """The two as one step."""
    channels, height, width = step.output
    row = blocked(channels) * width
    turn = min(height, max(2, TURN_FLOATS // row // 2 * 2))
    scratch = blocked(channels) // BLOCK * step.ring + turn * row
    return replace(step, last=after, turn=turn, workspace=scratch)
