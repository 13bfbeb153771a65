"""Measure the peak memory of ``retalkit dub`` for one clip and its speech that are looped to several durations.

python benchmarks/memory.py VIDEO SPEECH [--seconds 10 60 600]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmark_clips import loop_sound, loop_video


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 60, 600])
    options = parser.parse_args(arguments)
    print(f"{'seconds':>8}{'peak MiB':>10}{'x real time':>13}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in options.seconds:
            video, speech, output = folder / "video.mp4", folder / "speech.wav", folder / f"out{seconds:.0f}.mp4"
            loop_video(options.video, seconds, video)
            loop_sound(options.speech, seconds, speech)
            command = [sys.executable, "-m", "retalkit", "dub", video, speech, "-o", output]
            command += ["--cache", folder / "cache", "--quiet"]
            subprocess.run([str(part) for part in command], check=True)
            record = json.loads(output.with_name(output.name + ".json").read_text())
            peak = record["peak_memory_bytes"] / 2**20
            print(f"{seconds:>8.0f}{peak:>10.0f}{record['realtime_factor']:>13.2f}", flush=True)


if __name__ == "__main__":
    main()
