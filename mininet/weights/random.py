"""Seeded random weights, for shapes, tests and benchmarks: nothing is trained."""

from __future__ import annotations

from math import prod

import numpy as np

from mininet.ops.base import Array, Shape


def random_params(shapes: dict[str, Shape], seed: int) -> dict[str, Array]:
    """Draw every weight of a graph.

    Matrices and filters are normal with variance 2 / fan-in (He et al., arXiv:1502.01852, equation 10),
    which keeps activations at one scale through ReLUs; biases are zero; batch norms are identities.

    Parameters
    ----------
    shapes : dict of str to tuple
        As `Graph.param_shapes` gives them.
    seed : int
        Equal seeds give equal weights.
    """
    generator = np.random.default_rng(seed)
    return {name: _draw(name, shape, generator) for name, shape in shapes.items()}


def _draw(name: str, shape: Shape, generator: np.random.Generator) -> Array:
    if len(shape) > 1:
        deviation = np.float32((2 / prod(shape[1:])) ** 0.5)
        return generator.standard_normal(shape, dtype=np.float32) * deviation
    ones = name.endswith(("weight", "running_var"))
    return np.ones(shape, np.float32) if ones else np.zeros(shape, np.float32)
