"""The rule of `conftest.py` under which ``.ci/run`` runs: nothing is skipped for want of an installation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULES = {
    "test_missing_module.py": """
import pytest
pytest.importorskip("no_such_module_anywhere")
def test_never(): pass
""",
    "test_reasons.py": """
import pytest
def test_browser(): pytest.skip("no Chromium with its driver")
@pytest.mark.skipif(True, reason="torch is not installed")
def test_mark(): pass
@pytest.mark.skipif(True, reason="this system has no fork")
def test_system(): pass
@pytest.mark.xfail
def test_expected(): assert False
def test_assets(assets): assert (assets / "labels.csv").exists()
""",
}


@pytest.mark.parametrize(
    ("no_skips", "named", "outcome"),
    [
        (False, "", "1 passed, 4 skipped, 1 xfailed"),
        (True, "", "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors"),
        (True, "nowhere", "1 failed, 1 skipped, 1 xfailed, 3 errors"),
    ],
)
def test_what_may_be_skipped(no_skips: bool, named: str, outcome: str, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout" / "tests"
    checkout.mkdir(parents=True)
    (tmp_path / "shared" / "assets").mkdir(parents=True)
    (tmp_path / "shared" / "assets" / "labels.csv").touch()
    shutil.copy(Path(__file__).with_name("conftest.py"), checkout)
    for name, text in MODULES.items():
        (checkout / name).write_text(text)
    ours = ("MININET_NO_SKIPS", "MININET_ASSETS", "PYTEST_ADDOPTS")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment |= {"MININET_NO_SKIPS": "1"} if no_skips else {}
    environment |= {"MININET_ASSETS": str(tmp_path / named)} if named else {}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ran = subprocess.run(
        [*command, "--continue-on-collection-errors", "-c", os.devnull, "--rootdir", str(checkout), checkout],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stdout.splitlines()[-1].startswith(f"{outcome} in "), ran.stdout + ran.stderr
    assert ran.returncode == int(no_skips)
