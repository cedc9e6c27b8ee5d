"""Loading: what fits is copied, what does not is named."""

import re

import numpy as np
import pytest

from mininet.errors import DTypeError, WeightsError
from mininet.models.registry import build_graph, config_for, list_models
from mininet.weights import Weights, read_weights
from mininet.weights.load import LoadReport, export, infer_config, match
from mininet.weights.names import rows

SMALL = config_for("mobilenet_v2", width=0.1, num_classes=3)
FILES = {
    "mobilenet_v2_torchvision.pth": ("mobilenet_v2", {}, 262),
    "mobilenet_v2_torchvision_legacy.pth": ("mobilenet_v2", {}, 262),
    "mobilenet_v2_torchvision.safetensors": ("mobilenet_v2", {}, 262),
    "mobilenet_v3_small_keras_lineage.safetensors": ("keras/MobileNetV3Small", {}, 210),
    "mobilenet_v1_025_224_keras.npz": ("keras/MobileNet", {"width": 0.25}, 137),
    "mobilenet_v1_025_224_float.tflite": ("mobilenet_v1", {"width": 0.25, "lineage": "tflite"}, 56),
}

# Keras has no network with a convolution before V1's pooling, nor one with two last convolutions.
NOT_KERAS = ("timm/mobilenetv1_100h", "timm/mobilenetv3_large_150d")
NAMED = [
    (name, scheme)
    for name in list_models()
    for scheme in ("torchvision", "timm", "keras")
    if not (scheme == "keras" and name in NOT_KERAS)
]


def filled(config, scheme="torchvision", dtype=np.float32):
    """Weights under a scheme's names; every value tells which weight it belongs to."""
    rng = np.random.default_rng(0)
    return {row.theirs: rng.standard_normal(row.their_shape).astype(dtype) for row in rows(config, scheme)}


@pytest.mark.parametrize(("name", "scheme"), NAMED)
def test_export_undoes_match(name, scheme):
    config = config_for(name, num_classes=2)
    tensors = filled(config, scheme)
    params, report = match(config, tensors)
    assert (report.ok, report.scheme) == (True, scheme), report.summary()
    assert {key: value.shape for key, value in params.items()} == build_graph(config).param_shapes()
    back = export(config, params, scheme)
    assert back.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


@pytest.mark.parametrize("file", FILES)
def test_real_files_fit_without_a_remainder(assets, file):
    if file.endswith(".tflite"):
        pytest.importorskip("tflite")
        pytest.importorskip("flatbuffers")
    name, options, count = FILES[file]
    weights = read_weights(assets / "weights" / file)
    config = infer_config(config_for(name, **options), weights)
    params, report = match(config, weights)
    assert len(report.loaded) == count
    assert config.num_classes == (1001 if file.endswith(".tflite") else 1000)
    assert config.batch_norm != file.endswith(".tflite")
    assert all(np.isfinite(value).all() for value in params.values())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_dtypes_become_float32(dtype):
    tensors = filled(SMALL, dtype=dtype)
    params, _ = match(SMALL, tensors)
    for name, value in params.items():
        assert value.dtype == np.float32
        assert value.flags.c_contiguous
        np.testing.assert_array_equal(value, tensors[name].astype(np.float32))


def test_bfloat16():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    tensors = filled(SMALL, dtype=bfloat16)
    params, _ = match(SMALL, tensors)
    for name, value in params.items():
        np.testing.assert_array_equal(value, tensors[name].astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_, np.complex64, object])
def test_other_dtypes_are_refused_by_name(dtype):
    tensors = filled(SMALL)
    tensors["features.0.0.weight"] = np.zeros((8, 3, 3, 3), dtype)
    with pytest.raises(DTypeError, match=r"weight 'features\.0\.0\.weight': expected floating-point numbers"):
        match(SMALL, tensors)


def test_no_mapping():
    with pytest.raises(DTypeError, match="weights: expected a mapping of names to arrays, got"):
        match(SMALL, [1, 2])


def test_params_are_copies_and_read_only_arrays_serve():
    tensors = filled(SMALL)
    for value in tensors.values():
        value.flags.writeable = False
    params, _ = match(SMALL, tensors)
    assert not any(np.shares_memory(params[name], tensors[name]) for name in tensors)


def test_report_names_everything():
    tensors = filled(SMALL)
    kept = tensors.pop("classifier.1.bias")
    tensors["classifier.2.bias"] = kept
    tensors["features.0.0.weight"] = np.zeros((8, 1, 3, 3), np.float32)
    tensors["features.0.1.num_batches_tracked"] = np.array(5)
    params, report = match(SMALL, tensors, strict=False)
    assert report.missing == ("classifier.1.bias",)
    assert report.unused == ("classifier.2.bias",)
    assert [str(each) for each in report.misshaped] == [
        "features.0.0.weight: expected (8, 3, 3, 3), got (8, 1, 3, 3)"
    ]
    assert report.ignored == ("features.0.1.num_batches_tracked",)
    assert len(report.loaded) == len(params) == len(tensors) - 3
    assert not report.ok
    for name in ("classifier.1.bias", "classifier.2.bias", "(8, 1, 3, 3)", "num_batches_tracked"):
        assert name in str(report)


def test_strict_says_it_in_one_line():
    tensors = filled(SMALL)
    for name in list(tensors)[:5]:
        del tensors[name]
    with pytest.raises(WeightsError) as caught:
        match(SMALL, tensors)
    message = str(caught.value)
    assert "5 missing (features.0.0.weight, features.0.1.weight, features.0.1.bias, ...)" in message
    assert "\n" not in message


def test_wrong_architecture():
    with pytest.raises(WeightsError, match=r"weights do not fit: .* fit mobilenet_v3_small"):
        match(config_for("mobilenet_v3_small"), filled(SMALL))


def test_missing_names_are_the_files_own():
    config = config_for("keras/MobileNet", width=0.25)
    tensors = filled(config, "keras")
    del tensors["conv_preds/kernel"]
    tensors["dropout/seed_generator_state"] = np.zeros(2, np.uint32)
    with pytest.raises(WeightsError, match=r"1 missing \(conv_preds/kernel\)"):
        match(config, tensors)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("keras/MobileNet", ("conv_preds/kernel",)),
        ("keras/MobileNetV2", ()),
        ("keras/MobileNetV3Small", ("conv_2/kernel", "logits/kernel")),
    ],
)
def test_linear_layers_stored_as_convolutions_are_named(name, expected):
    config = config_for(name, width=0.25, num_classes=3)
    _, report = match(config, filled(config, "keras"))
    assert report.ok
    assert report.reshaped == expected
    assert all(each in str(report) for each in expected)


def test_other_keras_names_load():
    config = config_for("keras/MobileNetV3Small", width=0.25, num_classes=2)
    tensors = filled(config, "keras")
    numbered = re.compile(r"(conv2d|depthwise_conv2d|batch_normalization)(_\d+)?/")
    for is_numbered in (False, True):  # Keras 2 in .h5 files, and any Keras in .weights.h5 files
        renamed = {
            [name for name in row.aliases if bool(numbered.match(name)) == is_numbered][-1]: value
            for row, value in zip(rows(config, "keras"), tensors.values(), strict=True)
        }
        params, report = match(config, renamed)
        assert report.ok, report.summary()
        np.testing.assert_array_equal(params["classifier.3.weight"], tensors["logits/kernel"][0, 0].T)


@pytest.mark.parametrize("scheme", ["torchvision", "timm", "keras"])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"])
def test_tensors_tell_classes_channels_and_folding(name, scheme):
    for batch_norm in (True, False):
        config = config_for(name, num_classes=11, in_channels=2, batch_norm=batch_norm)
        assert infer_config(config_for(name), filled(config, scheme)) == config


def test_what_the_caller_set_stays():
    tensors = filled(SMALL)
    assert infer_config(config_for("mobilenet_v2", width=0.1), tensors, ["num_classes"]).num_classes == 1000


def test_nothing_to_infer_from():
    assert infer_config(SMALL, {}) == SMALL
    assert infer_config(SMALL, {"classifier.1.weight": np.float32(0)}) == SMALL


def test_folded_networks_load_and_export():
    config = config_for("keras/MobileNetV2", width=0.35, num_classes=4, batch_norm=False)
    tensors = filled(config, "keras")
    assert "Conv1/bias" in tensors
    params, report = match(config, tensors)
    assert report.ok
    assert set(export(config, params, "timm")) == {row.theirs for row in rows(config, "timm")}


def test_export_refuses():
    with pytest.raises(WeightsError, match="tflite weights have no names"):
        export(SMALL, {}, "tflite")
    with pytest.raises(WeightsError, match=r"cannot export: 158 weights missing|cannot export: \d+ weights"):
        export(SMALL, {}, "timm")


def test_an_empty_report_reads_well():
    report = LoadReport("mobilenet_v2", "torchvision")
    assert report.ok
    assert str(report) == "mobilenet_v2, names of torchvision: 0 tensors loaded"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "model.module."])
@pytest.mark.parametrize("scheme", ["torchvision", "timm"])
def test_a_prefix_of_all_names_is_left_out_and_reported(prefix, scheme):
    tensors = {f"{prefix}{name}": value for name, value in filled(SMALL, scheme).items()}
    tensors["n_averaged"] = np.array(7)
    assert infer_config(config_for("mobilenet_v2", width=0.1), tensors) == SMALL
    params, report = match(SMALL, tensors)
    assert report.ok and report.ignored == ("n_averaged",)
    assert report.prefix == prefix and f"without the prefix {prefix!r}" in str(report)
    for row in rows(SMALL, scheme):
        np.testing.assert_array_equal(params[row.ours], row.to_ours(tensors[prefix + row.theirs]))


def test_a_prefix_of_some_names_is_a_name():
    tensors = {("module." if at % 2 else "") + name: v for at, (name, v) in enumerate(filled(SMALL).items())}
    _, report = match(SMALL, tensors, strict=False)
    assert report.prefix == "" and len(report.missing) == len(report.unused) == len(tensors) // 2


def test_report_says_which_entry_it_was():
    metadata = {"wrapper": "model_ema", "other_wrappers": "model"}
    weights = Weights(filled(SMALL), metadata, "torch-zip", "a.pth")
    _, report = match(SMALL, weights)
    for text in (report.summary(), str(report)):
        assert "taken from the entry 'model_ema', not from model" in text
