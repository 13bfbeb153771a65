"""Measure the peak memory and the duration of ``retalkit dub`` for one clip and its speech at several lengths.

The clip and the speech are looped. The duration is linear in the length if the points are close to the printed line.
``--size`` scales the clip, for example to 3840x2160.

    python benchmarks/memory.py VIDEO SPEECH [--seconds 10 60 600] [--size 3840x2160]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmark_clips import loop_sound, loop_video, reencode_video
from dub_speed import HERE, MIB, Case, dub


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 60, 600])
    parser.add_argument("--size", metavar="WIDTHxHEIGHT")
    options = parser.parse_args(arguments)
    measured: list[tuple[float, float]] = []
    print(f"{'seconds':>8}{'peak MiB':>10}{'wall s':>9}{'CPU s':>9}{'x real time':>13}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = options.video
        if options.size:
            width, height = (int(length) for length in options.size.split("x"))
            clip = folder / "scaled.mp4"
            reencode_video(options.video, clip, size=(width, height))
        for seconds in options.seconds:
            video, speech = folder / "video.mp4", folder / "speech.wav"
            loop_video(clip, seconds, video)
            loop_sound(options.speech, seconds, speech)
            case = Case(f"{seconds:g}", video, speech)
            run = dub(case, HERE.parent, folder)
            measured.append((case.seconds, run.wall))
            factor = case.seconds / run.wall
            print(f"{seconds:>8g}{run.peak / MIB:>10.0f}{run.wall:>9.2f}{run.cpu:>9.2f}{factor:>13.2f}", flush=True)
    if len(measured) > 1:
        lengths, walls = np.array(measured).T
        slope, intercept = np.polyfit(lengths, walls, 1)
        error = np.abs(slope * lengths + intercept - walls).max()
        print(f"wall time: {intercept:.2f} s + {slope:.3f} s per second of output, largest deviation {error:.2f} s")


if __name__ == "__main__":
    main()
