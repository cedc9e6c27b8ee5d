"""README and docs: all code runs, all figures and links are there, the site builds without warnings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from docs_blocks import ROOT, Block, blocks_of, commands_of, differs, pages

from mininet.cli import COMMANDS

DOCS = ROOT / "docs"
FIGURES = DOCS / "pages" / "figures"
RUNNER = ROOT / "tests" / "docs_blocks.py"
LANGUAGES = {"python", "bash", "output", "c", "text", "toml", "yaml"}
LEAST_PAGES = 14

EVERY_PAGE = pages()
EVERY_BLOCK = [block for page in EVERY_PAGE for block in blocks_of(page)]
C_BLOCKS = [block for block in EVERY_BLOCK if block.language == "c"]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.stem)
def test_code_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    if "photo" in page.read_text(encoding="utf-8"):
        pytest.importorskip("PIL", reason="Pillow, which reads photos, is not installed")
    ran = subprocess.run(
        [sys.executable, str(RUNNER), str(page)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, f"{page.name}:\n{ran.stdout}{ran.stderr}"


def test_there_is_something_to_run() -> None:
    assert len(EVERY_PAGE) >= LEAST_PAGES
    silent = [page.name for page in EVERY_PAGE if not any(b.language == "python" for b in blocks_of(page))]
    assert not silent, f"pages without a block that runs: {silent}"


def test_every_fence_says_what_it_is() -> None:
    strange = [block.where for block in EVERY_BLOCK if block.language not in LANGUAGES]
    assert not strange, f"fences without one of the languages {sorted(LANGUAGES)}: {strange}"


def test_commands_in_bash_blocks_exist() -> None:
    """Also those that are not run; and the files that other commands name."""
    names = {command.name for command in COMMANDS}
    for block in EVERY_BLOCK:
        if block.language != "bash":
            continue
        for arguments in commands_of(block):
            assert arguments[0] in names, f"{block.where}: there is no command 'mininet {arguments[0]}'"
        for path in re.findall(r"(?:tests|docs|csrc|mininet)/[\w./-]+", block.text):
            assert (ROOT / path).exists(), f"{block.where}: there is no {path}"


@pytest.mark.parametrize("block", C_BLOCKS, ids=lambda block: block.where)
@pytest.mark.parametrize("isa", ["", "-DMN_ISA_AVX2 -mavx2 -mfma", "-DMN_ISA_AVX512 -mavx512f -mavx512vl"])
def test_c_blocks_compile_without_warnings(block: Block, isa: str, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    if isa and os.uname().machine not in ("x86_64", "AMD64"):
        pytest.skip("this machine has no such instruction set")
    kernels = ("vec.h", "activation.c", "elementwise.c")
    before = ["#include <math.h>", "#include <string.h>", '#include "mininet.h"']
    before += [f'#include "kernels/{name}"' for name in kernels]
    source = tmp_path / "block.c"
    source.write_text("\n".join([*before, f'#line {block.line} "{block.page.name}"', block.text]))
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", *isa.split()]
    command = [compiler, *flags, f"-I{ROOT / 'csrc'}", "-c", str(source), "-o", str(tmp_path / "block.o")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def test_paths_in_the_text_exist() -> None:
    """`mininet/ops/conv.py` and the like, in running text."""
    for page in EVERY_PAGE:
        text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for path in re.findall(r"`((?:csrc|mininet|tests|docs)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), f"{page.name} speaks of {path}, which does not exist"


def test_figures_on_pages_and_in_the_folder_are_the_same() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in EVERY_PAGE)
    shown = set(re.findall(r"\]\(figures/([\w-]+\.png)\)", text))
    assert shown == {path.name for path in FIGURES.iterdir()}
    assert not re.search(r"!\[\]", text), "a figure without a description"


def test_figures_are_what_the_script_draws(tmp_path: Path) -> None:
    """Made anew, every committed figure comes out alike: same size, and hardly a pixel moved."""
    pytest.importorskip("matplotlib", reason="matplotlib (extra docs) is not installed")
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    script = DOCS / "examples" / "make_figures.py"
    subprocess.run([sys.executable, str(script), "--output", str(tmp_path)], check=True, timeout=180)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FIGURES.iterdir()}
    for path in tmp_path.iterdir():
        new, old = (np.asarray(image.open(p).convert("RGB"), int) for p in (path, FIGURES / path.name))
        assert new.shape == old.shape, f"{path.name}: {old.shape} is committed, {new.shape} is drawn"
        moved = np.abs(new - old).mean()
        assert moved < 4, f"{path.name} is out of date (mean difference {moved:.1f} of 255): {script.name}"


def test_figures_are_small() -> None:
    total = sum(path.stat().st_size for path in FIGURES.iterdir())
    assert total < 1_000_000, f"the figures take {total:,} bytes"


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs (extra docs) is not installed")
    pytest.importorskip("material", reason="mkdocs-material (extra docs) is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(DOCS / "mkdocs.yml")]
    built = subprocess.run(
        [*command, "-d", str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert not re.search("^WARNING", built.stdout + built.stderr, re.M), built.stderr
    assert (tmp_path / "index.html").stat().st_size > 0
    hosts = set(re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?://[^/\"> ]+)", _html(tmp_path)))
    assert not hosts, f"the site loads from {hosts}"


def _html(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.html"))


@pytest.mark.parametrize(
    ("want", "got", "alike"),
    [("a\n", "a\n", True), ("a\n", "b\n", False), ("a ... c\n", "a b c\n", True)],
)
def test_the_comparison_of_outputs_notices_a_difference(want: str, got: str, alike: bool) -> None:
    assert differs(want, got) is not alike
