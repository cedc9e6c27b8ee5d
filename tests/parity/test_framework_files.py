"""Files that each framework writes itself: the weights arrive bit by bit, and the outputs are its own.

The quick run takes a few networks of each framework in every format; the slow one takes every name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import seeded
import test_keras
import test_timm
import test_torchvision
import twins
from parity_driver import Case, needs, runs
from tolerances import assert_parity

import mininet
from mininet.cli import main
from mininet.weights import read_weights

pytestmark = needs("torch", "torchvision", "timm", "keras", "h5py", "onnx", "onnxscript", "safetensors")


def _pth(model: Any, path: Path) -> None:
    import torch

    torch.save(model.state_dict(), path)


def _legacy_pth(model: Any, path: Path) -> None:
    import torch

    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)


def _checkpoint(model: Any, path: Path) -> None:
    """What a training script of torch with DataParallel leaves behind."""
    import torch

    parallel = torch.nn.DataParallel(model)
    torch.save({"epoch": 3, "state_dict": parallel.state_dict()}, path)


def _safetensors(model: Any, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(model.state_dict(), path)


def _onnx(model: Any, path: Path, **options: Any) -> None:
    import torch

    x = torch.from_numpy(seeded.images(0, (1, 3, 64, 64)))
    torch.onnx.export(model, (x,), path, verbose=False, **options)


def _onnx_folded(model: Any, path: Path) -> None:
    _onnx(model, path, dynamo=False)


def _onnx_named(model: Any, path: Path) -> None:
    import torch

    _onnx(model, path, dynamo=False, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)


def _onnx_dynamo(model: Any, path: Path) -> None:
    _onnx(model, path, dynamo=True, external_data=False)


def _onnx_dynamo_named(model: Any, path: Path) -> None:
    _onnx(model, path, dynamo=True, external_data=False, optimize=False)


def _h5(model: Any, path: Path) -> None:
    model.save(path)


def _weights_h5(model: Any, path: Path) -> None:
    model.save_weights(path)


Writer = Callable[[Any, Path], None]
TORCH: dict[str, Writer] = {
    "pth": _pth,
    "legacy.pth": _legacy_pth,
    "checkpoint.pth": _checkpoint,
    "safetensors": _safetensors,
    "folded.onnx": _onnx_folded,
    "named.onnx": _onnx_named,
}
DYNAMO: dict[str, Writer] = {"dynamo.onnx": _onnx_dynamo, "dynamo-named.onnx": _onnx_dynamo_named}
KERAS: dict[str, Writer] = {"h5": _h5, "keras": _h5, "weights.h5": _weights_h5}
WRITERS = TORCH | DYNAMO | KERAS
FOLDED = ("folded.onnx", "dynamo.onnx")  # the weights are products, so only the outputs compare
KERAS_ARCHS = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large")


def _cases() -> Iterator[tuple[Case, str, bool]]:
    """Network, format, and whether it belongs to the slow run."""
    for arch in test_torchvision.ARCHS:
        case = Case("torchvision", arch, (4, 3, 45, 37), 0.35 if arch == "mobilenet_v2" else 0.5)
        for file in {**TORCH, **DYNAMO}:
            yield case, file, file in DYNAMO and arch != "mobilenet_v3_small"
    for name in test_timm.NAMES:
        for file in TORCH:
            quick = file in ("safetensors", "folded.onnx") and name in test_timm.PROBES
            yield Case("timm", name), file, not quick
    for arch in KERAS_ARCHS:
        for file in KERAS:
            yield Case("keras", arch, (4, 3, 33, 47), 0.5), file, False
    for arch, shape in test_keras.MINIMALISTIC:
        for file in KERAS:
            yield Case("keras", arch, shape, minimalistic=True), file, arch.endswith("Large")
    for arch, alpha, shape in test_keras.SETTINGS:
        for file in KERAS:
            yield Case("keras", arch, shape, alpha), file, True


CASES = [
    pytest.param(case, file, id=f"{case}-{file}", marks=[pytest.mark.slow] if slow else [])
    for case, file, slow in _cases()
]


@pytest.mark.filterwarnings("ignore")  # the frameworks' own, about the formats and exporters
@pytest.mark.parametrize(("case", "file"), CASES)
def test_written_by_the_framework(case: Case, file: str, tmp_path: Path) -> None:
    twin = case.twin()
    path = tmp_path / f"net.{file}"
    WRITERS[file](twin.model(), path)
    net = mininet.create_model(twin.name, weights=path, **twin.create_kwargs)
    what = f"{case.framework} {case} from {file}"
    assert net.load_report is not None and net.load_report.ok, f"{what}: {net.load_report}"
    x, direct, (y32, _), (y64, _) = runs(case)
    assert net.config.batch_norm == (file not in FOLDED), f"{what}: batch norms"
    if file not in FOLDED:
        expected, got = direct.state_dict(), net.state_dict()
        off = [name for name in expected if got[name].tobytes() != expected[name].tobytes()]
        assert not off, f"{what}: the bits of {off} differ"
    assert_parity(net(x), y32, y64, f"{what} logits")
    _check_conversion(twin, path, net, what)


def _check_conversion(twin: twins.Twin, path: Path, net: Any, what: str) -> None:
    """``mininet convert`` loses no bit, and its file says what it is."""
    target = path.with_name("converted.safetensors")
    arguments = []
    for option, value in twin.create_kwargs.items():
        arguments += [f"--{option.replace('_', '-')}", *([] if value is True else [str(value)])]
    assert main(["convert", str(path), str(target), "--model", twin.name, *arguments]) == 0, what
    again = mininet.create_model(weights=target)
    assert (again.config, again.preset) == (net.config, net.preset), what
    expected, got = net.state_dict(), again.state_dict()
    assert expected.keys() == got.keys(), what
    off = [name for name in expected if got[name].tobytes() != expected[name].tobytes()]
    assert not off, f"{what}, converted: the bits of {off} differ"


@pytest.mark.parametrize("file", ["folded.onnx", "named.onnx"])
def test_onnx_with_the_weights_elsewhere_is_refused(file: str, tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "net.onnx"
    WRITERS[file](Case("torchvision", "mobilenet_v2", (4, 3, 45, 37), 0.35).twin().model(), path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(mininet.WeightsError, match="another file, which is never opened"):
        read_weights(path)
