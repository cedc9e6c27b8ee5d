"""One network made into another: without a head, with a new one, and for other inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import seeded

import mininet
from mininet.errors import ArgumentError
from mininet.models.config import ModelConfig

POOLS = ("avg", "max", None)
BACKENDS = ("plan", "kernels", "reference")
#: Every family, lineage of names, and head.
NETWORKS: dict[str, dict[str, Any]] = {
    "mobilenet_v1": {"width": 0.25},
    "mobilenet_v2": {"width": 0.35},
    "mobilenet_v3_large": {"width": 0.35},
    "mobilenet_v3_small": {"width": 0.5, "batch_norm": False},
    "timm/mobilenetv1_100h": {"width": 0.25},
    "timm/mobilenetv3_small_050": {},
    "keras/MobileNet": {"width": 0.25},
    "keras/MobileNetV2": {"width": 0.35},
    "keras/MobileNetV3Small": {"width": 0.5, "minimalistic": True},
}
named = pytest.mark.parametrize("name", NETWORKS)


def network(name: str, **options: Any) -> mininet.Network:
    return mininet.create_model(name, "random:3", num_classes=12, **NETWORKS[name], **options)


def saved(net: mininet.Network, tmp_path: Any) -> mininet.Network:
    net.save(tmp_path / "net.safetensors")
    return mininet.create_model(weights=tmp_path / "net.safetensors")


@named
@pytest.mark.parametrize("pool", POOLS)
def test_without_head_makes_the_features_of_the_whole(name: str, pool: str | None) -> None:
    net = network(name)
    bare = net.without_head(pool)
    x = seeded.images(4, (2, 3, 47, 33))
    whole = net.features(x)
    expected = {
        "avg": net.features(x, pool=True),
        "max": whole.max(axis=(2, 3)),
        None: whole,
    }[pool]
    for backend in BACKENDS:
        got = bare(x, backend=backend)
        assert got.shape == expected.shape, f"{backend}: {got.shape}, expected {expected.shape}"
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert np.array_equal(bare.features(x), whole)  # the same steps over the same weights
    assert np.array_equal(bare.trace(x)[bare.graph.outputs[0]], bare(x, backend="kernels"))


@named
@pytest.mark.parametrize("pool", POOLS)
def test_without_head_counts_and_shows_what_is_left(name: str, pool: str | None) -> None:
    net, bare = network(name), network(name).without_head(pool)
    head = [n for n in net.graph.names() if n.startswith("classifier")]
    assert head
    assert not any(n.startswith("classifier") for n in bare.graph.names())
    madds = {row.name: row.madds for row in net.cost(96).nodes}
    assert bare.cost(96).madds == net.cost(96).madds - sum(madds[n] for n in head)
    weights = sum(int(np.prod(net.state_dict()[w].shape)) for w in net.state_dict() if w.startswith("cla"))
    assert bare.count_params() == net.count_params() - weights
    pooled = [] if pool is None else [f"{pool}pool", "flatten"]
    assert [row.name for row in bare.summary().rows if not row.name.startswith("features")] == pooled


@named
@pytest.mark.parametrize("pool", POOLS)
def test_without_head_is_saved_and_loaded(name: str, pool: str | None, tmp_path: Any) -> None:
    bare = network(name).without_head(pool)
    again = saved(bare, tmp_path)
    x = seeded.images(4, (1, 3, 35, 33))
    assert (again.config, again.preset, again.labels) == (bare.config, bare.preset, ())
    assert np.array_equal(again(x), bare(x))


def test_figures_of_v2_at_160() -> None:
    """V2 on 160x160: 5x5 maps of 1280 channels, and vectors of 1280."""
    net = mininet.create_model("mobilenet_v2")
    x = seeded.images(4, (3, 3, 160, 160))
    assert net.without_head(None)(x).shape == (3, 1280, 5, 5)
    assert net.without_head()(x).shape == net.without_head("max")(x).shape == (3, 1280)


def test_a_network_without_classes_says_so(tmp_path: Any) -> None:
    bare = mininet.create_model(weights="digits").without_head()
    assert bare.labels == ()
    assert "classes=0" in repr(bare)
    image = mininet.sample_images()[0]
    features = bare(bare.preprocess(image))
    for call in (lambda: bare.classify(image), lambda: bare.top(features[0])):
        with pytest.raises(ArgumentError, match="has no classifier here, so its outputs are features"):
            call()
    assert bare.report(image).top == ()


def test_a_pool_that_does_not_exist() -> None:
    with pytest.raises(ArgumentError, match="pool: expected one of avg, max, none, got 'mean'"):
        network("mobilenet_v2").without_head("mean")


@named
def test_without_head_is_num_classes_0(name: str) -> None:
    """One network, two ways to say it; a checkpoint without a classifier loads into it."""
    bare = network(name).without_head("max")
    made = mininet.create_model(name, bare.state_dict(), num_classes=0, pool="max", **NETWORKS[name])
    assert made.config == bare.config == ModelConfig.from_metadata(bare.config.to_metadata())
    x = seeded.images(4, (1, 3, 35, 33))
    assert np.array_equal(made(x), bare(x))


def test_clips_of_a_quantised_network_stay_with_their_nodes(tmp_path: Any) -> None:
    clips = (("features.1.conv.1", -0.5, 0.75), ("features.18.2", 0.25, 0.5), ("classifier.1", -1.0, 1.0))
    bare = network("mobilenet_v2", clips=clips).without_head(None)
    assert bare.config.clips == clips[:2]
    x = seeded.images(4, (1, 3, 64, 64))
    features = bare(x)
    assert features.shape[1:] == (1280, 2, 2)
    assert (features.min(), features.max()) == (0.25, 0.5)
    assert np.array_equal(saved(bare, tmp_path)(x), features)
