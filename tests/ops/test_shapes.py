"""Shape inference, costs and validation of every registered op."""

from __future__ import annotations

from dataclasses import fields, replace
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import reference64
from strategies import STRATEGIES, Case, cases

from mininet import _native, ops
from mininet.errors import GraphError, ShapeError, UnknownNameError
from mininet.ops import OPS, Cost, Op, get_op
from mininet.ops.activation import ACTIVATIONS, activate
from mininet.ops.base import register

KINDS = sorted(OPS)

#: Parts of fused ops.
EXPAND = ops.PointwiseConv2d(4, 6, True)
STEM = ops.Conv2d(4, 6, bias=True)
DEPTHWISE = ops.DepthwiseConv2d(6, bias=True)

#: The plainest case of ops that have something to get wrong.
PLAIN = {
    "conv2d": Case(ops.Conv2d(4, 6), ((1, 4, 5, 5),), 1, "normal"),
    "depthwise_conv2d": Case(ops.DepthwiseConv2d(4), ((1, 4, 5, 5),), 1, "normal"),
    "pointwise_conv2d": Case(ops.PointwiseConv2d(4, 6), ((1, 4, 5, 5),), 1, "normal"),
    "expand_depthwise": Case(ops.ExpandDepthwise(EXPAND, DEPTHWISE), ((1, 4, 5, 5),), 1, "normal"),
    "conv_depthwise": Case(ops.ConvDepthwise(STEM, DEPTHWISE), ((1, 4, 5, 5),), 1, "normal"),
    "linear": Case(ops.Linear(4, 6), ((1, 4),), 1, "normal"),
    "batch_norm": Case(ops.BatchNorm(4), ((1, 4, 5, 5),), 1, "normal"),
    "add": Case(ops.Add(), ((1, 4, 5, 5), (1, 4, 5, 5)), 1, "normal"),
    "multiply": Case(ops.Multiply(), ((1, 4, 5, 5), (1, 4, 1, 1)), 1, "normal"),
    "avg_pool": Case(ops.AvgPool((3, 3)), ((1, 4, 5, 5),), 1, "normal"),
    "global_avg_pool": Case(ops.GlobalAvgPool(), ((1, 4, 5, 5),), 1, "normal"),
    "global_max_pool": Case(ops.GlobalMaxPool(), ((1, 4, 5, 5),), 1, "normal"),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_inferred_shape_is_the_references_shape(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind, ("normal",)))
    shape = case.op.infer_shape(*case.shapes)
    assert reference64(case.op, case.params(), case.inputs()).shape == shape, str(case)
    assert case.op.cost(*case.shapes) == Cost(case.op.multiply_adds(*case.shapes), prod(shape)), str(case)
    assert all(type(size) is int for size in shape), f"{case}: {shape} are not plain integers"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_reference_keeps_the_dtype_and_leaves_its_arguments_alone(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind, ("normal",)))
    inputs, params = case.inputs(), case.params()
    for array in (*inputs, *params.values()):
        array.flags.writeable = False
    assert case.op.reference(params, *inputs).dtype == np.float32, str(case)
    assert reference64(case.op, params, inputs).dtype == np.float64, str(case)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(data=st.data())
def test_costs_scale_with_the_batch_and_are_integers(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind, ("normal",)))
    single = case.op.cost(*((1, *shape[1:]) for shape in case.shapes))
    triple = case.op.cost(*((3, *shape[1:]) for shape in case.shapes))
    assert (triple.madds, triple.outputs) == (3 * single.madds, 3 * single.outputs), str(case)
    assert type(single.madds) is int, str(case)


WRONG: dict[str, tuple[tuple[int, ...], ...]] = {
    "another channel count": ((1, 5, 5, 5),),
    "three axes": ((4, 5, 5),),
    "five axes": ((1, 4, 5, 5, 5),),
    "a vector": ((1, 4),),
    "no rows": ((1, 4, 0, 5),),
    "no columns": ((1, 4, 5, 0),),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    "kind",
    [
        *("conv2d", "depthwise_conv2d", "pointwise_conv2d"),
        *("expand_depthwise", "conv_depthwise", "batch_norm"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(kind: str, wrong: str) -> None:
    _refused(PLAIN[kind].op, *WRONG[wrong])


@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "another channel count"])
@pytest.mark.parametrize("kind", ["avg_pool", "global_avg_pool", "global_max_pool"])
def test_a_pool_wants_an_image(kind: str, wrong: str) -> None:
    _refused(PLAIN[kind].op, *WRONG[wrong])


@pytest.mark.parametrize("shape", [(1, 5), (1, 4, 1, 1), (4,), (1, 4, 4)])
def test_linear_wants_vectors_of_its_length(shape: tuple[int, ...]) -> None:
    _refused(PLAIN["linear"].op, shape)


@pytest.mark.parametrize("other", [(1, 4, 5, 5), (1, 6, 5, 4), (2, 6, 5, 5), (1, 6), (1, 6, 1, 1)])
def test_a_residual_is_shaped_like_the_output(other: tuple[int, ...]) -> None:
    op = ops.PointwiseConv2d(4, 6, residual=True)
    assert op.infer_shape((1, 4, 5, 5), (1, 6, 5, 5)) == (1, 6, 5, 5)
    _refused(op, (1, 4, 5, 5), other)


def test_only_a_residual_makes_a_pointwise_convolution_read_two() -> None:
    assert (ops.PointwiseConv2d(4, 4).arity, ops.PointwiseConv2d(4, 4, residual=True).arity) == (1, 2)


@pytest.mark.parametrize("other", [(1, 4, 5, 6), (2, 4, 5, 5), (1, 4), (1, 4, 1, 1)])
def test_add_wants_equal_shapes(other: tuple[int, ...]) -> None:
    _refused(ops.Add(), (1, 4, 5, 5), other)


@pytest.mark.parametrize(
    "gate", [(1, 5, 1, 1), (2, 4, 1, 1), (1, 4, 5, 5), (1, 4, 1, 5), (1, 4), (1, 1, 1, 1)]
)
def test_multiply_wants_a_gate(gate: tuple[int, ...]) -> None:
    _refused(ops.Multiply(), (1, 4, 5, 5), gate)
    _refused(ops.Multiply(), gate, (1, 4, 5, 5))


def test_a_window_larger_than_its_input_is_refused() -> None:
    _refused(ops.Conv2d(4, 4, (5, 5), padding=(0, 0, 0, 0)), (1, 4, 4, 9))
    _refused(ops.AvgPool((3, 3)), (1, 4, 2, 2))
    _refused(ops.DepthwiseConv2d(4, padding=(0, 0, 0, 0)), (1, 4, 9, 2))


@pytest.mark.parametrize("padding", [(2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 3, 0), (0, 0, 0, 3)])
def test_a_pooling_window_of_nothing_but_padding_is_refused(padding: tuple[int, int, int, int]) -> None:
    _refused(ops.AvgPool((2, 3), padding=padding), (1, 4, 5, 5))


def _refused(op: Op, *shapes: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        op.infer_shape(*shapes)
    message = str(caught.value)
    # Of two fused ops it is the first that sees the input.
    assert message.startswith((f"{op.kind}: ", f"{getattr(op, 'first', op).kind}: ")), message
    assert "\n" not in message


BAD_ATTRIBUTES: dict[str, tuple[type[Op], dict[str, Any]]] = {
    "conv2d without inputs": (ops.Conv2d, {"in_channels": 0, "out_channels": 4}),
    "conv2d without outputs": (ops.Conv2d, {"in_channels": 4, "out_channels": -1}),
    "conv2d without groups": (ops.Conv2d, {"in_channels": 4, "out_channels": 4, "groups": 0}),
    "groups that do not divide the inputs": (ops.Conv2d, {"in_channels": 4, "out_channels": 6, "groups": 3}),
    "groups that do not divide the outputs": (ops.Conv2d, {"in_channels": 6, "out_channels": 4, "groups": 3}),
    "stride of zero": (ops.Conv2d, {"in_channels": 4, "out_channels": 4, "stride": (0, 1)}),
    "unknown padding": (ops.DepthwiseConv2d, {"channels": 4, "padding": "valid"}),
    "depthwise without channels": (ops.DepthwiseConv2d, {"channels": 0}),
    "pointwise without channels": (ops.PointwiseConv2d, {"in_channels": 0, "out_channels": 4}),
    "activation beside a residual": (
        ops.PointwiseConv2d,
        {"in_channels": 4, "out_channels": 4, "activation": "relu", "residual": True},
    ),
    "bounds the wrong way round": (ops.Clip, {"low": 1.0, "high": 0.5}),
    "bounds that are no numbers": (ops.Clip, {"low": float("nan"), "high": 0.5}),
    "linear without features": (ops.Linear, {"in_features": 4, "out_features": 0}),
    "batch norm without channels": (ops.BatchNorm, {"channels": 0}),
    "negative eps": (ops.BatchNorm, {"channels": 4, "eps": -1e-5}),
    "eps that is no number": (ops.BatchNorm, {"channels": 4, "eps": float("nan")}),
    **{
        f"{cls.kind} of {what}": (cls, {"first": first, "depthwise": DEPTHWISE, **parts})
        for cls, first in ((ops.ExpandDepthwise, EXPAND), (ops.ConvDepthwise, STEM))
        for what, parts in {
            "other channels": {"depthwise": replace(DEPTHWISE, channels=5)},
            "more rows than a ring has": {"depthwise": replace(DEPTHWISE, kernel=(65, 1))},
            "a window without a bias": {"depthwise": replace(DEPTHWISE, bias=False)},
            "a first without a bias": {"first": replace(first, bias=False)},
        }.items()
    },
    "expansion that adds a residual": (
        ops.ExpandDepthwise,
        {"first": replace(EXPAND, residual=True), "depthwise": DEPTHWISE},
    ),
    "first convolution in groups": (
        ops.ConvDepthwise,
        {"first": replace(STEM, groups=2), "depthwise": DEPTHWISE},
    ),
}


@pytest.mark.parametrize("name", BAD_ATTRIBUTES)
def test_attributes_that_make_no_sense_are_refused(name: str) -> None:
    cls, attributes = BAD_ATTRIBUTES[name]
    with pytest.raises(GraphError, match=r"^[^\n]+$"):
        cls(**attributes)


WITH_ACTIVATION = [kind for kind, cls in OPS.items() if "activation" in {field.name for field in fields(cls)}]


@pytest.mark.parametrize("kind", WITH_ACTIVATION)
def test_an_unknown_activation_is_refused_when_the_op_is_made(kind: str) -> None:
    op = PLAIN[kind].op
    attributes = {field.name: getattr(op, field.name) for field in fields(op)}
    with pytest.raises(GraphError, match="activation must be one of"):
        type(op)(**{**attributes, "activation": "swash"})


def test_the_registry_knows_its_ops_and_refuses_a_name_twice() -> None:
    assert all(cls.kind == kind and get_op(kind) is cls for kind, cls in OPS.items())
    with pytest.raises(UnknownNameError, match="did you mean 'conv2d'"):
        get_op("conv2")
    with pytest.raises(GraphError, match="registered already"):
        register(ops.Relu)


def test_python_and_c_know_the_same_activations() -> None:
    assert tuple(ACTIVATIONS) == _native.ACTIVATIONS
    with pytest.raises(UnknownNameError):
        activate("swash", np.zeros(1))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(data=st.data())
def test_every_op_lowers_to_a_kernel_that_exists(kind: str, data: st.DataObject) -> None:
    op, shapes = data.draw(STRATEGIES[kind])
    params = Case(op, shapes, 0, "normal").params()
    step = op.lower(params, *((1, *shape[1:]) for shape in shapes))
    assert step.kernel in _native.KERNELS
    assert all(c.dtype == np.float32 and c.flags.c_contiguous for c in step.constants), f"{op} on {shapes}"
    assert hash(op) == hash(type(op)(**{f.name: getattr(op, f.name) for f in fields(op)})), "ops are values"
