"""Reading pictures: paths, PIL images and arrays, with and without Pillow, sound and damaged."""

from __future__ import annotations

import io
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from mininet.errors import ArgumentError, DTypeError, ImageError, MininetError, ShapeError
from mininet.images import SUFFIXES, Mode, crop_centre, list_images, read_image, resize_image

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)
GRAY = COLOUR[:, :, :1]

GRAY_MODES = ("1", "L", "I", "I;16", "I;16B", "F", "LA", "La")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")


@pytest.fixture
def pillow() -> Any:
    pytest.importorskip("PIL.ImageOps", reason="Pillow is not installed")
    import PIL.Image

    return PIL.Image


def pnm(pixels: np.ndarray, header: bytes | None = None) -> bytes:
    magic = b"P5" if pixels.shape[2] == 1 else b"P6"
    return (header or b"%s\n%d %d\n255\n" % (magic, *pixels.shape[1::-1])) + pixels.tobytes()


def one_line(error: pytest.ExceptionInfo[BaseException], *words: str) -> None:
    text = str(error.value)
    assert text and "\n" not in text, f"not one line: {text!r}"
    for word in words:
        assert word in text, f"{word!r} is not in {text!r}"


# ---- arrays


@pytest.mark.parametrize("mode, channels", [("RGB", 3), ("L", 1)])
@pytest.mark.parametrize("array", [COLOUR, GRAY, GRAY[:, :, 0], COLOUR[::2, ::-1], np.asfortranarray(COLOUR)])
def test_arrays_become_contiguous_hwc(array: np.ndarray, mode: Any, channels: int) -> None:
    array = array.copy(order="K")
    array.flags.writeable = False
    pixels = read_image(array, mode)
    assert pixels.shape == (*array.shape[:2], channels)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    if array.ndim == 3 and array.shape[2] == channels:
        np.testing.assert_array_equal(pixels, array)


def test_gray_and_colour_convert_as_pillow_does(pillow: Any) -> None:
    levels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = np.asarray(pillow.fromarray(levels).convert("L"))
    np.testing.assert_array_equal(read_image(levels, "L")[:, :, 0], expected)
    gray = np.ascontiguousarray(levels[:, :, 0])
    np.testing.assert_array_equal(read_image(gray), np.asarray(pillow.fromarray(gray).convert("RGB")))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint16", "int64", "bool", "object"])
def test_array_of_another_dtype(dtype: str) -> None:
    with pytest.raises(DTypeError) as error:
        read_image(np.zeros((4, 4, 3), dtype))
    one_line(error, "uint8", dtype)


@pytest.mark.parametrize("shape", [(), (4,), (4, 4, 2), (4, 4, 4), (3, 8, 8), (1, 4, 4, 3)])
def test_array_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as error:
        read_image(np.zeros(shape, np.uint8))
    one_line(error, "(H, W, 3)", str(shape))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 4, 3), (4, 0, 1), (4, 4, 0)])
def test_array_without_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError) as error:
        read_image(np.zeros(shape, np.uint8))
    one_line(error, str(shape))


@pytest.mark.parametrize("source", [None, 3, 2.5, b"bytes.png", ["a.png"], object()])
def test_source_of_another_type(source: Any) -> None:
    with pytest.raises(DTypeError) as error:
        read_image(source)
    one_line(error, "path", type(source).__name__)


def test_unknown_mode() -> None:
    with pytest.raises(ArgumentError) as error:
        read_image(COLOUR, "RGBA")  # type: ignore[arg-type]
    one_line(error, "RGBA")


# ---- binary PGM and PPM, with NumPy alone


@pytest.mark.parametrize("pixels", [COLOUR, GRAY], ids=["P6", "P5"])
def test_pnm(pixels: np.ndarray, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(pnm(pixels))
    mode: Mode = "L" if pixels.shape[2] == 1 else "RGB"
    np.testing.assert_array_equal(read_image(path, mode), pixels)
    np.testing.assert_array_equal(read_image(str(path), mode), pixels)


@pytest.mark.parametrize(
    "header", [b"P5 5 7 255 ", b"P5\r\n# made by hand\r\n5\t7\n#\n255\n", b"P5#a\n#b\n 5 # width\n7\n255\n"]
)
def test_pgm_headers(header: bytes, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(pnm(GRAY, header) + b"whatever follows the first picture")
    np.testing.assert_array_equal(read_image(path, "L"), GRAY)


def test_pixels_that_look_like_blanks_or_comments(tmp_path: pathlib.Path) -> None:
    pixels = np.frombuffer(b"\n# \n", np.uint8).reshape(2, 2, 1)
    path = tmp_path / "a.pgm"
    path.write_bytes(pnm(pixels))
    np.testing.assert_array_equal(read_image(path, "L"), pixels)


@pytest.mark.parametrize(
    "data, words",
    [
        (pnm(COLOUR)[:-1], ("truncated", "105", "104")),
        (b"P5\n999999999 999999999\n255\n", ("truncated",)),
        (b"P5\n0 7\n255\n", ("no pixels", "0x7")),
        (b"P5\n5 -7\n255\n", ("header",)),
        (b"P6 and so on", ("header",)),
        (b"P5", ("header",)),
    ],
)
def test_damaged_pnm(data: bytes, words: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(data)
    with pytest.raises(ImageError) as error:
        read_image(path)
    one_line(error, "a.pgm", *words)


def test_pgm_and_arrays_do_not_import_pillow(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(pnm(np.zeros((32, 32, 1), np.uint8)))
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from mininet.errors import MissingExtraError\n"
        "from mininet.images import read_image\n"
        "from mininet.preprocess import get_preset\n"
        f"print(get_preset('digits').apply({str(path)!r}).shape)\n"
        f"open({str(path)!r}, 'wb').write(b'GIF89a')\n"
        "try:\n"
        f"    read_image({str(path)!r})\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "(1, 1, 32, 32)" in done.stdout and "[images]" in done.stdout


# ---- files through Pillow


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_lossless_files(suffix: str, pillow: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"a.{suffix}"
    pillow.fromarray(COLOUR).save(path, lossless=True)
    np.testing.assert_array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_files(orientation: int, pillow: Any, tmp_path: pathlib.Path) -> None:
    upright = COLOUR
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    pillow.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), upright)
    with pillow.open(path) as image:
        np.testing.assert_array_equal(read_image(image), stored)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_hide_the_picture(pillow: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.png"
    pillow.fromarray(COLOUR).save(path, exif=b"Exif\0\0MM\0*\0\0\0\xff\xff\xff")
    np.testing.assert_array_equal(read_image(path), COLOUR)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("pil_mode", GRAY_MODES + COLOUR_MODES)
def test_pil_modes(pil_mode: str, mode: Any, pillow: Any) -> None:
    pixels = read_image(pillow.new(pil_mode, (5, 7)), mode)
    assert pixels.shape == (7, 5, 3 if mode == "RGB" else 1) and pixels.dtype == np.uint8


def test_lab_has_no_conversion(pillow: Any) -> None:
    with pytest.raises(ImageError) as error:
        read_image(pillow.new("LAB", (5, 7)), "L")
    one_line(error, "LAB")


def test_alpha_is_dropped(pillow: Any) -> None:
    rgba = np.dstack([COLOUR, np.zeros((7, 5), np.uint8)])
    np.testing.assert_array_equal(read_image(pillow.fromarray(rgba)), COLOUR)


def test_palette_with_transparency(pillow: Any, tmp_path: pathlib.Path) -> None:
    image = pillow.fromarray(GRAY[:, :, 0]).convert("P")
    path = tmp_path / "a.png"
    image.save(path, transparency=bytes(range(256)))
    np.testing.assert_array_equal(read_image(path, "L"), GRAY)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_16_bit_gray_is_rounded_to_8(suffix: str, pillow: Any, tmp_path: pathlib.Path) -> None:
    wide = np.array([[0, 128, 129, 256], [257 * 100, 257 * 100 + 129, 65406, 65535]], np.uint16)
    path = tmp_path / f"a.{suffix}"
    pillow.fromarray(wide).save(path)
    expected = np.array([[0, 0, 1, 1], [100, 101, 254, 255]], np.uint8)
    np.testing.assert_array_equal(read_image(path, "L")[:, :, 0], expected)
    np.testing.assert_array_equal(read_image(path)[:, :, 2], expected)


def test_32_bit_gray_out_of_range(pillow: Any) -> None:
    with pytest.raises(ImageError) as error:
        read_image(pillow.fromarray(np.array([[-1, 70000]], np.int32)))
    one_line(error, "0..65535", "-1..70000")


def test_first_frame_of_an_animation(pillow: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.gif"
    frames = [pillow.new("L", (5, 7), level) for level in (10, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert (read_image(path, "L") == 10).all()


# ---- bad files


def test_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError) as error:
        read_image(tmp_path / "none.jpg")
    one_line(error, "no such file", "none.jpg")


@pytest.mark.parametrize("path", ["nul\0byte.jpg", "x" * 5000])
def test_path_that_cannot_exist(path: str) -> None:
    for read in (read_image, list_images):
        with pytest.raises(ImageError) as error:
            read(path)
        one_line(error)


def test_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError) as error:
        read_image(tmp_path)
    one_line(error, "folder")


def test_device() -> None:
    if not pathlib.Path("/dev/zero").exists():
        pytest.skip("this system has no /dev/zero")
    with pytest.raises(ImageError) as error:
        read_image("/dev/zero")
    one_line(error, "regular file")


def test_empty_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    with pytest.raises(ImageError) as error:
        read_image(path)
    one_line(error, "empty", "a.jpg")


def test_no_picture(pillow: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"<html>\nnot found")
    with pytest.raises(ImageError) as error:
        read_image(path)
    one_line(error, "a.jpg", "expected a picture", "<html>")


@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp", "gif", "tiff", "webp"])
def test_truncated_files(suffix: str, pillow: Any, tmp_path: pathlib.Path) -> None:
    buffer = io.BytesIO()
    pillow.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, suffix)
    path = tmp_path / f"a.{suffix}"
    for keep in (0.1, 0.5, 0.9):
        path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * keep)])
        with pytest.raises(ImageError) as error:
            read_image(path)
        one_line(error, path.name)


@pytest.mark.filterwarnings("ignore")  # Pillow warns about much that it can still read
@pytest.mark.parametrize("suffix", ["png", "jpeg", "bmp", "gif", "tiff", "webp", "ppm"])
def test_damaged_files_raise_our_errors_or_open(suffix: str, pillow: Any, tmp_path: pathlib.Path) -> None:
    buffer = io.BytesIO()
    pillow.fromarray(COLOUR).save(buffer, suffix)
    path = tmp_path / f"a.{suffix}"
    rng = np.random.default_rng(1)
    for _ in range(100):
        data = bytearray(buffer.getvalue())
        for where in rng.integers(0, len(data), 3):
            data[where] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            pixels = read_image(path)
        except MininetError as error:
            assert "\n" not in str(error)
        else:
            assert pixels.ndim == 3 and pixels.shape[2] == 3


# ---- folders


def test_folders_are_listed_sorted_and_flat(tmp_path: pathlib.Path) -> None:
    names = ["b.JPEG", "a.jpg", "c.Png", "notes.txt", ".hidden.jpg", "noext"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "deeper.jpg").mkdir()
    (tmp_path / "deeper.jpg" / "d.jpg").touch()
    expected = [tmp_path / name for name in ("a.jpg", "b.JPEG", "c.Png")]
    assert list_images(tmp_path) == expected
    assert list_images(str(tmp_path)) == expected
    notes = tmp_path / "notes.txt"
    assert list_images([notes, tmp_path, str(notes)]) == [notes, *expected, notes]
    assert list_images([]) == []


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_known_suffixes(suffix: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / f"a{suffix.upper()}").touch()
    assert len(list_images(tmp_path)) == 1


def test_bad_paths_to_list(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError) as error:
        list_images([tmp_path / "none"])
    one_line(error, "none")
    with pytest.raises(ImageError) as error:
        list_images(tmp_path)
    one_line(error, "no picture", ".jpeg")


# ---- resizing and cropping (against torchvision in test_preprocess.py)


@pytest.mark.parametrize("have, want, offset, starts", [(227, 224, "round", 2), (227, 224, "floor", 1)])
def test_odd_margins(have: int, want: int, offset: str, starts: int) -> None:
    rows = np.arange(have, dtype=np.uint8)[:, np.newaxis, np.newaxis]
    assert crop_centre(rows, (want, 1), offset)[0, 0, 0] == starts


def test_a_small_picture_is_padded_with_black() -> None:
    padded = crop_centre(np.full((2, 9, 1), 7, np.uint8), (5, 3))
    assert padded[:, :, 0].tolist() == [[0] * 3] + [[7] * 3] * 2 + [[0] * 3] * 2


def test_resize_errors() -> None:
    with pytest.raises(ArgumentError) as argument_error:
        resize_image(COLOUR, (4, 4), "cubic")
    one_line(argument_error, "bicubic", "cubic")
    for size in ((0, 4), (1, 10**9)):
        with pytest.raises(ImageError) as error:
            resize_image(COLOUR, size)
        one_line(error, "5x7")
