"""Files of torch.save put together by hand, true or with lies in them: no torch, and every byte is ours."""

from __future__ import annotations

import io
import pickle
import zipfile
from typing import Any

import numpy as np

from mininet.weights.torch_pickle import LEGACY_MAGIC, LEGACY_PROTOCOL

DATA = np.arange(6, dtype="<f4").tobytes()
"""Bytes of the storage that `declared` declares when it does not lie."""


def dumped(value: Any) -> bytes:
    """A pickle of plain data, in torch's protocol."""
    return pickle.dumps(value, 2)


def text(value: str) -> bytes:
    """The opcode that pushes a string."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def _raw(value: Any) -> bytes:
    return dumped(value)[2:-1]  # without PROTO and STOP


def tensor(**lies: Any) -> bytes:
    """Opcodes that ``torch.save`` writes for one tensor of 2x3 under the name ``w``, true but for `lies`.

    They set an item of a dictionary that lies on the stack.
    """
    f = {
        "kind": "FloatStorage", "key": "0", "count": 6, "offset": 0, "shape": (2, 3), "stride": (3, 1),
        "tag": "storage", "rebuild": "_rebuild_tensor_v2", "name": "w",
    } | lies  # fmt: skip
    identifier = b"(" + _raw(f["tag"]) + f"ctorch\n{f['kind']}\n".encode() + _raw(f["key"]) + _raw("cpu")
    storage = identifier + _raw(f["count"]) + b"tQ"
    arguments = b"(" + storage + _raw(f["offset"]) + _raw(f["shape"]) + _raw(f["stride"]) + b"\x89}t"
    return _raw(f["name"]) + f"ctorch._utils\n{f['rebuild']}\n".encode() + arguments + b"Rs"


def state_dict(*tensors: bytes) -> bytes:
    """A pickle of a dictionary of what `tensor` made."""
    return b"\x80\x02}" + b"".join(tensors) + b"."


SYSTEM = dumped({"protocol_version": LEGACY_PROTOCOL, "little_endian": True})


def legacy_file(
    root: bytes, system: bytes = SYSTEM, keys: bytes = dumped([]), data: bytes = b"", **_: bytes
) -> bytes:
    """A file as before PyTorch 1.6: five pickles, then for each storage its length and bytes."""
    return dumped(LEGACY_MAGIC) + dumped(LEGACY_PROTOCOL) + system + root + keys + data


def zip_file(root: bytes, method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    """A file as of PyTorch 1.6: an archive of data.pkl and `members` (``data_0`` for ``data/0``)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("x/data.pkl", root)
        for name, data in members.items():
            archive.writestr(f"x/{name.replace('_', '/')}", data)
    return stream.getvalue()


def both_files(root: bytes, big_endian: bool = False) -> tuple[bytes, bytes]:
    """The same pickle in a zip archive and in a legacy file, each with the six floats of storage 0."""
    order: Any = "big" if big_endian else "little"
    data = np.arange(6, dtype=">f4" if big_endian else "<f4").tobytes()
    system = dumped({"little_endian": not big_endian})
    return (
        zip_file(root, data_0=data, byteorder=order.encode()),
        legacy_file(root, system, dumped(["0"]), (6).to_bytes(8, order) + data),
    )
