"""Reading pictures: a path, a PIL image or an array becomes one uint8 array (height, width, channels).

Binary PGM and PPM are read with NumPy alone, so the samples inside the package open without Pillow; the other
:data:`FORMATS` go through Pillow, which the extra ``images`` brings and which is imported when needed. Pillow
would open many more, one of them by running another program on the file (EPS): those are refused unread.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from mininet.errors import ArgumentError, DTypeError, ImageError, MininetError, ShapeError, require

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image as PILImage

ImageSource: TypeAlias = "str | os.PathLike[str] | PILImage | npt.NDArray[np.uint8]"
Mode: TypeAlias = Literal["RGB", "L"]
Pixels: TypeAlias = npt.NDArray[np.uint8]
T = TypeVar("T")

CHANNELS: dict[str, int] = {"RGB": 3, "L": 1}
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".avif")
)
# How the files start that Pillow is asked to decode, by Pillow's name of the format.
FORMATS: dict[str, re.Pattern[bytes]] = {
    name: re.compile(magic, re.DOTALL)
    for name, magic in {
        "JPEG": rb"\xff\xd8\xff",
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "WEBP": rb"RIFF.{4}WEBP",
        "GIF": rb"GIF8[79]a",
        "BMP": rb"BM",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        "PPM": rb"P[1-6]",
        "AVIF": rb".{4}ftyp(avi[fs]|m[is][fs]1)",
    }.items()
}
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
# Twice Pillow's MAX_IMAGE_PIXELS, where it calls a picture a decompression bomb. A strip of one pixel by a
# million would pass it by far when resized, so that obeys the same bound.
MAX_PIXELS = 178_956_970
# A file that declares more pixels than both of these is a bomb: Pillow would allocate them all before it
# finds that the file ends. A photo has under 20 pixels in a byte.
MAX_SMALL_PIXELS = 4 << 20
MAX_PIXELS_PER_BYTE = 100
# A scan of a progressive JPEG is a pass over all pixels, however few its bytes; encoders write about ten.
MAX_SCANS = 64

# Markers of a JPEG that stand alone, without a length; then where the compressed data of a scan ends.
_LONE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # tags of a TIFF
_START_OF_SCAN, _END_OF_JPEG = 0xDA, 0xD9

# ITU-R BT.601 luma in 16-bit fixed point, the integers of Pillow's own RGB -> L conversion.
_LUMA = (19595, 38470, 7471)
# Magic, width, height and maxval of a binary PNM, apart by blanks or comments, then exactly one blank.
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P([56])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,5})\s")
_PNM_MAGICS = (b"P5", b"P6")
_GRAY16_MAX = 65535


def read_image(source: ImageSource, mode: Mode = "RGB") -> Pixels:
    """Read one picture as 8-bit pixels.

    Parameters
    ----------
    source : str, os.PathLike, PIL.Image.Image or numpy.ndarray
        A file (turned upright by its EXIF orientation, first frame if it has several), a PIL image of any
        mode, or a uint8 array of shape (H, W), (H, W, 1) or (H, W, 3).
    mode : {"RGB", "L"}
        Colour or gray. Alpha is dropped, as Pillow's ``convert`` does; 16-bit gray is rounded to 8 bits
        (65535 becomes 255), also in Pillow's mode "I", which is how it opens some 16-bit files.

    Returns
    -------
    numpy.ndarray
        uint8, C-contiguous, shape (H, W, 3) or (H, W, 1). It may share memory with an array that was given.

    Raises
    ------
    ImageError
        A file that is missing, empty, truncated, too large or no picture; a picture without pixels.
    DTypeError
        An array that is not uint8, or a source of another type.
    ShapeError
        An array of another rank or channel count.
    ArgumentError
        An unknown mode.
    MissingExtraError
        The picture needs Pillow and Pillow is not installed.
    """
    if mode not in CHANNELS:
        raise ArgumentError(f"mode must be 'RGB' or 'L', got {mode!r}")
    if isinstance(source, np.ndarray):
        return _convert(_checked_array(source), mode)
    if isinstance(source, (str, os.PathLike)):
        return _read_file(source, mode)
    # A PIL image can only exist once Pillow has been imported, so asking never imports it.
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(source, pillow.Image):
        return _guarded("a PIL image", lambda: _from_pillow(source, mode))
    raise DTypeError(f"an image must be a path, a PIL image or a uint8 array, got {type(source).__name__}")


def resize_image(pixels: Pixels, size: tuple[int, int], interpolation: str = "bilinear") -> Pixels:
    """Resize a picture with Pillow's antialiased filters.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, shape (H, W, 3) or (H, W, 1).
    size : (int, int)
        New height and width. A picture that has them already is handed back, and Pillow is not needed.
    interpolation : str
        One of `INTERPOLATIONS`.

    Returns
    -------
    numpy.ndarray
        uint8, shape (height, width, channels).

    Raises
    ------
    ArgumentError
        If the interpolation is unknown.
    ImageError
        If the new size is zero or beyond `MAX_PIXELS`.
    MissingExtraError
        If Pillow is needed and not installed.
    """
    if interpolation not in INTERPOLATIONS:
        raise ArgumentError(f"interpolation must be one of {INTERPOLATIONS}, got {interpolation!r}")
    h, w, channels = pixels.shape
    if (h, w) == size:
        return pixels
    if not 0 < size[0] * size[1] <= MAX_PIXELS:
        raise ImageError(
            f"a picture of {w}x{h} cannot become {size[1]}x{size[0]}: expected 1 to {MAX_PIXELS} pixels"
        )
    pillow: Any = require("PIL.Image", "images")
    image = pillow.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    resized = image.resize((size[1], size[0]), pillow.Resampling[interpolation.upper()])
    return np.asarray(resized).reshape(*size, channels)


def crop_centre(pixels: Pixels, size: tuple[int, int], offset: str = "round") -> Pixels:
    """Cut out the centre of a picture; where the picture is too small, pad it with black.

    Parameters
    ----------
    pixels : numpy.ndarray
        uint8, shape (H, W, channels).
    size : (int, int)
        Height and width of the result.
    offset : {"round", "floor"}
        How half an odd margin becomes an integer: to the even neighbour (torchvision) or down (Keras).

    Returns
    -------
    numpy.ndarray
        uint8, shape (height, width, channels); a view unless padded.
    """
    margins = [have - want for have, want in zip(pixels.shape, size, strict=False)]
    if min(margins) < 0:
        pixels = np.pad(pixels, [(max(-m // 2, 0), max((1 - m) // 2, 0)) for m in margins] + [(0, 0)])
    # Python's round() goes to the even neighbour, and torchvision's offset is defined by it.
    starts = [0 if m < 0 else round(m / 2) if offset == "round" else m // 2 for m in margins]
    (top, left), (h, w) = starts, size
    return pixels[top : top + h, left : left + w]


def list_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand folders into the pictures they hold.

    Parameters
    ----------
    paths : path or iterable of paths
        Files are kept as they are, whatever their suffix. A folder becomes its own pictures (by suffix, case
        ignored; neither its subfolders' nor hidden files), sorted by name.

    Returns
    -------
    list of pathlib.Path
        In the order given.

    Raises
    ------
    ImageError
        A path that does not exist or cannot be listed, or a folder without pictures.
    """
    from pathlib import Path

    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            found += _pictures_in(path) if path.is_dir() else [path]
            missing = not path.exists()
        except (OSError, ValueError) as error:
            raise ImageError(f"cannot list {str(path)!r}: {_reason(error)}") from error
        if missing:
            raise ImageError(f"no such file or folder: {str(path)!r}")
    return found


def _pictures_in(folder: Path) -> list[Path]:
    pictures = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not pictures:
        raise ImageError(f"no picture in folder {str(folder)!r} (looked for {' '.join(sorted(SUFFIXES))})")
    return pictures


def _read_file(path: str | os.PathLike[str], mode: Mode) -> Pixels:
    name = repr(os.fspath(path))
    data = _read_bytes(path, name)
    if data[:2] in _PNM_MAGICS:
        pixels = _parse_pnm(data, name)
        if pixels is not None:
            return _convert(pixels, mode)
    return _guarded(name, lambda: _decode(data, name, mode))


def _read_bytes(path: str | os.PathLike[str], name: str) -> bytes:
    try:
        if os.path.isdir(path):
            raise ImageError(f"expected a picture, {name} is a folder")
        # A pipe or device may never end, so it is refused before it is read.
        if os.path.exists(path) and not os.path.isfile(path):
            raise ImageError(f"expected a picture, {name} is no regular file")
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        raise ImageError(f"no such file: {name}") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {name}: {_reason(error)}") from error
    if not data:
        raise ImageError(f"expected a picture, {name} is empty (0 bytes)")
    return data


def _parse_pnm(data: bytes, name: str) -> Pixels | None:
    """Binary PGM (P5) or PPM (P6) with maxval 255; None for another maxval, which is left to Pillow."""
    header = _PNM.match(data)
    if header is None:
        raise ImageError(f"{name} starts like a binary PGM or PPM but its header is damaged")
    channels = 1 if header[1] == b"5" else 3
    width, height, maxval = (int(header[i]) for i in (2, 3, 4))
    if maxval != 255:
        return None
    need, have = height * width * channels, len(data) - header.end()
    if need == 0:
        raise ImageError(f"{name} has no pixels: its header says {width}x{height}")
    if have < need:
        raise ImageError(
            f"{name} is truncated: {width}x{height} with {channels} channel(s) needs {need} bytes, has {have}"
        )
    return np.frombuffer(data, np.uint8, need, header.end()).reshape(height, width, channels)


def _decode(data: bytes, name: str, mode: Mode) -> Pixels:
    found = next((format for format, magic in FORMATS.items() if magic.match(data)), None)
    if found is None:
        raise ImageError(
            f"expected a picture of {', '.join(FORMATS)}; "
            f"{name} has {len(data)} bytes, starting with {data[:8]!r}"
        )
    pillow: Any = require("PIL.Image", "images")
    try:
        opened = pillow.open(io.BytesIO(data), formats=(found,))
    except (pillow.UnidentifiedImageError, KeyError) as error:  # KeyError: not in this build of Pillow
        raise ImageError(f"{name} starts like {found}, but is no picture that Pillow can read") from error
    with opened as image:
        pixels = image.width * image.height
        if found == "TIFF":  # it is decoded by tiles, which may be larger than the picture
            pixels = max(pixels, image.tag_v2.get(_TILE_WIDTH, 0) * image.tag_v2.get(_TILE_LENGTH, 0))
        if pixels > max(MAX_SMALL_PIXELS, MAX_PIXELS_PER_BYTE * len(data)):
            raise ImageError(f"{name} declares {pixels} pixels in {len(data)} bytes: a bomb")
        if found == "JPEG" and _scans(data) > MAX_SCANS:
            raise ImageError(f"{name} has more than {MAX_SCANS} scans: a bomb")
        # Decoded before the orientation is looked up, so that damaged pixels are reported as such.
        image.load()
        return _from_pillow(_upright(image), mode)


def _scans(data: bytes) -> int:
    """How many scans the first picture of a JPEG file has, as far as its markers lead."""
    at, found = 2, 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _END_OF_JPEG:
        marker = data[at + 1]
        if marker == 0xFF:  # a filler
            at += 1
            continue
        at += 2 if marker in _LONE_MARKERS else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _START_OF_SCAN:
            found += 1
            end = _END_OF_SCAN.search(data, at)
            if end is None:
                break
            at = end.start()
    return found


def _upright(image: PILImage) -> PILImage:
    try:
        upright: PILImage = require("PIL.ImageOps", "images").exif_transpose(image)
    except Exception:
        # Damaged EXIF makes Pillow raise almost anything; the pixels are sound, so they are taken as stored.
        return image
    return upright


def _from_pillow(image: PILImage, mode: Mode) -> Pixels:
    if 0 in image.size:
        raise ImageError(f"a picture must have pixels, got {image.width}x{image.height}")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255 here, which turns every 16-bit picture white.
        return _convert(_gray16_to_8(np.asarray(image)), mode)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != mode:
        image = image.convert(mode)
    return np.ascontiguousarray(np.asarray(image).reshape(image.height, image.width, CHANNELS[mode]))


def _gray16_to_8(gray: npt.NDArray[Any]) -> Pixels:
    if gray.min() < 0 or gray.max() > _GRAY16_MAX:
        raise ImageError(f"gray levels must lie in 0..{_GRAY16_MAX}, got {gray.min()}..{gray.max()}")
    wide = gray.astype(np.uint32)
    wide += 128  # 257 = 65535 / 255, rounded to nearest
    wide //= 257
    return wide.astype(np.uint8)[:, :, np.newaxis]


def _checked_array(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype != np.uint8:
        raise DTypeError(f"an image array must be uint8 (0..255), got {array.dtype}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.size and array.shape[2] not in (1, 3)):
        raise ShapeError(f"an image array must be (H, W), (H, W, 1) or (H, W, 3), got {array.shape}")
    if not array.size:
        raise ImageError(f"a picture must have pixels, got an array of shape {array.shape}")
    return array.reshape(*array.shape[:2], -1)


def _convert(pixels: Pixels, mode: Mode) -> Pixels:
    """Between gray and colour, by Pillow's formulas, without Pillow."""
    if pixels.shape[2] == CHANNELS[mode]:
        return np.ascontiguousarray(pixels)
    if mode == "RGB":
        return np.repeat(pixels, 3, axis=2)
    luma = pixels.astype(np.uint32) @ np.array(_LUMA, np.uint32)
    return ((luma + 0x8000) >> 16).astype(np.uint8)[:, :, np.newaxis]


def _guarded(name: str, decode: Callable[[], T]) -> T:
    """Run a decoder of Pillow's, whose errors on damaged files have no common class."""
    try:
        return decode()
    except MininetError:
        raise
    except Exception as error:
        raise ImageError(f"cannot decode {name}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Say what went wrong, in one line and without the path, which the message already has."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return next(iter(text.splitlines()), "") or type(error).__name__
