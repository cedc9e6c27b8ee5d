"""What every test shares: where the real assets lie, and how hypothesis searches."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# CI repeats the same examples run after run; at a desk every run searches somewhere new.
settings.register_profile(
    "mininet",
    max_examples=40,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("mininet")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test outside of the checkout: a process that it starts then imports the installed mininet.

    In the checkout it would find the sources first, which have no compiled module beside them.
    """
    monkeypatch.chdir(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real weights and photos, or skip the test with the reason."""
    default = Path(__file__).resolve().parents[2] / "shared" / "assets"
    path = Path(os.environ.get("MININET_ASSETS") or default)
    if not path.is_dir():
        pytest.skip(f"no assets at {path}; set MININET_ASSETS to their folder")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``MININET_REQUIRE_ASSETS`` set, a test of the real assets that is skipped has failed."""
    report = yield
    wants = "assets" in getattr(item, "fixturenames", ())
    if wants and report.skipped and os.environ.get("MININET_REQUIRE_ASSETS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but MININET_REQUIRE_ASSETS is set: {call.excinfo and call.excinfo.value}"
    return report
