"""Write the golden outputs that ``test_golden.py`` compares with: ``python make_golden.py [--check]``.

Each file holds the float64 logits of a reference network (rounded to float32) and, as JSON, all that is
needed to repeat them: the network's name and arguments, every parameter's name and shape, the seeds
of ``seeded.py`` for weights and images, the rms error of the framework's own float32 run, and the
versions of everything that took part. The weights follow from names, seed and one scale per batch norm.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import pathlib
import platform
import sys
from collections.abc import Callable

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # the test helpers lie one folder up

import seeded  # noqa: E402
import twins  # noqa: E402
from tolerances import rms  # noqa: E402

WEIGHT_SEED = 20
IMAGE_SEED = 21
DISTRIBUTIONS = ("torch", "torchvision", "timm", "keras", "numpy")
Shape = tuple[int, int, int, int]


def _torchvision(arch: str, width: float) -> Callable[[], twins.Twin]:
    return lambda: twins.torchvision_twin(arch, width, seed=WEIGHT_SEED)


def _timm(arch: str) -> Callable[[], twins.Twin]:
    return lambda: twins.timm_twin(arch, seed=WEIGHT_SEED)


def _keras(arch: str, width: float, minimalistic: bool = False) -> Callable[[], twins.Twin]:
    return lambda: twins.keras_twin(arch, width, minimalistic=minimalistic, seed=WEIGHT_SEED)


#: File name to (how to make the twin, image shape).
GOLDEN: dict[str, tuple[Callable[[], twins.Twin], Shape]] = {
    "torchvision_v2_035": (_torchvision("mobilenet_v2", 0.35), (2, 3, 45, 37)),
    "torchvision_v2_100": (_torchvision("mobilenet_v2", 1.0), (1, 3, 28, 28)),
    "torchvision_v3_large_050": (_torchvision("mobilenet_v3_large", 0.5), (2, 3, 33, 50)),
    "torchvision_v3_small_050": (_torchvision("mobilenet_v3_small", 0.5), (4, 3, 45, 61)),
    "torchvision_v3_small_100": (_torchvision("mobilenet_v3_small", 1.0), (1, 3, 28, 28)),
    "timm_mobilenetv1_100": (_timm("mobilenetv1_100"), (2, 3, 33, 40)),
    "timm_mobilenetv1_100h": (_timm("mobilenetv1_100h"), (1, 3, 32, 32)),
    "timm_mobilenetv2_110d": (_timm("mobilenetv2_110d"), (1, 3, 32, 35)),
    "timm_mobilenetv3_small_050": (_timm("mobilenetv3_small_050"), (1, 3, 45, 33)),
    "timm_mobilenetv3_rw": (_timm("mobilenetv3_rw"), (2, 3, 32, 47)),
    "timm_tf_mobilenetv3_small_075": (_timm("tf_mobilenetv3_small_075"), (2, 3, 33, 46)),
    "keras_v1_025": (_keras("MobileNet", 0.25), (1, 3, 33, 47)),
    "keras_v2_035": (_keras("MobileNetV2", 0.35), (1, 3, 33, 46)),
    "keras_v3_small_075": (_keras("MobileNetV3Small", 0.75), (2, 3, 35, 32)),
    "keras_v3_large_075": (_keras("MobileNetV3Large", 0.75), (2, 3, 47, 33)),
    "keras_v3_small_minimalistic": (_keras("MobileNetV3Small", 1.0, minimalistic=True), (1, 3, 33, 47)),
}


def make(twin: twins.Twin, shape: Shape) -> dict[str, np.ndarray]:
    """The arrays of one golden file: the logits, and the metadata as UTF-8 JSON."""
    scales = _scales(twin.state())
    parameters = {key: value.shape for key, value in twin.state().items()}
    twin.load(seeded.state(parameters, WEIGHT_SEED, scales))
    x = seeded.images(IMAGE_SEED, shape)
    (y32, _), (y64, nodes) = twin.run(x, "float32"), twin.run(x, "float64")
    levels = [rms(value) for value in nodes.values()]
    meta = {
        "name": twin.name,
        "create_kwargs": twin.create_kwargs,
        "image_shape": shape,
        "image_seed": IMAGE_SEED,
        "weight_seed": WEIGHT_SEED,
        "parameters": parameters,
        "variance_scales": scales,
        "rms_float32_error": rms(y32.astype(np.float64) - y64),
        "activation_rms_range": [min(levels), max(levels)],
        "script": pathlib.Path(__file__).name,
        "versions": {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
        | {"python": platform.python_version()},
    }
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    return {"logits": y64.astype(np.float32), "meta": text}


def _scales(calibrated: twins.Tensors) -> dict[str, float]:
    """One number per batch norm: the mean square of what enters it in the calibrated twin.

    It stands for the calibrated mean and variance of every channel, which would fill a file.
    """
    parts = {seeded.split(key): value for key, value in calibrated.items()}
    squares = {
        layer: value + parts[layer, kind.replace("variance", "mean").replace("var", "mean")] ** 2
        for (layer, kind), value in parts.items()
        if kind in seeded.VARIANCES
    }
    return {layer: float(f"{value.mean():.3g}") for layer, value in squares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the golden outputs of the parity tests.")
    parser.add_argument("--check", action="store_true", help="compare with the files, write nothing")
    check = parser.parse_args().check
    folder = HERE / "golden"
    folder.mkdir(exist_ok=True)
    for name, (twin, shape) in GOLDEN.items():
        path = folder / f"{name}.npz"
        arrays = make(twin(), shape)
        if check:
            with np.load(path) as committed:
                difference = np.abs(committed["logits"] - arrays["logits"]).max()
            print(f"{name}: largest difference {difference:.1e}")
        else:
            np.savez_compressed(path, **arrays)
            meta = json.loads(arrays["meta"].tobytes())
            low, high = meta["activation_rms_range"]
            print(f"{name}: {path.stat().st_size} bytes, rms of activations {low:.2g} to {high:.2g}")


if __name__ == "__main__":
    main()
