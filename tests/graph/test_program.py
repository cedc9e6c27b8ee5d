"""The door to C: everything that a kernel will trust is checked when a program is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import seeded

import mininet
from mininet import _native
from mininet.errors import ArgumentError, DTypeError, GraphError, MininetError, ShapeError
from mininet.graph.executor import from_blocked
from mininet.ops import (
    BatchNorm,
    Conv2d,
    ConvDepthwise,
    DepthwiseConv2d,
    ExpandDepthwise,
    Linear,
    Op,
    PointwiseConv2d,
    Relu,
)
from mininet.ops.base import Shape
from mininet.ops.step import Step, floats_of

#: 2x2 pixels of 3 channels, each a whole block of 16.
RELU = Relu().lower({}, (1, 3, 2, 2))
FLOATS = 64


def _program(
    step: Step, source: tuple[int, int] = (1, 0), target: tuple[int, int] = (2, 0)
) -> _native.Program:
    sizes = [floats_of(image) for image in (*step.reads, step.output)]
    sources = [source, *((1 + i, 0) for i in range(1, len(step.reads)))]
    target = (len(step.reads) + 1, 0) if target == (2, 0) else target
    return _native.Program([(step, sources, target)], 0, sizes[:-1], sizes[-1:])


@pytest.mark.parametrize("source", [(1, 1), (1, 16), (3, 0), (-1, 0), (1, -1), (0, 0)])
def test_an_input_outside_of_its_array_is_refused(source: tuple[int, int]) -> None:
    _program(RELU)
    with pytest.raises(MininetError, match="outside"):
        _program(RELU, source)


@pytest.mark.parametrize("target", [(2, 1), (3, 0), (0, 0), (-1, 0), (2, -16)])
def test_an_output_outside_of_its_array_is_refused(target: tuple[int, int]) -> None:
    with pytest.raises(MininetError, match="outside"):
        _program(RELU, target=target)


def test_the_surplus_lanes_of_the_last_block_count() -> None:
    with pytest.raises(MininetError, match="outside"):
        _native.Program([(RELU, [(1, 0)], (2, 0))], 0, [12], [FLOATS])
    with pytest.raises(MininetError, match="outside"):
        _native.Program([(RELU, [(1, 0)], (2, 0))], 0, [FLOATS], [12])
    planar = Step("to_blocked", RELU.inputs, RELU.output, planar_input=True)
    _native.Program([(planar, [(1, 0)], (2, 0))], 0, [12], [FLOATS])


def test_a_ring_holds_the_windows_of_two_output_rows() -> None:
    op = DepthwiseConv2d(4, (5, 5), (2, 2))
    step = op.lower({"weight": np.zeros((4, 1, 5, 5), np.float32)}, (1, 4, 9, 9))
    _program(replace(step, slots=7))
    with pytest.raises(MininetError, match="6 rows do not hold the windows of two output rows"):
        _program(replace(step, slots=6))


def test_the_arena_is_a_space_like_the_others() -> None:
    steps = [(RELU, [(1, 0)], (0, FLOATS)), (RELU, [(0, FLOATS)], (2, 0))]
    program = _native.Program(steps, 2 * FLOATS, [FLOATS], [FLOATS])
    assert program.arena_bytes == 8 * FLOATS
    x, y = np.linspace(-1, 1, FLOATS, dtype=np.float32), np.zeros(FLOATS, np.float32)
    program.run([x], [y], 1)
    assert np.array_equal(y, np.maximum(x, 0))
    with pytest.raises(MininetError, match="outside"):
        _native.Program(steps, 2 * FLOATS - 1, [FLOATS], [FLOATS])


def test_arrays_of_another_number_size_or_kind_are_refused() -> None:
    program = _program(RELU)
    x, y = np.zeros(FLOATS, np.float32), np.zeros(FLOATS, np.float32)
    program.run([x], [y], 1)
    frozen = y.copy()
    frozen.flags.writeable = False
    for inputs, outputs, batch, error in (
        ([x], [], 1, ArgumentError),
        ([x, x], [], 1, ArgumentError),
        ([], [x, y], 1, ArgumentError),
        ([x], [y[1:]], 1, ShapeError),
        ([x[1:]], [y], 1, ShapeError),
        ([x], [y], 2, ShapeError),
        ([x], [y], -1, ShapeError),
        ([x.astype(np.float64)], [y], 1, DTypeError),
        ([x], [y.astype(np.float64)], 1, DTypeError),
        ([np.zeros(2 * FLOATS, np.float32)[::2]], [y], 1, DTypeError),
        ([x], [frozen], 1, ArgumentError),
    ):
        with pytest.raises(error, match=r"^[^\n]+$"):
            program.run(inputs, outputs, batch)


@pytest.mark.parametrize("seconds", [np.zeros(2), np.zeros(0), np.zeros((1, 1)), np.zeros(1, np.float32)])
def test_times_of_another_number_or_kind_are_refused(seconds: np.ndarray) -> None:
    x, y = np.zeros(FLOATS, np.float32), np.zeros(FLOATS, np.float32)
    with pytest.raises(ShapeError, match="expected 1 times as float64"):
        _program(RELU).run([x], [y], 1, seconds)


WITH_CONSTANTS: dict[str, tuple[Op, tuple[Shape, ...]]] = {
    "conv2d": (Conv2d(3, 18, bias=True), ((1, 3, 5, 5),)),
    "conv2d in groups": (Conv2d(6, 9, groups=3), ((1, 6, 5, 5),)),
    "depthwise": (DepthwiseConv2d(17), ((1, 17, 5, 5),)),
    "pointwise": (PointwiseConv2d(17, 15), ((1, 17, 5, 5),)),
    "pointwise with half a block": (PointwiseConv2d(17, 24), ((1, 17, 5, 5),)),
    "pointwise with a residual": (PointwiseConv2d(17, 33, residual=True), ((1, 17, 5, 5), (1, 33, 5, 5))),
    "expand_depthwise": (
        ExpandDepthwise(PointwiseConv2d(7, 33, True), DepthwiseConv2d(33, (5, 3), bias=True)),
        ((1, 7, 5, 5),),
    ),
    "conv_depthwise": (
        ConvDepthwise(Conv2d(3, 18, stride=(2, 2), bias=True), DepthwiseConv2d(18, bias=True)),
        ((1, 3, 9, 9),),
    ),
    "linear": (Linear(17, 33), ((1, 17),)),
    "batch_norm": (BatchNorm(17), ((1, 17, 5, 5),)),
}


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_constants_of_another_size_or_kind_are_refused(name: str) -> None:
    op, shapes = WITH_CONSTANTS[name]
    step = op.lower(_params(op), *shapes)
    _program(step)
    _check_constants(name, step, lambda part: part)
    if step.first is not None:
        _check_constants(f"{name}, the first", step.first, lambda part: replace(step, first=part))


def _check_constants(name: str, step: Step, whole: Callable[[Step], Step]) -> None:
    """Every constant of a step, which may be the first half of a fused one."""
    for i, right in enumerate(step.constants):
        wrong = {
            "one too short": right.reshape(-1)[:-1],
            "one too long": np.append(right, np.float32(0)),
            "empty": right.reshape(-1)[:0],
            "float64": right.astype(np.float64),
            "not contiguous": np.repeat(right.reshape(-1), 2)[::2],
        }
        for what, array in wrong.items():
            constants = (*step.constants[:i], array, *step.constants[i + 1 :])
            message = _refusal(whole(replace(step, constants=constants)))
            expected = f"constant {i} must be {right.size} contiguous float32"
            assert expected in message, f"{name}: constant {i}, {what}: {message or 'taken'}"
    last = len(step.constants) - 1
    fewer = whole(replace(step, constants=step.constants[:last]))
    assert f"constant {last} must be" in _refusal(fewer)


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_a_program_has_its_own_copy_of_the_constants(name: str) -> None:
    """What becomes of the arrays that a step was described with is of no matter to it."""
    op, shapes = WITH_CONSTANTS[name]
    step = op.lower(_params(op), *shapes)
    program = _program(step)
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal(floats_of(image)).astype(np.float32) for image in step.reads]
    expected, after = (np.zeros((1, floats_of(step.output)), np.float32) for _ in range(2))
    program.run(inputs, [expected], 1)
    assert expected.any()
    for array in (*step.constants, *(step.first.constants if step.first else ())):
        array.flags.writeable = True
        array[...] = np.nan
    program.run(inputs, [after], 1)
    # Surplus lanes of the last block may hold anything.
    shape = (1, *step.output)
    assert np.array_equal(from_blocked(after, shape), from_blocked(expected, shape))


def test_a_fused_step_reads_what_its_first_half_reads() -> None:
    op, shapes = WITH_CONSTANTS["conv_depthwise"]
    step = op.lower(_params(op), *shapes)
    (picture,), size = step.reads, floats_of(step.output)
    assert (picture, step.inputs) == ((3, 9, 9), ((18, 5, 5),))
    for planar, needed in ((step, floats_of(picture)), (step.planar(), 3 * 9 * 9)):
        _native.Program([(planar, [(1, 0)], (2, 0))], 0, [needed], [size])
        with pytest.raises(MininetError, match="outside"):
            _native.Program([(planar, [(1, 0)], (2, 0))], 0, [needed - 1], [size])


def _refusal(step: Step) -> str:
    try:
        _program(step)
    except MininetError as error:
        return str(error)
    return ""


def _params(op: Op) -> dict[str, np.ndarray]:
    named = seeded.state({f"a.{role}": shape for role, shape in op.param_shapes().items()}, 0)
    return {name.removeprefix("a."): value for name, value in named.items()}


def test_constants_that_a_kernel_does_not_read_are_refused() -> None:
    for count in (1, 4, 5):
        with pytest.raises(MininetError, match=r"^[^\n]+$"):
            _program(replace(RELU, constants=(np.ones(1, np.float32),) * count))


def test_another_number_of_operands_is_refused() -> None:
    for sources in ([], [(1, 0), (1, 0)], [(1, 0), (1, 0), (1, 0)]):
        with pytest.raises(MininetError, match=f"^step activation: expected 1 inputs, got {len(sources)}"):
            _native.Program([(RELU, sources, (2, 0))], 0, [FLOATS], [FLOATS])


def test_too_many_arrays_are_refused() -> None:
    with pytest.raises(ArgumentError, match="at most 8"):
        _native.Program([(RELU, [(1, 0)], (2, 0))], 0, [FLOATS] * 5, [FLOATS] * 4)


def test_a_program_without_steps_does_nothing() -> None:
    program = _native.Program([], 0, [4], [4])
    x, y = np.ones(4, np.float32), np.zeros(4, np.float32)
    program.run([x], [y], 1)
    program.run([x], [y], 1, np.zeros(0))
    assert not y.any()
    assert program.arena_bytes == program.workspace_bytes == 0


HUGE = 2**32


@pytest.mark.parametrize(
    "image", [(1, HUGE, HUGE), (HUGE, HUGE, 1), (16, 2**62, 1), (2**64, 1, 1), (1, 0, 4), (1, -1, -4)]
)
@pytest.mark.parametrize("operand", ["inputs", "output"])
def test_a_size_whose_product_overflows_is_refused(image: tuple[int, int, int], operand: str) -> None:
    """In 64 bits 2^32 rows of 2^32 columns are no floats at all, which would fit every array."""
    step = replace(RELU, **{operand: (image,) if operand == "inputs" else image})
    with pytest.raises(ShapeError, match=r"^step activation: \S+ (would take|is no size)[^\n]*$"):
        _native.Program([(step, [(1, 0)], (2, 0))], 0, [FLOATS], [FLOATS])


@pytest.mark.parametrize("count", [-1, 2**41, 2**63, 2**64])
def test_memory_that_nobody_has_is_refused(count: int) -> None:
    for make in (
        lambda: _native.Program([], count, [4], [4]),
        lambda: _native.Program([], 0, [count], [4]),
        lambda: _native.Program([], 0, [4], [count]),
        lambda: _program(replace(RELU, workspace=count)),
    ):
        with pytest.raises(ShapeError, match=f"would take {count} floats"):
            make()


def test_a_batch_whose_product_overflows_is_refused() -> None:
    program, x = _program(RELU), np.zeros(FLOATS, np.float32)
    for batch in (2**58 + 1, 2**62, -1):
        with pytest.raises(ShapeError, match=f"expected {batch * FLOATS} values"):
            program.run([x], [x.copy()], batch)


@pytest.mark.parametrize("sizes", [(2**20, 2**21), (2**31, 2**31), (2**32, 2**32), (2**62, 4)])
def test_a_plan_for_a_picture_that_nobody_has_is_refused(sizes: tuple[int, int]) -> None:
    net = mininet.create_model("mobilenet_v3_small", width=0.35, weights="random:0")
    for shape in ((1, 3, *sizes), (1, 3, *sizes[::-1])):
        with pytest.raises(ShapeError, match=r"^[^\n]+ would take \d+ floats[^\n]+$"):
            net.plan(shape)


@pytest.mark.parametrize("attribute", ["kernel", "stride", "dilation", "padding"])
def test_a_window_whose_products_could_overflow_is_refused(attribute: str) -> None:
    most, count = 2**31 - 1, 4 if attribute == "padding" else 2
    for cls in (Conv2d, DepthwiseConv2d):
        made = cls(*(4,) * (2 if cls is Conv2d else 1), **{attribute: (most,) * count})
        assert getattr(made, attribute) == (most,) * count
        for at in range(count):
            values = tuple(most + 1 if i == at else 1 for i in range(count))
            with pytest.raises(GraphError, match=rf"{attribute} must be[^\n]+2\^31"):
                replace(made, **{attribute: values})


def test_padding_beyond_all_memory_is_refused() -> None:
    wide = Conv2d(3, 8, padding=(2**31 - 1,) * 4)
    assert wide.infer_shape((1, 3, 4, 4)) == (1, 8, 2**32, 2**32)
    with pytest.raises(ShapeError, match="conv2d: 8x4294967296x4294967296 would take"):
        _program(wide.lower(_params(wide), (1, 3, 4, 4)))
