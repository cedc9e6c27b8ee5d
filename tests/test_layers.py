"""Walking a network as people from Keras and from torch do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import seeded
import twins
from parity_driver import needs

import mininet

X = seeded.images(8, (1, 3, 32, 32))


def network(name: str = "mobilenet_v3_small", **options: Any) -> Any:
    net = mininet.create_model(name, width=0.5, num_classes=10, **options)
    net.load_state_dict(seeded.state({key: value.shape for key, value in net.state_dict().items()}, 3))
    return net


@pytest.mark.parametrize("lineage", ["torchvision", "timm", "keras", "tflite"])
def test_walk(lineage: str) -> None:
    net = network(lineage=lineage)
    assert [layer.name for layer in net.layers] == net.names()
    shapes = net.graph.infer_shapes(net.input_shape)
    for layer, node in zip(net.layers, net.graph.nodes, strict=True):
        weights = layer.get_weights()
        assert layer.kind == node.op.kind
        assert layer.output_shape == shapes[layer.name]
        assert len(weights) == len(layer.weight_names) == len(node.op.param_shapes())
        assert sum(value.size for value in weights) == layer.count_params()
        assert all(value.dtype == np.float32 and value.flags.c_contiguous for value in weights)
        if node.op.kind in ("relu", "add", "flatten", "dropout", "multiply", "global_avg_pool"):
            assert weights == []
    assert sum(layer.count_params() for layer in net.layers) == net.count_params()


@pytest.mark.parametrize("lineage", ["torchvision", "timm", "tflite"])
def test_layouts_of_torch(lineage: str) -> None:
    net = network(lineage=lineage)
    state = net.state_dict()
    for layer in net.layers:
        assert layer.alias == ""
        for name, value in zip(layer.weight_names, layer.get_weights(), strict=True):
            assert np.array_equal(value, state[name]), name
    assert [name for layer in net.layers for name in layer.weight_names] == list(state)


def test_layouts_of_keras() -> None:
    net = network("mobilenet_v2", lineage="keras")
    state = net.state_dict()
    (kernel,) = net.get_layer("Conv1").get_weights()
    assert np.array_equal(kernel, state["features.0.0.weight"].transpose(2, 3, 1, 0))
    (depthwise,) = net.get_layer("block_1_depthwise").get_weights()
    assert depthwise.shape == (3, 3, net.get_layer("block_1_depthwise").output_shape[1], 1)
    matrix, bias = net.get_layer("predictions").get_weights()
    assert np.array_equal(matrix, state["classifier.1.weight"].T)
    assert np.array_equal(bias, state["classifier.1.bias"])
    names = ("weight", "bias", "running_mean", "running_var")
    norm = zip(names, net.get_layer("bn_Conv1").get_weights(), strict=True)
    assert all(np.array_equal(value, state[f"features.0.1.{name}"]) for name, value in norm)


@pytest.mark.parametrize("lineage", ["torchvision", "keras"])
def test_set_weights_takes_what_get_weights_gives(lineage: str) -> None:
    source, target = (
        network(lineage=lineage),
        mininet.create_model("mobilenet_v3_small", "random:5", width=0.5, num_classes=10, lineage=lineage),
    )
    before = target(X)
    for ours, theirs in zip(target.layers, source.layers, strict=True):
        ours.set_weights(theirs.get_weights())
    assert not np.array_equal(target(X), before)
    for backend in ("plan", "kernels"):
        assert np.array_equal(target(X, backend=backend), source(X, backend=backend))
    assert all(
        np.array_equal(value, source.state_dict()[name]) for name, value in target.state_dict().items()
    )


def test_weights_are_copies() -> None:
    net = network()
    before, layer = net(X), net.get_layer("features.0.0")
    values = layer.get_weights()
    values[0][:] = 0
    assert np.array_equal(net(X), before)
    layer.set_weights(values)
    values[0][:] = 7
    assert not np.any(layer.get_weights()[0])
    assert not np.any(net.trace(X, ["features.0.0"])["features.0.0"])


def test_a_layer_follows_its_network() -> None:
    net = network()
    layer, state = net.get_layer("features.0.0"), net.state_dict()
    state["features.0.0.weight"] += 1
    net.load_state_dict(state)
    assert np.array_equal(layer.get_weights()[0], state["features.0.0.weight"])


def test_weights_that_do_not_fit() -> None:
    net = network(lineage="keras")
    layer, before = net.get_layer("conv_bn"), net.state_dict()
    good = layer.get_weights()
    with pytest.raises(mininet.WeightsError, match=r"'features\.0\.1': expected 4 weights, got 3"):
        layer.set_weights(good[:3])
    with pytest.raises(
        mininet.WeightsError, match=r"expected features\.0\.1\.running_var of shape \(16,\), got \(1,\)"
    ):
        layer.set_weights([value + 1 for value in good[:3]] + [np.ones(1)])
    with pytest.raises(
        mininet.DTypeError, match=r"features\.0\.1\.weight: expected real numbers, got an array of dtype"
    ):
        layer.set_weights(["a", *good[1:]])
    with pytest.raises(mininet.WeightsError, match="expected 0 weights, got 1"):
        net.get_layer("features.0.2").set_weights([np.ones(1)])
    net.get_layer("features.0.2").set_weights([])
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())


def test_get_layer() -> None:
    net = network(lineage="keras")
    assert net.get_layer(index=0).name == "features.0.0"
    assert net.get_layer(index=-1).name == net.names()[-1]
    assert net.get_layer("features.0").name == "features.0.2", "a container is its last node"
    assert net.get_layer("conv").name == "features.0.0", "as Keras calls it"
    assert np.array_equal(net.get_weights("conv")[0], net.get_weights("features.0.0")[0])
    assert net.get_weights("features.0.2") == []
    with pytest.raises(mininet.UnknownNameError, match="unknown node 'nowhere'"):
        net.get_layer("nowhere")
    with pytest.raises(mininet.UnknownNameError, match="unknown node ''"):
        net.get_layer("")
    with pytest.raises(mininet.ArgumentError, match="either the name of a layer or its index"):
        net.get_layer()
    with pytest.raises(mininet.ArgumentError, match="got 9999"):
        net.get_layer(index=9999)


def test_a_network_that_keras_does_not_have_gives_torchs_layouts() -> None:
    net = mininet.create_model("mobilenet_v1", width=0.25, lineage="keras", separable=False)
    assert net.get_weights("features.0.0")[0].shape == (8, 3, 3, 3)


def test_named_parameters() -> None:
    net = network()
    state = net.state_dict()
    learned, measured = dict(net.named_parameters()), dict(net.named_buffers())
    assert {**learned, **measured}.keys() == state.keys()
    assert all(np.array_equal(value, state[name]) for name, value in {**learned, **measured}.items())
    assert {name.rpartition(".")[2] for name in measured} == {"running_mean", "running_var"}
    assert [value.shape for value in net.parameters()] == [value.shape for value in learned.values()]
    with pytest.raises(ValueError, match="read-only"):
        learned["features.0.0.weight"][:] = 0
    assert net.graph.params["features.0.0.weight"].flags.writeable, "a view is locked, not the weight"


@needs("torch", "torchvision")
@pytest.mark.parametrize("arch", ["mobilenet_v2", "mobilenet_v3_large"])
def test_torch_style(arch: str) -> None:
    twin = twins.torchvision_twin(arch, 0.5, 10)
    net, module = twin.build(), twin._modules["float32"]
    theirs = {name: value.detach().numpy() for name, value in module.named_parameters()}
    ours = dict(net.named_parameters())
    assert list(ours) == list(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert [name for name, _ in net.named_buffers()] == [
        name for name, _ in module.named_buffers() if not name.endswith("num_batches_tracked")
    ]


@needs("torch", "keras")
@pytest.mark.parametrize("arch", ["MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"])
def test_keras_style(arch: str) -> None:
    """Layer by layer, both ways, under Keras's own layer names."""
    twin = twins.keras_twin(arch, 0.5, 10)
    model = twin._model(32, 32, "float32")
    twin._assign(model)
    net = twin.build()
    fresh = mininet.create_model(twin.name, "random:1", **twin.create_kwargs)
    layers = [layer for layer in model.layers if layer.weights]
    assert [layer.alias for layer in net.layers if layer.get_weights()] == [layer.name for layer in layers]
    for layer in layers:
        ours = net.get_layer(layer.name)
        assert ours.count_params() == layer.count_params()
        for a, b in zip(ours.get_weights(), layer.get_weights(), strict=True):
            assert a.shape == b.shape
            assert np.array_equal(a, b), layer.name
        fresh.get_layer(layer.name).set_weights(layer.get_weights())
    assert np.array_equal(fresh(X), net(X))
