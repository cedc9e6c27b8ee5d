"""How the work is cut, by registers and by threads, changes no bit of a result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from little_graphs import image

import mininet
from mininet import _native
from mininet.ops import conv

SHAPE = (1, 3, 64, 48)


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = _native.get_num_threads()
    yield
    _native.set_num_threads(before)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"])
def test_registers_of_half_a_block_give_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this processor is, both ways are run."""
    results = {}
    for double in (False, True):
        monkeypatch.setattr(_native, "double_pumped", lambda double=double: double)
        net = mininet.create_model(name, weights="random:3", num_classes=24)
        results[double] = net(image(SHAPE, batch=2))
        halved = "pointwise_half" in str(net.plan(SHAPE))
        assert halved == (double and _native.vector_width() == conv.BLOCK), str(net.plan(SHAPE))
    assert np.array_equal(results[False], results[True]), f"{name}: the width of a register shows"


@pytest.mark.parametrize(("threads", "batch"), [(2, 1), (2, 2), (2, 5), (3, 8), (4, 3), (5, 5)])
def test_images_abreast_give_the_bits_of_one_alone(threads: int, batch: int) -> None:
    """Images of their own for each thread, a rest for all together, or fewer images than threads."""
    net = mininet.create_model("mobilenet_v3_small", width=0.5, weights="random:4")
    x = image(SHAPE, batch)
    _native.set_num_threads(1)
    expected = np.concatenate([net(x[i : i + 1]) for i in range(batch)])
    _native.set_num_threads(threads)
    for _ in range(3):
        assert np.array_equal(net(x), expected), f"{batch} images on {threads} threads"
