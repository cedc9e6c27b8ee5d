"""A mapped file: the same arrays, on the file's own pages, down into a network that runs on them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import mininet
from mininet.errors import WeightsError
from mininet.weights import read_weights
from mininet.weights.safetensors import write


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's weights, all float32."""
    path = tmp_path_factory.mktemp("mapped") / "small.safetensors"
    mininet.create_model("mobilenet_v2", "random:3", width=0.1, num_classes=4).save(path)
    return path


def test_mapped_arrays_are_the_read_ones(saved: Path) -> None:
    read, mapped = read_weights(saved), read_weights(saved, mmap=True)
    assert (read.mapped, mapped.mapped) == (False, True)
    assert mapped.metadata == read.metadata
    assert list(mapped) == list(read)
    for name, array in mapped.items():
        assert array.tobytes() == read[name].tobytes(), f"{name}: bits differ"
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_mapped_arrays_lie_in_the_file(saved: Path, tmp_path: Path) -> None:
    """What is written into the file shows in a mapped array: it is no copy."""
    path = tmp_path / "changing.safetensors"
    write(path, {"a": np.zeros(4, np.float32)})
    read, mapped = read_weights(path), read_weights(path, mmap=True)
    with path.open("r+b") as file:
        file.seek(-16, os.SEEK_END)
        file.write(np.ones(4, np.float32).tobytes())
    np.testing.assert_array_equal(mapped["a"], np.ones(4))
    np.testing.assert_array_equal(read["a"], np.zeros(4))


def test_a_network_keeps_its_weights_on_the_mapped_pages(saved: Path) -> None:
    weights = read_weights(saved, mmap=True)
    net, twin = mininet.create_model(weights=weights), mininet.create_model(weights=saved)
    for name, array in net.graph.params.items():
        assert np.shares_memory(array, weights[name]), f"{name} was copied"
        assert not np.shares_memory(twin.graph.params[name], read_weights(saved)[name])
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 48), dtype=np.float32)
    for backend in ("plan", "kernels", "reference"):
        np.testing.assert_array_equal(net(x, backend), twin(x, backend), err_msg=backend)
    state = net.state_dict()
    state["classifier.1.bias"] += 1  # a copy, as ever
    net.load_state_dict(state)
    np.testing.assert_allclose(net(x), twin(x) + 1, rtol=1e-5, atol=1e-5)


def test_a_replaced_file_leaves_a_mapped_network_alone(saved: Path, tmp_path: Path) -> None:
    """`Network.save` puts a new file in the place of the old one, so even saving over oneself is sound."""
    path = tmp_path / "net.safetensors"
    path.write_bytes(saved.read_bytes())
    net = mininet.create_model(weights=read_weights(path, mmap=True))
    x = np.ones((1, 3, 32, 32), np.float32)
    before = net(x)
    net.save(path)
    mininet.create_model("mobilenet_v2", "random:4", width=0.1, num_classes=4).save(path)
    np.testing.assert_array_equal(net(x, "kernels"), mininet.create_model(weights=saved)(x, "kernels"))
    np.testing.assert_array_equal(net(x), before)


def test_weights_of_half_precision_are_widened_as_ever() -> None:
    net = mininet.create_model(weights=read_weights(mininet.data.DIGITS, mmap=True))
    twin = mininet.create_model(weights="digits")
    x = net.preprocess(mininet.sample_images()[0])
    np.testing.assert_array_equal(net(x), twin(x))


def test_other_formats_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.arange(3.0))
    weights = read_weights(tmp_path / "a.npz", mmap=True)
    assert not weights.mapped
    np.testing.assert_array_equal(weights["a"], np.arange(3.0))


def test_a_pipe_is_read(saved: Path) -> None:
    reading, writing = os.pipe()
    try:
        header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        os.write(writing, len(header).to_bytes(8, "little") + header + np.float32(5).tobytes())
        os.close(writing)
        weights = read_weights(f"/dev/fd/{reading}", mmap=True)
    finally:
        os.close(reading)
    assert not weights.mapped
    assert weights["a"] == 5


def test_a_file_that_shrinks_before_it_is_mapped_is_an_error(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mininet.weights import source

    path = tmp_path / "shrinking.safetensors"
    path.write_bytes(saved.read_bytes())
    map_file = source.mmap.mmap

    def shrink_first(*args: object, **settings: object) -> object:
        os.truncate(path, 100)
        return map_file(*args, **settings)

    monkeypatch.setattr(source.mmap, "mmap", shrink_first)
    with pytest.raises(WeightsError, match="cannot read weights"):
        read_weights(path, mmap=True)
