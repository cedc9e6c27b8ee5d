"""Class names: ImageNet's 1000, the ten digits, or the user's own.

``data/imagenet_labels.txt`` holds torchvision's ``torchvision.models._meta._IMAGENET_CATEGORIES`` (release
0.28.0, BSD-3-Clause), one name a line, in the order of the 1000 sorted WordNet synsets of ILSVRC-2012.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

from mininet.errors import ArgumentError, DTypeError, UnknownNameError

BACKGROUND = "background"

_IMAGENET_FILE = os.path.join(os.path.dirname(__file__), "data", "imagenet_labels.txt")
_DIGITS = tuple("0123456789")
_NAMES = ("digits", "imagenet")


def get_labels(labels: str | Sequence[str]) -> tuple[str, ...]:
    """Give class names by the name of their set, or check the user's own.

    Parameters
    ----------
    labels : str or sequence of str
        ``"imagenet"`` (1000 names), ``"digits"`` ("0" to "9"), or the names themselves.

    Returns
    -------
    tuple of str
        One name per class, in the order of the classes.

    Raises
    ------
    UnknownNameError
        If no set has that name.
    DTypeError
        If the sequence holds something else than strings.
    """
    if isinstance(labels, str):
        if labels == "imagenet":
            return _imagenet()
        if labels == "digits":
            return _DIGITS
        raise UnknownNameError("label set", labels, _NAMES)
    if not isinstance(labels, Sequence):
        raise DTypeError(f"labels must be a name or a sequence of strings, got {type(labels).__name__}")
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise DTypeError(f"labels must be strings, got {type(label).__name__} at index {index}")
    return tuple(labels)


def labels_for(
    labels: str | Sequence[str] | None, num_classes: int, class_offset: int = 0
) -> tuple[str, ...]:
    """Give one name for each output of a classifier.

    Parameters
    ----------
    labels : str, sequence of str or None
        As for `get_labels`; None if the classes have no names.
    num_classes : int
        Outputs of the classifier, background classes included.
    class_offset : int
        Outputs before the first named class: 1 for TF slim's and TFLite's 1001 classes, whose output 0 is the
        background.

    Returns
    -------
    tuple of str
        Always `num_classes` names. A set with a name for every output is taken as it is; a set that lacks
        just the first `class_offset` gets "background" for those; any other does not fit, and then the names
        are "class 0", "class 1" and so on, numbered by output.

    Raises
    ------
    ArgumentError
        If a count is negative.
    UnknownNameError, DTypeError
        As for `get_labels`.
    """
    if num_classes < 0 or class_offset < 0:
        raise ArgumentError(f"counts must be >= 0, got {num_classes=}, {class_offset=}")
    names = () if labels is None else get_labels(labels)
    if len(names) == num_classes:
        return names
    if names and len(names) + class_offset == num_classes:
        return (BACKGROUND,) * class_offset + names
    return tuple(f"class {index}" for index in range(num_classes))


def check_labels(labels: str | Sequence[str], num_classes: int, class_offset: int = 0) -> None:
    """Refuse names that somebody chose for a classifier which has another number of classes.

    Parameters
    ----------
    labels, num_classes, class_offset
        As for `labels_for`.

    Raises
    ------
    ArgumentError
        If there is not one name for each output, those before the first named class aside.
    UnknownNameError, DTypeError
        As for `get_labels`.
    """
    count = len(get_labels(labels))
    if count not in (num_classes, num_classes - class_offset):
        raise ArgumentError(
            f"labels: expected {num_classes - class_offset} names, one per class, got {count}"
        )


@functools.cache
def _imagenet() -> tuple[str, ...]:
    with open(_IMAGENET_FILE, encoding="utf-8") as file:
        return tuple(file.read().splitlines())
