from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mininet.ops.step import Step

ACTIVATIONS: tuple[str, ...]
KERNELS: tuple[str, ...]
BLOCK: int

def available_isas() -> tuple[str, ...]: ...
def isa() -> str: ...
def vector_width() -> int: ...
def double_pumped() -> bool: ...
def fma_peak(seconds: float = 0.002) -> float: ...
def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
def cpu_count() -> int: ...

Operand = tuple[int, int]

class Program:
    def __init__(
        self,
        steps: Sequence[tuple[Step, Sequence[Operand], Operand]],
        arena: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> None: ...
    @property
    def arena_bytes(self) -> int: ...
    @property
    def packed_bytes(self) -> int: ...
    @property
    def workspace_bytes(self) -> int: ...
    def run(
        self,
        inputs: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[Any]],
        batch: int,
        seconds: NDArray[np.float64] | None = None,
    ) -> None: ...
