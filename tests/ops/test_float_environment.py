"""The caller's floating-point environment: the same after a call, and without influence on a result."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import mininet
from mininet.network import Network

X86 = platform.machine() in ("x86_64", "AMD64")
LIBM = ctypes.CDLL(ctypes.util.find_library("m"))

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux", reason="what the bytes of an environment mean is known here for glibc"
)

#: Bytes of glibc's fenv_t that hold state: of x87 the control and status words (the rest is where its last
#: instruction lay), then MXCSR; on arm64 FPCR and FPSR, which are all there is.
STATE = (slice(0, 2), slice(4, 6), slice(28, 32)) if X86 else (slice(0, 8),)
MXCSR = 28
FLUSH_DENORMALS = 0x8040  # MXCSR's FTZ and DAZ
TRAPS = 0x0680  # its masks of invalid, overflow and underflow, in which a bit means no trap
FLAGS = 0x003F
ROUNDINGS = (0x400, 0x800, 0xC00) if X86 else (1 << 22, 2 << 22, 3 << 22)


def _environment() -> ctypes.Array[ctypes.c_char]:
    held = ctypes.create_string_buffer(64)
    assert LIBM.fegetenv(held) == 0
    return held


def _state(environment: ctypes.Array[ctypes.c_char]) -> bytes:
    return b"".join(environment.raw[part] for part in STATE)


def _with_mxcsr(change: Callable[[int], int]) -> None:
    environment = _environment()
    mxcsr = int.from_bytes(environment.raw[MXCSR : MXCSR + 4], "little")
    environment[MXCSR : MXCSR + 4] = change(mxcsr).to_bytes(4, "little")
    LIBM.fesetenv(environment)


def _needs_mxcsr(change: str) -> bool:
    return change in ("denormals flushed", "traps on")


CHANGES: dict[str, Callable[[], object]] = {
    "as it is": lambda: None,
    **{f"rounding {mode:#x}": lambda mode=mode: LIBM.fesetround(mode) for mode in ROUNDINGS},
    "flags raised": lambda: LIBM.feraiseexcept(FLAGS if X86 else 0x1F),
    "flags clear": lambda: LIBM.feclearexcept(FLAGS if X86 else 0x1F),
    "denormals flushed": lambda: _with_mxcsr(lambda bits: bits | FLUSH_DENORMALS),
    "traps on": lambda: _with_mxcsr(lambda bits: bits & ~TRAPS & ~FLAGS),
}


@pytest.fixture(scope="module")
def net() -> Network:
    return mininet.create_model("mobilenet_v3_small", width=0.35, num_classes=10, weights="random:1")


@pytest.fixture
def environment() -> Iterator[None]:
    """Put the environment of this thread, and the number of threads, back."""
    before, threads = _environment(), mininet.get_num_threads()
    yield
    LIBM.fesetenv(before)
    mininet.set_num_threads(threads)


def _picture(values: str) -> np.ndarray:
    x = np.random.default_rng(5).uniform(-3, 3, (2, 3, 33, 41))
    x *= {"normal": 1.0, "denormal": 1e-42, "large": 1e38, "poisoned": 1.0}[values]
    with np.errstate(under="ignore"):
        x = x.astype(np.float32)
    if values == "poisoned":
        x[0, 0, 3, :6] = np.nan, np.inf, -np.inf, 1e-45, 3e38, -3e38
    return x


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("values", ["normal", "denormal", "large", "poisoned"])
@pytest.mark.parametrize("change", [name for name in CHANGES if X86 or not _needs_mxcsr(name)])
def test_a_call_keeps_the_environment_and_does_not_heed_it(
    net: Network, change: str, values: str, threads: int
) -> None:
    mininet.set_num_threads(threads)
    x, default = _picture(values), _environment()
    expected, plan = net(x), net.plan(x.shape)
    out = [np.empty((2, 10), np.float32)]
    # The native call by itself: what Python and NumPy do around it is no business of the kernels.
    run = plan._program.run
    CHANGES[change]()
    before = _state(_environment())
    run([x], out, 2)
    after = _state(_environment())
    LIBM.fesetenv(default)
    assert after == before, f"{change}, {values}: the state {before.hex()} has become {after.hex()}"
    assert np.array_equal(out[0], expected, equal_nan=True), f"{change}, {values}: other bits"


@pytest.mark.parametrize("values", ["denormal", "large", "poisoned"])
def test_a_call_raises_no_warning_of_numpy(net: Network, values: str) -> None:
    with np.errstate(all="raise"):
        net(_picture(values))
