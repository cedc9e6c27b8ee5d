"""The house in order: who imports whom, how long files are, and what ``import mininet`` brings along."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

#: The sources, wherever the package that runs is installed.
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mininet"

#: From the ground up; a module imports from its own floor and those below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "data", "locks"),
    ("arguments",),
    ("_native",),
    ("ops",),
    ("graph",),
    ("models", "inspect"),
    (
        *("weights", "preprocess", "preset", "images", "labels", "topk", "metadata", "layers", "runtime"),
        "inputs",
    ),
    (
        "network",
        "download",
        "checkpoints",
        "create",
        "adapt",
        "reporting",
        "bench",
        "batches",
        "recipe",
        "features",
        "dask",
    ),
    ("cli", "__main__", "__init__"),
)
MOST_LINES = 400
#: `mininet/__init__.py` names the package itself: every module has it as a parent.
TOP = "__init__"


def _modules() -> dict[str, Path]:
    """Every module below ``mininet`` by its dotted name without the package's own."""
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")]):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == TOP and len(parts) > 1 else parts)] = path
    return found


MODULES = _modules()


def _statements(name: str, running: bool = False) -> Iterator[tuple[int, str]]:
    """(line, dotted target below ``mininet``) of every import, those in functions too.

    With ``running``, those that only a type checker follows are left out.
    """
    path = MODULES[name]
    if path.suffix == ".pyx":  # not Python: every import is one line here
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r"\s*(?:from|import|cimport)\s+mininet\.?([\w.]*)(?:\s+c?import\s+(.*))?", line)
            if found:
                yield number, found[1] or str(found[2])
        return
    package = name if path.name == "__init__.py" and name != TOP else name.rpartition(".")[0]
    tree = ast.parse(path.read_text(), str(path))
    skipped = _for_type_checkers(tree) if running else set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "mininet":
                    yield node.lineno, alias.name.partition(".")[2] or TOP
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base is not None:
                for alias in node.names:  # each may be a module, or a name in the module `base`
                    inner = f"{base}.{alias.name}".lstrip(".")
                    if inner in MODULES:
                        yield node.lineno, inner
                    # The package is every module's parent, so `from mininet import __version__` is no import.
                    elif base or not alias.name.startswith("__"):
                        yield node.lineno, base or TOP


def _for_type_checkers(tree: ast.Module) -> set[ast.AST]:
    """Everything under ``if TYPE_CHECKING:``."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def _absolute(node: ast.ImportFrom, package: str) -> str | None:
    """Dotted module below ``mininet`` that an import statement names, or None for a foreign one."""
    if node.level == 0:
        first, _, rest = (node.module or "").partition(".")
        return rest if first == "mininet" else None
    parents = package.split(".") if package else []
    assert node.level - 1 <= len(parents), f"an import climbs out of mininet: line {node.lineno}"
    kept = parents[: len(parents) - (node.level - 1)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _floor(module: str) -> int:
    first = module.split(".")[0]
    for i, names in enumerate(FLOORS):
        if first in names:
            return i
    raise AssertionError(f"mininet.{first} stands on no floor: give it one in {Path(__file__).name}")


@pytest.mark.parametrize("name", MODULES)
def test_module_stands_on_a_floor_and_imports_only_from_below(name: str) -> None:
    for line, target in _statements(name):
        assert _floor(target) <= _floor(name), (
            f"{MODULES[name].relative_to(ROOT)}:{line} imports mininet.{target}, which is floor "
            f"{_floor(target)} ({', '.join(FLOORS[_floor(target)])}), from floor {_floor(name)}"
        )


def test_no_import_runs_in_a_circle() -> None:
    edges = {
        name: {target for _, target in _statements(name, running=True) if target != name} for name in MODULES
    }
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"imports run in a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        for target in sorted(edges.get(name, ())):
            walk(target, (*path, name))
        done.add(name)

    for name in edges:
        walk(name, ())


def test_the_import_reader_sees_imports() -> None:
    """Were it blind, the two tests above would pass whatever the code says."""
    targets = {name: {target for _, target in _statements(name)} for name in MODULES}
    assert "errors" in targets["_native"]
    assert "_native" in targets["graph.plan"]
    assert "ops.conv" in targets["ops.linear"]
    assert "graph.graph" in targets["models.layers"]
    assert sum(map(len, targets.values())) > len(MODULES)


SOURCES = [
    path
    for folder, suffixes in (
        (PACKAGE, (".py", ".pyx", ".pyi")),
        (ROOT / "csrc", (".c", ".h")),
        (ROOT / "tests", (".py",)),
    )
    for path in sorted(folder.rglob("*"))
    if path.suffix in suffixes
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_fits_on_a_few_screens(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < MOST_LINES, f"{path.relative_to(ROOT)} has {lines} lines; split it below {MOST_LINES}"


def _fresh(code: str) -> str:
    """What a new interpreter prints."""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_import_brings_nothing_but_numpy_and_the_standard_library() -> None:
    loaded = _fresh(
        "import sys, numpy; before = set(sys.modules); import mininet; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    # Cython's shared helpers register as modules of their own name.
    foreign = {
        name
        for name in loaded.split()
        if name not in sys.stdlib_module_names | {"mininet", "numpy"} and not name.startswith("_cython_")
    }
    assert not foreign, f"`import mininet` brings {sorted(foreign)}"


def test_the_stub_declares_what_the_compiled_module_has() -> None:
    native = importlib.import_module("mininet._native")
    stub = ast.parse((PACKAGE / "_native.pyi").read_text())
    declared = set(_defined(stub.body))
    present = {
        name
        for name, value in vars(native).items()
        if not name.startswith("_") and (getattr(value, "__module__", native.__name__) == native.__name__)
    }
    imported = {"np"}
    assert declared - {"Operand"} == present - imported, "mininet/_native.pyi and _native.pyx differ"
    for node in stub.body:
        if isinstance(node, ast.ClassDef):
            members = {name for name in vars(getattr(native, node.name)) if not name.startswith("_")}
            stated = {name for name in _defined(node.body) if not name.startswith("_")}
            assert stated == members, f"class {node.name}"


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
