"""``mininet classify``: what it says about pictures, good and bad."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_harness import SAMPLES, TINY, Runner, assert_refused, write_ppm

import mininet
from mininet.data import sample_images


def test_classify_without_arguments_reads_the_six_digits(cli: Runner) -> None:
    """The README's first command."""
    ran = cli("classify")
    assert (ran.code, ran.err) == (0, "")
    *lines, closing = ran.out.splitlines()
    assert len(lines) == 6 * 6, "six pictures, each with a line of its own and five classes"
    for sample, at in zip(sample_images(), range(0, 36, 6), strict=True):
        name, milliseconds, unit = lines[at].split()
        assert (name, unit) == (sample.name, "ms")
        assert float(milliseconds) > 0
        best = lines[at + 1].split()
        assert best[-1] == sample.stem.removeprefix("digit_"), f"{sample.name} was read as {best[-1]}"
        assert float(best[-3]) > 50
        assert best[-2] == "%"
        assert set(best[0]) <= set("█▏▎▍▌▋▊▉")
    assert closing.startswith("6 images in ")
    assert "images/s" in closing
    assert "mobilenet_v3_small" in closing


@pytest.mark.parametrize("batch", ["1", "4", "100"])
def test_classify_json(cli: Runner, batch: str) -> None:
    """Every batch size gives the same answers, in the order of the files."""
    ran = cli("classify", "--json", "--top", "3", "--batch", batch, "--threads", "1")
    document = json.loads(ran.out)
    assert (ran.code, ran.err, document["errors"]) == (0, "", [])
    assert document["model"]["architecture"] == "mobilenet_v3_small"
    assert document["model"]["input_shape"] == [1, 1, 32, 32]
    assert [Path(image["file"]).name for image in document["images"]] == [
        path.name for path in sample_images()
    ]
    net = mininet.create_model(weights="digits")
    for image in document["images"]:
        best = image["top"]
        assert image["seconds"] > 0
        assert len(best) == 3
        assert best[0]["label"] == str(best[0]["index"]) == Path(image["file"]).stem[-1]
        expected = net.classify(image["file"], top=3)
        assert [each["label"] for each in best] == [label for label, _ in expected]
        np.testing.assert_allclose(
            [each["probability"] for each in best], [each for _, each in expected], rtol=1e-4, atol=1e-7
        )


def test_classify_files_and_folders(cli: Runner) -> None:
    folder = os.path.dirname(SAMPLES[0])
    ran = cli("classify", SAMPLES[2], folder, "--top", "1", "--weights", "digits")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"{SAMPLES[2]}  ")
    assert lines[-1].startswith("7 images ")


def test_classify_says_when_it_falls_back_on_the_digits(cli: Runner) -> None:
    ran = cli("classify", SAMPLES[0])
    assert ran.code == 0
    assert ran.err.count("\n") == 1
    assert "--weights" in ran.err


def test_classify_mixed_sizes_without_resizing(cli: Runner, tmp_path: Path) -> None:
    """Pictures of other sizes are cropped or padded; Pillow is not needed."""
    pictures = [write_ppm(tmp_path / f"{n}.ppm", (n, 2 * n)) for n in (30, 64, 65)]
    ran = cli("classify", *pictures, *TINY, "--no-resize", "--resolution", "48", "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert len(document["images"]) == 3
    assert document["model"]["input_shape"] == [1, 3, 48, 48]
    assert [len(image["top"]) for image in document["images"]] == [4, 4, 4], "there are just four classes"


def test_wrong_channel_count_is_one_error(cli: Runner, tmp_path: Path) -> None:
    picture = write_ppm(tmp_path / "a.ppm")
    assert_refused(cli("classify", picture, picture, *TINY, "--in-channels", "2"), "3 channels", "takes 2")


BROKEN = {
    "text.jpg": b"this is no picture\n",
    "empty.png": b"",
    "cut.pgm": b"P5 32 32 255\n" + bytes(100),
    "header.pgm": b"P5 thirty-two",
}


@pytest.mark.parametrize("name", [*BROKEN, "missing.png"])
def test_a_broken_picture_among_good_ones(cli: Runner, tmp_path: Path, name: str) -> None:
    """The others are still classified, the error is one line, the exit code is 1."""
    broken = tmp_path / name
    if name in BROKEN:
        broken.write_bytes(BROKEN[name])
    args = ["classify", SAMPLES[0], broken, SAMPLES[1], "--weights", "digits", "--top", "1"]
    ran = cli(*args)
    assert ran.code == 1, ran.err
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("mininet: error: ")
    assert name in ran.err
    assert ran.out.splitlines()[-1].startswith("2 images in ")
    assert "1 failed" in ran.out
    document = json.loads(cli(*args, "--json").out)
    assert [image["file"] for image in document["images"]] == SAMPLES[:2]
    assert [error["file"] for error in document["errors"]] == [str(broken)]
    assert_refused(cli("classify", broken, "--weights", "digits"), name)


def test_folder_without_pictures(cli: Runner, tmp_path: Path) -> None:
    assert_refused(cli("classify", tmp_path, "--weights", "digits"), str(tmp_path), "no picture")


def test_json_has_no_nan(cli: Runner, tmp_path: Path) -> None:
    """NaN probabilities, which JSON lacks, become null."""
    net = mininet.create_model(weights="digits")
    state = net.state_dict()
    state["classifier.3.bias"][:] = np.nan
    net.load_state_dict(state)
    net.save(tmp_path / "nan.safetensors")
    args = ["classify", SAMPLES[0], "--weights", str(tmp_path / "nan.safetensors")]
    document = json.loads(cli(*args, "--json").out, parse_constant=pytest.fail)
    assert {each["probability"] for each in document["images"][0]["top"]} == {None}
    ran = cli(*args)
    assert ran.code == 0
    assert "nan %" in ran.out


def test_digits_need_no_pillow(cli: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Pillow the samples are classified; a photo gets the hint how to install it, once."""
    for module in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert cli("classify").code == 0
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff\xe0 and so on")
    assert_refused(cli("classify", photo, photo, "--weights", "digits"), "mininet-mobilenet[images]")


def test_strange_file_names_cannot_upset_a_terminal(cli: Runner, tmp_path: Path) -> None:
    """Line breaks, escape sequences and undecodable bytes in a file's name come out escaped."""
    strange = tmp_path / "a\nb\x1b[31m\udcff.pgm"
    try:
        strange.write_bytes(Path(SAMPLES[3]).read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("this system has no such file names")
    ran = cli("classify", strange, "--weights", "digits", "--top", "1")
    assert ran.code == 0
    assert ran.out.splitlines()[0].startswith(str(tmp_path / r"a\nb\x1b[31m\udcff.pgm") + "  ")
    assert json.loads(cli("classify", strange, "--weights", "digits", "--json").out)["images"][0][
        "file"
    ] == str(strange)
    strange.write_bytes(b"no picture")
    assert_refused(cli("classify", strange, "--weights", "digits"), r"a\nb\x1b[31m\udcff.pgm")
