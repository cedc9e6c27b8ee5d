"""One kernel call, described in plain Python: what an op hands to the C side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet._native import BLOCK

Image = tuple[int, int, int]

RING_FLOATS = 3 << 10
"""Of a block of channels, some 12 KB: two leave room in an L1 of 32 KB for weights and what is read."""


def image_of(shape: tuple[int, ...]) -> Image:
    """(channels, height, width) of one image of a logical (N, C, H, W) or (N, F) shape."""
    return (shape[1], 1, 1) if len(shape) == 2 else (shape[1], shape[2], shape[3])


@dataclass(frozen=True, eq=False)
class Step:
    """A kernel, its geometry for one image, and its constants.

    Attributes
    ----------
    kernel : str
        Name in the C dispatch table, for example ``"depthwise"``.
    inputs, output : (C, H, W)
        Logical size of each operand for one image. In memory channels come in blocks.
    window, stride, dilation : (int, int)
        Rows and columns of the sliding window.
    padding : (int, int, int, int)
        Zeros above, below, left and right of the input.
    slots : int
        Of a sliding window: rows of input that it keeps, padded, of one block of channels.
    groups : int
        Channel groups of a convolution.
    activation : str
        Applied to the result before it is stored.
    means : bool
        Depthwise convolution alone: whether the mean of each channel follows the output in memory.
    halved : bool
        Kernels that do one block of channels at a time: whether registers of half a block do the last one.
    first : Step or None
        Of two fused convolutions the first, as a step of its own; `inputs` is then its result.
    last : Step or None
        What alone reads `output`, as a step of its own; only its result is in memory.
    turn : int
        Rows of `output` after which ``last`` follows.
    constants : tuple of float32 arrays
        Weights in the layout the kernel wants, C-contiguous.
    workspace : int
        Floats of scratch memory that each thread needs.
    planar_input, planar_output : bool
        Whether the first input or the output is (C, H, W) in memory: the network's own ends.
    """

    kernel: str
    inputs: tuple[Image, ...]
    output: Image
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    slots: int = 0
    groups: int = 1
    activation: str = "identity"
    means: bool = False
    halved: bool = False
    first: Step | None = None
    last: Step | None = None
    turn: int = 0
    constants: tuple[NDArray[np.float32], ...] = ()
    workspace: int = 0
    planar_input: bool = False
    planar_output: bool = False

    @property
    def reads(self) -> tuple[Image, ...]:
        """Size of each operand that is read from memory."""
        own = self.inputs if self.first is None else self.first.inputs
        return own if self.last is None else (*own, *self.last.inputs[1:])

    @property
    def writes(self) -> int:
        """Floats that its output takes in memory."""
        if self.last is not None:
            return self.last.writes
        return floats_of(self.output) + (blocked(self.output[0]) if self.means else 0)

    @property
    def two_rows(self) -> int:
        """Rows of input that the windows of two rows of output touch."""
        return (self.window[0] - 1) * self.dilation[0] + 1 + self.stride[0]

    @property
    def most_slots(self) -> int:
        """Rows that fit into a ring: of all windows, or of those of pairs of output rows, at least one."""
        pair = 2 * self.stride[0]
        every = self.two_rows + max(self.output[1] - 2, 0) * self.stride[0]
        fit = RING_FLOATS // self._padded_row
        return every if fit >= every else self.two_rows + max(fit - self.two_rows, 0) // pair * pair

    @property
    def ring(self) -> int:
        """Floats of the padded rows that a window slides over, of one block (csrc/kernels/window.c)."""
        return self.slots * self._padded_row

    @property
    def _padded_row(self) -> int:
        (_, _, width), (_, _, columns) = self.inputs[0], self.output
        reach = (columns - 1) * self.stride[1] + (self.window[1] - 1) * self.dilation[1] + 1
        return max(reach, self.padding[2] + width) * BLOCK

    @property
    def scratch_in_turns(self) -> int:
        """Floats of scratch memory with ``last``: all rings, the rows of a turn (csrc/kernels/turns.c)."""
        assert self.last is not None
        channels, _, width = self.output
        behind = self.last.all_rings if self.last.first is not None else 0
        return self.all_rings + self.turn * blocked(channels) * width + behind

    @property
    def all_rings(self) -> int:
        """Floats of a ring for every block of channels."""
        return blocked(self.output[0]) // BLOCK * self.ring

    def planar(self) -> Step:
        """The same step on an input that is planar in memory."""
        if self.first is not None:
            return replace(self, first=self.first.planar())
        return replace(self, planar_input=True)


def blocked(channels: int) -> int:
    """Channels rounded up to whole blocks, as tensors and per-channel constants hold them."""
    return -(-channels // BLOCK) * BLOCK


def floats_of(image: Image) -> int:
    """Floats that one image takes in memory."""
    return blocked(image[0]) * image[1] * image[2]


def per_channel(vector: Any) -> NDArray[np.float32]:
    """A constant with its channels on the last axis, filled up with zeros to whole blocks."""
    vector = np.asarray(vector)
    padding = [(0, 0)] * (vector.ndim - 1) + [(0, blocked(vector.shape[-1]) - vector.shape[-1])]
    return constant(np.pad(vector, padding))


def constant(array: Any) -> NDArray[np.float32]:
    """A C-contiguous float32 view or copy, as kernels take their constants."""
    return np.ascontiguousarray(array, dtype=np.float32)
