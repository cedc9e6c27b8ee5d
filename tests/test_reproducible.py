"""The same bits on every run, whatever the threads and the batch; near them on another instruction set."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import reproducible

import mininet
from mininet import _native

#: Of the largest logit, between two instruction sets: rounding in sums of up to thousands of products.
SHARE_OF_LARGEST = 2e-5


ISAS = _native.available_isas()

first_run = functools.cache(reproducible.logits_on)


@pytest.mark.parametrize("isa", ISAS)
def test_every_process_and_number_of_threads_gives_the_same_bits(isa: str) -> None:
    for threads in (1, 5):
        found = reproducible.logits_on(isa, threads)
        for name, values in first_run(isa).items():
            assert values.size, name
            assert found[name].tobytes() == values.tobytes(), f"{name} on {isa} with {threads} threads"


@pytest.mark.parametrize("isa", ISAS[1:])
def test_instruction_sets_differ_by_rounding_only(isa: str) -> None:
    for name, values in first_run(ISAS[0]).items():
        _, most, share = reproducible.distances(values, first_run(isa)[name])
        assert share < SHARE_OF_LARGEST, f"{name}: {share:.1e} of the largest logit, {most} ulp"


@pytest.mark.parametrize("backend", ["plan", "kernels"])
@pytest.mark.parametrize("name", reproducible.CASES)
def test_an_image_gives_the_same_bits_in_any_batch(name: str, backend: str) -> None:
    net = mininet.create_model(name, "random:1", width=0.25, **reproducible.CASES[name])
    x = np.concatenate([reproducible.images(), -reproducible.images()])[:3]
    together = net(x, backend)
    for index in range(len(x)):
        assert net(x[index : index + 1], backend).tobytes() == together[index].tobytes(), f"image {index}"
    assert net(x[::-1], backend).tobytes() == together[::-1].tobytes(), "the order matters"
    again = mininet.create_model(name, "random:1", width=0.25, **reproducible.CASES[name])
    assert again(x, backend).tobytes() == together.tobytes(), "a second network of the same weights differs"


def test_ulps_are_counted_across_zero() -> None:
    one, next_one = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    least = np.float32(1e-45)
    pairs = np.array([[one, next_one], [-least, least], [0.0, -0.0], [one, one]], np.float32)
    assert reproducible.ulps(pairs[:, 0], pairs[:, 1]).tolist() == [1, 2, 0, 0]
