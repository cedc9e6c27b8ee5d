"""Start-up time and weight of mininet, beside onnxruntime and torch where they are installed.

    python tests/bench/startup.py
    python tests/bench/startup.py --wheel dist/*.whl

Each time is that of a whole process, minus that of one which only starts Python and imports NumPy. The
processes run by turns, so that a slow spell of the machine meets all of them; a difference is once that of
the shortest two, and once the median of those within a turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import twins  # noqa: E402

import mininet  # noqa: E402
from mininet.bench import load_average, machine  # noqa: E402
from mininet.inspect.table import markdown_lines  # noqa: E402

TURNS = 15
MODEL = "mobilenet_v3_small"
BASE = "import numpy"
INPUT = "x = numpy.zeros((1, 3, 224, 224), numpy.float32)"


@dataclass(frozen=True)
class Case:
    """A process to time.

    Attributes
    ----------
    engine, what : str
    code : str
        Runs after ``import numpy``; ``{folder}`` is where the weights lie.
    needs : tuple of str
        Modules without which it is left out.
    """

    engine: str
    what: str
    code: str
    needs: tuple[str, ...] = ()


IMPORT, RESULT = "import", f"first result of {MODEL}"
CASES = (
    Case("mininet", IMPORT, "import mininet"),
    Case("onnxruntime", IMPORT, "import onnxruntime", ("onnxruntime",)),
    Case("torch", IMPORT, "import torch", ("torch",)),
    Case(
        "mininet",
        RESULT,
        f"import mininet; {INPUT}\nmininet.create_model(weights=r'{{folder}}/net.safetensors')(x)",
    ),
    Case(
        "onnxruntime",
        RESULT,
        f"import onnxruntime; {INPUT}\n"
        "onnxruntime.InferenceSession(r'{folder}/net.onnx').run(None, {{'x': x}})",
        ("onnxruntime", "onnx", "torch", "torchvision"),
    ),
    Case(
        "torch",
        RESULT,
        f"import torch; {INPUT}\n"
        "with torch.inference_mode(): torch.jit.load(r'{folder}/net.pt')(torch.from_numpy(x))",
        ("torch", "torchvision"),
    ),
)


def write_weights(folder: Path, with_torch: bool, with_onnx: bool) -> None:
    """The same network for every engine, in the form that it loads."""
    net = mininet.create_model(MODEL, weights="random:0")
    net.save(folder / "net.safetensors")
    if not with_torch:
        return
    import torch

    module = getattr(twins.torchvision().models, MODEL)().eval()
    module.load_state_dict({name: torch.from_numpy(v) for name, v in net.state_dict().items()}, strict=False)
    x = torch.zeros(1, 3, 224, 224)
    torch.jit.trace(module, x).save(str(folder / "net.pt"))  # spares it torchvision's import
    if with_onnx:
        names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"]}
        torch.onnx.export(module, (x,), str(folder / "net.onnx"), dynamo=False, **names)


def environment(folder: Path) -> dict[str, str]:
    """Of the processes: they find mininet, and byte code, which a checkout has not and an install has."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    settings = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    return settings


def process_seconds(code: str, settings: dict[str, str]) -> float:
    """How long a fresh interpreter takes for this code."""
    start = perf_counter()
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=120, capture_output=True, env=settings)
    return perf_counter() - start


def time_all(cases: list[Case], folder: Path, turns: int) -> tuple[list[float], dict[Case, list[float]]]:
    """Seconds of the base process in every turn, and of each case."""
    codes = {case: f"{BASE}; {case.code.format(folder=folder)}" for case in cases}
    jobs: list[tuple[Case | None, str]] = [(None, BASE), *codes.items()]
    seconds: dict[Case | None, list[float]] = {case: [] for case, _ in jobs}
    settings = environment(folder)
    for turn in range(turns + 1):
        start = turn % len(jobs)  # nobody always runs right after the greatest of them
        for case, code in jobs[start:] + jobs[:start]:
            taken = process_seconds(code, settings)
            if turn:  # the first one compiles byte code and reads files from the disk
                seconds[case].append(taken)
    base = seconds.pop(None)
    whole = {case: times for case, times in seconds.items() if case is not None}
    return base, whole


def wheel_bytes(wheel: Path | None) -> tuple[int, int]:
    """Size of the wheel, and of what the digits' weights take of it.

    Without a wheel, the package's files as they lie here are packed the same way.
    """
    if wheel is None:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((ROOT / "mininet").rglob("*")):
                if path.is_file() and path.suffix not in (".pyc", ".c", ".pyx"):
                    archive.write(path, path.relative_to(ROOT))
        size = packed.tell()
    else:
        packed, size = io.BytesIO(wheel.read_bytes()), wheel.stat().st_size
    with zipfile.ZipFile(packed) as archive:
        digits = sum(i.compress_size for i in archive.infolist() if i.filename.endswith(".safetensors"))
    return size, digits


def installed_bytes(name: str) -> int | None:
    """Bytes of an installed distribution and all that it requires, but NumPy; None if it is not installed."""
    seen: set[str] = set()
    waiting, total = [name], 0
    while waiting:
        one = waiting.pop().lower()
        if one in seen or one == "numpy":
            continue
        seen.add(one)
        try:
            found = distribution(one)
        except PackageNotFoundError:
            if one == name:
                return None
            continue  # required on other systems, or by an extra
        files = (Path(str(found.locate_file(file))) for file in found.files or ())
        total += sum(path.stat().st_size for path in files if path.is_file())
        waiting += [_name_of(text) for text in found.requires or () if "extra ==" not in text]
    return total


def _name_of(requirement: str) -> str:
    for stop in "<>=!~;[( ":
        requirement = requirement.partition(stop)[0]
    return requirement


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=TURNS, help=f"of each process (default: {TURNS})")
    parser.add_argument("--wheel", type=Path, help="a built wheel to weigh, instead of the files here")
    parser.add_argument("--json", metavar="FILE", help="also write everything as JSON")
    args = parser.parse_args()
    about = machine()
    cases = [case for case in CASES if all(map(importlib.util.find_spec, case.needs))]
    with tempfile.TemporaryDirectory() as folder:
        needed = {name for case in cases for name in case.needs}
        write_weights(Path(folder), "torchvision" in needed, "onnx" in needed)
        base, whole = time_all(cases, Path(folder), args.turns)
    print(f"{about['processor']}, {about['cpus']} CPUs, Python {about['python']}, NumPy {about['numpy']}")
    print(f"Load average: {about['load_average']} before, {load_average()} after; {args.turns} turns")
    print(f"Python and NumPy alone: {_ms(min(base))} at best, {_ms(float(np.median(base)))} in the median")
    rows = [
        [
            *(case.what, case.engine, _version(case.engine), _ms(min(times) - min(base))),
            _ms(float(np.median(np.subtract(times, base)))),
        ]
        for case, times in whole.items()
    ]
    print("\nBeyond that:\n")
    print(
        "\n".join(
            markdown_lines(
                ("whole process", "engine", "version", "by minima", "median of turns"), rows, (3, 4)
            )
        )
    )
    size, digits = wheel_bytes(args.wheel)
    what = "wheel" if args.wheel else "the package's files, packed as in a wheel"
    print(f"\nmininet: {what}: {_mb(size)}, without the digits' weights {_mb(size - digits)}")
    installed = {name: installed_bytes(name) for name in ("onnxruntime", "torch")}
    for name, taken in installed.items():
        if taken is not None:
            print(f"{name}: {_mb(taken)} installed, with what it requires but NumPy")
    if args.json:
        times = [{"engine": c.engine, "what": c.what, "seconds": t} for c, t in whole.items()]
        document = {"machine": about, "base_seconds": base, "processes": times, "installed_bytes": installed}
        document |= {"packed_bytes": size, "digits_bytes": digits}
        Path(args.json).write_text(json.dumps(document, indent=2), encoding="utf-8")
    return 0


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def _mb(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def _version(engine: str) -> str:
    return mininet.__version__ if engine == "mininet" else version(engine)


if __name__ == "__main__":
    sys.exit(main())
