"""Presets against torchvision's, timm's and Keras's own preprocessing."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
from typing import Any

import numpy as np
import pytest

from mininet.errors import ArgumentError, DTypeError, ImageError, ShapeError, UnknownNameError
from mininet.models.registry import config_for, list_models, preset_for
from mininet.preprocess import Preset, get_preset, list_presets, register_preset

SIZES = [(227, 227), (224, 224), (256, 256), (257, 255), (300, 451), (451, 300), (33, 47), (1, 9), (500, 224)]


TIMM = list_models("timm/*")
#: timm has these networks without weights of its own, and so without a preset that they would need.
UNPUBLISHED = {"timm/mobilenetv2_035", "timm/mobilenetv2_075", "timm/mobilenetv3_large_075"}


def import_torchvision() -> Any:
    """Import torchvision, or skip."""
    for module, extra in (("torch", "parity"), ("torchvision", "parity"), ("PIL", "images")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed (extra {extra})")
    import twins

    return twins.torchvision()


def picture(h: int, w: int, channels: int = 3) -> np.ndarray:
    """Smooth waves plus noise, so that both aliasing and an offset by one pixel would show."""
    y, x, c = np.mgrid[0:h, 0:w, 0:channels]
    waves = 127 + 90 * np.sin(x / 5 + c) * np.cos(y / 7 - c)
    noise = np.random.default_rng(h * 1000 + w).normal(0, 15, waves.shape)
    pixels: np.ndarray = (waves + noise).clip(0, 255).astype(np.uint8)
    return pixels


def assert_within_one_ulp(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.dtype == theirs.dtype == np.float32 and ours.shape == theirs.shape
    far = np.abs(ours - theirs) / np.spacing(np.maximum(np.abs(theirs), np.finfo(np.float32).tiny))
    assert far.max() <= 1, f"off by {far.max():g} ulp, {np.abs(ours - theirs).max():g} absolute"


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "name, weights", [("torchvision", "IMAGENET1K_V1"), ("torchvision-v2", "IMAGENET1K_V2")]
)
def test_torchvision(name: str, weights: str, size: tuple[int, int]) -> None:
    torchvision = import_torchvision()
    from PIL import Image

    functional = torchvision.transforms.functional
    transform = torchvision.models.MobileNet_V2_Weights[weights].transforms()
    image = Image.fromarray(picture(*size))
    framed = functional.resize(image, transform.resize_size, interpolation=transform.interpolation)
    framed = functional.center_crop(framed, transform.crop_size)
    preset = get_preset(name)
    np.testing.assert_array_equal(preset.frame(np.asarray(image)), np.asarray(framed))
    assert_within_one_ulp(preset.apply(image), transform(image)[np.newaxis].numpy())


@pytest.mark.parametrize(
    "size", [(50, 50), (51, 50), (53, 64), (64, 53), (40, 40), (41, 90), (90, 39)], ids=str
)
@pytest.mark.parametrize("crop", [(50, 50), (47, 52)], ids=str)
def test_crop_alone_against_torchvision(crop: tuple[int, int], size: tuple[int, int]) -> None:
    torchvision = import_torchvision()
    from PIL import Image

    image = picture(*size)
    expected = np.asarray(torchvision.transforms.functional.center_crop(Image.fromarray(image), list(crop)))
    np.testing.assert_array_equal(Preset("crop", crop).frame(image), expected)


@pytest.mark.parametrize("resolution", [224, 96, 128, 160, 192, 256, 299])
@pytest.mark.parametrize(
    "name, model",
    [
        ("timm", "mobilenetv2_100.ra_in1k"),
        ("timm", "mobilenetv3_large_100.ra_in1k"),
        ("timm", "mobilenetv3_small_100.lamb_in1k"),
        ("timm-tf", "tf_mobilenetv3_large_100.in1k"),
        ("timm-tf", "tf_mobilenetv3_small_minimal_100.in1k"),
        ("timm-ra4", "mobilenetv1_100.ra4_e3600_r224_in1k"),
        ("timm-ra4", "mobilenetv1_100h.ra4_e3600_r224_in1k"),
    ],
)
def test_timm(name: str, model: str, resolution: int) -> None:
    import_torchvision()
    timm = pytest.importorskip("timm", reason="timm is not installed (extra parity)")
    from PIL import Image

    config = timm.models.get_pretrained_cfg(model)
    assert config.input_size == (3, 224, 224)
    transform = timm.data.create_transform(
        (3, resolution, resolution),
        mean=config.mean,
        std=config.std,
        interpolation=config.interpolation,
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
    )
    image = Image.fromarray(picture(300, 451))
    assert_within_one_ulp(get_preset(name).at(resolution).apply(image), transform(image)[np.newaxis].numpy())


def test_networks_without_published_weights_are_timms() -> None:
    import_torchvision()
    timm = pytest.importorskip("timm", reason="timm is not installed (extra parity)")
    tags = {model: timm.models.get_pretrained_cfg(model.removeprefix("timm/")).tag for model in TIMM}
    assert {model for model, tag in tags.items() if tag == "untrained"} == UNPUBLISHED


@pytest.mark.parametrize("model", [model for model in TIMM if model not in UNPUBLISHED])
def test_every_timm_network_has_the_preset_of_its_published_weights(model: str) -> None:
    import_torchvision()
    timm = pytest.importorskip("timm", reason="timm is not installed (extra parity)")
    from PIL import Image

    config = timm.models.get_pretrained_cfg(model.removeprefix("timm/"))
    transform = timm.data.create_transform(
        config.input_size,
        mean=config.mean,
        std=config.std,
        interpolation=config.interpolation,
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
    )
    preset = get_preset(preset_for(model, config_for(model)))
    image = Image.fromarray(picture(300, 451))
    assert_within_one_ulp(preset.apply(image), transform(image)[np.newaxis].numpy())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ["keras", "tflite"])
def test_keras(
    name: str, size: tuple[int, int], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="keras is not installed (extra parity)")
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed").fromarray(picture(*size))
    path = tmp_path / "a.png"
    image.save(path)
    loaded = keras.utils.load_img(path, target_size=(224, 224), interpolation="bilinear")
    expected = keras.applications.mobilenet.preprocess_input(keras.utils.img_to_array(loaded))
    ours = get_preset(name).apply(path)
    np.testing.assert_array_equal(ours[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("name", ["keras", "keras-v3", "tflite", "digits"])
def test_tf_formula(name: str) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    preset = get_preset(name).at(16)
    expected = np.arange(256, dtype=np.float32).reshape(16, 16) / np.float32(127.5) - np.float32(1)
    tensor = preset.apply(levels)
    assert tensor.shape == (1, preset.channels, 16, 16)
    for channel in tensor[0]:
        np.testing.assert_array_equal(channel, expected)
    assert (tensor.min(), tensor.max()) == (-1, 1)


@pytest.mark.parametrize("name", list_presets())
def test_every_preset(name: str) -> None:
    preset = get_preset(name)
    assert preset.name == name and preset.source and preset.size is not None
    assert get_preset(preset) is preset
    assert name in str(preset) and "\n" not in str(preset)
    assert Preset.from_json(preset.to_json()) == preset
    assert "\n" not in preset.to_json()
    assert preset.at(preset.size) == preset
    shape = (1, preset.channels, *preset.size)
    fitting = picture(*preset.size, channels=preset.channels)
    tensor = preset.without_resize().apply(fitting)
    assert tensor.shape == shape and tensor.dtype == np.float32 and tensor.flags.c_contiguous
    assert np.isfinite(tensor).all()
    np.testing.assert_array_equal(tensor, preset.normalise(fitting))


@pytest.mark.parametrize("resolution", [1, 32, 96, 160, 225, (96, 160), (100, 37)], ids=str)
@pytest.mark.parametrize("name", list_presets())
def test_every_preset_at_every_size(name: str, resolution: Any) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    preset = get_preset(name).at(resolution)
    h, w = (resolution, resolution) if isinstance(resolution, int) else resolution
    assert preset.size == (h, w)
    for size in SIZES:
        assert preset.apply(picture(*size)).shape == (1, preset.channels, h, w), size


def test_without_resize_rounds_the_offset_down() -> None:
    image = picture(227, 227)
    preset = get_preset("torchvision").without_resize()
    np.testing.assert_array_equal(preset.frame(image), image[1:225, 1:225])
    np.testing.assert_array_equal(
        get_preset("keras").without_resize("round").frame(image), image[2:226, 2:226]
    )


def test_assets_photos_are_cropped_as_their_readme_says(assets: pathlib.Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    path = sorted((assets / "photos").iterdir())[0]
    with image.open(path) as photo:
        pixels = np.asarray(photo.convert("RGB"))
    assert pixels.shape == (227, 227, 3)
    np.testing.assert_array_equal(get_preset("keras").without_resize().frame(path), pixels[1:225, 1:225])


def test_inputs_of_every_kind_agree(tmp_path: pathlib.Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = picture(40, 30)
    path = tmp_path / "a.png"
    image.fromarray(pixels).save(path)
    preset = get_preset("torchvision").at(16)
    expected = preset.apply(pixels)
    frozen = np.asfortranarray(pixels)
    frozen.flags.writeable = False
    for source in (path, str(path), image.fromarray(pixels), frozen):
        np.testing.assert_array_equal(preset.apply(source), expected)


def test_a_strip_too_long_to_resize() -> None:
    with pytest.raises(ImageError, match="1x1000000 cannot become 256x256000000"):
        get_preset("torchvision").apply(np.zeros((1_000_000, 1), np.uint8))


def test_normalise_checks_its_pixels() -> None:
    preset = get_preset("torchvision")
    with pytest.raises(DTypeError, match="float32"):
        preset.normalise(np.zeros((4, 4, 3), np.float32))
    for shape in ((4, 4), (4, 4, 1), (1, 4, 4, 3)):
        with pytest.raises(ShapeError):
            preset.normalise(np.zeros(shape, np.uint8))


# ---- the registry and JSON


def test_unknown_preset() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'torchvision"):
        get_preset("torchvison")
    bad: Any
    for bad in (None, 7, ["keras"]):
        with pytest.raises(DTypeError, match="preset: expected a string"):
            get_preset(bad)


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mininet.preprocess._PRESETS", {"mine": Preset("mine", 8)})
    mine = Preset("mine", 16)
    with pytest.raises(ArgumentError, match="exists already"):
        register_preset(mine)
    assert register_preset(mine, replace=True) is mine
    assert register_preset(mine) is get_preset("mine") is mine
    assert list_presets() == ["mine"]
    with pytest.raises(DTypeError):
        register_preset("mine")  # type: ignore[arg-type]


def test_a_custom_preset_survives_json() -> None:
    preset = Preset(
        "mine",
        (3, 5),
        (7, 9),
        fit="stretch",
        interpolation="lanczos",
        crop_offset="floor",
        mode="L",
        scale=1,
        mean=(0.1,),
        std=(1 / 3,),
        source='a "quoted" source, \u00fcber',
    )
    assert Preset.from_json(preset.to_json()) == preset
    assert hash(Preset.from_json(preset.to_json())) == hash(preset)
    assert Preset.from_json('{"name": "bare", "crop": null}') == Preset("bare", None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "keras",
        "[]",
        "null",
        "{}",
        '{"name": "a"}',
        '{"name": "a", "crop": 8, "colour": 1}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:20],
)
def test_json_that_is_no_preset(text: str) -> None:
    with pytest.raises(ArgumentError) as error:
        Preset.from_json(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    "field, value",
    [
        ("name", ""),
        ("name", 3),
        ("crop", 0),
        ("crop", -8),
        ("crop", 8.5),
        ("crop", True),
        ("crop", "8"),
        ("crop", [8]),
        ("crop", [8, 8, 8]),
        ("crop", 10**9),
        ("crop", [16, 8]),
        ("resize", [4, 16]),
        ("resize", {}),
        ("fit", "cover "),
        ("fit", None),
        ("interpolation", "cubic"),
        ("interpolation", []),
        ("crop_offset", 1),
        ("mode", "BGR"),
        ("mode", ["RGB"]),
        ("scale", 0),
        ("scale", -1),
        ("scale", float("nan")),
        ("scale", "255"),
        ("scale", 10**400),
        ("mean", 0.5),
        ("mean", [0.5]),
        ("mean", [0.5, 0.5, float("inf")]),
        ("mean", [0.5, 0.5, None]),
        ("std", [1, 1, 0]),
        ("std", [1, 1, 1e-300]),
        ("std", [1, 1, 1, 1]),
        ("source", 5),
    ],
)
def test_fields_that_make_no_sense(field: str, value: Any) -> None:
    good = {"name": "mine", "crop": 8, "resize": 12}
    with pytest.raises(ArgumentError, match=field) as error:
        Preset.from_json(json.dumps(good | {field: value}))
    assert "\n" not in str(error.value)


def test_a_preset_without_a_size_has_none_to_change() -> None:
    preset = Preset("whole", None)
    assert preset.size is None
    assert preset.apply(picture(5, 9)).shape == (1, 3, 5, 9)
    with pytest.raises(ArgumentError, match="leaves the size to the picture"):
        preset.at(32)
