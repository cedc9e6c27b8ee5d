"""A pickle machine that can only build data.

A pickle is a program for a stack machine, and Python's own machine calls what the program tells it to. This
one knows a written list of opcodes and a written list of globals, and each global stands for a builder of
ours that makes plain data; there is no opcode left that imports, calls or mutates anything else. INST, OBJ,
NEWOBJ_EX, EXT1/2/4 and out-of-band buffers are refused. State for BUILD is dropped: the only thing it
carries in a state_dict is a version table.

``pickletools.genops`` splits the stream into opcodes and arguments; it executes nothing.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from mininet.errors import WeightsError
from mininet.weights.source import SourceFile, reason, shown

# A state_dict of 300 tensors takes 12,000 opcodes; the bound keeps a hostile pickle under about a second.
MAX_OPCODES = 250_000

Builder = Callable[..., Any]
Globals = Mapping[str, Builder | None]
"""What "module.name" stands for: a builder that REDUCE may call, or None for a constant (a dtype)."""

_SCALARS = (str, int, float, bool, bytes, type(None))


class Global:
    """An admitted global on the stack: its name, and the builder that stands for it."""

    __slots__ = ("build", "name")

    def __init__(self, name: str, build: Builder | None) -> None:
        self.name = name
        self.build = build


class _Machine:
    def __init__(self, admitted: Globals, persistent: Builder) -> None:
        self.admitted = admitted
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def push_global(self, module: object, name: object) -> None:
        full = f"{module}.{name}" if type(module) is str and type(name) is str else ""
        if full not in self.admitted:
            raise WeightsError(
                f"the pickle asks for {shown(full)}, which is not among what tensors need (nothing was run); "
                "expected a state_dict as torch.save(model.state_dict(), path) writes it"
            )
        self.stack.append(Global(full, self.admitted[full]))

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or function.build is None or type(arguments) is not tuple:
            raise WeightsError("the pickle calls something that is no builder of tensors (nothing was run)")
        try:
            result = function.build(*arguments)
        except TypeError as error:
            raise WeightsError(
                f"the pickle calls {function.name} with other arguments than torch.save writes"
            ) from error
        self.stack.append(result)

    def build(self) -> None:
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise WeightsError(f"the pickle sets attributes of {shown(self.stack[-1])} (nothing was run)")

    def extend(self, items: list[Any]) -> None:
        _expect(self.stack[-1], list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        _expect(self.stack[-1], dict).update(pairs_to_dict(zip(items[::2], items[1::2], strict=True)))

    def add_items(self, items: list[Any]) -> None:
        _expect(self.stack[-1], set).update(map(_key, items))


def _expect(target: Any, kind: type) -> Any:
    if type(target) is not kind:
        raise WeightsError(f"the pickle fills a {kind.__name__}, but the stack holds {shown(target)}")
    return target


def _key(key: Any) -> Any:
    # Scalars only: the hash of tuples nested a million deep would overflow the C stack.
    if type(key) not in _SCALARS:
        raise WeightsError(f"expected a string or number as dictionary key, got {shown(key)}")
    return key


def pairs_to_dict(pairs: Any = ()) -> dict[Any, Any]:
    """Build a dict from pairs, admitting only scalars as keys."""
    return {_key(key): value for key, value in pairs}


Operation = Callable[[_Machine, Any], None]


def _push_argument(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _constant(make: Callable[[], Any]) -> Operation:
    return lambda machine, _: machine.stack.append(make())


def _from_mark(make: Callable[[list[Any]], Any]) -> Operation:
    def run(machine: _Machine, _: Any) -> None:
        items = machine.pop_mark()
        machine.stack.append(make(items))

    return run


def _short_tuple(count: int) -> Operation:
    def run(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise IndexError
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return run


def _put(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.pop_mark()


def _duplicate(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.stack[-1])


def _append(machine: _Machine, _: Any) -> None:
    machine.extend([machine.stack.pop()])


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _named_global(machine: _Machine, argument: str) -> None:
    machine.push_global(*argument.split(" ", 1))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.push_global(module, name)


def _persistent(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.persistent(machine.stack.pop()))


def _items_to_dict(items: list[Any]) -> dict[Any, Any]:
    return pairs_to_dict(zip(items[::2], items[1::2], strict=True))


_LITERALS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8"
)

_OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(_LITERALS.split(), _push_argument),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "EMPTY_LIST": _constant(list),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_SET": _constant(set),
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _duplicate,
    "LIST": _from_mark(list),
    "TUPLE": _from_mark(tuple),
    "DICT": _from_mark(_items_to_dict),
    "FROZENSET": _from_mark(lambda items: frozenset(map(_key, items))),
    "TUPLE1": _short_tuple(1),
    "TUPLE2": _short_tuple(2),
    "TUPLE3": _short_tuple(3),
    "APPEND": _append,
    "APPENDS": lambda machine, _: machine.extend(machine.pop_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "ADDITEMS": lambda machine, _: machine.add_items(machine.pop_mark()),
    "GLOBAL": _named_global,
    "STACK_GLOBAL": _stack_global,
    "BINPERSID": _persistent,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, _: machine.reduce()),  # both call a builder
    "BUILD": lambda machine, _: machine.build(),
}


def load(stream: SourceFile, admitted: Globals, persistent: Builder) -> Any:
    """Read one pickle from `stream`, which is left just behind it.

    Parameters
    ----------
    stream : SourceFile
        Where the pickle starts.
    admitted : mapping
        The globals that may occur, and what stands for each.
    persistent : callable
        Turns a persistent id (any data from the pickle) into an object.

    Returns
    -------
    object
        Scalars, lists, tuples, dicts and sets, what the builders made, and :class:`Global` for inert
        constants.

    Raises
    ------
    WeightsError
        If the pickle is damaged, too long, or asks for anything that is not admitted.
    """
    machine = _Machine(admitted, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
            if opcode.name == "STOP":
                return machine.stack.pop()
            operation = _OPERATIONS.get(opcode.name)
            if operation is None:
                raise WeightsError(
                    f"the pickle uses {opcode.name}, which tensors do not need (nothing was run)"
                )
            if count == MAX_OPCODES:
                raise WeightsError(f"expected a pickle of at most {MAX_OPCODES} opcodes")
            operation(machine, argument)
    except WeightsError:
        raise
    except (ValueError, LookupError, OverflowError) as error:
        # From genops a malformed argument, from the machine an empty stack or an unknown memo entry.
        why = reason(error) if isinstance(error, ValueError) else "its stack does not add up"
        raise WeightsError(f"damaged or truncated pickle: {why}") from error
    raise WeightsError("truncated pickle: it does not end")
