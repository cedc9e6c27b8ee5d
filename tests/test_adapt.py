"""One network made into another: without a head, with a new one, and for other inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import seeded
import twins

import mininet
from mininet.errors import ArgumentError, ShapeError, UnknownNameError
from mininet.graph.executor import run_reference
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
    with pytest.raises(UnknownNameError, match="unknown pool 'mean'"):
        network("mobilenet_v2").without_head("mean")


@named
def test_without_head_is_num_classes_0(name: str) -> None:
    """One network, two ways to say it; a checkpoint without a classifier loads into it."""
    bare = network(name).without_head("max")
    made = mininet.create_model(name, bare.state_dict(), num_classes=0, pool="max", **NETWORKS[name])
    assert made.config == bare.config == ModelConfig.from_metadata(bare.config.to_metadata())
    x = seeded.images(4, (1, 3, 35, 33))
    assert np.array_equal(made(x), bare(x))


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"])
@pytest.mark.parametrize("lineage", ["torchvision", "keras", "timm"])
def test_more_channels_as_one_would_do_it_in_torch(name: str, lineage: str) -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra 'parity'")
    net = mininet.create_model(name, "random:3", width=0.5, num_classes=5, lineage=lineage)
    five = mininet.adapt_input(net, 5)
    old = torch.from_numpy(net.state_dict()["features.0.0.weight"])
    conv = torch.nn.Conv2d(5, len(old), 3, bias=False)
    with torch.no_grad():
        conv.weight[:, :3] = old
        conv.weight[:, 3:] = old.mean(dim=1, keepdim=True)
    expected = conv.weight.detach().numpy()
    assert np.array_equal(five.state_dict()["features.0.0.weight"], expected)
    assert (five.config.in_channels, five.input_shape[1]) == (5, 5)
    assert {k: v for k, v in vars(five.config).items() if k != "in_channels"} == {
        k: v for k, v in vars(net.config).items() if k != "in_channels"
    }
    (layer,) = five.get_weights("features.0.0")
    assert np.array_equal(layer, expected.transpose(2, 3, 1, 0) if lineage == "keras" else expected)
    others = [n for n in net.state_dict() if n != "features.0.0.weight"]
    assert all(np.array_equal(five.state_dict()[n], net.state_dict()[n]) for n in others)


def test_more_channels_as_one_would_do_it_in_keras() -> None:
    """The kernel (kh, kw, I, O), the new channels the mean over the axis of the old."""
    net = network("keras/MobileNetV2")
    (kernel,) = net.get_layer("Conv1").get_weights()
    extended = np.concatenate([kernel, np.repeat(kernel.mean(axis=2, keepdims=True), 2, axis=2)], axis=2)
    (got,) = mininet.adapt_input(net, 5).get_layer("Conv1").get_weights()
    assert got.shape == (3, 3, 5, extended.shape[3])
    assert np.array_equal(got, extended)


def test_figures_of_v3_large_with_five_channels() -> None:
    """Of 5x224x224: 720 parameters in the first convolution, 32 in its batch norm."""
    net = mininet.adapt_input(mininet.create_model("mobilenet_v3_large"), 5)
    rows = {row.name: row for row in net.summary((1, 5, 224, 224)).rows}
    assert rows["features.0.0"].params == net.get_layer("features.0.0").count_params() == 720
    assert rows["features.0.1"].params == 32  # and as many running statistics, which Keras counts as well
    assert net.get_layer("features.0.1").count_params() == 64


@named
def test_new_channels_of_zeros_change_nothing(name: str) -> None:
    """To the last bit where sums are ours; NumPy sums as its BLAS likes, so there in float64."""
    net = network(name)
    seven = mininet.adapt_input(net, 7, "zeros")
    x = seeded.images(4, (2, 7, 35, 33))
    assert np.array_equal(seven(x), net(x[:, :3]))
    wide, exact = (_in_float64(net, pixels) for net, pixels in ((seven, x), (net, x[:, :3])))
    np.testing.assert_allclose(wide, exact, rtol=1e-12, atol=1e-12)


def _in_float64(net: mininet.Network, x: np.ndarray) -> np.ndarray:
    *_, last = run_reference(net.graph, x.astype(np.float64))
    return last.value


def test_random_channels_follow_the_seed() -> None:
    net = network("mobilenet_v2")
    drawn = [
        mininet.adapt_input(net, 6, "random", seed=s).state_dict()["features.0.0.weight"] for s in (1, 1, 2)
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(drawn[2][:, :3], net.state_dict()["features.0.0.weight"])
    assert abs(drawn[0][:, 3:].std() / (2 / (6 * 9)) ** 0.5 - 1) < 0.1


def test_fewer_channels() -> None:
    net = network("keras/MobileNetV2")
    gray = mininet.adapt_input(net, 1)
    x = seeded.images(4, (2, 1, 35, 33))
    np.testing.assert_allclose(gray(x), net(np.repeat(x, 3, axis=1)), rtol=1e-4, atol=1e-5)
    back = mininet.adapt_input(mininet.adapt_input(net, 5), 3)
    assert back.config == net.config
    assert all(np.array_equal(back.state_dict()[n], value) for n, value in net.state_dict().items())
    two = mininet.adapt_input(net, 2).state_dict()["features.0.0.weight"]
    assert np.array_equal(two, net.state_dict()["features.0.0.weight"][:, :2])


def test_one_channel_as_timm_does_it() -> None:
    torch = pytest.importorskip("torch", reason="torch comes with the extra 'parity'")
    twins.torchvision()  # timm imports it
    timm_models = pytest.importorskip("timm.models", reason="timm comes with the extra 'parity'")
    net = network("timm/mobilenetv1_100h")
    old = torch.from_numpy(net.state_dict()["features.0.0.weight"])
    expected = timm_models.adapt_input_conv(1, old).numpy()
    assert np.array_equal(mininet.adapt_input(net, 1).state_dict()["features.0.0.weight"], expected)


def test_an_input_that_no_picture_makes(tmp_path: Any) -> None:
    """Raw channels beyond a picture's are the caller's to prepare, and the error says so."""
    five = mininet.adapt_input(network("mobilenet_v2", labels=[f"kind {i}" for i in range(12)]), 5)
    photo = np.zeros((300, 280, 3), np.uint8)
    with pytest.raises(
        ShapeError, match="makes 3 channels, mobilenet_v2 takes 5; prepare the input yourself"
    ):
        five.classify(photo)
    again = saved(five, tmp_path)
    assert (again.config, again.labels) == (five.config, five.labels)
    x = np.concatenate([five.preset.apply(photo), np.ones((1, 2, 224, 224), np.float32)], axis=1)
    assert np.array_equal(again(x), five(x))
    assert again.top(again(x)[0], 1)[0][0].startswith("kind ")


def test_arguments_of_adapt_input() -> None:
    net = network("mobilenet_v2")
    with pytest.raises(UnknownNameError, match="unknown init 'means'; did you mean 'mean'"):
        mininet.adapt_input(net, 5, "means")
    with pytest.raises(ArgumentError, match="in_channels: expected an integer from 1"):
        mininet.adapt_input(net, 0)
    with pytest.raises(UnknownNameError, match="unknown init 'means'; did you mean 'mean'"):
        mininet.adapt_input(net, 5, "means")


@named
def test_a_new_head_keeps_everything_else(name: str, tmp_path: Any) -> None:
    net = network(name)
    new = mininet.replace_head(net, 3, labels=["ant", "bee", "cow"], seed=8)
    (last,) = net.graph.outputs
    for weight, value in new.state_dict().items():
        same = np.array_equal(value, net.state_dict()[weight])
        assert same != weight.startswith(f"{last}."), weight
    x = seeded.images(4, (2, 3, 35, 33))
    assert np.array_equal(new.features(x), net.features(x))
    for backend in BACKENDS:
        np.testing.assert_allclose(new(x, backend=backend), new(x), rtol=1e-4, atol=1e-4)
    again = saved(new, tmp_path)
    assert again.labels == new.labels == ("ant", "bee", "cow")
    assert np.array_equal(again(x), new(x))
    twice = mininet.replace_head(net, 3, seed=8)
    assert np.array_equal(twice(x), new(x))
    assert twice.labels == ("class 0", "class 1", "class 2")
    assert not np.array_equal(mininet.replace_head(net, 3, seed=9)(x), new(x))


@named
def test_as_many_classes_are_new_classes(name: str) -> None:
    net = network(name)
    (last,) = net.graph.outputs
    weights = [n.state_dict()[f"{last}.weight"] for n in (net, mininet.replace_head(net, 12, seed=5))]
    assert weights[0].shape == weights[1].shape
    assert not np.array_equal(*weights)


@named
@pytest.mark.parametrize("pool", POOLS)
def test_a_head_for_a_network_without(name: str, pool: str | None) -> None:
    net = network(name)
    new = mininet.replace_head(net.without_head(pool), 4)
    assert (new.config.num_classes, new.config.pool) == (4, pool or "avg")
    x = seeded.images(4, (2, 3, 35, 33))
    assert np.array_equal(new.features(x), net.features(x))
    assert new(x).shape == (2, 4)
    bare = new.without_head(pool)
    assert np.array_equal(bare(x), net.without_head(pool)(x))


def test_arguments_of_replace_head() -> None:
    net = network("mobilenet_v2")
    with pytest.raises(ArgumentError, match="expected at least one class, got 0"):
        mininet.replace_head(net, 0)
    with pytest.raises(ArgumentError, match="num_classes: expected an integer"):
        mininet.replace_head(net, -2)


def test_the_old_network_stays_as_it_was() -> None:
    net = network("mobilenet_v3_small")
    before, x = net.state_dict(), seeded.images(4, (1, 3, 35, 33))
    y = net(x)
    for new in (mininet.adapt_input(net, 5), mininet.replace_head(net, 2), net.without_head()):
        new.load_state_dict({n: value + 1 for n, value in new.state_dict().items()})
    assert np.array_equal(net(x), y)
    assert all(np.array_equal(net.state_dict()[n], value) for n, value in before.items())


def test_clips_of_a_quantised_network_stay_with_their_nodes(tmp_path: Any) -> None:
    clips = (("features.1.conv.1", -0.5, 0.75), ("features.18.2", 0.25, 0.5), ("classifier.1", -1.0, 1.0))
    net = network("mobilenet_v2", clips=clips)
    assert mininet.adapt_input(net, 4).config.clips == clips
    assert mininet.replace_head(net, 4).config.clips == clips[:2]
    bare = net.without_head(None)
    assert bare.config.clips == clips[:2]
    x = seeded.images(4, (1, 3, 64, 64))
    features = bare(x)
    assert features.shape[1:] == (1280, 2, 2)
    assert (features.min(), features.max()) == (0.25, 0.5)
    assert np.array_equal(saved(bare, tmp_path)(x), features)
