"""Run the fuzz targets in turn until the time is over. The exit code is 1 if a fault was found.

Each target runs in its own process with a memory limit. A process that takes longer than a minute for one file, needs
more memory, or is killed by a signal has found a fault. The file that caused a fault is kept in ``out/fuzz``.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, Content, altered, check

KEPT = Path("out/fuzz")
_FILE_SECONDS = 60
_ROUND_SECONDS = 20
_FILES = 50
"""Number of files between two checks of the time."""
_MEMORY_BYTES = 2 << 30


def run_target(target: str, number: int, examples: int) -> None:
    """Check ``examples`` files with the seed ``number``. Raises the first fault."""
    with tempfile.TemporaryDirectory(prefix="retalkit-fuzz-") as name:
        folder = Path(name)

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(altered(TARGETS[target][0]))
        def one(content: Content) -> None:
            _keep(target, content)
            faulthandler.dump_traceback_later(_FILE_SECONDS, exit=True)
            try:
                check(target, content, folder)
            finally:
                faulthandler.cancel_dump_traceback_later()

        one()


def _keep(target: str, content: Content) -> None:
    """Write the file, so that it survives a crash of the process."""
    folder = os.environ.get("RETALKIT_FUZZ_KEPT")
    if folder:
        Path(folder, f"{target}-{content[0]}").write_bytes(content[1])


def _limit_memory() -> None:
    # The limit applies to the data segments, because libraries reserve far more address space than they use.
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))


def _round(target: str, number: int, seconds: float) -> str:
    """Run one process. Return its output if it found a fault, otherwise an empty string."""
    with tempfile.TemporaryDirectory(prefix="retalkit-fuzz-kept-") as kept:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--target",
            target,
            "--seed",
            str(number),
            "--seconds",
            str(seconds),
        ]
        environment = {**os.environ, "RETALKIT_FUZZ_KEPT": kept}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            return ""
        KEPT.mkdir(parents=True, exist_ok=True)
        last = max(Path(kept).iterdir(), key=lambda path: path.stat().st_mtime, default=None)
        copy = None
        if last is not None:
            copy = KEPT / f"{number}-{last.name}"
            copy.write_bytes(last.read_bytes())
        return f"{target}: exit code {done.returncode}, file {copy}\n{done.stderr[-4000:]}"


def main() -> int:
    """Parse the command line, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="time budget")
    parser.add_argument("--target", choices=list(TARGETS), help="run one target in this process")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first round; by default, the time")
    given_options = parser.parse_args()
    number = int(time.time()) if given_options.seed is None else given_options.seed
    if given_options.target is not None:
        _limit_memory()
        begin, files = time.monotonic(), 0
        while time.monotonic() - begin < given_options.seconds:
            run_target(given_options.target, number * 1_000_000 + files, _FILES)
            files += _FILES
        print(f"{given_options.target}: {files} files")
        return 0
    end, faults, rounds = time.monotonic() + given_options.seconds, 0, 0
    while time.monotonic() < end:
        for target in TARGETS:
            left = end - time.monotonic()
            if left <= 0:
                break
            fault = _round(target, number + rounds, min(_ROUND_SECONDS, left))
            rounds += 1
            if fault:
                faults += 1
                print(fault, flush=True)
    print(f"{rounds} rounds from seed {number}: {faults or 'no'} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
