"""Every public function against every wrong kind of value: it works as documented, or it says what is wrong.

The table is the cross product of `SUBJECTS` (one argument of one function each) and `VALUES`. A subject lists
the values that it takes; any other must raise a mininet error of one short line. A new public name without a
subject fails the test that compares the table with the package.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import seeded

import mininet

NET = mininet.create_model("mobilenet_v3_small", "random:1", width=0.35, num_classes=4)
X = seeded.images(0, (2, 3, 32, 32))
PICTURE = np.zeros((8, 8, 3), np.uint8)
LONGEST_MESSAGE = 700  # an unknown option lists all that are known
TRACE = NET.trace(X)


class Subclass(np.ndarray):
    """An array of somebody else's class."""


class Hostile:
    """What looks at it gets an exception that is none of ours."""

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("no array")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "3": 3,
    "0": 0,
    "-1": -1,
    "10**30": 10**30,
    "10**5000": 10**5000,
    "2.5": 2.5,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "complex": 1j,
    "text": "abc",
    "empty text": "",
    "text with a zero": "a\0b",
    "lone surrogate": "\udcff",
    "bytes": b"abc",
    "list": [1, 2],
    "empty list": [],
    "names": ["features.0", "nope"],
    "ragged": [[1.0], [2.0, 3.0]],
    "nested text": [[["x"]]],
    "tuple": (1, 2, 3),
    "dict": {"a": 1},
    "empty dict": {},
    "dict of numbers": {1: X},
    "set": {1},
    "object": object(),
    "class": int,
    "function": len,
    "slice": slice(1),
    "ellipsis": ...,
    "hostile": Hostile(),
    "float32": X,
    "float64": X.astype(np.float64),
    "float16": X.astype(np.float16),
    "int8": X.astype(np.int8),
    "bool array": X > 0,
    "object array": X.astype(object),
    "big-endian": X.astype(">f4"),
    "text array": np.array("abc"),
    "records": np.zeros(3, [("a", "f4")]),
    "date": np.datetime64("2020-01-01"),
    "scalar": np.float32(1),
    "0-d": np.array(1, np.float32),
    "1-d": np.zeros(3, np.float32),
    "5-d": np.zeros((1, 1, 3, 8, 8), np.float32),
    "no rows": np.zeros((1, 3, 0, 8), np.float32),
    "four channels": np.zeros((1, 4, 8, 8), np.float32),
    "empty batch": np.zeros((0, 3, 8, 8), np.float32),
    "masked": np.ma.masked_array(X, X > 0),
    "subclass": X.view(Subclass),
    "nested list": X.tolist(),
}


class Subject(NamedTuple):
    """One argument of one public function: how to pass a value, and which values it takes."""

    call: Callable[[Any], object]
    takes: tuple[str, ...] = ()


IMAGES = ("float32", "subclass")
BATCHES = (*IMAGES, "empty batch")
NO_NUMBERS = (
    *("10**5000", "complex", "text", "empty text", "text with a zero", "lone surrogate", "bytes"),
    *("None", "names", "ragged", "nested text", "dict", "empty dict", "dict of numbers", "set", "object"),
    *("class", "function", "slice", "ellipsis", "hostile", "object array", "text array", "records", "date"),
    *("10**30", "masked"),
)
"""What is no array of real numbers."""
OPTIONS = {
    "width": ("3", "2.5", "scalar"),
    "num_classes": ("3", "0"),
    "in_channels": ("3",),
    "lineage": (),
    "activation": ("None",),
    "dropout": ("None", "0"),
    "batch_norm": ("True",),
    "separable": ("True",),
    "shallow": ("True",),
    "head_conv": (),
    "preprocessing": ("None",),
    "labels": ("None",),
    "nonsense": (),
}


FEATURES = {
    "model": (),
    "weights": ("None",),
    "at": (),
    "pool": ("None",),
    "preprocessing": ("None",),
    "batch_size": ("3",),
    "threads": ("None", "3"),
    "options": ("None", "empty dict"),
}
PREPARED = (
    *("float32", "float64", "float16", "int8", "bool array", "object array", "big-endian"),
    *("subclass", "nested list"),
)
"""scikit-learn's estimators take any real numbers."""


def in_features(**parameter: Any) -> mininet.MobileNetFeatures:
    return mininet.MobileNetFeatures(**{"model": "mobilenet_v3_small", **parameter})


def in_preset(**field: Any) -> object:
    return mininet.Preset(**{"name": "x", "crop": 224, "resize": 256, **field})


SUBJECTS: dict[str, Subject] = {
    "Network.__call__ x": Subject(NET, BATCHES),
    "Network.__call__ backend": Subject(lambda v: NET(X, backend=v)),
    "Network.classify image": Subject(NET.classify),
    "Network.classify top": Subject(lambda v: NET.classify(PICTURE, top=v), ("3")),
    "Network.preprocess": Subject(NET.preprocess),
    "Network.top logits": Subject(NET.top, ("list", "empty list", "tuple", "1-d")),
    "Network.top k": Subject(lambda v: NET.top(np.zeros(4), v), ("3")),
    "Network.trace x": Subject(NET.trace, BATCHES),
    "Network.trace names": Subject(lambda v: NET.trace(X, names=v), ("None", "empty list", "empty batch")),
    "Network.trace backend": Subject(lambda v: NET.trace(X, backend=v)),
    "Trace[]": Subject(lambda v: TRACE[v]),
    "Trace.step": Subject(lambda v: TRACE.step(v)),
    "Network.explain images": Subject(lambda v: NET.explain(v, "features.0.0"), IMAGES),
    "Network.explain node": Subject(lambda v: NET.explain(X, v)),
    "Network.explain c": Subject(lambda v: NET.explain(X, "features.0.0", c=v), ("0", "3")),
    "Network.report image": Subject(NET.report, IMAGES),
    "Network.features x": Subject(NET.features, BATCHES),
    "Network.features at": Subject(lambda v: NET.features(X, at=v)),
    "Network.features pool": Subject(lambda v: NET.features(X, pool=v), ("True",)),
    "Network.summary shape": Subject(NET.summary, ("None",)),
    "Network.summary depth": Subject(lambda v: NET.summary(depth=v), ("None", "3")),
    "Network.summary node": Subject(lambda v: NET.summary(node=v), ("None",)),
    "Network.cost resolution": Subject(NET.cost, ("None", "3")),
    "Network.cost shape": Subject(lambda v: NET.cost(input_shape=v), ("None",)),
    "Network.cost convention": Subject(lambda v: NET.cost(convention=v)),
    "Network.plan shape": Subject(NET.plan, ("None",)),
    "Network.load_state_dict": Subject(NET.load_state_dict),
    "Network.load_state_dict value": Subject(
        lambda v: NET.load_state_dict({**NET.state_dict(), "classifier.3.bias": v})
    ),
    "Network.load_state_dict strict": Subject(lambda v: NET.load_state_dict(NET.state_dict(), v), ("True",)),
    "Network.get_layer name": Subject(NET.get_layer),
    "Network.get_layer index": Subject(lambda v: NET.get_layer(index=v), ("3", "0", "-1")),
    "Network.get_weights": Subject(NET.get_weights),
    "adapt_input channels": Subject(lambda v: mininet.adapt_input(NET, v), ("3",)),
    "adapt_input init": Subject(lambda v: mininet.adapt_input(NET, 5, v)),
    "adapt_input seed": Subject(lambda v: mininet.adapt_input(NET, 5, "random", seed=v), ("3", "0")),
    "replace_head num_classes": Subject(lambda v: mininet.replace_head(NET, v), ("3",)),
    "replace_head labels": Subject(lambda v: mininet.replace_head(NET, 7, labels=v), ("None",)),
    "replace_head seed": Subject(lambda v: mininet.replace_head(NET, 7, seed=v), ("3", "0")),
    "Network.without_head pool": Subject(NET.without_head, ("None",)),
    "Layer.set_weights": Subject(NET.get_layer("features.0.0").set_weights),
    "Layer.set_weights value": Subject(lambda v: NET.get_layer("features.0.0").set_weights([v])),
    "Network.save": Subject(NET.save, ("text", "lone surrogate", "bytes")),
    "create_model name": Subject(mininet.create_model),
    "create_model weights": Subject(lambda v: mininet.create_model("mobilenet_v2", v), ("None",)),
    "create_model weight": Subject(lambda v: mininet.create_model("mobilenet_v2", {"a": v})),
    **{
        f"create_model {option}": Subject(
            lambda v, o=option: mininet.create_model("mobilenet_v1", **{o: v}), takes
        )
        for option, takes in OPTIONS.items()
    },
    "create_model minimalistic": Subject(
        lambda v: mininet.create_model("mobilenet_v3_small", minimalistic=v), ("True",)
    ),
    "create_model depth": Subject(
        lambda v: mininet.create_model("timm/mobilenetv2_035", depth=v), ("3", "2.5", "scalar")
    ),
    "mobilenet_v1 weights": Subject(mininet.mobilenet_v1, ("None",)),
    "mobilenet_v2 weights": Subject(mininet.mobilenet_v2, ("None",)),
    "mobilenet_v3_large weights": Subject(mininet.mobilenet_v3_large, ("None",)),
    "mobilenet_v3_small weights": Subject(mininet.mobilenet_v3_small, ("None",)),
    "MobileNetFeatures X": Subject(lambda v: in_features().transform(v), PREPARED),
    **{
        f"MobileNetFeatures {name}": Subject(lambda v, n=name: in_features(**{n: v}).fit_transform(X), takes)
        for name, takes in FEATURES.items()
    },
    "MobileNetFeatures image_shape": Subject(lambda v: in_features(image_shape=v).fit(X.reshape(2, -1))),
    "fetch name": Subject(mininet.fetch),
    "fetch folder": Subject(lambda v: mininet.fetch("mobilenet_v2", v)),
    "fetch timeout": Subject(lambda v: mininet.fetch("mobilenet_v2", timeout=v)),
    "read_weights": Subject(mininet.read_weights),
    "list_models": Subject(mininet.list_models, ("text", "empty text", "text with a zero", "lone surrogate")),
    "set_num_threads": Subject(mininet.set_num_threads, ("3")),
    "register_preset": Subject(mininet.register_preset),
    "Preset name": Subject(lambda v: in_preset(name=v), ("text", "text with a zero", "lone surrogate")),
    "Preset crop": Subject(lambda v: in_preset(crop=v), ("None", "3", "list")),
    "Preset resize": Subject(lambda v: in_preset(resize=v), ("None",)),
    "Preset scale": Subject(lambda v: in_preset(scale=v), ("3", "2.5", "scalar")),
    "Preset mean": Subject(lambda v: in_preset(mean=v), ("tuple",)),
    "Preset std": Subject(lambda v: in_preset(std=v), ("tuple",)),
    "Preset interpolation": Subject(lambda v: in_preset(interpolation=v)),
    "Preset mode": Subject(lambda v: in_preset(mode=v)),
    "diff_traces first": Subject(lambda v: mininet.diff_traces(v, TRACE)),
    "diff_traces second": Subject(lambda v: mininet.diff_traces(TRACE, v)),
    "diff_traces value": Subject(
        lambda v: mininet.diff_traces({"a": X}, {"a": v}),
        tuple(set(VALUES) - set(NO_NUMBERS)),
    ),
    "diff_traces rtol": Subject(
        lambda v: mininet.diff_traces(TRACE, TRACE, v),
        ("3", "0", "10**30", "10**5000", "2.5", "infinity", "scalar"),
    ),
}

WITHOUT_ARGUMENTS = {
    *("build_info", "compare_published", "get_num_threads", "list_presets", "sample_images"),
    *("Network.names", "Network.state_dict", "Network.named_parameters", "Network.named_buffers"),
    *("Network.parameters", "Network.count_params", "Network.check_classifier"),
}
MADE_BY_OTHERS = {"Network", "Weights"}
"""Classes that users get from functions and do not call."""


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)  # one of the values is the name of a file to write
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody answers: nothing is fetched
    before = mininet.get_num_threads()
    yield
    mininet.set_num_threads(before)


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.filterwarnings("error")
def test_every_value(name: str) -> None:
    """All values of one subject at once: as one test each they would be three thousand."""
    subject, took, wrong = SUBJECTS[name], set(), []
    assert set(subject.takes) <= set(VALUES)
    for kind, value in VALUES.items():
        try:
            subject.call(value)
            took.add(kind)
        except mininet.MininetError as error:
            message = str(error)
            if len(message) > LONGEST_MESSAGE or not message.isprintable():
                wrong.append(f"{kind}: a message of {len(message)} characters: {message[:200]!r}")
        except Exception as error:
            wrong.append(f"{kind}: {type(error).__name__}: {str(error)[:200]}")
    assert not wrong, f"{name}:\n" + "\n".join(wrong)
    assert took == set(subject.takes), f"{name} took {took}"


def test_every_public_function_is_a_subject() -> None:
    callables = {name for name in mininet.__all__ if callable(getattr(mininet, name))}
    errors = {name for name in callables if name.endswith("Error")}
    methods = {f"Network.{name}" for name, value in vars(mininet.Network).items() if callable(value)}
    public = {name for name in methods if not name.startswith("Network._")} | {"Network.__call__"}
    tried = {name.partition(" ")[0] for name in SUBJECTS}
    absent = (callables - errors - MADE_BY_OTHERS | public) - tried - WITHOUT_ARGUMENTS
    assert not absent, f"nobody abuses {sorted(absent)}"


def test_the_documentation_counts_them_right() -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "pages" / "reliability.md"
    figure = f"{len(SUBJECTS)} arguments of all public functions, {len(VALUES)} values each"
    assert figure in page.read_text(encoding="utf-8"), f"reliability.md should say: {figure}"


MISSPELT: dict[str, tuple[Callable[[], object], str]] = {
    "model": (lambda: mininet.create_model("mobilenetv2"), "mobilenet_v2"),
    "lineage": (lambda: mininet.create_model("mobilenet_v2", lineage="torchvison"), "torchvision"),
    "activation": (lambda: mininet.create_model("mobilenet_v2", activation="relu7"), "relu6"),
    "preset": (lambda: mininet.create_model("mobilenet_v2", preprocessing="torchvison"), "torchvision"),
    "labels": (lambda: mininet.create_model("mobilenet_v2", labels="imagnet"), "imagenet"),
    "backend": (lambda: NET(X, backend="kernel"), "kernels"),
    "node": (lambda: NET.features(X, at="clasifier.3"), "classifier.3"),
    "layer": (lambda: NET.get_weights("features.0.1.weight"), "features.0.1"),
    "traced node": (lambda: NET.trace(X, names="features.0.0")["features.0.1"], "features.0.0"),
    "convention": (lambda: NET.cost(convention="papre"), "paper"),
}


@pytest.mark.parametrize("what", MISSPELT)
def test_an_unknown_name_meets_its_nearest(what: str) -> None:
    call, meant = MISSPELT[what]
    with pytest.raises(mininet.UnknownNameError, match=f"did you mean .*{meant!r}"):
        call()


ARRANGED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "Fortran order": np.asfortranarray,
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "unaligned": lambda x: np.frombuffer(b"!" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    "subclass": lambda x: x.view(Subclass),
}


@pytest.mark.parametrize("backend", ["plan", "kernels", "reference"])
@pytest.mark.parametrize("how", ARRANGED)
def test_how_an_array_lies_does_not_matter(how: str, backend: str) -> None:
    arranged = ARRANGED[how](X)
    before = arranged.copy()
    y = NET(arranged, backend=backend)
    assert type(y) is np.ndarray
    assert np.array_equal(y, NET(X, backend=backend)), f"{how}: off by {np.abs(y - NET(X)).max():.2e}"
    assert np.array_equal(arranged, before)


HUGE = """
import resource, numpy as np, mininet
net = mininet.create_model("mobilenet_v3_small", width=0.35, num_classes=4)
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # bytes of address space
one = np.random.default_rng(0).standard_normal((1, 3, 64, 64), dtype=np.float32)
y = net(np.broadcast_to(one, (30_000, 3, 64, 64)))  # 1.5 GB if it were copied at once
assert y.shape == (30_000, 4) and np.array_equal(y, np.broadcast_to(net(one), y.shape))
many = np.broadcast_to(one, (2_000, 3, 64, 64))  # values of all nodes: 3 GB
assert np.array_equal(net(many, backend="kernels"), np.broadcast_to(net(one, backend="kernels"), (2_000, 4)))
for call in (
    lambda: net.trace(np.broadcast_to(one, (10**7, 3, 64, 64))),
    lambda: net.features(np.broadcast_to(one, (10**9, 3, 64, 64))),
    lambda: net(np.broadcast_to(one[..., :1, :1], (1, 3, 10**6, 10**6))),
    lambda: net(np.broadcast_to(one[..., :1, :1], (1, 3, 1, 10**9)), backend="reference"),
):
    try:
        call()
    except mininet.ShapeError as error:
        assert "not enough memory" in str(error), error
    else:
        raise AssertionError("nothing was refused")
"""


def test_a_huge_batch_is_split_or_refused() -> None:
    pytest.importorskip("resource", reason="only Unix limits a process's memory")
    ran = subprocess.run(
        [sys.executable, "-c", HUGE], capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
