"""Pickles that attack: each runs under Python's own unpickler, and none does anything under ours.

No torch here: the files are put together by hand, so that the lies in them are exactly ours.
"""

from __future__ import annotations

import copyreg
import os
import pickle
import runpy
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_torch import DATA, both_files, dumped, legacy_file, state_dict, tensor, text, zip_file

from mininet.errors import WeightsError
from mininet.weights import read_weights
from mininet.weights.torch_pickle import ADMITTED, LEGACY_MAGIC

# Free codes of copyreg's registry; EXT1 has room for one byte.
EXTENSIONS = {0x6D: ("subprocess", "getoutput"), 0x6D6E: ("os", "system")}


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


COMMAND = "touch marker"
EXPLOITS: dict[str, bytes] = {
    **{f"reduce, protocol {p}": pickle.dumps(_Call(os.system, COMMAND), p) for p in range(6)},
    "nested": pickle.dumps({"state_dict": [({"x": _Call(os.system, COMMAND)},)]}, 2),
    "subprocess": pickle.dumps(_Call(subprocess.getoutput, COMMAND), 2),
    "eval": pickle.dumps(_Call(eval, f"__import__('os').system({COMMAND!r})"), 2),
    "exec": pickle.dumps(_Call(exec, f"__import__('os').system({COMMAND!r})"), 4),
    "global": b"\x80\x02cos\nsystem\n(" + text(COMMAND) + b"tR.",
    "stack global": b"\x80\x04" + text("os") + text("system") + b"\x93" + text(COMMAND) + b"\x85R.",
    "stack global from the memo": b"\x80\x04"
    + text("os") + b"\x940" + text("system") + b"\x940" + b"h\x00h\x01\x93" + text(COMMAND) + b"\x85R.",
    "inst": b"(" + text(COMMAND) + b"ios\nsystem\n.",
    "obj": b"(cos\nsystem\n" + text(COMMAND) + b"o.",
    "ext1": b"\x80\x02\x82" + b"\x6d" + text(COMMAND) + b"\x85R.",
    "ext2": b"\x80\x02\x83" + b"\x6e\x6d" + text(COMMAND) + b"\x85R.",
    "ext4": b"\x80\x02\x84" + b"\x6e\x6d\0\0" + text(COMMAND) + b"\x85R.",
    "a pickle in a pickle": pickle.dumps(_Call(pickle.loads, pickle.dumps(_Call(os.system, COMMAND))), 4),
    "dotted stack global": b"\x80\x04" + text("subprocess") + text("os.system") + b"\x93"
    + text(COMMAND) + b"\x85R.",
    "import": pickle.dumps(_Call(runpy._run_code, f"import os; os.system({COMMAND!r})", {}), 2),
    "a memo entry written twice": b"\x80\x02ccollections\nOrderedDict\nq\x000cos\nsystem\nq\x000h\x00"
    + text(COMMAND) + b"\x85R.",
    "the global comes last": b"\x80\x02" + text(COMMAND) + b"\x85q\x000cos\nsystem\nh\x00R.",
    "within a long binary": pickle.dumps([bytes(300), _Call(os.system, COMMAND)], 5),
    "dropped from the stack": b"\x80\x02cos\nsystem\n" + text(COMMAND) + b"\x85R0}.",
    "behind a memo loop": b"\x80\x02]q\x00h\x00acos\nsystem\n" + text(COMMAND) + b"\x85R.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\ncos\n__dict__\n" + text("get") + b"\x86R" + text("system")
    + b"\x85R" + text(COMMAND) + b"\x85R.",
}  # fmt: skip


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for code, name in EXTENSIONS.items():
        copyreg.add_extension(*name, code)
    yield tmp_path
    for code, name in EXTENSIONS.items():
        copyreg.remove_extension(*name, code)


PLACES: dict[str, Callable[[bytes], bytes]] = {
    "zip": zip_file,
    "legacy object": legacy_file,
    "legacy system": lambda attack: legacy_file(b"}.", system=attack),
    "legacy keys": lambda attack: legacy_file(b"}.", keys=attack),
    "legacy protocol": lambda attack: dumped(LEGACY_MAGIC) + attack,
}


def test_admitted_globals_are_these_and_build_data_only() -> None:
    """The written list: another one is a decision, made here as well."""
    names = "torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2 torch._utils._rebuild_parameter "
    names += "torch.Size torch.device collections.OrderedDict collections.Counter argparse.Namespace"
    types = "Double Float Half BFloat16 Long Int Short Char Byte Bool"
    dtypes = (
        "float64 double float32 float float16 half bfloat16 int64 long int32 int int16 short int8 uint8 bool"
    )
    assert set(ADMITTED) == {
        *names.split(),
        *(f"torch.{name}Storage" for name in types.split()),
        *(f"torch.{name}" for name in dtypes.split()),
    }
    for name, builder in ADMITTED.items():
        assert builder is None or builder.__module__.startswith("mininet.weights."), f"{name} is not ours"


def _refused(path: Path, content: bytes, expected: str = ".") -> None:
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=expected) as error:
        read_weights(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("attack", EXPLOITS.values(), ids=EXPLOITS)
def test_exploits_are_real(attack: bytes, in_tmp: Path) -> None:
    """The control: without it, a payload with a typing error would prove nothing about the reader."""
    try:
        value = pickle.loads(attack)
        if isinstance(value, subprocess.Popen):
            value.wait()
    except Exception:  # what comes after the call does not matter
        pass
    assert (in_tmp / "marker").exists()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", EXPLOITS.values(), ids=EXPLOITS)
def test_exploits_do_nothing(attack: bytes, place: str, in_tmp: Path) -> None:
    reasons = r"not among|do not need|no builder|nothing was run|truncated|expected"
    _refused(in_tmp / "a.pth", PLACES[place](attack), reasons)
    assert [entry.name for entry in in_tmp.iterdir()] == ["a.pth"], "code ran or a file appeared"


@pytest.mark.parametrize("big_endian", [False, True])
def test_hand_made_files_are_read(big_endian: bool, tmp_path: Path) -> None:
    """The control for the table below."""
    for content in both_files(state_dict(tensor()), big_endian):
        (tmp_path / "a").write_bytes(content)
        array = read_weights(tmp_path / "a")["w"]
        np.testing.assert_array_equal(array, np.arange(6, dtype=np.float32).reshape(2, 3))
        assert array.dtype.isnative
        assert not array.flags.writeable


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "beyond the storage": ({"offset": 1}, "elements 1..7 of a storage of 6"),
    "stride too long": ({"stride": (4, 1)}, "of a storage of 6"),
    "negative stride": ({"stride": (-3, 1)}, "got -3"),
    "negative offset": ({"offset": -1}, "got -1"),
    "negative size": ({"shape": (-2, -3)}, "got -2"),
    "huge size": ({"shape": (2**40, 3), "stride": (0, 0)}, "expand to"),
    "overflow": ({"shape": (2**62, 2**62), "stride": (0, 0)}, "more than"),
    "overflowing stride": ({"stride": (2**63, 1)}, "more than"),
    "huge integer": ({"offset": 1 << 100_000}, "more than|sizes of 0 or more"),
    "huge rank": ({"shape": (1,) * 99, "stride": (1,) * 99}, "at most 32"),
    "fewer strides": ({"stride": (1,)}, "as many strides as sizes"),
    "shape no tuple": ({"shape": 3}, "as many strides as sizes"),
    "float size": ({"shape": (2.0, 3)}, "got a float"),
    "bool size": ({"shape": (True, 3)}, "got True"),
    "count over the bytes": ({"count": 7}, "shorter|truncated|is not the one"),
    "huge count": ({"count": 2**62}, "more than"),
    "negative count": ({"count": -1}, "got -1"),
    "count no integer": ({"count": "6"}, "got '6'"),
    "no such storage": ({"key": "1"}, "found none|is not the one"),
    "climbing key": ({"key": "../../../etc/passwd"}, "found none|is not the one"),
    "key no string": ({"key": 0}, "expected one of"),
    "kind no storage": ({"kind": "float32"}, "expected one of"),
    "unknown kind": ({"kind": "ComplexFloatStorage"}, "not among"),
    "no storage id": ({"tag": "module"}, "no storage"),
    "other builder": ({"rebuild": "_rebuild_sparse_tensor"}, "not among"),
}


@pytest.mark.parametrize(("lies", "expected"), LIES.values(), ids=LIES)
def test_lies_about_tensors(lies: dict[str, Any], expected: str, tmp_path: Path) -> None:
    for content in both_files(state_dict(tensor(**lies))):
        _refused(tmp_path / "a", content, expected)


# Ten references to the list before, nine times over.
LAUGHS = b"".join(b"](" + b"h%c" % i * 10 + b"eq%c" % (i + 1) for i in range(9))

DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "no stop": b"\x80\x02}",
    "empty stack": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "unknown memo": b"\x80\x02h\x05.",
    "unknown opcode": b"\x80\x02\xff.",
    "odd items": b"\x80\x02}(K\x01u.",
    "fills a tuple": b"\x80\x02)K\x01a.",
    "sets items of a global": b"\x80\x02ctorch\nFloatStorage\nK\x01K\x02s.",
    "attributes of a global": b"\x80\x02ccollections\nOrderedDict\n}b.",
    "calls a dtype": b"\x80\x02ctorch\nfloat32\n)R.",
    "makes an object": b"\x80\x02csubprocess\nPopen\n)\x81.",
    "makes an object of ours": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "calls a number": b"\x80\x02K\x01)R.",
    "wrong arguments": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
    "OrderedDict of numbers": b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02tR.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "cyclic root": b"\x80\x02}q\x00" + text("state_dict") + b"h\x00s.",
    "string of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "string of 8 EB": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "bytearray of 8 EB": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "memo index of 4 G": b"\x80\x02}r\xff\xff\xff\xff.",
    "frame of 8 EB": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "deeply nested tuples": b"\x80\x02)" + b"\x85" * 240_000 + b".",
    "a key of nested tuples": b"\x80\x02})" + b"\x85" * 240_000 + b"K\x01s.",
    "deeply nested lists": b"\x80\x02" + b"]" * 120_000 + b"a" * 119_999 + b".",
    "a billion laughs": b"\x80\x02]q\x00" + LAUGHS + b".",
    "too long": b"\x80\x02" + b"N0" * 200_000 + b".",
    "invalid text": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "persistent id by name": b"Pstorage\n.",
}  # fmt: skip


@pytest.mark.parametrize("place", ["zip", "legacy object"])
@pytest.mark.parametrize("attack", DAMAGED.values(), ids=DAMAGED)
def test_damaged_pickles(attack: bytes, place: str, tmp_path: Path) -> None:
    start = time.process_time()
    _refused(tmp_path / "a.pth", PLACES[place](attack))
    assert time.process_time() - start < 10, "a bad file holds the process up"


def test_builders_and_tables_are_untouched_by_a_hostile_file(tmp_path: Path) -> None:
    """BUILD with slot state sets attributes of whatever lies on the stack: of our functions, if let."""
    attack = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}" + text("__defaults__") + b")s\x86b."
    _refused(tmp_path / "a", zip_file(attack), "sets attributes")


@pytest.mark.parametrize(
    "name", ["../../evil/data.pkl", "/evil/data.pkl", "..\\evil/data.pkl", "C:/e/data.pkl"]
)
def test_names_that_climb_are_only_names(name: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with zipfile.ZipFile(inner / "a.pth", "w") as archive:
        archive.writestr(name, state_dict(tensor()))
        archive.writestr(name.replace("data.pkl", "data/0"), DATA)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16  # a symbolic link, if anybody unpacked it
        archive.writestr(link, "/etc/passwd")
    assert read_weights(inner / "a.pth")["w"].shape == (2, 3)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.pth", "inner"]


def test_members_that_share_their_bytes_are_a_bomb(tmp_path: Path) -> None:
    """One deflated kernel behind hundreds of names: what it declares is counted, not what it stores."""
    content = zip_file(state_dict(tensor()), zipfile.ZIP_DEFLATED, data_0=bytes(1 << 20))
    directory = content.rindex(b"PK\x01\x02")
    end = content.rindex(b"PK\x05\x06")
    entry = content[directory:end]
    copies = b"".join(entry.replace(b"x/data/0", b"x/%06d" % i) for i in range(500))
    start = content.index(b"PK\x01\x02")
    table = content[start:directory] + copies
    counts = (501).to_bytes(2, "little") * 2 + len(table).to_bytes(4, "little")
    bomb = content[:start] + table + content[end : end + 8] + counts + start.to_bytes(4, "little") + b"\0\0"
    _refused(tmp_path / "a", bomb, "zip bomb")


def test_two_pickles_or_odd_byte_order(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two", "w") as archive:
        archive.writestr("x/data.pkl", b"}.")
        archive.writestr("y/data.pkl", b"}.")
    with pytest.raises(WeightsError, match=r"one data.pkl in the archive, found 2"):
        read_weights(tmp_path / "two")
    _refused(tmp_path / "odd", zip_file(b"}.", byteorder=b"pdp"), "byte order little or big")


def test_the_same_storage_under_two_declarations(tmp_path: Path) -> None:
    _, legacy = both_files(state_dict(tensor(), tensor(name="v", kind="IntStorage")))
    _refused(tmp_path / "l", legacy, "declared twice, differently")
