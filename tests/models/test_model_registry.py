"""Every name builds, at 224x224 and down to one pixel; special variants look as their papers say."""

import pytest

from mininet.errors import ArgumentError, ShapeError, UnknownNameError
from mininet.models.lineages import FAMILIES, LINEAGES
from mininet.models.registry import ASSEMBLERS, assemble, build_graph, config_for, list_models, preset_for
from mininet.preprocess import list_presets

EVERY_LINEAGE = [
    (architecture, lineage)
    for architecture, family in FAMILIES.items()
    for lineage, table in LINEAGES.items()
    if family in table
]


@pytest.mark.parametrize("name", list_models())
def test_builds(name):
    graph = build_graph(config_for(name))
    assert graph.infer_shapes((2, 3, 224, 224))[graph.outputs[0]] == (2, 1000)
    assert graph.outputs == (graph.nodes[-1].name,)


@pytest.mark.parametrize("name", list_models())
def test_one_pixel(name):
    graph = build_graph(config_for(name, num_classes=7, in_channels=1))
    if name == "keras/MobileNet":  # its stride-2 convolutions pad one side only: no 3x3 window fits
        with pytest.raises(ShapeError, match=r"node 'features\.2\.0\.0'"):
            graph.infer_shapes((1, 1, 1, 1))
    else:
        assert graph.infer_shapes((1, 1, 1, 1))[graph.outputs[0]] == (1, 7)


@pytest.mark.parametrize(("architecture", "lineage"), EVERY_LINEAGE)
@pytest.mark.parametrize("width", [0.05, 0.25, 0.4, 1.25, 2.0])
def test_odd_widths_build(architecture, lineage, width):
    graph = build_graph(config_for(architecture, lineage=lineage, width=width, num_classes=3))
    assert graph.infer_shapes((1, 3, 65, 33))[graph.outputs[0]] == (1, 3)


@pytest.mark.parametrize("name", list_models())
def test_every_weight_has_a_place(name):
    graph, places = assemble(config_for(name))
    assert [node.name for node in graph.nodes if node.op.param_shapes()] == list(places)


@pytest.mark.parametrize("name", list_models())
def test_without_batch_norm_only_the_norms_are_gone(name):
    whole = build_graph(config_for(name))
    folded = build_graph(config_for(name, batch_norm=False))
    assert folded.names() == [node.name for node in whole.nodes if node.op.kind != "batch_norm"]
    assert all(
        f"{node.name}.bias" in folded.param_shapes() for node in folded.nodes if "conv" in node.op.kind
    )


@pytest.mark.parametrize("name", list_models())
def test_preset_exists(name):
    assert preset_for(name, config_for(name)) in list_presets()


def test_preset_follows_the_lineage():
    assert preset_for("mobilenet_v3_small", config_for("mobilenet_v3_small", lineage="keras")) == "keras-v3"


def test_wildcards():
    assert list_models("mobilenet_v*") == list(ASSEMBLERS)
    assert list_models("keras/*V3*") == ["keras/MobileNetV3Large", "keras/MobileNetV3Small"]
    assert len(list_models("timm/*")) == 23
    assert list_models("resnet*") == []


def test_overrides():
    config = config_for("keras/MobileNetV3Small", width=0.75, minimalistic=True, num_classes=5)
    assert (config.lineage, config.width, config.minimalistic, config.num_classes) == ("keras", 0.75, True, 5)


def test_unknown_model_and_option():
    with pytest.raises(UnknownNameError, match=r"did you mean .*'timm/mobilenetv2_100'"):
        config_for("timm/mobilenetv2_10")
    with pytest.raises(ArgumentError, match="unknown option 'alpha' for mobilenet_v2; expected one of width"):
        config_for("mobilenet_v2", alpha=0.5)


@pytest.mark.parametrize("lineage", ["torchvision", "timm", "keras", "tflite"])
def test_v1_has_28_layers(lineage):
    kinds = [node.op.kind for node in build_graph(config_for("mobilenet_v1", lineage=lineage)).nodes]
    counted = ("conv2d", "depthwise_conv2d", "pointwise_conv2d", "linear")
    assert [kinds.count(kind) for kind in counted] == [1, 13, 13, 1]


def test_v1_full_convolution_twin():
    nodes = build_graph(config_for("mobilenet_v1", separable=False)).nodes
    assert [node.op.kind for node in nodes].count("conv2d") == 14
    assert "features.13.0" in [node.name for node in nodes]


def test_v1_with_the_papers_activation():
    kinds = {node.op.kind for node in build_graph(config_for("mobilenet_v1", activation="relu")).nodes}
    assert "relu" in kinds
    assert "relu6" not in kinds


def test_v2_has_17_blocks_and_10_residuals():
    graph = build_graph(config_for("mobilenet_v2"))
    kinds = [node.op.kind for node in graph.nodes]
    assert (kinds.count("depthwise_conv2d"), kinds.count("add")) == (17, 10)


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_v3_minimalistic(name):
    graph = build_graph(config_for(name, minimalistic=True))
    windows = {node.op.kernel for node in graph.nodes if node.op.kind == "depthwise_conv2d"}
    assert windows == {(3, 3)}
    assert not {"hard_swish", "hard_sigmoid", "multiply"} & {node.op.kind for node in graph.nodes}


def test_blocks_are_noted():
    graph = build_graph(config_for("mobilenet_v3_small"))
    assert graph["features.4.block.2.fc1"].block == "features.4"
    assert graph["classifier.3"].block == "classifier"


def test_timm_depth():
    deep = build_graph(config_for("timm/mobilenetv3_large_150d"))
    kinds = [node.op.kind for node in deep.nodes]
    assert kinds.count("depthwise_conv2d") == 2 + 3 + 4 + 5 + 3 + 4
