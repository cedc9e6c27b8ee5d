"""Keras's three formats: ``.h5``, ``.weights.h5`` and ``.keras``; keys are ``layer/variable``.

``.h5`` (Keras 2 and 3) has a group for each layer, and in it the weights by their full names:
``conv1/conv1/kernel:0``. A whole model has these groups under ``model_weights``, weights alone at the top.

``.weights.h5`` (Keras 3, and Keras 2 since 2.13) numbers each layer's variables: ``layers/conv2d_1/vars/0``.
The folder is called after the layer's class and its place among those of that class, which is what Keras goes
by; it is the key here too. ``.keras`` is a zip archive with such a file in it.

The optimizer's state is left where it is, and so are the lists of names in attributes, which are texts of
variable length: the paths say the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from mininet.errors import WeightsError
from mininet.weights.archive import Archive
from mininet.weights.hdf5 import Group, Hdf5
from mininet.weights.source import Array, Contents, SourceFile

MEMBER = "model.weights.h5"
WHOLE_MODEL = "model_weights"
OPTIMIZER = "optimizer"
VARIABLES = "vars"

# Variables of a layer in the order in which `save_own_variables` numbers them, by the layer's class.
_ROLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "seed_generator": ("seed_generator_state",),
}

Path = tuple[str, ...]


def read(file: SourceFile) -> Contents:
    """Read the weights of an HDF5 file that Keras wrote.

    Raises
    ------
    WeightsError
        If the file is damaged, another program's, or its tensors are anything but numbers inside the file.
    MissingExtraError
        If h5py is not installed.
    """
    return _contents(Hdf5(file.read_exact(file.size, "file")).root)


def read_archive(file: SourceFile) -> Contents:
    """Read the weights in a ``.keras`` archive; raises as `read` does."""
    return _contents(Hdf5(Archive(file).read(MEMBER)).root)


def _contents(root: Group) -> Contents:
    found = dict(_walk(root.group(WHOLE_MODEL) if WHOLE_MODEL in root else root, ()))
    scopes: dict[str, set[Path]] = defaultdict(set)
    for path in found:
        scopes[path[0]].add(path[1:-1])
    arrays: dict[str, Array] = {}
    for path, array in found.items():
        key = _numbered(path) if path[-2:-1] == (VARIABLES,) else _named(path, len(scopes[path[0]]) == 1)
        arrays["/".join(path) if key in arrays else key] = array  # models inside a model may share names
    if not arrays:
        raise WeightsError("expected weights as Keras writes them, found none")
    return arrays, {}


def _walk(group: Group, path: Path) -> Iterator[tuple[Path, Array]]:
    for name in group.names():
        if name == OPTIMIZER and not path:
            continue
        member = group.get(name)
        if isinstance(member, Group):
            yield from _walk(member, (*path, name))
        else:
            yield (*path, name), member


def _numbered(path: Path) -> str:
    """``layers/conv2d_1/vars/0`` is ``conv2d_1/kernel``."""
    *_, folder, _, number = ("", *path)
    roles = dict(zip("0123", _ROLES.get(re.sub(r"_\d+$", "", folder), ()), strict=False))
    return f"{folder}/{roles.get(number, number)}"


def _named(path: Path, alone: bool) -> str:
    """``conv1/conv1/kernel:0`` is ``conv1/kernel``.

    The second name may be another in a group that has but one, since sessions and outer models add to it;
    where a group has several, it is a model inside the model, and they are the names of its layers.
    """
    *words, variable = path
    half = len(words) // 2
    if words[:half] == words[half:]:  # a layer's name with a slash makes two groups of it
        layer = words[:half]
    elif alone:
        layer = words[:1]
    else:
        layer = words[1:]
    return "/".join([*layer, variable.removesuffix(":0")])
