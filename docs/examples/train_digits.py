"""Train the network that ships inside mininet, and cut the six sample images that ship with it.

A MobileNetV3-Small with one input channel and ten classes learns scikit-learn's handwritten digits:
1797 pictures of 8x8 pixels, white on black, made from the test part of the UCI "Optical Recognition of
Handwritten Digits" set. One quarter of each digit is held out and never looked at in training; no choice
(epochs, width, augmentation) was made on it. Both parts come from the same thirteen writers, so
the held-out accuracy says how well the network reads *their* other digits, not those of a new hand.

Run it in an environment that has mininet's ``parity`` extra::

    python docs/examples/train_digits.py --output mininet/data

It writes ``digits.safetensors`` and ``digits/digit_<label>.pgm`` below the output folder. The same seed on
the same machine gives the same weights; another processor may round a sum differently, and the
weights and an image or two of the accuracy then differ.

The data functions need only NumPy and scikit-learn, so that a test can rebuild the held-out part without
torch, which is imported inside the functions that train.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "mobilenet_v3_small"
WIDTH = 0.4
CLASSES = 10
UPSCALE = 4  # 8x8 -> 32x32: the network halves the size five times, so 32 is the least that leaves one pixel
DARKEST_TO_BRIGHTEST = 16  # scikit-learn's pixels count the set dots of a 4x4 cell: 0..16
SPLIT_SEED = 2017  # of the split alone, so that --seed does not move images between the two parts
HELD_OUT_PART = 4  # one image in four
SAMPLE_DIGITS = (0, 2, 3, 5, 7, 9)
BATCH = 64
PEAK_RATE = 4e-3
LABEL_SMOOTHING = 0.05

_KEPT_ALIVE: list[Any] = []  # a torch.library.Library takes its declarations away when it is collected

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Digits(NamedTuple):
    """The two parts of the data: images (N, 32, 32) uint8, labels (N,) int64."""

    train_images: Images
    train_labels: Labels
    held_out_images: Images
    held_out_labels: Labels


# ---------------------------------------------------------------------------- data: NumPy and scikit-learn


def upscale(small: NDArray[Any]) -> Images:
    """Enlarge pictures fourfold, bilinearly with half-pixel centres, in integers only.

    Parameters
    ----------
    small : array (N, H, W), whole numbers 0..16

    Returns
    -------
    array (N, 4H, 4W) uint8, 0..255
        Output pixel ``i`` lies at ``(i + 1/2) / 4 - 1/2`` of the input, which is an odd number of eighths
        between two pixels; beyond the border the edge pixel repeats. As every weight is a whole number of
        eighths, the sums are exact and every machine gives the same bytes.
    """
    values = np.asarray(small).astype(np.int64)
    rows, columns = _eighths(values.shape[1]), _eighths(values.shape[2])
    enlarged = rows @ values @ columns.T  # in 64ths of the input's unit
    brightest = 64 * DARKEST_TO_BRIGHTEST
    return ((enlarged * 255 + brightest // 2) // brightest).astype(np.uint8)


def _eighths(size: int) -> NDArray[np.int64]:
    """Interpolation matrix (4 * size, size) whose rows hold weights in eighths."""
    matrix = np.zeros((UPSCALE * size, size), np.int64)
    for i in range(UPSCALE * size):
        position = 2 * i + 1 - UPSCALE  # in eighths of an input pixel
        left, weight = divmod(position, 2 * UPSCALE)
        matrix[i, max(left, 0)] += 2 * UPSCALE - weight
        matrix[i, min(left + 1, size - 1)] += weight
    return matrix


def split(labels: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return indices (train, held out), both ascending; a quarter of each digit, rounded, is held out.

    ``RandomState`` and not the newer ``Generator``: NumPy promises that its stream never changes.
    """
    random = np.random.RandomState(SPLIT_SEED)
    held_out = np.zeros(len(labels), bool)
    for digit in range(CLASSES):
        members = random.permutation(np.flatnonzero(labels == digit))
        held_out[members[: round(len(members) / HELD_OUT_PART)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def load_data() -> Digits:
    """Load scikit-learn's digits (no download: they come with it), split and enlarge them."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    images = upscale(small.reshape(-1, 8, 8))
    labels = np.asarray(labels, np.int64)
    train, held_out = split(labels)
    return Digits(images[train], labels[train], images[held_out], labels[held_out])


def normalise(images: Images) -> NDArray[np.float32]:
    """Apply the ``digits`` preprocessing: (N, 32, 32) uint8 -> (N, 1, 32, 32) float32 in -1..1."""
    return (images.astype(np.float32) / np.float32(127.5) - np.float32(1))[:, np.newaxis]


def choose_samples(data: Digits) -> dict[int, Images]:
    """Take a typical held-out image of each of six digits: the nearest to that digit's mean in training.

    They show a user what the network expects and say nothing about its accuracy, which is counted over
    the whole held-out part. The rule asks the data alone. (The first held-out 5, which a
    simpler rule would take, is one that the shipped network misreads.)
    """
    samples = {}
    for digit in SAMPLE_DIGITS:
        mean = data.train_images[data.train_labels == digit].mean(axis=0)
        candidates = data.held_out_images[data.held_out_labels == digit]
        samples[digit] = candidates[((candidates - mean) ** 2).sum(axis=(1, 2)).argmin()]
    return samples


def write_pgm(path: Path, image: Images) -> None:
    """Write one (H, W) uint8 image as binary PGM, which anything can read without a library."""
    height, width = image.shape
    path.write_bytes(b"P5\n%d %d\n255\n" % (width, height) + image.tobytes())


# ---------------------------------------------------------------------------- training: torch


def build() -> torch.nn.Module:
    """Build torchvision's MobileNetV3-Small, thinned to ``WIDTH``, with a one-channel first convolution."""
    torchvision = _import_torchvision()
    from torch import nn

    network: nn.Module = torchvision.models.mobilenet_v3_small(width_mult=WIDTH, num_classes=CLASSES)
    stem = network.get_submodule("features.0")
    assert isinstance(stem, nn.Sequential) and isinstance(stem[0], nn.Conv2d)
    stem[0] = nn.Conv2d(1, stem[0].out_channels, kernel_size=3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(stem[0].weight, mode="fan_out")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # torchvision's 0.01 is for runs of 100,000 steps; this one has some 2,000
    return network


def _import_torchvision() -> Any:
    """Import torchvision also where its compiled operators do not load beside this torch.

    It then stops at import, on registering shape rules for ``nms``, an operator that nobody declared. To
    declare it is enough: no classifier calls it. Elsewhere torchvision's own operators are left alone.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        namespace: Any = torch.library.Library  # its methods carry no type hints
        library = namespace("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT_ALIVE.append(library)
        import torchvision
    return torchvision


def augment(images: torch.Tensor) -> torch.Tensor:
    """Turn, shear, stretch, shift, fade and blemish each image of a batch (N, 1, H, W) in 0..1 anew."""
    import torch
    from torch.nn import functional

    count = len(images)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.empty(count).uniform_(low, high)

    angle, shear = uniform(-0.26, 0.26), uniform(-0.15, 0.15)  # radians (15 degrees), ratio
    wide, high = uniform(0.85, 1.2), uniform(0.85, 1.2)
    sine, cosine = torch.sin(angle), torch.cos(angle)
    rows = [
        torch.stack([wide * cosine, wide * (shear - sine), uniform(-0.15, 0.15)], 1),  # half widths
        torch.stack([high * sine, high * cosine, uniform(-0.15, 0.15)], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    warped = functional.grid_sample(images, grid, align_corners=False)
    faded = warped * uniform(0.6, 1.0)[:, None, None, None]
    blemished: torch.Tensor = (faded + 0.06 * torch.randn_like(faded)).clamp(0, 1)
    return blemished


def train(images: Images, labels: Labels, epochs: int, seed: int) -> torch.nn.Module:
    """Train for a fixed number of epochs and return the network as it is after the last one.

    AdamW, its rate rising over a twentieth of the steps and falling to zero along a cosine: no
    epoch is chosen, so nothing but the training part is looked at.
    """
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)  # sums in one order
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    network = build().train()
    pixels = torch.from_numpy(images[:, np.newaxis].astype(np.float32) / 255)
    targets = torch.from_numpy(labels)
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim == 1]  # batch norms and biases are not decayed
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE)
    steps = epochs * (len(pixels) // BATCH)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / (0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for epoch in range(epochs):
        total, start = 0.0, time.perf_counter()
        batches = torch.randperm(len(pixels))[: len(pixels) // BATCH * BATCH].view(-1, BATCH)
        for batch in batches:
            optimizer.zero_grad()
            logits = network(augment(pixels[batch]) * 2 - 1)
            loss = functional.cross_entropy(logits, targets[batch], label_smoothing=LABEL_SMOOTHING)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1:3d}/{epochs}  loss {total / len(batches):.4f}  {seconds:.1f} s", flush=True)
    return network.eval()


def count_errors(network: torch.nn.Module, images: Images, labels: Labels) -> int:
    """How many of the images the network gives another label than their own."""
    import torch

    with torch.inference_mode():
        guesses = network(torch.from_numpy(normalise(images))).argmax(1).numpy()
    return int((guesses != labels).sum())


# ---------------------------------------------------------------------------- the file


def shrink(network: torch.nn.Module) -> dict[str, NDArray[Any]]:
    """Return the state as NumPy arrays: weights in float16, all vectors in float32.

    Vectors (biases, all of a batch norm) are 5 % of the numbers, and a running variance may lie
    below what float16 can hold. ``num_batches_tracked`` serves only training and is left out.
    """
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items() if tensor.ndim > 0}
    return {name: value.astype(np.float16 if value.ndim > 1 else np.float32) for name, value in state.items()}


def restore(arrays: Mapping[str, NDArray[Any]]) -> torch.nn.Module:
    """Build a fresh network that holds a file's arrays, widened to float32."""
    import torch

    network = build()
    state = {name: torch.from_numpy(value.astype(np.float32)) for name, value in arrays.items()}
    report = network.load_state_dict(state, strict=False)
    absent = [name for name in report.missing_keys if not name.endswith("num_batches_tracked")]
    assert not absent and not report.unexpected_keys, (absent, report.unexpected_keys)
    return network.eval()


def describe(accuracy: float, epochs: int, seed: int) -> dict[str, str]:
    """Return the metadata: all that ``mininet.create_model(weights=path)`` must know, and the accuracy."""
    return {
        "format": "mininet",
        "format_version": "1",
        "architecture": ARCHITECTURE,
        "width": str(WIDTH),
        "num_classes": str(CLASSES),
        "in_channels": "1",
        "lineage": "torchvision",
        "preprocessing": "digits",
        "labels": "digits",
        "source": f"docs/examples/train_digits.py, seed {seed}, {epochs} epochs",
        "held_out_accuracy": f"{accuracy:.6f}",
    }


def main() -> None:
    """Train, measure before and after rounding to float16, write the weights and the samples."""
    parser = argparse.ArgumentParser(description="Train the digits network that ships inside mininet.")
    parser.add_argument("--output", type=Path, default=Path("mininet/data"), help="folder (%(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="passes over the data (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and augmentation (%(default)s)")
    options = parser.parse_args()
    from safetensors.numpy import load_file, save

    data = load_data()
    print(f"{len(data.train_labels)} images to train on, {len(data.held_out_labels)} held out")
    start = time.perf_counter()
    network = train(data.train_images, data.train_labels, options.epochs, options.seed)
    print(f"trained in {time.perf_counter() - start:.0f} s")

    arrays = shrink(network)
    before = count_errors(network, data.held_out_images, data.held_out_labels)
    after = count_errors(restore(arrays), data.held_out_images, data.held_out_labels)
    total = len(data.held_out_labels)
    (options.output / "digits").mkdir(parents=True, exist_ok=True)
    path = options.output / "digits.safetensors"
    path.write_bytes(save(arrays, describe(1 - after / total, options.epochs, options.seed)))
    for digit, image in choose_samples(data).items():
        write_pgm(options.output / "digits" / f"digit_{digit}.pgm", image)

    written = count_errors(restore(load_file(path)), data.held_out_images, data.held_out_labels)
    print(f"{path}: {path.stat().st_size} bytes")
    for kind, errors in (("float32", before), ("float16", after), ("as written", written)):
        print(f"held-out accuracy, {kind}: {1 - errors / total:.4%} ({errors} errors of {total})")


if __name__ == "__main__":
    main()
