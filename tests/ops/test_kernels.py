"""Every op's C kernel against its own definition in float64, for whatever instruction set is in use."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import BOUNDS
from hypothesis import given
from hypothesis import strategies as st
from running import check, check_value, error_bound, reference64, run_executor, run_plan, run_step
from strategies import LARGE, STRATEGIES, Case, Drawn, cases
from tolerances import kernel_problem

from mininet.errors import DTypeError
from mininet.ops import OPS, Add, BatchNorm, Conv2d, DepthwiseConv2d, Op, PointwiseConv2d
from mininet.ops.activation import ACTIVATIONS

KINDS = sorted(OPS)


def test_every_op_has_a_strategy() -> None:
    missing = set(OPS) - set(STRATEGIES)
    assert not missing, f"no strategy in tests/ops/strategies.py for {sorted(missing)}"
    assert set(STRATEGIES) <= set(OPS), "a strategy for an op that does not exist"


def test_every_op_has_an_error_bound() -> None:
    missing = set(OPS) - set(BOUNDS)
    assert not missing, f"no bound in tests/ops/bounds.py for {sorted(missing)}"


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_kernel_equals_reference(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind))
    check(case.op, case.params(), case.inputs(), str(case))


@pytest.mark.parametrize("drawn", LARGE, ids=lambda drawn: drawn[0].kind)
def test_kernel_equals_reference_where_a_step_has_many_tasks(drawn: Drawn) -> None:
    case = Case(*drawn, seed=7, values="normal")
    check(case.op, case.params(), case.inputs(), str(case))


@pytest.mark.parametrize("kind", ["conv2d", "conv_depthwise"])
@given(data=st.data())
def test_kernel_equals_reference_on_a_planar_picture(kind: str, data: st.DataObject) -> None:
    """A plan's first convolution reads the picture as it came, without a change of layout."""
    case = data.draw(cases(kind))
    (x,), params = case.inputs(), case.params()
    check_value(case.op, params, [x], run_plan(case.op, params, x), f"on a planar picture: {case}")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_nan_and_inf_come_out_where_the_reference_has_them(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind, ("normal", "zeros", "negative")))
    inputs, params = case.inputs(), case.params()
    for _ in range(data.draw(st.integers(1, 3))):
        x = inputs[data.draw(st.integers(0, len(inputs) - 1))].reshape(-1)
        x[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    check(case.op, params, inputs, f"with NaN or inf: {case}")


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_nan_and_inf_and_every_kink_through_an_activation(kind: str) -> None:
    """In every lane, by the kernel of the activation itself and as the end of every kind of kernel."""
    largest, tiny = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    near = [np.nextafter(np.float32(v), np.float32(to)) for v in (-3, 0, 3, 6) for to in (-9, 9)]
    values = [np.nan, np.inf, -np.inf, largest, -largest, tiny, -tiny, 1e-39, 0.0, -0.0, -3, 3, 6, *near]
    channels = 33
    x = np.resize(np.array(values, np.float32), (len(values), channels, 1, len(values) + 1))
    eye = np.eye(channels, dtype=np.float32)[:, :, None, None]
    each, bias = np.ones((channels, 1, 1, 1), np.float32), np.zeros(channels, np.float32)
    ends: list[tuple[Op, dict[str, np.ndarray]]] = [
        (DepthwiseConv2d(channels, (1, 1), bias=True, activation=kind), {"weight": each, "bias": bias}),
        (Conv2d(channels, channels, (1, 1), groups=channels, activation=kind), {"weight": each}),
    ]
    alone = [op() for op in OPS.values() if op.kind == kind]
    for op, params in [*((op, {}) for op in alone), *ends]:
        check(op, params, [x], f"{op} on special values")
    finite = np.nan_to_num(x, nan=1.0, posinf=2.0, neginf=-2.0)
    check(PointwiseConv2d(channels, channels, activation=kind), {"weight": eye}, [finite], kind)
    check(Add(kind), {}, [x, np.zeros_like(x)], f"the sum with {kind}")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_one_node_graph_runs_the_same_kernel_on_any_kind_of_array(kind: str, data: st.DataObject) -> None:
    """Bit for bit the same, whether the array is read-only, strided, or reversed in memory."""
    case = data.draw(cases(kind))
    if [len(shape) for shape in case.shapes] != [4]:
        return  # the one input of a graph is an image; tests/graph covers the other ops
    (x,), params = case.inputs(), case.params()
    expected = run_step(case.op, params, [x])
    wide = np.full((*x.shape[:3], 2 * x.shape[3]), np.nan, np.float32)
    wide[..., ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    reversed_ = np.ascontiguousarray(x[:, ::-1, :, ::-1])[:, ::-1, :, ::-1]
    forms = {"plain": x, "strided": wide[..., ::2], "read-only": frozen, "reversed": reversed_}
    for name, form in forms.items():
        before = form.copy()
        got = run_executor(case.op, params, form)
        assert np.array_equal(got, expected, equal_nan=True), f"{name} input gives another result: {case}"
        assert np.array_equal(form, before, equal_nan=True), f"{name} input was changed: {case}"


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_empty_batch_gives_an_empty_result(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind))
    empty = [x[:0] for x in case.inputs()]
    shape = case.op.infer_shape(*(x.shape for x in empty))
    assert reference64(case.op, case.params(), empty).shape == shape, str(case)
    if len(empty) == 1 and empty[0].ndim == 4:
        assert run_executor(case.op, case.params(), empty[0]).shape == shape, str(case)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_an_image_does_not_depend_on_its_neighbours(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind))
    together = run_step(case.op, case.params(), case.inputs())
    for i in range(len(together)):
        alone = run_step(case.op, case.params(), [x[i : i + 1] for x in case.inputs()])
        assert np.array_equal(alone[0], together[i], equal_nan=True), f"image {i} of {case}"


def test_wrong_dtype_is_refused() -> None:
    with pytest.raises(DTypeError, match="float64"):
        run_executor(OPS["relu"](), {}, np.zeros((1, 3, 4, 4)))


def test_the_bounds_notice_a_wrong_eps() -> None:
    """The tests above would be worth little if their tolerances let a real mistake pass."""
    case = Case(BatchNorm(17, 1e-5), ((2, 17, 5, 5),), 3, "normal")
    exact = reference64(case.op, case.params(), case.inputs())
    off = run_step(BatchNorm(17, 1e-3), case.params(), case.inputs())
    error = error_bound(case.op, case.params(), case.inputs(), exact)
    problem = kernel_problem(off, exact, error, str(case))
    assert problem is not None
    assert "BatchNorm(" in problem
    assert "off by" in problem
