"""Fuzz the readers of files and say how far it went; the last line of a reader is what libFuzzer counted.

    python tests/fuzz/run.py all --seconds 30 --jobs 2     # as .ci/fuzz does
    python tests/fuzz/run.py tflite --seconds 600

Needs the extras ``fuzz``, ``test`` and ``convert``. A finding (an exception that is no mininet error, more
than 1 s or 200 MB, a crash or a hang) ends that reader with its traceback; the file that caused it is kept in
the working folder as ``READER-crash-...``, for tests/fuzz/found.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HELPERS = (HERE, HERE.parent / "weights", HERE.parent)
sys.path[:0] = map(str, HELPERS)

from readers import FOUND, READERS  # noqa: E402

MAX_INPUT_BYTES = 16384
# A hang, by the clock on the wall; 1 s of the process's own time is what `judge` allows.
HANG_SECONDS = 120

_PROGRESS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")
_EXECUTED = re.compile(r"stat::number_of_executed_units: +(\d+)")


@dataclass(frozen=True)
class Outcome:
    """What came of one reader."""

    reader: str
    code: int
    log: str

    def line(self) -> str:
        """One row: reader, verdict, executions, edges, features, files of the corpus."""
        edges, features, corpus = (_PROGRESS.findall(self.log) or [("?", "?", "?")])[-1]
        executed = (_EXECUTED.findall(self.log) or ["?"])[-1]
        verdict = "ok" if self.code == 0 else "FOUND"
        return (
            f"{self.reader:14} {verdict:5} {executed:>9} executions {edges:>5} edges {features:>6} features "
            f"{corpus:>5} in the corpus"
        )


def fuzz(reader: str, seconds: int, corpus: Path, seed: int) -> Outcome:
    """Fuzz one reader in a process of its own, from its seeds and what is in the folder `corpus`."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(READERS[reader].seeds(corpus)):
        (corpus / f"seed-{number}").write_bytes(content)
    (corpus / "seed").unlink(missing_ok=True)
    folders = [str(corpus), *(str(path) for path in [FOUND / reader] if path.is_dir())]
    options = {
        "max_total_time": seconds,
        "max_len": MAX_INPUT_BYTES,
        "timeout": HANG_SECONDS,
        "rss_limit_mb": 0,  # judge watches the memory, file by file
        "artifact_prefix": f"{reader}-",
        "print_final_stats": 1,
        "seed": seed,
    }
    command = [
        *(sys.executable, str(HERE / "target.py"), reader, ",".join(READERS[reader].code)),
        *(f"-{name}={value}" for name, value in options.items()),
        *folders,
    ]
    path = os.pathsep.join([*map(str, HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    return Outcome(reader, done.returncode, done.stdout + done.stderr)


def run(readers: Iterable[str], seconds: int, jobs: int, corpus: Path, seed: int) -> int:
    """Fuzz readers, `jobs` at once; the number of those in which something was found."""
    bad = 0
    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(lambda reader: fuzz(reader, seconds, corpus / reader, seed), readers):
            print(outcome.line(), flush=True)
            if outcome.code:
                bad += 1
                print(outcome.log[-8000:], flush=True)
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description="fuzz the readers of files")
    parser.add_argument("reader", choices=[*READERS, "all"])
    parser.add_argument("--seconds", type=int, default=30, help="for each reader")
    parser.add_argument("--jobs", type=int, default=1, help="readers at once")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's dice")
    parser.add_argument(
        "--corpus", type=Path, help="folder to go on from and to keep what is found interesting"
    )
    arguments = parser.parse_args()
    readers = list(READERS) if arguments.reader == "all" else [arguments.reader]
    with tempfile.TemporaryDirectory(prefix="mininet-fuzz-") as scratch:
        corpus = arguments.corpus or Path(scratch)
        return min(1, run(readers, arguments.seconds, arguments.jobs, corpus, arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
