"""The one table of tolerances for comparisons with other frameworks, and the check that applies it.

The yardstick is a float64 run of the reference network. float32 results of two correct
implementations differ from it, and from each other, by rounding only, so ours may be at most
``PARITY_FACTOR`` times as far from it as the reference framework's own float32 run, or
``PARITY_FLOOR`` of the tensor's root-mean-square where that is more.
"""

from __future__ import annotations

import numpy as np

#: Ours may be this many times as far from float64 as the reference framework's float32 run.
PARITY_FACTOR = 2.0
#: ... or this share of the tensor's rms: where the reference is exact by luck (a plain copy, a zero).
PARITY_FLOOR = 2e-6
#: What two float64 runs of one network may differ by, as a share of the logits' rms.
YARDSTICK = 1e-12
#: A case of the parity tests compares at least this many logits (batch x classes).
MIN_LOGITS = 1000


def rms(values: np.ndarray) -> float:
    """Root-mean-square of an array, accumulated in float64; 0.0 for an empty one."""
    wide = np.asarray(values, np.float64)
    return float(np.sqrt(np.mean(np.square(wide)))) if wide.size else 0.0


def parity_problem(ours: np.ndarray, f64: np.ndarray, rms32: float, what: str) -> str | None:
    """Say in one line how ``ours`` misses the bar, or return None if it holds.

    Parameters
    ----------
    ours : numpy.ndarray
        Our result, float32.
    f64 : numpy.ndarray
        The reference framework's float64 result, of the same shape.
    rms32 : float
        The rms error of the reference framework's float32 result against ``f64``.
    what : str
        The case and the tensor's name, for the message.
    """
    ours = np.asarray(ours)
    if ours.shape != f64.shape:
        return f"{what}: shape {ours.shape}, the reference has {f64.shape}"
    if ours.dtype != np.float32:
        return f"{what}: dtype {ours.dtype}, expected float32"
    if not f64.size:
        return None
    error = ours.astype(np.float64) - np.asarray(f64, np.float64)
    rms_ours, rms_ref = rms(error), rms(f64)
    allowed = max(PARITY_FACTOR * rms32, PARITY_FLOOR * rms_ref)
    if rms_ours <= allowed:  # false for NaN, which is a miss too
        return None
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(error)), error.shape))
    ratio = rms_ours / rms32 if rms32 else float("inf")
    return (
        f"{what}: shape {ours.shape}, rms error {rms_ours:.3e} against float64, allowed {allowed:.3e} "
        f"(the reference's own float32 {rms32:.3e}, ratio {ratio:.2f}; rms of the tensor {rms_ref:.3e}); "
        f"worst at {worst}: {ours[worst]!r} instead of {f64[worst]!r}"
    )


def assert_parity(ours: np.ndarray, f32: np.ndarray, f64: np.ndarray, what: str) -> None:
    """Fail unless ``ours`` is as near to ``f64`` as the table allows.

    Parameters
    ----------
    ours, f32, f64 : numpy.ndarray
        Our float32 result and the reference framework's float32 and float64 results.
    what : str
        The case and the tensor's name, for the message.
    """
    problem = parity_problem(ours, f64, rms(np.asarray(f32, np.float64) - f64), what)
    assert problem is None, problem


# One kernel against its float64 reference: error bounds from rounding analysis, element by element.

#: Unit roundoff of float32: the relative error of one operation.
UNIT = 2.0**-24
#: The smallest float32 above 0: below the normal range an error is absolute.
SMALLEST = 2.0**-149
#: Where ``1 / (1 + exp(-x))`` or a normalised exponential is this small, float32 may flush it to 0.
EXP_FLOOR = 2.0**-126
#: Roundings of independent sign add up like a random walk; this many standard deviations are allowed.
WALK = 8.0
#: An activation is a handful of operations, each with its own rounding.
ACTIVATION_ROUNDINGS = 4.0
#: Steepest slope of each activation: what an error before it may grow to.
STEEPEST = {
    "identity": 1.0,
    "relu": 1.0,
    "relu6": 1.0,
    "hard_sigmoid": 1.0 / 6.0,
    "hard_swish": 1.5,
    "sigmoid": 0.25,
}
#: A little graph, plan or kernels against the float64 reference: share of its largest intermediate.
GRAPH_SHARE = 2e-5


def forward_error(terms: int, magnitude: np.ndarray) -> np.ndarray:
    """Largest error of a float32 sum of ``terms`` terms, given the sum of their absolute values.

    The bound is ``terms * UNIT * magnitude`` (Higham, Accuracy and Stability of Numerical Algorithms,
    section 3.1), or the probabilistic one with the square root of ``terms`` where that is less.
    """
    return min(float(terms), WALK * float(np.sqrt(terms))) * UNIT * magnitude + terms * SMALLEST


def activated_error(name: str, error: np.ndarray, activated: np.ndarray) -> np.ndarray:
    """Error after the activation called ``name``, from the error before it and the exact result."""
    floor = EXP_FLOOR if name == "sigmoid" else ACTIVATION_ROUNDINGS * SMALLEST
    roundings = 0.0 if name == "identity" else ACTIVATION_ROUNDINGS
    return STEEPEST[name] * error + roundings * UNIT * np.abs(activated) + (floor if roundings else 0.0)


def kernel_problem(ours: np.ndarray, exact: np.ndarray, error: np.ndarray, what: str) -> str | None:
    """Say in one line how a kernel's result misses its reference, or return None if it holds.

    NaN must stand where the reference has NaN, an infinity where it has the same one; everything else
    may be off by ``error``, which is of the same shape (NaN there means that nothing is promised).

    Parameters
    ----------
    ours, exact, error : numpy.ndarray
        The float32 result, the float64 reference, and the bound of their difference.
    what : str
        Op, shapes and values, for the message.
    """
    if ours.shape != exact.shape or ours.dtype != np.float32:
        return f"{what}: got {ours.dtype} {ours.shape}, expected float32 {exact.shape}"
    with np.errstate(all="ignore"):
        off = np.abs(ours.astype(np.float64) - exact)
        finite = np.isfinite(exact)
        wrong = np.where(finite, (off > error) | ~np.isfinite(ours), False)
        wrong |= np.isnan(exact) != np.isnan(ours)
        wrong |= np.isinf(exact) & (ours != exact)
        if not wrong.any():
            return None
        # The worst first: a NaN or an infinity out of place, then the largest multiple of the bound.
        ratio = np.where(wrong, np.nan_to_num(off / error, nan=np.inf), 0.0)
    at = tuple(int(i) for i in np.unravel_index(np.argmax(ratio), ratio.shape))
    bound = np.broadcast_to(error, exact.shape)[at]
    return (
        f"{what}: {int(wrong.sum())} of {wrong.size} values are wrong; the worst at {at}: "
        f"{float(ours[at])!r} instead of {float(exact[at])!r}, off by {off[at]:.3e}, allowed {bound:.3e}"
    )


#: Absolute, for logits of real weights on real photos against the framework that wrote the weights.
LOGITS_OF_REAL_PHOTOS = 2e-4
