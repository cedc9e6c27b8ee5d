"""torch.save's files without torch: equal to torch.load, in both formats, whatever wraps the tensors."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mininet.errors import UnknownNameError, WeightsError
from mininet.weights import read_weights

torch = pytest.importorskip("torch", reason="torch writes the files that these tests read")

LEGACY = [pytest.param(False, id="zip"), pytest.param(True, id="legacy")]
DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def _saved(path: Path, value: Any, legacy: bool, **more: Any) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy, **more)
    return path


def _numpy(tensor: Any) -> np.ndarray[Any, Any]:
    tensor = tensor.detach()
    return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())


def _assert_same(weights: Any, tensors: dict[str, Any]) -> None:
    assert list(weights) == list(tensors)
    for name, tensor in tensors.items():
        expected = _numpy(tensor)
        assert (weights[name].dtype, weights[name].shape) == (expected.dtype, expected.shape), name
        assert weights[name].tobytes() == expected.tobytes(), f"{name}: bits differ"
        assert not weights[name].flags.writeable, f"{name} can be written to"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", LEGACY)
def test_every_dtype_and_protocol(legacy: bool, protocol: int, tmp_path: Path) -> None:
    tensors = {name: torch.arange(6).reshape(2, 3).to(getattr(torch, name)) for name in DTYPES}
    tensors |= {"scalar": torch.tensor(3), "empty": torch.zeros(0, 4)}
    path = _saved(tmp_path / "a", tensors, legacy, pickle_protocol=protocol)
    _assert_same(read_weights(path), tensors)


@pytest.mark.parametrize("legacy", LEGACY)
def test_strides_offsets_and_shared_storages(legacy: bool, tmp_path: Path) -> None:
    base = torch.arange(48.0).reshape(2, 4, 6)
    tensors = {
        "base": base,
        "transposed": base.permute(2, 0, 1),
        "stepped": base[:, 1::2, ::3],
        "row": base[1, 2],
        "last": base[1, 3, 5],
        "expanded": base[0, :1].expand(5, 6),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    _assert_same(read_weights(_saved(tmp_path / "a", tensors, legacy)), tensors)


@pytest.mark.parametrize("legacy", LEGACY)
def test_module_state_dict_and_parameters(legacy: bool, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = module.state_dict()
    assert isinstance(state, OrderedDict)
    assert hasattr(state, "_metadata")
    _assert_same(read_weights(_saved(tmp_path / "a", state, legacy)), state)
    parameters = dict(module.named_parameters())
    _assert_same(read_weights(_saved(tmp_path / "b", parameters, legacy)), parameters)


def _checkpoint(module: Any, **entries: Any) -> dict[str, Any]:
    """What training scripts save beside the weights, timm's and torchvision's among them."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "arch": "mobilenet_v2",
        "best": 0.71,
        "version": 2,
        "args": argparse.Namespace(lr=[0.1, None], shape=torch.Size([1, 3]), device=torch.device("cpu")),
        "dtype": torch.float32,
        "optimizer": optimizer.state_dict(),
        "amp_scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2]).state_dict(),
        **entries,
    }


@pytest.mark.parametrize(
    "wrapper", ["state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "weights"]
)
@pytest.mark.parametrize("legacy", LEGACY)
def test_wrappers(legacy: bool, wrapper: str, tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    checkpoint = _checkpoint(module, **{wrapper: module.state_dict()})
    weights = read_weights(_saved(tmp_path / "a", checkpoint, legacy))
    _assert_same(weights, dict(module.state_dict()))
    assert weights.metadata == {"wrapper": wrapper}


def test_averaged_weights_come_first_and_the_others_can_be_chosen(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(3, 2))
    checkpoint = _checkpoint(module, model=module.state_dict(), model_ema=averaged.state_dict())
    path = _saved(tmp_path / "a", checkpoint, False)
    weights = read_weights(path)
    _assert_same(weights, dict(averaged.state_dict()))
    assert weights.metadata == {"wrapper": "model_ema", "other_wrappers": "model"}
    weights = read_weights(path, entry="model")
    _assert_same(weights, dict(module.state_dict()))
    assert weights.metadata == {"wrapper": "model", "other_wrappers": "model_ema"}
    with pytest.raises(UnknownNameError, match=r"unknown entry of the checkpoint 'ema'.*model_ema"):
        read_weights(path, entry="ema")


def test_several_entries_of_unknown_names_are_not_guessed_at(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    checkpoint = _checkpoint(module, teacher=module.state_dict(), student=module.state_dict())
    path = _saved(tmp_path / "a", checkpoint, False)
    with pytest.raises(WeightsError, match="found 'teacher', 'student': choose an entry"):
        read_weights(path)
    _assert_same(read_weights(path, entry="student"), dict(module.state_dict()))


def test_loose_tensors_beside_an_entry(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    path = _saved(tmp_path / "a", {"best": torch.tensor(0.7), "model": module.state_dict()}, False)
    _assert_same(read_weights(path), dict(module.state_dict()))


def test_other_formats_have_no_entries(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(WeightsError, match="npz: it has no entries to choose from, got 'model'"):
        read_weights(tmp_path / "a.npz", entry="model")


def test_names_stay_as_they_are_and_other_leaves_are_left_out(tmp_path: Path) -> None:
    tensors = {"module.a": torch.ones(2), "module.b": torch.ones(3)}
    mixed: dict[Any, Any] = {**tensors, "epoch": 3, 7: torch.ones(1), "nested": {"x": torch.ones(1)}}
    _assert_same(read_weights(_saved(tmp_path / "a", mixed, False)), tensors)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.ones(2), "expected a dictionary of tensors"),
        ([torch.ones(2)], "found a list"),
        ({}, "expected a dictionary of tensors"),
        ({"model": {"state_dict": {"epoch": 3}}}, "expected a dictionary of tensors"),
        ({"x": np.float64(3), "y": torch.ones(2)}, "numpy.*not among what tensors need"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear.*state_dict"),
        ({"x": torch.ones(2).to_sparse()}, "not among what tensors need"),
    ],
)
@pytest.mark.parametrize("legacy", LEGACY)
def test_what_is_no_state_dict(legacy: bool, value: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(_saved(tmp_path / "a", value, legacy))
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "a"))
    with pytest.raises(WeightsError, match="TorchScript"):
        read_weights(tmp_path / "a")


@pytest.mark.parametrize(
    "file", ["mobilenet_v2_torchvision.pth", "mobilenet_v2_torchvision_legacy.pth"]
)  # fmt: skip
def test_real_files_equal_torch_load(file: str, assets: Path) -> None:
    path = assets / "weights" / file
    _assert_same(read_weights(path), torch.load(path, weights_only=True))
