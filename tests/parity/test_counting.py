"""Each counting convention against the tool itself, run on torchvision's and timm's own networks."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import logging
from collections.abc import Callable
from typing import Any

import pytest
import twins
from parity_driver import needs

from mininet.inspect.cost import NetworkCost, count_cost
from mininet.models.registry import build_graph, config_for

pytestmark = needs("torch", "torchvision", "timm", "fvcore", "ptflops", "thop", "torchinfo")

#: (network, width, input's rows and columns): every network at several widths and sizes, odd ones among them.
TORCHVISION = [
    *[
        ("mobilenet_v2", width, size)
        for width, size in ((1.4, (224, 224)), (0.35, (96, 131)), (1.0, (33, 50)))
    ],
    *[
        (f"mobilenet_v3_{kind}", width, size)
        for kind in ("large", "small")
        for width, size in ((1.0, (224, 224)), (0.5, (96, 131)), (0.75, (33, 50)), (1.25, (64, 64)))
    ],
]
#: timm's networks by its names.
TIMM = [
    ("mobilenetv1_100", (224, 224)),
    ("mobilenetv1_100", (33, 50)),
    ("mobilenetv1_100h", (64, 64)),
    ("mobilenetv1_125", (96, 131)),
    ("mobilenetv2_035", (33, 50)),
    ("mobilenetv2_110d", (64, 64)),
    ("mobilenetv3_large_100", (96, 131)),
    ("mobilenetv3_rw", (64, 64)),
    ("mobilenetv3_small_050", (33, 50)),
    ("tf_mobilenetv3_large_075", (65, 64)),  # its convolutions of padding SAME are no nn.Conv2d
    ("tf_mobilenetv3_small_minimal_100", (64, 64)),
]
#: Widths of V1, which timm makes but has no name for.
V1_WIDTHS = [(0.25, (96, 131)), (0.5, (64, 64)), (0.75, (33, 50))]
#: What the tools said when the issue was written.
V2_140 = {
    "fvcore": 601_430_480,
    "ptflops": 610_186_408,
    "ptflops-aten": 582_196_824,
    "thop": 620_489_520,
    "torchinfo": 582_244_760,
}


def _fvcore(module: Any, x: Any, pooling: bool = True) -> Any:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return analysis if pooling else analysis.set_op_handle("aten::adaptive_avg_pool2d", lambda *_: 0)


def _ptflops(module: Any, x: Any, backend: str = "pytorch") -> int:
    import ptflops

    with contextlib.redirect_stdout(io.StringIO()):
        counted, _ = ptflops.get_model_complexity_info(
            module, tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False, backend=backend
        )
    return int(counted)


def _thop(module: Any, x: Any) -> int:
    import thop

    return int(thop.profile(module, inputs=(x,), verbose=False)[0])


def _torchinfo(module: Any, x: Any) -> int:
    import torchinfo

    return int(torchinfo.summary(module, input_data=x, verbose=0).total_mult_adds)


TOOLS: dict[str, Callable[[Any, Any], int]] = {
    "fvcore": lambda module, x: int(_fvcore(module, x).total()),
    "ptflops": _ptflops,
    "ptflops-aten": functools.partial(_ptflops, backend="aten"),
    "thop": _thop,
    "torchinfo": _torchinfo,
    # timm publishes what fvcore counts, to two decimals of 1e9: the pooled elements do not show.
    "timm": lambda module, x: int(_fvcore(module, x, pooling=False).total()),
}


def _check(module: Any, count: Callable[[str], NetworkCost], size: tuple[int, int]) -> None:
    import torch

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    x = torch.zeros(1, 3, *size)
    theirs = {name: tool(module.eval(), x) for name, tool in TOOLS.items()}
    assert {name: count(name).madds for name in TOOLS} == theirs
    assert count("paper").params == sum(each.numel() for each in module.parameters())


def _counter(name: str, size: tuple[int, int], **options: Any) -> Callable[[str], NetworkCost]:
    config = config_for(name, **options)
    graph = build_graph(config)
    return lambda convention: count_cost(graph, (1, 3, *size), convention, config.lineage)


def _torchvision(arch: str, width: float) -> Any:
    models = importlib.import_module(f"{twins.torchvision().__name__}.models")
    if arch == "mobilenet_v2":
        return models.mobilenet_v2(width_mult=width)
    settings, last = models.mobilenetv3._mobilenet_v3_conf(arch, width_mult=width)
    return models.MobileNetV3(settings, last)


@pytest.mark.parametrize(("arch", "width", "size"), TORCHVISION)
def test_torchvision(arch: str, width: float, size: tuple[int, int]) -> None:
    _check(_torchvision(arch, width), _counter(arch, size, width=width), size)


@pytest.mark.parametrize(("name", "size"), TIMM)
def test_timm(name: str, size: tuple[int, int]) -> None:
    twins.torchvision()  # which timm imports
    timm = importlib.import_module("timm")
    _check(timm.create_model(name), _counter(f"timm/{name}", size), size)


@pytest.mark.parametrize(("width", "size"), V1_WIDTHS)
def test_v1_widths(width: float, size: tuple[int, int]) -> None:
    """V1 has no torchvision twin: its torchvision lineage is counted as timm's code too."""
    twins.torchvision()
    make = importlib.import_module("timm.models.efficientnet")._gen_mobilenet_v1
    module = make("mobilenetv1_100", width)
    for lineage in ("timm", "torchvision"):
        _check(module, _counter("mobilenet_v1", size, width=width, lineage=lineage), size)


@pytest.mark.parametrize("arch", ["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"])
def test_every_module(arch: str) -> None:
    """fvcore tells what it counts for each module: the same as we for the node of that name."""
    import torch

    counted = _fvcore(_torchvision(arch, 1.0).eval(), torch.zeros(1, 3, 64, 96)).by_module()
    ours = {node.name: node.madds for node in _counter(arch, (64, 96))("fvcore").nodes}
    shared = [name for name in ours if name in counted and name + ".0" not in counted]
    leaves = [name for name in shared if not any(other.startswith(f"{name}.") for other in counted)]
    assert len(leaves) > 100
    assert {name: ours[name] for name in leaves} == {name: counted[name] for name in leaves}


def test_the_figures_of_the_issue() -> None:
    count = _counter("mobilenet_v2", (224, 224), width=1.4)
    assert {name: count(name).madds for name in V2_140} == V2_140
