"""mininet: MobileNetV1, V2 and V3 on a CPU, with nothing but NumPy installed.

>>> import mininet
>>> net = mininet.create_model(weights="digits")
>>> image = mininet.sample_images()[0]
>>> net.classify(image, top=1)[0][0]
'0'

Names are imported when first used, so that ``import mininet`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what a type checker sees; at run time __getattr__ does the same, lazily
    from mininet.adapt import adapt_input, replace_head
    from mininet.checkpoints import fetch
    from mininet.create import (
        create_model,
        mobilenet_v1,
        mobilenet_v2,
        mobilenet_v3_large,
        mobilenet_v3_small,
    )
    from mininet.data import sample_images
    from mininet.errors import (
        ArgumentError,
        ClusterError,
        DownloadError,
        DTypeError,
        GraphError,
        ImageError,
        MininetError,
        MissingExtraError,
        ShapeError,
        UnknownNameError,
        WeightsError,
    )
    from mininet.features import MobileNetFeatures
    from mininet.inspect.compare import compare_published
    from mininet.inspect.trace_diff import diff_traces
    from mininet.models.registry import list_models
    from mininet.network import Network
    from mininet.preprocess import Preset, list_presets, register_preset
    from mininet.runtime import build_info, get_num_threads, set_num_threads
    from mininet.weights import Weights, read_weights

__version__ = "0.1.0"

_HOMES = {
    "adapt": ("adapt_input", "replace_head"),
    "checkpoints": ("fetch",),
    "create": (
        "create_model",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "mobilenet_v3_small",
    ),
    "data": ("sample_images",),
    "errors": (
        "ArgumentError",
        "ClusterError",
        "DownloadError",
        "DTypeError",
        "GraphError",
        "ImageError",
        "MininetError",
        "MissingExtraError",
        "ShapeError",
        "UnknownNameError",
        "WeightsError",
    ),
    "features": ("MobileNetFeatures",),
    "inspect.compare": ("compare_published",),
    "inspect.trace_diff": ("diff_traces",),
    "models.registry": ("list_models",),
    "network": ("Network",),
    "preprocess": ("Preset", "list_presets", "register_preset"),
    "runtime": ("build_info", "get_num_threads", "set_num_threads"),
    "weights": ("Weights", "read_weights"),
}
"""Public names by the module that defines them."""

__all__ = [  # a literal list, as type checkers want it; a test compares it with _HOMES
    "ArgumentError",
    "ClusterError",
    "DTypeError",
    "DownloadError",
    "GraphError",
    "ImageError",
    "MininetError",
    "MissingExtraError",
    "MobileNetFeatures",
    "Network",
    "Preset",
    "ShapeError",
    "UnknownNameError",
    "Weights",
    "WeightsError",
    "__version__",
    "adapt_input",
    "build_info",
    "compare_published",
    "create_model",
    "diff_traces",
    "fetch",
    "get_num_threads",
    "list_models",
    "list_presets",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "read_weights",
    "register_preset",
    "replace_head",
    "sample_images",
    "set_num_threads",
]


def __getattr__(name: str) -> Any:
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"mininet.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'mininet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
