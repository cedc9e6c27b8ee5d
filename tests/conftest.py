"""What every test shares: where the real assets lie, and how hypothesis searches."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

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

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test outside of the checkout: a process that it starts then imports the installed mininet.

    In the checkout it would find the sources first, which have no compiled module beside them.
    """
    monkeypatch.chdir(tmp_path_factory.getbasetemp())


#: How the reason of a skip begins that no installation would change.
UNAVOIDABLE = ("this machine", "this system")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real weights and photos, or skip the test with the reason."""
    named = os.environ.get("MININET_ASSETS")
    path = Path(named or Path(__file__).resolve().parents[2] / "shared" / "assets")
    if not path.is_dir():
        if named:
            pytest.fail(f"MININET_ASSETS names {path}, where there is no folder")
        pytest.skip(f"this machine has no assets at {path}; set MININET_ASSETS to their folder")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See `_judged`."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """See `_judged`; here a whole module is skipped."""
    return _judged((yield))


def _judged(report: Report) -> Report:
    """With ``MININET_NO_SKIPS`` set, a skipped test has failed: everything that it may need is installed.

    Only what the machine or its system does not have, an instruction set or the assets, is let pass.
    """
    if os.environ.get("MININET_NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail"):
        assert isinstance(report.longrepr, tuple), report.longrepr
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(UNAVOIDABLE):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid} is skipped, but MININET_NO_SKIPS is set: {reason}"
    return report
