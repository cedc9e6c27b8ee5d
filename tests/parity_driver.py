"""What the parity tests of all frameworks share: a case, its parts, and the comparison."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import seeded
import twins
from tolerances import MIN_LOGITS, assert_parity, parity_problem, rms

BACKENDS = ("reference", "kernels", "plan")
IMAGE_SEED = 1
#: The NumPy reference is slow, so it runs only the cases with at most this many input pixels.
REFERENCE_PIXELS = 7000
#: What each test of a case compares: logits for all backends; intermediates where every node runs alone.
PARTS = (
    *(("logits", backend) for backend in BACKENDS),
    ("nodes", "reference"),
    ("nodes", "kernels"),
    ("features", "plan"),
)


@dataclass(frozen=True)
class Case:
    """A network of a framework and the shape of the images it is shown."""

    framework: str
    arch: str
    shape: tuple[int, int, int, int] = (4, 3, 45, 33)
    width: float = 1.0
    num_classes: int = 1000
    minimalistic: bool = False
    pool: str = "avg"
    slow: bool = False

    def __str__(self) -> str:
        words = [self.arch, f"w{self.width:g}", f"c{self.num_classes}", "x".join(map(str, self.shape))]
        words += ["minimalistic"] if self.minimalistic else []
        return "-".join([*words, *([] if self.num_classes else [f"pool-{self.pool}"])])

    def twin(self) -> twins.Twin:
        """The twin, built once while consecutive cases share it."""
        return _twin(self.framework, self.arch, self.width, self.num_classes, self.minimalistic, self.pool)


def parameters(cases: Iterable[Case]) -> list[Any]:
    """(case, part, backend) for ``pytest.mark.parametrize``, one twin after the other."""
    table = []
    for case in cases:
        marks = [pytest.mark.slow] if case.slow else []
        pixels = case.shape[0] * case.shape[2] * case.shape[3]
        for part, backend in PARTS:
            if backend != "reference" or pixels <= REFERENCE_PIXELS:
                table.append(pytest.param(case, part, backend, id=f"{case}-{part}-{backend}", marks=marks))
    return table


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip a test module, with the reason, where a framework is missing; nothing is imported yet."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    reason = f"the [parity] extra is not installed: no {', '.join(missing)}"
    return pytest.mark.skipif(bool(missing), reason=reason)


def check(case: Case, part: str, backend: str) -> None:
    """Compare one part of a case with the twin, and fail with a message that explains itself."""
    x, net, (y32, nodes32), (y64, nodes64) = runs(case)
    what = f"{case.framework} {case} backend={backend}"
    if part == "logits":
        assert y64.size >= MIN_LOGITS, f"{what}: {y64.size} logits are too few for a parity case"
        assert_parity(net(x, backend=backend), y32, y64, f"{what} logits")
    elif part == "nodes":
        _check_nodes(case, net.trace(x, backend=backend), nodes32, nodes64, what)
    else:
        _check_features(case, net, x, nodes32, nodes64, what)


def _check_nodes(case: Case, trace: Any, nodes32: twins.Tensors, nodes64: twins.Tensors, what: str) -> None:
    names = case.twin().nodes
    assert names, f"{what}: the twin names no intermediates"
    problems = []
    for theirs, node in names.items():
        where = f"{what} node {node!r}" + (f" ({theirs!r} there)" if theirs != node else "")
        try:
            ours = np.asarray(trace[node])
        except LookupError:
            problems.append(f"{where}: not in the trace")
            continue
        f32, f64 = _as_node(case, ours, nodes32[theirs]), _as_node(case, ours, nodes64[theirs])
        problem = parity_problem(ours, f64, rms(f32.astype(np.float64) - f64), where)
        problems += [problem] if problem else []
    assert not problems, f"{len(problems)} of {len(names)} tensors are off, the first: {problems[0]}"


def _check_features(
    case: Case, net: Any, x: np.ndarray, nodes32: twins.Tensors, nodes64: twins.Tensors, what: str
) -> None:
    """The output of every block, from the planned executor; the last one pooled as well."""
    features = {node: theirs for theirs, node in case.twin().nodes.items() if node.startswith("features.")}
    blocks = [node for node in features if node.count(".") == 1] or list(features)[-1:]
    for node in blocks:
        f32, f64 = nodes32[features[node]], nodes64[features[node]]
        assert_parity(net.features(x, at=node, pool=False), f32, f64, f"{what} features at {node!r}")
    pooled32, pooled64 = f32.mean((2, 3), dtype=np.float32), f64.mean((2, 3))
    assert_parity(net.features(x, at=node, pool=True), pooled32, pooled64, f"{what} pooled at {node!r}")


def _as_node(case: Case, ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Their tensor in our node's shape where timm or Keras keeps, or drops, axes of size 1."""
    same = ours.shape[:2] == theirs.shape[:2] and ours.size == theirs.size
    return theirs.reshape(ours.shape) if same and case.framework != "torchvision" else theirs


@functools.lru_cache(maxsize=1)
def _twin(
    framework: str, arch: str, width: float, num_classes: int, minimalistic: bool, pool: str
) -> twins.Twin:
    if framework == "torchvision":
        return twins.torchvision_twin(arch, width, num_classes, pool=pool)
    if framework == "timm":
        return twins.timm_twin(arch)
    return twins.keras_twin(arch, width, num_classes, minimalistic=minimalistic, pool=pool)


@functools.lru_cache(maxsize=1)
def runs(case: Case) -> tuple[np.ndarray, Any, Any, Any]:
    """Images, our network, and the twin's float32 and float64 runs."""
    twin = case.twin()
    x = seeded.images(IMAGE_SEED, case.shape)
    return x, twin.build(), twin.run(x, "float32"), twin.run(x, "float64")
