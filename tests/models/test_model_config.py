"""ModelConfig: what it refuses, and that it survives its metadata."""

import math

import numpy as np
import pytest

from mininet.errors import ArgumentError, DTypeError, UnknownNameError
from mininet.models.config import MOST_CHANNELS, MOST_MULTIPLIER, ModelConfig, option_names
from mininet.models.registry import ASSEMBLERS, build_graph, config_for, list_models

V1, V2, V3 = "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"


@pytest.mark.parametrize(
    ("architecture", "options", "said"),
    [
        (V2, {"width": 0}, "width: expected a number above 0 and up to 16, got 0"),
        (V2, {"width": -1.0}, "width"),
        (V2, {"width": math.nan}, "width"),
        (V2, {"width": math.inf}, "width"),
        (V2, {"width": 1e300}, "width: expected a number above 0 and up to 16, got 1e\\+300"),
        (V2, {"width": 10**400}, r"width: expected .*, got 1000000+\.\.\.$"),
        (V2, {"width": 10**5000}, "width: expected .*, got something of type int"),
        (V2, {"width": MOST_MULTIPLIER + 0.01}, "width"),
        (V2, {"depth": 1e300, "lineage": "timm"}, "depth: expected a number above 0 and up to 16"),
        (V2, {"depth": math.nan, "lineage": "timm"}, "depth"),
        (V2, {"num_classes": 10**18}, "num_classes: expected an integer from 0 to 262144, got 1000"),
        (V2, {"num_classes": np.int64(MOST_CHANNELS + 1)}, "num_classes"),
        (V2, {"in_channels": 10**18}, "in_channels: expected an integer from 1 to 262144, got 1000"),
        (V2, {"in_channels": "x" * 999}, r"in_channels: expected .*, got 'x{76}\.\.\.$"),
        (V2, {"width": True}, "width"),
        (V2, {"width": "1.0"}, "width"),
        (V2, {"num_classes": -1}, "num_classes: expected an integer from 0 to 262144, got -1"),
        (V2, {"in_channels": 0}, "in_channels: expected an integer from 1 to 262144, got 0"),
        (V2, {"pool": "mean"}, "unknown pool 'mean'"),
        (V3, {"pool": "none"}, "pool: a classifier needs a vector, so 'none' wants num_classes=0"),
        (V2, {"num_classes": 10.0}, "num_classes"),
        (V2, {"num_classes": True}, "num_classes"),
        (V2, {"num_classes": None}, "num_classes"),
        (V2, {"in_channels": -3}, "in_channels"),
        (V2, {"dropout": 1.0}, "dropout: expected a rate from 0 to below 1, got 1.0"),
        (V2, {"dropout": math.nan}, "dropout"),
        (V2, {"batch_norm": 1}, "batch_norm: expected True or False, got 1"),
        (V2, {"activation": "swish"}, "unknown activation 'swish'"),
        (V2, {"separable": False}, "'separable' is for mobilenet_v1, not for mobilenet_v2"),
        (V3, {"shallow": True}, "'shallow' is for mobilenet_v1"),
        (V3, {"activation": "relu"}, "'activation' is for mobilenet_v1, mobilenet_v2"),
        (V1, {"minimalistic": True}, "'minimalistic' is for mobilenet_v3_large, mobilenet_v3_small"),
        (V2, {"depth": 1.2}, "'depth' is for .* of the lineage timm, not for .* the lineage torchvision"),
        (V1, {"depth": 1.2, "lineage": "timm"}, "'depth' is for mobilenet_v2"),
        (V1, {"head_conv": True, "lineage": "keras"}, "'head_conv'"),
    ],
)
def test_refused(architecture, options, said):
    """By the kind of error that fits: a value out of range, something of another type, or an unknown name."""
    with pytest.raises((ArgumentError, DTypeError, UnknownNameError), match=said) as caught:
        ModelConfig(architecture, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("architecture", ASSEMBLERS)
def test_the_largest_network_that_is_not_refused_is_a_graph(architecture):
    """Its weights are another matter: this is only about shapes."""
    depth = {} if architecture == V1 else {"depth": MOST_MULTIPLIER}
    options = {"width": MOST_MULTIPLIER, "num_classes": MOST_CHANNELS, "in_channels": MOST_CHANNELS, **depth}
    graph = build_graph(ModelConfig(architecture, lineage="timm", **options))
    assert graph.infer_shapes((1, MOST_CHANNELS, 8, 8))[graph.outputs[0]] == (1, MOST_CHANNELS)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="did you mean 'mobilenet_v2'"):
        ModelConfig("mobilenetv2")
    with pytest.raises(UnknownNameError, match="unknown lineage"):
        ModelConfig(V2, lineage="pytorch")


def test_numpy_numbers_become_plain_ones():
    config = ModelConfig(V2, width=np.float32(0.5), num_classes=np.int64(7))
    assert (type(config.width), type(config.num_classes)) == (float, int)
    assert config == ModelConfig(V2, 0.5, 7)


@pytest.mark.parametrize("name", list_models())
def test_metadata_round_trip(name):
    config = config_for(name, num_classes=10, in_channels=1, dropout=0.5, batch_norm=False)
    metadata = config.to_metadata()
    assert {"architecture", "width", "num_classes", "in_channels", "lineage"} <= metadata.keys()
    assert all(isinstance(text, str) for text in metadata.values())
    assert ModelConfig.from_metadata({**metadata, "labels": "digits"}) == config


def test_metadata_of_every_option():
    config = ModelConfig(V1, 0.3, lineage="timm", activation="relu", shallow=True, separable=False)
    assert ModelConfig.from_metadata(config.to_metadata()) == config
    deep = ModelConfig(V2, 0.1, lineage="timm", depth=1 / 3, fix_stem_head=True)
    assert ModelConfig.from_metadata(deep.to_metadata()) == deep


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "expected an entry 'architecture'"),
        ({"architecture": V2, "width": "wide"}, "expected a number under 'width', got 'wide'"),
        ({"architecture": V2, "num_classes": "1e3"}, "expected an integer under 'num_classes'"),
        ({"architecture": V1, "shallow": "yes"}, "expected true or false under 'shallow'"),
        ({"architecture": V2, "width": "nan"}, "width: expected a number above 0 and up to 16, got nan"),
    ],
)
def test_damaged_metadata(metadata, said):
    with pytest.raises(ArgumentError, match=said):
        ModelConfig.from_metadata(metadata)


def test_the_lineages_own_activation_is_no_option():
    assert ModelConfig(V1, activation="relu6") == ModelConfig(V1)


def test_option_names():
    assert option_names()[:4] == ["width", "num_classes", "in_channels", "lineage"]
