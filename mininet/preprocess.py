"""Presets by name: what torchvision, timm, Keras and TFLite do to a picture before their MobileNets see it.

Weights remember their preset, because a network fed with another framework's preprocessing is quietly wrong.
"""

from __future__ import annotations

import dataclasses

from mininet.arguments import check_choice
from mininet.errors import ArgumentError, DTypeError
from mininet.preset import Preset

__all__ = ["Preset", "get_preset", "list_presets", "register_preset"]

_PRESETS: dict[str, Preset] = {}


def get_preset(name: str | Preset) -> Preset:
    """Give a preset by its name; a preset is handed back as it is.

    Raises
    ------
    UnknownNameError
        If no preset has that name.
    """
    if isinstance(name, Preset):
        return name
    return _PRESETS[check_choice("preset", name, _PRESETS)]


def list_presets() -> list[str]:
    """Give the names of all presets, in the order of registration."""
    return list(_PRESETS)


def register_preset(preset: Preset, replace: bool = False) -> Preset:
    """Make a preset known by its name.

    Parameters
    ----------
    preset : Preset
        The preset.
    replace : bool
        Whether it may take the place of another one of that name.

    Returns
    -------
    Preset
        The same preset.

    Raises
    ------
    DTypeError
        If it is no `Preset`.
    ArgumentError
        If another preset has that name already and `replace` is false.
    """
    if not isinstance(preset, Preset):
        raise DTypeError(f"expected a Preset, got {type(preset).__name__}")
    if not replace and _PRESETS.get(preset.name, preset) != preset:
        raise ArgumentError(f"a preset named {preset.name!r} exists already; pass replace=True to replace it")
    _PRESETS[preset.name] = preset
    return preset


_HALF = (0.5, 0.5, 0.5)
_ONES = (1.0, 1.0, 1.0)

for _preset in (
    Preset("torchvision", 224, 256, source="torchvision: MobileNet_*_Weights.IMAGENET1K_V1.transforms()"),
    Preset("torchvision-v2", 224, 232, source="torchvision: MobileNet_*_Weights.IMAGENET1K_V2.transforms()"),
    Preset(
        "timm", 224, 256, interpolation="bicubic", source="timm: mobilenetv2_*, mobilenetv3_*, crop_pct 0.875"
    ),
    Preset("timm-tf", 224, 256, mean=_HALF, std=_HALF, source="timm: tf_mobilenetv3_*, crop_pct 0.875"),
    Preset(
        "timm-ra4",
        224,
        256,
        interpolation="bicubic",
        mean=_HALF,
        std=_HALF,
        source="timm: mobilenetv1_100 and _100h (ra4_e3600_r224_in1k), crop_pct 0.875",
    ),
    Preset(
        "timm-ra4-125",
        224,
        248,
        interpolation="bicubic",
        mean=_HALF,
        std=_HALF,
        source="timm: mobilenetv1_125 (ra4_e3600_r224_in1k), crop_pct 0.9",
    ),
    Preset(
        "timm-ra4-150d",
        256,
        269,
        mean=_HALF,
        std=_HALF,
        source="timm: mobilenetv3_large_150d (ra4_e3600_r256_in1k), crop_pct 0.95",
    ),
    Preset(
        "keras",
        crop=None,
        resize=224,
        fit="stretch",
        crop_offset="floor",
        scale=127.5,
        mean=_ONES,
        std=_ONES,
        source="keras.applications: mobilenet.preprocess_input after load_img(interpolation='bilinear')",
    ),
):
    register_preset(_preset)

# One formula under the names by which people look for it. Keras does it inside its V3 models
# (include_preprocessing=True), here it is done outside them.
for _name, _source in (
    ("keras-v3", "keras.applications: the Rescaling layer inside MobileNetV3Small and MobileNetV3Large"),
    ("tflite", "TensorFlow Lite's label_image example: input_mean = input_std = 127.5"),
):
    register_preset(dataclasses.replace(_PRESETS["keras"], name=_name, source=_source))

register_preset(
    Preset(
        "digits",
        crop=None,
        resize=32,
        fit="stretch",
        crop_offset="floor",
        mode="L",
        scale=127.5,
        mean=(1.0,),
        std=(1.0,),
        source="the embedded network of handwritten digits",
    )
)
