"""A depthwise step and the step behind it, done in turns of a few rows.

The tensor between the two is then in no memory as a whole (V2 paper, section 5.1): what a turn writes
it finds in the cache, and the next turn overwrites it. The second step is a 1x1 convolution, the end of
an inverted residual, or one that is fused with the depthwise convolution of V1's next pair.
"""

from __future__ import annotations

from dataclasses import replace

from mininet.ops.step import Step, blocked, floats_of

WINDOWS = {"depthwise", "expand_depthwise", "conv_depthwise"}
"""Kernels that can be the first of two in turns (csrc/kernels/turns.c)."""

PRODUCTS = {"pointwise", "pointwise_half"}
"""Kernels that can be the second, beside ``expand_depthwise``."""

LEAST_FLOATS = 3 << 16
"""Of a tensor that is worth it: 768 KB, most of an L2 of 1 MB. A smaller one is in the cache as it is."""

TURN_FLOATS = 1 << 15
"""Of all channels in a turn, about: 128 KB, which leave room for the rings and for what is read."""


def take_turns(step: Step, after: Step) -> bool:
    """Whether ``after``, which alone reads what ``step`` writes, should be done in turns with it.

    Not if the means of whole planes are wanted first, as squeeze-and-excite does.
    """
    able = step.kernel in WINDOWS and step.last is None and not step.means
    follows = after.kernel in PRODUCTS or (after.kernel == "expand_depthwise" and _meets_rows(after))
    return able and follows and floats_of(step.output) >= LEAST_FLOATS


def _meets_rows(step: Step) -> bool:
    """Whether every window has a row of the input, none but zeros; and no mean is wanted."""
    height = (step.window[0] - 1) * step.dilation[0] + 1
    return not step.means and max(step.padding[:2]) < height


def in_turns(step: Step, after: Step) -> Step:
    """The two as one step."""
    channels, height, width = step.output
    row = blocked(channels) * width
    if after.slots:
        after = replace(after, slots=after.two_rows)
    step = replace(
        step, last=after, slots=step.two_rows, turn=min(height, max(2, TURN_FLOATS // row // 2 * 2))
    )
    return replace(step, workspace=step.scratch_in_turns)
