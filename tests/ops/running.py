"""Run one op by itself: in float64 NumPy, and by its C kernel with tripwires around every array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from bounds import BOUNDS
from tolerances import kernel_problem

from mininet import _native
from mininet.graph import INPUT, Graph, KernelExecutor, Node, Plan
from mininet.ops import Op

Array = np.ndarray
GUARD = 64
TRIPWIRE = np.float32(-12345.5)


def reference64(op: Op, params: Mapping[str, Array], inputs: Sequence[Array]) -> Array:
    """The definition, in float64."""
    wide = {role: value.astype(np.float64) for role, value in params.items()}
    with np.errstate(all="ignore"):
        return op.reference(wide, *(x.astype(np.float64) for x in inputs))


def error_bound(op: Op, params: Mapping[str, Array], inputs: Sequence[Array], exact: Array) -> Array:
    """How far the kernel may be from the definition, element by element."""
    wide = {role: value.astype(np.float64) for role, value in params.items()}
    with np.errstate(all="ignore"):
        return BOUNDS[op.kind](op, wide, [x.astype(np.float64) for x in inputs], exact)


def run_step(op: Op, params: Mapping[str, Array], inputs: Sequence[Array]) -> Array:
    """The op as a program of one step, on any number of inputs of any rank.

    NaN lies around every input and in the surplus lanes of its last block, so that a read outside shows in
    the result; around the output and behind the batch lie tripwires, of which none may be overwritten. A run
    on nothing but NaN goes before, so that leftovers in scratch memory show as well.
    """
    batch, shapes = len(inputs[0]), [(1, *x.shape[1:]) for x in inputs]
    step = op.lower(params, *shapes)
    shape = op.infer_shape(*shapes)
    operands = [(1 + i, 0) for i in range(len(inputs) + 1)]
    size = _floats(shape)
    program = _native.Program([(step, operands[:-1], operands[-1])], 0, list(map(_floats, shapes)), [size])
    guarded = np.full(batch * size + 2 * GUARD, TRIPWIRE, np.float32)
    result = guarded[GUARD : GUARD + batch * size]
    program.run([_fenced(in_memory(np.full_like(x, np.nan))) for x in inputs], [result], batch)
    result[:] = TRIPWIRE
    program.run([_fenced(in_memory(x)) for x in inputs], [result], batch)
    for where, fence in (("before", guarded[:GUARD]), ("behind", guarded[GUARD + batch * size :])):
        assert np.all(fence == TRIPWIRE), f"{op} on {shapes}: the kernel wrote {where} its output"
    return from_memory(result, (batch, *shape[1:]))


def _graph_of_one(op: Op, params: Mapping[str, Array], x: Array) -> Graph:
    weights = {f"node.{role}": value for role, value in params.items()}
    return Graph("one", x.shape[1], (Node("node", op, (INPUT,)),), ("node",), weights)


def run_executor(op: Op, params: Mapping[str, Array], x: Array) -> Array:
    """The op as the only node of a graph, which must take one (N, C, H, W)."""
    (result,) = KernelExecutor(_graph_of_one(op, params, x), x.shape).run(x)
    return result.value


def run_plan(op: Op, params: Mapping[str, Array], x: Array) -> Array:
    """The op as the only node of a graph, run as a plan, where some kernels read the picture as it came."""
    (y,) = Plan(_graph_of_one(op, params, x), x.shape).run(x)
    return y


def check(op: Op, params: Mapping[str, Array], inputs: Sequence[Array], what: str) -> None:
    """Assert that the kernel is as near to the definition as its bound says."""
    check_value(op, params, inputs, run_step(op, params, inputs), what)


def check_value(
    op: Op, params: Mapping[str, Array], inputs: Sequence[Array], value: Array, what: str
) -> None:
    """The same for a result that is there already."""
    exact = reference64(op, params, inputs)
    problem = kernel_problem(
        value,
        exact,
        error_bound(op, params, inputs, exact),
        f"[{_native.isa()}] {what}",
    )
    assert problem is None, problem


def in_memory(x: Array) -> Array:
    """(N, C, H, W) or (N, F) as kernels see it, (N, C / 16, H, W, 16), with NaN in the surplus lanes."""
    n, c, h, w = (*x.shape, 1, 1)[:4]
    blocked = np.full((n, _blocks(c), h, w, _native.BLOCK), np.nan, np.float32)
    for channel in range(c):
        block, lane = divmod(channel, _native.BLOCK)
        blocked[:, block, :, :, lane] = x[:, channel].reshape(n, h, w)
    return blocked


def from_memory(flat: Array, shape: tuple[int, ...]) -> Array:
    """The way back, from one flat run of floats to a public shape; surplus lanes are left out."""
    n, c, h, w = (*shape, 1, 1)[:4]
    blocked = flat.reshape(n, _blocks(c), h, w, _native.BLOCK)
    lanes = [blocked[:, channel // _native.BLOCK, :, :, channel % _native.BLOCK] for channel in range(c)]
    return np.stack(lanes, axis=1).reshape(shape)


def _blocks(channels: int) -> int:
    return -(-channels // _native.BLOCK)


def _floats(shape: tuple[int, ...]) -> int:
    """Floats of one image in memory."""
    return _blocks(shape[1]) * _native.BLOCK * prod(shape[2:])


def _fenced(x: Array) -> Array:
    fenced = np.full(x.size + 2 * GUARD, np.nan, np.float32)
    inside = fenced[GUARD : GUARD + x.size]
    inside[:] = x.reshape(-1)
    inside.flags.writeable = False
    return inside
