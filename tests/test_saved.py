"""What mininet saved: files of every format version keep loading, and those of a newer one are refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import mininet
from mininet.cli import main
from mininet.errors import WeightsError
from mininet.metadata import FORMAT_VERSION
from mininet.weights import read_weights
from mininet.weights.safetensors import write

SAVED = Path(__file__).parent / "data" / "saved"
FILES = sorted(SAVED.glob("format-*/*.safetensors"))
sys.path.append(str(SAVED))
import make_saved  # noqa: E402

#: What instruction sets and orders of summation may change: `tests/reproducible.py` prints what they do.
SHARE_OF_LARGEST = 1e-5


def test_every_version_has_files() -> None:
    found = {path.parent.name for path in FILES}
    assert found == {f"format-{version}" for version in range(1, FORMAT_VERSION + 1)}
    assert len(FILES) >= len(make_saved.CASES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_saved_network_keeps_loading(path: Path) -> None:
    expected = np.load(path.with_name("logits.npz"))[path.stem]
    net = mininet.create_model(weights=path)
    for backend in ("plan", "kernels", "reference"):
        logits = net(make_saved.picture(net.config.in_channels), backend)
        worst = np.abs(logits - expected).max() / np.abs(expected).max()
        assert worst < SHARE_OF_LARGEST, f"{backend}: {worst:.1e} of the largest logit"


def test_what_the_files_say_is_understood() -> None:
    """Labels, preprocessing and options come back, not only the weights."""
    first = SAVED / "format-1"
    cats = mininet.create_model(weights=first / "v1-keras.safetensors")
    assert (cats.labels, cats.config.lineage, cats.config.shallow) == (("cat", "dog", "emu"), "keras", True)
    gray = mininet.create_model(weights=first / "v3-small.safetensors")
    assert gray.preset == make_saved.CASES["v3-small"]["preprocessing"]
    assert gray.config.clips == make_saved.CASES["v3-small"]["clips"]
    assert not mininet.create_model(weights=first / "v3-timm.safetensors").config.batch_norm


@pytest.mark.parametrize("case", make_saved.CASES)
def test_a_network_is_saved_as_this_version_does(case: str, tmp_path: Path) -> None:
    """To the byte: a change of what is saved needs a new version, or no reader can tell."""
    path = SAVED / f"format-{FORMAT_VERSION}" / f"{case}.safetensors"
    mininet.create_model(weights=path).save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A network as the next version of mininet might save it."""
    path = tmp_path / "newer.safetensors"
    weights = read_weights(FILES[0])
    write(path, weights, {**weights.metadata, "format_version": str(FORMAT_VERSION + 1)})
    return path


def test_a_newer_file_is_refused_with_the_reason(newer: Path) -> None:
    weights = read_weights(newer)  # the tensors themselves are no secret
    for source in (newer, weights):
        for name in (None, "mobilenet_v1"):
            with pytest.raises(WeightsError, match=f"version {FORMAT_VERSION + 1}.*up to {FORMAT_VERSION}"):
                mininet.create_model(name, weights=source)


@pytest.mark.parametrize(
    "command",
    [
        ["classify", "--weights", "NEWER", str(mininet.sample_images()[0])],
        ["convert", "NEWER", "out.safetensors"],
        ["summary", "--weights", "NEWER"],
        ["inspect", "--weights", "NEWER", str(mininet.sample_images()[0])],
    ],
    ids=lambda command: command[0],
)
def test_the_command_line_refuses_a_newer_file(
    command: list[str], newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(newer) if word == "NEWER" else word for word in command]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and "a newer mininet wrote the file" in err


@pytest.mark.parametrize("version", ["", "0", "-1", "1.5", "one", "9" * 5000])
def test_no_version(version: str) -> None:
    weights = read_weights(FILES[0])
    weights.metadata["format_version"] = version
    with pytest.raises(WeightsError, match="expected a format version of 1 or more"):
        mininet.create_model(weights=weights)
