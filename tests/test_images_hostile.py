"""Pictures that lie about their size, and files that must not reach Pillow at all."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worst import jpeg_of_scans, tiff_of_one_tile

from mininet.errors import ImageError
from mininet.images import MAX_SMALL_PIXELS, read_image

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

OTHERS = {
    "EPS, which Pillow would have Ghostscript run": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "Photoshop": b"8BPS\0\1",
    "icon": b"\0\0\1\0\1\0",
    "animation of Autodesk": b"\x80\0\0\0\x11\xaf\1\0",
}


def _refused(path: Path, content: bytes, *words: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ImageError) as error:
        read_image(path)
    assert "\n" not in str(error.value)
    for word in (path.name, *words):
        assert word in str(error.value), f"{word!r} is not in {str(error.value)!r}"


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_other_formats_are_not_handed_to_pillow(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Pillow got the file"))
    _refused(tmp_path / "a.png", content.ljust(64, b"\0"), "expected a picture of JPEG")


def test_a_format_that_pillow_lacks_or_cannot_read(tmp_path: Path) -> None:
    _refused(tmp_path / "a.avif", b"\0\0\0\x1cftypavif" + bytes(50))


def _declaring(suffix: str, width: int, height: int) -> bytes:
    """A tiny file of one format, patched to declare another size."""
    stream = io.BytesIO()
    Image.new("RGB", (5, 7)).save(stream, suffix)
    data = bytearray(stream.getvalue())
    order: Any = "big" if suffix in ("png", "jpeg") else "little"
    frame = data.find(b"\xff\xc0") + 5
    at, size = {"png": (16, 4), "gif": (6, 2), "bmp": (18, 4), "jpeg": (frame, 2)}[suffix]
    sizes = (height, width) if suffix == "jpeg" else (width, height)
    data[at : at + 2 * size] = b"".join(number.to_bytes(size, order) for number in sizes)
    if suffix == "png":  # the header has a checksum
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif", "bmp"])
@pytest.mark.parametrize("side", [2100, 9000, 60_000])
def test_declared_sizes_are_checked_before_pixels_are_allocated(
    suffix: str, side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it is decoded"))
    assert side * side > MAX_SMALL_PIXELS
    _refused(tmp_path / "a", _declaring(suffix, side, side), "bomb")


def test_a_tile_larger_than_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("it is decoded"))
    _refused(tmp_path / "a", tiff_of_one_tile(side=2000, tile=46_000), "2116000000 pixels", "bomb")


def test_scans_of_a_jpeg_are_counted(tmp_path: Path) -> None:
    """Each is a pass over all pixels; thumbnails and what follows the picture are not counted."""
    _refused(tmp_path / "a", jpeg_of_scans(16, 100), "more than 64 scans")
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "\xff\xda" * 200
    Image.new("RGB", (32, 32)).save(stream, "jpeg", progressive=True, exif=exif, comment=b"\xff\xda" * 200)
    (tmp_path / "a").write_bytes(stream.getvalue() + b"\xff\xda" * 200)
    assert read_image(tmp_path / "a").shape == (32, 32, 3)


@pytest.mark.parametrize("cut", range(2, 120, 7))
def test_counting_scans_ends_with_the_file(cut: int, tmp_path: Path) -> None:
    _refused(tmp_path / "a", jpeg_of_scans(16, 1)[:cut])


def test_large_pictures_are_read(tmp_path: Path) -> None:
    """Nine million pixels, compressed further than any camera would."""
    y, x = np.mgrid[:3000, :3000]
    Image.fromarray(((x * y) >> 12).astype(np.uint8)).save(tmp_path / "a.jpg", quality=20)
    assert read_image(tmp_path / "a.jpg", "L").shape == (3000, 3000, 1)
