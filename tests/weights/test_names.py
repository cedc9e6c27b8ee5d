"""Names and layouts: ours against torchvision's, timm's and Keras's own, both ways."""

import importlib.util

import numpy as np
import pytest

from mininet.errors import ArgumentError, UnknownNameError
from mininet.models.registry import build_graph, config_for, list_models
from mininet.weights.names import FORMS, Row, detect_scheme, rows

TFLITE_KEYS = ("000/conv2d/weight", "000/conv2d/bias", "002/depthwise_conv2d/weight", "003/reshape/input1")
KERAS_ALPHAS = (0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4)

UNKNOWN_TO_KERAS = {
    "timm/mobilenetv1_100h": r"keras has no name for the part 'last\.conv' of mobilenet_v1",
    "timm/mobilenetv3_large_150d": "keras has no names for two last convolutions of mobilenet_v3_large",
}


def need(module):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (extra: parity)")


def tensors_of(module):
    state = module.state_dict()
    return {key: tuple(value.shape) for key, value in state.items() if "num_batches_tracked" not in key}


@pytest.mark.parametrize("width", [0.1, 0.35, 0.75, 1.0, 1.4])
@pytest.mark.parametrize("arch", ["mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"])
def test_names_and_order_are_torchvisions(arch, width):
    need("torchvision")
    import torch
    import twins

    models = twins.torchvision().models
    with torch.device("meta"):
        if arch == "mobilenet_v2":
            module = models.mobilenet_v2(width_mult=width)
        else:
            module = models.MobileNetV3(*models.mobilenetv3._mobilenet_v3_conf(arch, width_mult=width))
    graph = build_graph(config_for(arch, width=width))
    assert list(graph.param_shapes().items()) == list(tensors_of(module).items())
    for name, _ in module.named_modules():
        if name:
            graph.resolve(name)  # every torch module is a node or a container of ours
    epsilons = {part.eps for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert epsilons == {node.op.eps for node in graph.nodes if node.op.kind == "batch_norm"}


@pytest.mark.parametrize("name", list_models("timm/*"))
def test_names_are_timms(name):
    need("timm")
    import torch
    import twins

    twins.torchvision()
    import timm

    with torch.device("meta"):
        module = timm.create_model(name.removeprefix("timm/"))
    config = config_for(name)
    assert {row.theirs: row.their_shape for row in rows(config, "timm")} == tensors_of(module)
    epsilons = {part.eps for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert epsilons == {node.op.eps for node in build_graph(config).nodes if node.op.kind == "batch_norm"}


def test_every_timm_mobilenet_is_listed():
    need("timm")
    import twins

    assert {f"timm/{name}" for name in twins.timm_names()} == set(list_models("timm/*"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in list_models("keras/*")),
        *((name, {"minimalistic": True}) for name in list_models("keras/*V3*")),
    ],
)
def test_names_are_keras(name, options):
    need("keras")
    import twins

    factory = getattr(twins._keras().applications, name.removeprefix("keras/"))
    for alpha in KERAS_ALPHAS:
        model = factory(input_shape=(32, 32, 3), alpha=alpha, weights=None, **options)
        theirs = {
            key: tuple(value.shape) for key, value in twins._keras_variables(model) if "seed" not in key
        }
        ours = rows(config_for(name, width=alpha, **options), "keras")
        assert {row.theirs: row.their_shape for row in ours} == theirs, f"alpha {alpha}"


@pytest.mark.parametrize("scheme", ["torchvision", "timm", "keras"])
@pytest.mark.parametrize("name", list_models())
def test_rows_are_one_to_one(name, scheme):
    config = config_for(name)
    if scheme == "keras" and name in UNKNOWN_TO_KERAS:
        with pytest.raises(ArgumentError, match=UNKNOWN_TO_KERAS[name]):
            rows(config, scheme)
        return
    table = rows(config, scheme)
    assert {row.ours: row.shape for row in table} == build_graph(config).param_shapes()
    names = [name for row in table for name in (row.theirs, *row.aliases)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("form", FORMS)
def test_layouts_go_there_and_back(form):
    axes = FORMS[form]
    theirs = np.arange(float(np.prod([2, 3, 4, 5][: len(axes)]))).reshape([2, 3, 4, 5][: len(axes)])
    ours = theirs.transpose(axes)
    row = Row("ours", "theirs", form, ours.shape)
    assert row.their_shape == theirs.shape
    np.testing.assert_array_equal(row.to_ours(theirs), ours)
    np.testing.assert_array_equal(row.to_theirs(ours), theirs)


def test_layout_by_index():
    """A Keras kernel [row, column, in, out] is our weight [out, in, row, column]."""
    theirs = np.arange(3 * 3 * 4 * 5.0).reshape(3, 3, 4, 5)
    ours = Row("w", "w", "hwio", (5, 4, 3, 3)).to_ours(theirs)
    assert ours[4, 1, 0, 2] == theirs[0, 2, 1, 4]


@pytest.mark.parametrize(("form", "shape"), [("hwio", (1, 1, 4, 5)), ("oihw", (5, 4, 1, 1))])
def test_a_1x1_convolution_is_a_linear_layer(form, shape):
    theirs = np.arange(20.0).reshape(shape)
    row = Row("w", "w", form, (5, 4))
    assert row.their_shape == shape
    np.testing.assert_array_equal(row.to_ours(theirs), theirs.transpose(FORMS[form])[:, :, 0, 0])
    np.testing.assert_array_equal(row.to_theirs(row.to_ours(theirs)), theirs)


def test_a_linear_layer_is_a_1x1_convolution():
    theirs = np.arange(20.0).reshape(5, 4)
    row = Row("w", "w", "oi", (5, 4, 1, 1))
    assert row.their_shape == (5, 4)
    np.testing.assert_array_equal(row.to_ours(theirs)[:, :, 0, 0], theirs)


def test_keras_2_names_of_v3():
    table = rows(config_for("keras/MobileNetV3Small"), "keras")
    aliases = {row.theirs: row.aliases for row in table}
    assert (
        "expanded_conv_3/squeeze_excite/Conv_1/bias" in aliases["expanded_conv_3_squeeze_excite_conv_1/bias"]
    )
    assert "expanded_conv/depthwise/depthwise_kernel" in aliases["expanded_conv_depthwise/kernel"]
    assert aliases["logits/kernel"] == ("Logits/kernel", "conv2d_42/kernel")


def test_tflite_pairs_layers_in_order():
    config = config_for("mobilenet_v1", lineage="tflite", batch_norm=False)
    table = rows(config, "tflite", TFLITE_KEYS)
    assert [(row.theirs, row.form) for row in table[:4]] == [
        ("000/conv2d/weight", "ohwi"),
        ("000/conv2d/bias", "vector"),
        ("002/depthwise_conv2d/weight", "1hwc"),
        ("002/depthwise_conv2d/bias", "vector"),
    ]
    assert table[-1].theirs == "classifier.1/bias"  # more of ours than of theirs


@pytest.mark.parametrize(
    ("name", "keys", "scheme"),
    [
        ("mobilenet_v2", ["features.0.0.weight"], "torchvision"),
        ("mobilenet_v2", ["conv_stem.weight", "classifier.weight"], "timm"),
        ("mobilenet_v1", ["conv1/kernel"], "keras"),
        ("keras/MobileNetV3Small", ["features.0.0.weight"], "torchvision"),
        ("keras/MobileNetV3Small", ["Conv/kernel"], "keras"),
        ("mobilenet_v1", TFLITE_KEYS, "tflite"),
        ("keras/MobileNet", ["strange"], "keras"),
        ("mobilenet_v2", [], "torchvision"),
    ],
)
def test_scheme_is_told_by_the_names(name, keys, scheme):
    assert detect_scheme(config_for(name), keys) == scheme


def test_no_names_for_the_full_convolution_twin():
    with pytest.raises(ArgumentError, match=r"keras has no name for the part 'full\.conv' of mobilenet_v1"):
        rows(config_for("mobilenet_v1", separable=False), "keras")


def test_unknown_scheme():
    with pytest.raises(UnknownNameError, match="unknown naming scheme 'tensorflow'"):
        rows(config_for("mobilenet_v1"), "tensorflow")
