"""What a protobuf message holds, seen before the library makes objects of it.

An empty message in a message is two bytes in a file and ninety in memory, so a file of 2 MB could take 200;
and the library hands out text that is no UTF-8 as bytes. This walk along the wire format counts the fields
and looks at the texts; it builds nothing.
"""

from __future__ import annotations

from typing import Any

from mininet.errors import WeightsError

# torch.onnx writes twenty thousand for 70 convolutions with batch norms and activations; the bound keeps a
# hostile file under a second.
MAX_FIELDS = 200_000

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT = 10  # bytes


def check_message(data: bytes, descriptor: Any) -> None:
    """Walk over all fields of a message and of the messages in it.

    Parameters
    ----------
    data : bytes
        The message.
    descriptor : google.protobuf.descriptor.Descriptor
        What its fields are.

    Raises
    ------
    WeightsError
        If there are more than `MAX_FIELDS`, a length leads beyond its message, or a text is no UTF-8.
    """
    fields = 0
    waiting = [(0, len(data), descriptor)]
    known: dict[str, dict[int, Any]] = {}
    while waiting:
        at, end, kind = waiting.pop()
        numbers = known.setdefault(kind.full_name, {field.number: field for field in kind.fields})
        while at < end:
            fields += 1
            if fields > MAX_FIELDS:
                raise WeightsError(f"expected at most {MAX_FIELDS} fields")
            tag, at = _varint(data, at)
            wire, field = tag & 7, numbers.get(tag >> 3)
            if wire == _VARINT:
                _, at = _varint(data, at)
            elif wire in _FIXED:
                at += _FIXED[wire]
            elif wire == _BYTES:
                length, begin = _varint(data, at)
                at = begin + length
                if at > end or field is None:
                    continue
                if field.message_type is not None:
                    waiting.append((begin, at, field.message_type))
                elif field.type == field.TYPE_STRING:
                    _check_text(data[begin:at])
            else:
                raise WeightsError(f"damaged: expected no field of wire type {wire}")
        if at != end:
            raise WeightsError("damaged or truncated: a field ends behind its message")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of seven bits per byte, and where it ends."""
    value = 0
    for place, byte in enumerate(data[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise WeightsError("damaged or truncated: a number does not end")


def _check_text(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise WeightsError("damaged: expected names in UTF-8") from error
