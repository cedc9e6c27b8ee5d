"""What callers pass, checked where it comes in: the wrong kind of thing never travels further down.

Each check takes what the argument is called, returns its value as the plain type that the rest of the code
counts on, and raises with what was expected and what came.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from math import inf
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mininet.errors import ArgumentError, DTypeError, ShapeError, UnknownNameError, brief


def check_name(what: str, value: object) -> str:
    """A string, or DTypeError."""
    if not isinstance(value, str):
        raise DTypeError(f"{what}: expected a string, got {brief(value)}")
    return value


def check_path(what: str, value: object) -> str:
    """A path as a string, or DTypeError."""
    try:
        return os.fsdecode(value)  # type: ignore[arg-type]
    except TypeError:
        raise DTypeError(f"{what}: expected a str or os.PathLike, got {brief(value)}") from None


def check_names(what: str, value: str | Iterable[str]) -> list[str]:
    """One string or several, as a list; or DTypeError."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes):
        raise DTypeError(f"{what}: expected a string or an iterable of strings, got {brief(value)}")
    try:
        listed = list(value)
    except TypeError:  # an array of no dimensions calls itself iterable
        raise DTypeError(f"{what}: expected an iterable of strings, got {brief(value)}") from None
    return [check_name(what, each) for each in listed]


def check_choice(what: str, value: object, known: Collection[str]) -> str:
    """One of the known names; DTypeError for no string, UnknownNameError with close matches otherwise."""
    name = check_name(what, value)
    if name not in known:
        raise UnknownNameError(what, name, known)
    return name


def check_flag(what: str, value: object) -> bool:
    """True or False (NumPy's as well), or DTypeError: "no" and arrays have a truth of their own."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise DTypeError(f"{what}: expected True or False, got {brief(value)}")


def check_integer(what: str, value: object, least: int | None = None) -> int:
    """An integer of any type, bool excepted; DTypeError for another type, ArgumentError below ``least``.

    ArgumentError also for what 64 bits do not hold: no size, index or count is that large.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise DTypeError(f"{what}: expected an integer, got {brief(value)}")
    if least is not None and number < least:
        raise ArgumentError(f"{what}: expected an integer of at least {least}, got {brief(number)}")
    if not -(2**63) <= number < 2**63:
        raise ArgumentError(f"{what}: expected an integer of 64 bits, got {brief(number)}")
    return number


def check_number(what: str, value: object, least: float | None = None) -> float:
    """A real number of any type, bool excepted.

    DTypeError for another type, ArgumentError below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise DTypeError(f"{what}: expected a number, got {brief(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        number = inf if value > 0 else -inf  # type: ignore[operator]  # Real has no order for mypy
    if least is not None and not number >= least:  # NaN is not at least anything
        raise ArgumentError(f"{what}: expected a number of at least {least:g}, got {brief(value)}")
    return number


def is_masked(value: object) -> bool:
    """Whether it is an array with a mask.

    Importing ``numpy.ma`` takes several times as long as a first call: who has such an array has done so.
    """
    masked = sys.modules.get("numpy.ma")
    return isinstance(value, getattr(masked, "MaskedArray", ()))


def check_numbers(what: str, value: object, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """An array of real numbers, of that type if one is given; or DTypeError.

    A mask would be lost, so it is refused.
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever a foreign array type raises
        raise DTypeError(f"{what}: expected numbers, got {brief(value)} ({type(error).__name__})") from None
    if is_masked(value):
        raise DTypeError(f"{what}: expected an array without a mask; say what stands there with filled(0)")
    if array.dtype.kind not in "fiub" and array.size:
        raise DTypeError(f"{what}: expected real numbers, got an array of {brief(array.dtype)}")
    return array if dtype is None else array.astype(dtype, copy=False)


def check_mapping(what: str, value: object) -> Mapping[str, Any]:
    """A mapping whose keys are strings, or DTypeError."""
    if not isinstance(value, Mapping):
        raise DTypeError(f"{what}: expected a mapping of names to arrays, got {brief(value)}")
    for key in value:
        check_name(f"{what}: a key", key)
    return value


def check_input_shape(what: str, value: object) -> tuple[int, ...]:
    """Four integers (N, C, H, W) of at least 1, N of at least 0; DTypeError or ShapeError otherwise."""
    if not isinstance(value, tuple | list) or len(value) != 4:
        raise ShapeError(f"{what}: expected a shape (N, C, H, W), got {brief(value)}")
    shape = tuple(check_integer(what, size) for size in value)
    if shape[0] < 0 or min(shape[1:]) < 1:
        raise ShapeError(f"{what}: expected a shape (N, C, H, W) with N >= 0 and C, H, W >= 1, got {shape}")
    return shape
