"""Zip archives from strangers: sizes are checked before anything is unpacked, nothing is written to disk.

The names in an archive are only ever keys, so a path that climbs out of a folder leads nowhere.
"""

from __future__ import annotations

import zipfile
import zlib

from mininet.errors import WeightsError
from mininet.weights.source import SourceFile, reason, shown

MAX_MEMBERS = 10_000
# Weights hardly compress, so an archive that unpacks to more than both of these is a bomb.
MAX_RATIO = 16
MAX_SMALL_BYTES = 64 << 20

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # an unknown compression or zip version
    OSError,
    RuntimeError,  # an encrypted member
    ValueError,
    OverflowError,
    LookupError,  # a code page that does not exist
)
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Archive:
    """A zip archive whose declared sizes have been checked.

    Parameters
    ----------
    file : SourceFile
        The archive.

    Raises
    ------
    WeightsError
        If it is damaged or truncated, or declares too many members, a name twice, encryption, an unusual
        compression, or more bytes than weights of its size can have.
    """

    def __init__(self, file: SourceFile) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise WeightsError(f"damaged or truncated zip archive: {reason(error)}") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.total_bytes = 0
        for member in self._zip.infolist():
            self._admit(member)
        if self.total_bytes > max(MAX_SMALL_BYTES, MAX_RATIO * file.size):
            raise WeightsError(
                f"zip archive of {file.size} bytes declares {self.total_bytes} bytes: a zip bomb"
            )

    @property
    def names(self) -> list[str]:
        """Names of the members, in the archive's order."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """Unpack one member whole, checking its declared size and its CRC."""
        member = self._members.get(name)
        if member is None:
            raise WeightsError(f"zip archive: expected a member {shown(name)}, found none")
        try:
            with self._zip.open(member) as stream:
                # With a count, zipfile unpacks no more than that, whatever the compressed stream would give.
                data = stream.read(member.file_size)
        except _DAMAGE as error:
            raise WeightsError(f"zip member {shown(name)} is damaged: {reason(error)}") from error
        if len(data) != member.file_size:
            raise WeightsError(
                f"zip member {shown(name)}: expected {member.file_size} bytes, got {len(data)}"
            )
        return data

    def _admit(self, member: zipfile.ZipInfo) -> None:
        name = member.filename
        if name in self._members:
            raise WeightsError(f"zip archive: the name {shown(name)} occurs twice")
        if len(self._members) == MAX_MEMBERS:
            raise WeightsError(f"zip archive: expected at most {MAX_MEMBERS} members")
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise WeightsError(f"zip member {shown(name)}: expected it stored or deflated, and not encrypted")
        if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
            raise WeightsError(f"zip member {shown(name)}: expected equal sizes of a stored member")
        self._members[name] = member
        self.total_bytes += member.file_size
