"""One reader under atheris, until libFuzzer's options say stop: ``run.py`` starts this.

python tests/fuzz/target.py READER [options and folders of libFuzzer]
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path


def main() -> None:
    import atheris

    name = sys.argv.pop(1)
    code = sys.argv.pop(1).split(",")
    folder = tempfile.TemporaryDirectory(prefix="mininet-fuzz-")
    path = Path(folder.name) / "input"
    with atheris.instrument_imports(include=code):
        from judge import judge
        from readers import READERS

        from mininet.errors import MininetError

        # Much is imported only when a file of its kind comes.
        read = READERS[name].read
        for content in READERS[name].seeds(Path(folder.name)):
            path.write_bytes(content)
            with suppress(MininetError):
                read(path)
    _forget_checksums()

    def one_input(content: bytes) -> None:
        judge(read, path, content)

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


def _forget_checksums() -> None:
    """No mutation keeps a CRC right, so with them nothing behind a checksum would ever be reached."""
    import zipfile

    zipfile.ZipExtFile._update_crc = lambda self, data: None  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
