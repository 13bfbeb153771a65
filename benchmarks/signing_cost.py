"""Measure the share of signing in the processor time of one run without cached results.

Run: python benchmarks/signing_cost.py VIDEO SPEECH
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import retalkit
from retalkit.plugins.specs import FinishedRun
from retalkit.provenance.signing import ContentCredentials


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    arguments = parser.parse_args(words)
    finish = ContentCredentials.finish
    spent: dict[str, float] = {}

    def measured(self: ContentCredentials, source: Path, target: Path, run: FinishedRun) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        finish(self, source, target, run)
        spent.update(wall=time.perf_counter() - wall, processor=time.process_time() - processor)

    ContentCredentials.finish = measured  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            output = Path(folder, "out.mp4")
            record = retalkit.dub(arguments.video, arguments.speech, output, cache=Path(folder, "cache"))
            processor, size = time.process_time() - started, output.stat().st_size
    finally:
        ContentCredentials.finish = finish  # type: ignore[method-assign]
    print(f"output: {record.output_seconds:.1f} s, {size / 1e6:.1f} MB")
    print(f"signing: {spent['wall']:.2f} s of {record.wall_seconds:.1f} s wall-clock time")
    print(f"signing: {spent['processor']:.2f} s of {processor:.1f} s processor time")
    print(f"ratio: {100 * spent['processor'] / processor:.2f} % of the processor time")


if __name__ == "__main__":
    main()
