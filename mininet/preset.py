"""A preset: what happens to a picture before a network sees it, as one printable value.

It resizes (through Pillow, antialiased), crops the centre and normalises. The presets by name are in
`mininet.preprocess`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mininet.errors import ArgumentError, DTypeError, ShapeError, brief
from mininet.images import (
    CHANNELS,
    INTERPOLATIONS,
    MAX_PIXELS,
    ImageSource,
    Mode,
    Pixels,
    crop_centre,
    read_image,
    resize_image,
)

Size: TypeAlias = "int | tuple[int, int]"

# Mean and standard deviation of ImageNet's training pixels, as torchvision and timm round them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Far beyond any sane constant, and small enough that no product of two leaves float32's range.
_LARGEST = 1e12


@dataclasses.dataclass(frozen=True)
class Preset:
    """How to turn a picture into a network's input.

    The value of a pixel becomes ``(pixel / scale - mean) / std``, in float32 and in that order.

    Parameters
    ----------
    name : str
        Name in the registry.
    crop : int or (int, int) or None
        Height and width cut from the centre after resizing; a picture that is smaller is padded with black,
        as torchvision does. None takes the picture as resizing left it.
    resize : int or (int, int) or None
        Height and width to resize to, None to leave the picture's size alone.
    fit : {"cover", "stretch"}
        ``"cover"`` keeps the aspect ratio and makes the picture just cover `resize` (for a square: its
        shorter side gets that length); ``"stretch"`` makes it exactly `resize`.
    interpolation : str
        One of `INTERPOLATIONS`, which are Pillow's resampling filters.
    crop_offset : {"round", "floor"}
        What becomes of an odd margin. ``"round"``: to the even neighbour, as torchvision does (a margin of 3
        leaves 2 before the crop, a margin of 1 leaves 0); ``"floor"``: down, as Keras and TF slim do.
    mode : {"RGB", "L"}
        Colour or gray.
    scale : float
        Divisor of the pixels, 0..255.
    mean, std : tuple of float
        One per channel, in units of ``pixel / scale``.
    source : str
        Where the numbers come from.

    Raises
    ------
    ArgumentError
        If a value makes no sense; the message names the preset and the field.
    """

    name: str
    crop: Size | None
    resize: Size | None = None
    fit: Literal["cover", "stretch"] = "cover"
    interpolation: str = "bilinear"
    crop_offset: Literal["round", "floor"] = "round"
    mode: Mode = "RGB"
    scale: float = 255.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    source: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        # The one place where fields get their canonical types, so that equal presets compare equal.
        fields: dict[str, Any] = {
            "crop": self._pair("crop"),
            "resize": self._pair("resize"),
            "scale": self._numbers("scale", (self.scale,))[0],
            "mean": self._numbers("mean", self.mean),
            "std": self._numbers("std", self.std),
        }
        for field, value in fields.items():
            object.__setattr__(self, field, value)
        self._check()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the result, or None if they depend on the picture."""
        if self.crop is not None:
            return _as_pair(self.crop)
        return _as_pair(self.resize) if self.resize is not None and self.fit == "stretch" else None

    @property
    def channels(self) -> int:
        """Channels of the result: 3 or 1."""
        return CHANNELS[self.mode]

    def at(self, resolution: Size) -> Preset:
        """Give the same preset for another input size, with crop and resize in the same proportion.

        Parameters
        ----------
        resolution : int or (int, int)
            New height and width of the result, in pixels.

        Returns
        -------
        Preset
            Its resize is ``resolution * resize / crop`` rounded down, which is timm's rule (torchvision has
            none).

        Raises
        ------
        ArgumentError
            If the resolution is not positive, or the preset leaves the size to the picture.
        """
        new = dataclasses.replace(self, crop=resolution, resize=None).size
        old = self.size
        if old is None or new is None:
            raise ArgumentError(
                f"preset {self.name!r} leaves the size to the picture, so it has none to change"
            )
        crop = None if self.crop is None else new
        resize = None
        if self.resize is not None:
            (h, w), (base_h, base_w) = new, old
            resize_h, resize_w = _as_pair(self.resize)
            resize = (h * resize_h // base_h, w * resize_w // base_w)
        return dataclasses.replace(self, crop=crop, resize=resize)

    def without_resize(self, crop_offset: Literal["round", "floor"] = "floor") -> Preset:
        """Give the same preset without resizing: only the centre is cut out, and Pillow is not needed.

        Parameters
        ----------
        crop_offset : {"round", "floor"}
            What becomes of an odd margin; see the class.

        Returns
        -------
        Preset
            For pictures that already have about the network's size.
        """
        return dataclasses.replace(self, resize=None, crop=self.size, crop_offset=crop_offset)

    def apply(self, image: ImageSource) -> npt.NDArray[np.float32]:
        """Read, resize, crop and normalise one picture.

        Parameters
        ----------
        image : str, os.PathLike, PIL.Image.Image or numpy.ndarray
            Whatever `mininet.images.read_image` takes, so also a uint8 array (H, W, C).

        Returns
        -------
        numpy.ndarray
            float32, shape (1, channels, height, width).

        Raises
        ------
        ImageError, DTypeError, ShapeError, MissingExtraError
            As for `read_image`; ImageError also if the picture is so narrow that it cannot be resized.
        """
        return self.normalise(self.frame(image))

    def frame(self, image: ImageSource) -> Pixels:
        """Read, resize and crop one picture, still in 8 bits.

        Parameters
        ----------
        image : str, os.PathLike, PIL.Image.Image or numpy.ndarray
            As for `apply`, with the same errors.

        Returns
        -------
        numpy.ndarray
            uint8, shape (height, width, channels); it may share memory with an array that was given.
        """
        pixels = read_image(image, self.mode)
        size = self._resized_size(pixels.shape[0], pixels.shape[1])
        pixels = resize_image(pixels, size, self.interpolation)
        return pixels if self.crop is None else crop_centre(pixels, _as_pair(self.crop), self.crop_offset)

    def normalise(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Turn 8-bit pixels into a network's input.

        Parameters
        ----------
        pixels : numpy.ndarray
            uint8, shape (H, W, channels).

        Returns
        -------
        numpy.ndarray
            float32, shape (1, channels, H, W).

        Raises
        ------
        DTypeError, ShapeError
            If the pixels are not uint8, or not of that shape.
        """
        if pixels.dtype != np.uint8:
            raise DTypeError(f"pixels must be uint8 (0..255), got {pixels.dtype}")
        if pixels.ndim != 3 or pixels.shape[2] != self.channels:
            raise ShapeError(f"pixels must be (H, W, {self.channels}), got {pixels.shape}")
        # A byte has 256 values, so the formula is computed for each of them once and then looked up.
        levels = np.arange(256, dtype=np.float32) / np.float32(self.scale)
        tensor = np.empty((1, self.channels, *pixels.shape[:2]), np.float32)
        for channel in range(self.channels):
            table = (levels - np.float32(self.mean[channel])) / np.float32(self.std[channel])
            tensor[0, channel] = table[pixels[:, :, channel]]
        return tensor

    def to_json(self) -> str:
        """Give the whole preset as one line of JSON, for a weights file's metadata."""
        import json

        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preset:
        """Rebuild a preset from `to_json`.

        Raises
        ------
        ArgumentError
            If the text is no JSON object, has unknown or lacks needed fields, or a value makes no sense.
        """
        import json

        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArgumentError(f"a preset must be JSON, got {text[:40]!r} ({error})") from error
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or not {"name", "crop"} <= fields.keys() <= known:
            raise ArgumentError(
                f"a preset in JSON must have name, crop and nothing beyond {', '.join(sorted(known))}; "
                f"got {text[:80]!r}"
            )
        return cls(**fields)

    def __str__(self) -> str:
        """Say in one line what the preset does."""
        steps = [f"{self.name}: {'colour' if self.mode == 'RGB' else 'gray'}"]
        if self.resize is not None:
            h, w = _as_pair(self.resize)
            verb = "stretch to" if self.fit == "stretch" else "resize to cover"
            steps.append(f"{verb} {h}x{w} ({self.interpolation})")
        if self.crop is not None:
            h, w = _as_pair(self.crop)
            steps.append(f"centre {h}x{w}")
        shifted = f"x/{self.scale:g} - {_listed(self.mean)}"
        steps.append(shifted if set(self.std) == {1.0} else f"({shifted}) / {_listed(self.std)}")
        return ", ".join(steps)

    def _pair(self, field: str) -> tuple[int, int] | None:
        """Give the size in `field` as (height, width)."""
        value = getattr(self, field)
        if value is None:
            return None
        pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
        if len(pair) != 2 or not all(_is_integer(side) and side > 0 for side in pair):
            raise self._wrong(field, "a positive integer or a pair of them (height, width)", value)
        if pair[0] * pair[1] > MAX_PIXELS:
            raise self._wrong(field, f"at most {MAX_PIXELS} pixels", value)
        return int(pair[0]), int(pair[1])

    def _numbers(self, field: str, values: object) -> tuple[float, ...]:
        """Give the numbers in `field` as floats."""
        if not isinstance(values, (tuple, list)) or not all(_is_number(value) for value in values):
            raise self._wrong(field, f"numbers up to {_LARGEST:g}", getattr(self, field))
        return tuple(float(value) for value in values)

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentError(f"a preset's name must be a string that is not empty, got {brief(self.name)}")
        choices: dict[str, tuple[str, ...]] = {
            "fit": ("cover", "stretch"),
            "interpolation": INTERPOLATIONS,
            "crop_offset": ("round", "floor"),
            "mode": tuple(CHANNELS),
        }
        for field, allowed in choices.items():
            value = getattr(self, field)
            if not isinstance(value, str) or value not in allowed:
                raise self._wrong(field, f"one of {', '.join(allowed)}", value)
        for field in ("mean", "std"):
            if len(getattr(self, field)) != self.channels:
                raise self._wrong(
                    field, f"{self.channels} number(s) for mode {self.mode}", getattr(self, field)
                )
        for field, divisors in (("scale", (self.scale,)), ("std", self.std)):
            if min(divisors) < 1 / _LARGEST:
                raise self._wrong(field, f"at least {1 / _LARGEST:g}", getattr(self, field))
        if not isinstance(self.source, str):
            raise self._wrong("source", "a string", self.source)
        if self.crop is not None and self.resize is not None:
            crop, resize = _as_pair(self.crop), _as_pair(self.resize)
            if crop[0] > resize[0] or crop[1] > resize[1]:
                raise self._wrong("crop", f"at most the resized size {resize}", crop)

    def _wrong(self, field: str, expected: str, value: object) -> ArgumentError:
        return ArgumentError(f"preset {brief(self.name)}: {field} must be {expected}, got {brief(value)}")

    def _resized_size(self, h: int, w: int) -> tuple[int, int]:
        if self.resize is None:
            return h, w
        box_h, box_w = _as_pair(self.resize)
        if self.fit == "stretch":
            return box_h, box_w
        # The side that is relatively shorter gets its length exactly, the other is cut to an integer: for a
        # square box this is torchvision's Resize(box), to the pixel.
        if w * box_h >= h * box_w:
            return box_h, int(box_h * w / h)
        return int(box_w * h / w), box_w


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return real and abs(value) <= _LARGEST  # type: ignore[arg-type]  # NaN compares false


def _as_pair(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _listed(values: Sequence[float]) -> str:
    """One number if all channels share it, else all of them."""
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return f"[{', '.join(f'{value:g}' for value in values)}]"
