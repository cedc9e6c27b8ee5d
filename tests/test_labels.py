"""Class names, their order, and the best classes of a logit vector."""

from __future__ import annotations

import math
import pathlib
from typing import Any

import numpy as np
import pytest

from mininet.errors import ArgumentError, DTypeError, ShapeError, UnknownNameError
from mininet.labels import get_labels, labels_for
from mininet.topk import softmax_top


def test_imagenet_names() -> None:
    names = get_labels("imagenet")
    assert len(names) == len(set(names)) == 1000
    assert all(name == name.strip() and name for name in names)
    assert (names[0], names[282], names[999]) == ("tench", "tiger cat", "toilet tissue")
    assert get_labels("imagenet") is names, "the file is read again on every call"


def test_order_agrees_with_the_synsets(assets: pathlib.Path) -> None:
    lines = (assets / "synset_words.txt").read_text().splitlines()
    assert len(lines) == 1000

    def words(text: str) -> set[str]:
        return set(text.lower().replace(",", " ").replace("-", " ").split())

    strangers = [
        f"{index}: {name!r} against {line!r}"
        for index, (name, line) in enumerate(zip(get_labels("imagenet"), lines, strict=True))
        if not words(name) & words(line.partition(" ")[2])
    ]
    assert len(strangers) <= 50, "\n".join(strangers)


def test_digits_and_custom_names() -> None:
    assert get_labels("digits") == tuple("0123456789")
    assert get_labels(["cat", "dog"]) == ("cat", "dog")
    assert get_labels(()) == ()


def test_bad_labels() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'imagenet'"):
        get_labels("imagenet1k")
    bad: Any
    for bad in (7, None, [1, 2], ["cat", None], {"cat", "dog"}):
        with pytest.raises(DTypeError):
            get_labels(bad)


@pytest.mark.parametrize(
    "labels, num_classes, class_offset, expected",
    [
        ("digits", 10, 0, tuple("0123456789")),
        ("digits", 11, 1, ("background", *"0123456789")),
        (["background", "cat"], 2, 1, ("background", "cat")),
        ("digits", 10, 1, tuple("0123456789")),
        ("digits", 11, 0, tuple(f"class {i}" for i in range(11))),
        ("digits", 3, 1, ("class 0", "class 1", "class 2")),
        (None, 2, 0, ("class 0", "class 1")),
        (None, 2, 1, ("class 0", "class 1")),
        ([], 1, 1, ("class 0",)),
        (None, 0, 0, ()),
    ],
)
def test_one_name_per_output(
    labels: Any, num_classes: int, class_offset: int, expected: tuple[str, ...]
) -> None:
    assert labels_for(labels, num_classes, class_offset) == expected


def test_imagenet_with_background() -> None:
    names = labels_for("imagenet", 1001, 1)
    assert len(names) == 1001 and names[:2] == ("background", "tench")


def test_negative_counts() -> None:
    for counts in ((-1, 0), (10, -1)):
        with pytest.raises(ArgumentError):
            labels_for("digits", *counts)


# ---- softmax_top


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("k", [1, 5, 1000, 5000])
def test_top_against_the_definition(dtype: str, k: int) -> None:
    logits = (np.random.default_rng(0).normal(20, 8, 1000)).clip(0, 60).astype(dtype)
    exponentials = [math.exp(float(value)) for value in logits]
    total = math.fsum(exponentials)
    order = sorted(range(1000), key=lambda index: (-float(logits[index]), index))[:k]
    top = softmax_top(logits, k)
    assert [index for index, _ in top] == order
    np.testing.assert_allclose([p for _, p in top], [exponentials[i] / total for i in order], rtol=1e-13)
    assert all(type(index) is int and type(p) is float for index, p in top)


def test_large_logits_and_shifts() -> None:
    assert softmax_top([1e300, 1e300, -1e300], 3) == [(0, 0.5), (1, 0.5), (2, 0.0)]
    assert softmax_top(np.array([3e38, -3e38], np.float32), 1) == [(0, 1.0)]


def test_ties_go_to_the_lower_index() -> None:
    assert [index for index, _ in softmax_top([1, 2, 2, 1, 2], 5)] == [1, 2, 4, 0, 3]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "logits, order",
    [
        ([1, math.nan, 3], [2, 0, 1]),
        ([math.nan, math.nan], [0, 1]),
        ([1, math.inf, 3], [1, 2, 0]),
        ([-math.inf, -math.inf], [0, 1]),
    ],
)
def test_nan_and_infinity_run(logits: list[float], order: list[int]) -> None:
    top = softmax_top(logits, 5)
    assert [index for index, _ in top] == order
    assert all(math.isnan(p) or p == 0 for _, p in top)


def test_minus_infinity_is_improbable() -> None:
    assert softmax_top([0.0, -math.inf], 2) == [(0, 1.0), (1, 0.0)]


def test_no_classes() -> None:
    assert softmax_top([]) == []


def test_bad_logits() -> None:
    with pytest.raises(ShapeError, match=r"\(1, 3\)"):
        softmax_top([[1.0, 2.0, 3.0]])
    for logits in (["a", "b"], [1j, 2j]):
        with pytest.raises(DTypeError):
            softmax_top(logits)
    with pytest.raises(ArgumentError, match="at least 1"):
        softmax_top([1.0], 0)
    with pytest.raises(DTypeError, match="integer"):
        softmax_top([1.0], 2.5)  # type: ignore[arg-type]
