"""Networks without their head against what torchvision, timm and Keras call features."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import seeded
import twins
from parity_driver import Case, check, needs, parameters
from tolerances import assert_parity

import mininet

POOLS = ("avg", "max", "none")
KERAS = (("MobileNet", 0.5), ("MobileNetV2", 0.35), ("MobileNetV3Small", 0.75), ("MobileNetV3Large", 0.35))
TORCHVISION = (("mobilenet_v2", 0.35), ("mobilenet_v3_large", 0.5), ("mobilenet_v3_small", 1.0))

SLOW = ("MobileNet", "MobileNetV3Large", "mobilenet_v3_large")
TIMM = (
    *("mobilenetv1_100", "mobilenetv1_100h", "mobilenetv2_050"),
    *("mobilenetv3_small_050", "mobilenetv3_rw", "tf_mobilenetv3_small_075"),
)


def _cases(framework: str, archs: tuple[tuple[str, float], ...]) -> list[Case]:
    """Building a twin takes most of the time: some networks are left for patient runs."""
    shape = (4, 3, 45, 33)
    return [
        Case(framework, arch, shape, width, 0, pool=pool, slow=arch in SLOW)
        for arch, width in archs
        for pool in POOLS
    ]


@needs("torch", "keras")
@pytest.mark.parametrize(("case", "part", "backend"), parameters(_cases("keras", KERAS)))
def test_include_top_false_of_keras(case: Case, part: str, backend: str) -> None:
    """Keras's own weights file without a top loads, too: the twin's state has no classifier in it."""
    check(case, part, backend)


@needs("torch", "torchvision")
@pytest.mark.parametrize(("case", "part", "backend"), parameters(_cases("torchvision", TORCHVISION)))
def test_features_of_torchvision(case: Case, part: str, backend: str) -> None:
    check(case, part, backend)


@needs("torch", "timm")
@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("pool", ["avg", "max"])
def test_timm_without_classes(name: str, pool: str) -> None:
    """timm's V3 keeps its first classifier layer then, which is the node ``classifier.1`` of ours."""
    import timm
    import torch

    twin = twins.timm_twin(name)
    module = timm.create_model(name, pretrained=False, num_classes=0, global_pool=pool).eval()
    state = {key: torch.from_numpy(np.asarray(value)) for key, value in twin.state().items()}
    missing, unused = module.load_state_dict(state, strict=False)
    assert (missing, unused) == ([], ["classifier.weight", "classifier.bias"])
    x = seeded.images(1, (4, 3, 45, 33))
    images = [torch.from_numpy(x), torch.from_numpy(x).double()]
    modules = [module, copy.deepcopy(module).double()]
    with torch.no_grad():
        maps = [each.forward_features(image).numpy() for each, image in zip(modules, images, strict=True)]
        vectors = [each(image).numpy() for each, image in zip(modules, images, strict=True)]

    net = mininet.create_model(f"timm/{name}", twin.state(), pool=pool)
    assert_parity(net.without_head(None)(x), *maps, f"{name} forward_features")
    is_v3 = net.config.family == "v3"
    ours = net.features(x, at="classifier.1") if is_v3 else net.without_head(pool)(x)
    assert_parity(ours, *vectors, f"{name} num_classes=0, pool {pool}")
