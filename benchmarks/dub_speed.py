"""Measure the duration of the complete ``retalkit dub`` command and of each step, and compare it with a lower bound.

The lower bound is the time required to decode all frames, detect the face in each frame, and encode the frames
unchanged.

    python benchmarks/dub_speed.py VIDEO SPEECH [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retalkit.config.model import DEFAULT_PRESET, load
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.frame_editing import to_rgb
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline
from retalkit.observer import SilentObserver
from retalkit.pipeline.detect import frame_batches
from retalkit.pipeline.plan import plan
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, ObjectPool, StageContext
from retalkit.storage.cache import Folder


@dataclass(frozen=True, slots=True)
class LowerBound:
    """Duration in seconds of the work that every dub requires."""

    decode: float
    detect: float
    encode: float
    """Duration of decoding and encoding in seconds."""


def measure_lower_bound(video: Path, speech: Path, folder: Path) -> LowerBound:
    """Measure the time required to decode all frames, detect the face in each frame, and encode the output frames
    unchanged.
    """
    source = open_source(video)
    timeline = build_timeline(source, open_sound(speech).duration, "speech", "pingpong")
    config = load(registry := discover(), preset=DEFAULT_PRESET)
    detector = plan(config, registry).detector.make(config, ObjectPool())
    count = source.info.frame_count

    start = time.perf_counter()
    for _, frame in source.read_video_frames(range(count)):
        to_rgb(frame)
    decode = time.perf_counter() - start

    start = time.perf_counter()
    context = StageContext(cache=Folder(folder / "detector"), observer=SilentObserver())
    with closing(detector.open(DetectionClip(source=source.info), context)) as session:
        for batch in frame_batches(source, 0, count):
            session.detect(batch)
    detect = max(0.0, time.perf_counter() - start - decode)

    start = time.perf_counter()
    time_base = output_time_base(timeline.time_base)
    encoding = config.output.encoding(source)
    writer = SegmentWriter(folder / "frames.nut", source.size, source.colour, source.rate, time_base, encoding)
    times, durations = timeline.times(0, timeline.count), timeline.durations(0, timeline.count)
    indexes = (int(index) for index in timeline.sources(0, timeline.count))
    for row, (_, frame) in enumerate(source.read_video_frames(indexes)):
        writer.write_frame(frame, float(times[row]), float(durations[row]))
    writer.close()
    return LowerBound(decode, detect, time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    walls: list[float] = []
    records: list[dict[str, Any]] = []
    bounds: list[LowerBound] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for run in range(options.runs):
            output = folder / f"run{run}.mp4"
            command = [sys.executable, "-m", "retalkit", "dub", options.video, options.speech, "-o", output]
            command += ["--cache", folder / f"cache{run}", "--quiet"]
            start = time.perf_counter()
            subprocess.run([str(part) for part in command], check=True)
            walls.append(time.perf_counter() - start)
            records.append(json.loads(output.with_name(output.name + ".json").read_text()))
            bounds.append(measure_lower_bound(options.video, options.speech, folder))
    seconds = records[0]["output_seconds"]
    wall = statistics.median(walls)
    print(f"{options.video.name} + {options.speech.name}: output duration {seconds:.2f} s, {os.cpu_count()} CPU cores")
    print(f"{'step':<16}{'seconds (median)':>18}")
    for step in records[0]["seconds"]:
        print(f"{step:<16}{statistics.median(record['seconds'][step] for record in records):>18.2f}")
    print(f"{'complete command':<16}{wall:>18.2f}   {seconds / wall:.2f} x real time")
    decode, detect, encode = (
        statistics.median(getattr(bound, part) for bound in bounds) for part in ("decode", "detect", "encode")
    )
    print(f"lower bound: decoding {decode:.2f} s, detection {detect:.2f} s, decoding and encoding {encode:.2f} s")
    print(f"complete command / lower bound: {wall / (detect + decode + encode):.2f}")
    print(f"peak memory: {max(record['peak_memory_bytes'] for record in records) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
