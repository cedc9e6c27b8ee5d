"""The references themselves: against loops in plain Python, and against torch where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from brute import BRUTE, Tally, explicit_pads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import reference64
from strategies import cases, tiny_cases

from mininet.ops import OPS
from mininet.ops.activation import Activation

KINDS = sorted(OPS)
ACTIVATION_KINDS = [kind for kind, cls in OPS.items() if issubclass(cls, Activation)]
#: float64 against float64: only the order of summation differs.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}
Torch = Callable[[Any, Any, Mapping[str, Any], list[Any]], Any]


def test_every_op_has_a_brute_force_twin() -> None:
    missing = set(OPS) - set(BRUTE)
    assert not missing, f"no loops in tests/ops/brute.py for {sorted(missing)}"


@pytest.mark.parametrize("kind", KINDS)
# Most draws are too large for loops; to draw again is cheap.
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_reference_and_count_equal_brute_force(kind: str, data: st.DataObject) -> None:
    case = data.draw(tiny_cases(kind))
    tally = Tally()
    params = {role: value.astype(np.float64) for role, value in case.params().items()}
    expected = BRUTE[kind](case.op, params, case.inputs(), tally)
    got = reference64(case.op, case.params(), case.inputs())
    assert got.shape == expected.shape, f"{case}: {got.shape} instead of {expected.shape}"
    np.testing.assert_allclose(got, expected, **CLOSE, err_msg=str(case))
    counted = case.op.multiply_adds(*case.shapes)
    assert counted == tally.products, f"{case}: {counted} multiply-adds stated, {tally.products} done"


def _conv(f: Any, op: Any, p: Mapping[str, Any], x: list[Any]) -> Any:
    """Activated, then the residual if there is one."""
    conv = op.as_conv2d()
    top, bottom, left, right = explicit_pads(conv.padding, tuple(x[0].shape[2:]), conv)
    image = f.pad(x[0], (left, right, top, bottom))
    y = f.conv2d(image, p["weight"], p.get("bias"), conv.stride, 0, conv.dilation, conv.groups)
    return sum(x[1:], start=_activated(f, op.activation, y))


def _fused_depthwise(f: Any, op: Any, p: Mapping[str, Any], x: list[Any]) -> Any:
    roles = ("weight", "bias")
    first, second = ({role: p[f"{part}.{role}"] for role in roles} for part in ("first", "depthwise"))
    return _conv(f, op.depthwise, second, [_conv(f, op.first, first, x)])


def _pool(f: Any, op: Any, p: Mapping[str, Any], x: list[Any]) -> Any:
    """torch pads all sides alike and only by half a window: pad by hand and divide by the real count."""
    top, bottom, left, right = explicit_pads(op.padding, tuple(x[0].shape[2:]), op)
    sides = (left, right, top, bottom)
    mean = f.avg_pool2d(f.pad(x[0], sides), op.kernel, op.stride)
    share = f.avg_pool2d(f.pad(x[0] * 0 + 1, sides), op.kernel, op.stride)
    return mean / share


def _batch_norm(f: Any, op: Any, p: Mapping[str, Any], x: list[Any]) -> Any:
    return f.batch_norm(
        x[0], p["running_mean"], p["running_var"], p["weight"], p["bias"], training=False, eps=op.eps
    )


def _activated(f: Any, name: str, y: Any) -> Any:
    functions = {"hard_sigmoid": "hardsigmoid", "hard_swish": "hardswish"}
    return y if name == "identity" else getattr(f, functions.get(name, name))(y)


TORCH: dict[str, Torch] = {
    "conv2d": _conv,
    "depthwise_conv2d": _conv,
    "pointwise_conv2d": _conv,
    "expand_depthwise": _fused_depthwise,
    "conv_depthwise": _fused_depthwise,
    "linear": lambda f, op, p, x: f.linear(x[0], p["weight"], p.get("bias")),
    "batch_norm": _batch_norm,
    "avg_pool": _pool,
    "global_avg_pool": lambda f, op, p, x: f.adaptive_avg_pool2d(x[0], 1),
    "global_max_pool": lambda f, op, p, x: f.adaptive_max_pool2d(x[0], 1),
    "clip": lambda f, op, p, x: x[0].clamp(op.low, op.high),
    "softmax": lambda f, op, p, x: f.softmax(x[0], dim=1),
    "add": lambda f, op, p, x: x[0] + x[1],
    "multiply": lambda f, op, p, x: x[0] * x[1],
    "flatten": lambda f, op, p, x: x[0].flatten(1),
    "dropout": lambda f, op, p, x: f.dropout(x[0], op.p, training=False),
    **{kind: lambda f, op, p, x: _activated(f, op.kind, x[0]) for kind in ACTIVATION_KINDS},
}
"""By the op's registered name; an op that torch does not have may be missing here."""

#: Whose twin above ends with the activation already.
ACTIVATED = ("conv2d", "depthwise_conv2d", "pointwise_conv2d")


@pytest.mark.parametrize("kind", sorted(TORCH))
@settings(max_examples=15)
@given(data=st.data())
def test_reference_equals_torch(kind: str, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra 'parity'")
    case = data.draw(cases(kind, ("normal", "negative", "mixed")))
    tensors = [torch.from_numpy(x).double() for x in case.inputs()]
    params = {role: torch.from_numpy(value).double() for role, value in case.params().items()}
    expected = TORCH[kind](torch.nn.functional, case.op, params, tensors)
    if kind not in ACTIVATED:
        expected = _activated(torch.nn.functional, getattr(case.op, "activation", "identity"), expected)
    got = reference64(case.op, case.params(), case.inputs())
    assert got.shape == tuple(expected.shape), f"{case}: {got.shape}, torch has {tuple(expected.shape)}"
    scale = max(1.0, float(np.abs(got).max()))
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-9, atol=1e-12 * scale, err_msg=str(case))
