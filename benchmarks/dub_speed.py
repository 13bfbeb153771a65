"""Times the whole ``retalkit dub`` command and prints seconds per step beside the floor.

The floor is what no dubbing can go below: decode the frames, find the face in each, encode the same frames again.

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
from pathlib import Path

FLOOR = """
import sys, time
from pathlib import Path
import numpy as np
from retalkit.media.frame_editing import to_rgb
from retalkit.media.encoding import SegmentWriter
from retalkit.media.sources import open_source
from retalkit.media.sound import open_sound
from retalkit.media.timeline import build_timeline
from retalkit.plugins.discovery import discover
from retalkit.observer import SilentObserver
from retalkit.stages import FrameBatch, StageContext, StageKind
from retalkit.storage.cache import Folder

video, speech, out = (Path(argument) for argument in sys.argv[1:4])
source = open_source(video)
timeline = build_timeline(source, open_sound(speech).duration, "speech", "pingpong")
clock = time.perf_counter
spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
start = clock()
for index, frame in source.read_video_frames(range(source.info.frame_count)):
    to_rgb(frame)
decode = clock() - start
start = clock()
session = spec.make(spec.config()).open(source.info, StageContext(cache=Folder(out.parent), observer=SilentObserver()))
for index, image in source.read(range(source.info.frame_count)):
    session.detect(FrameBatch(image[None], source.times(index, index + 1), np.array([index])))
session.close()
track = clock() - start - decode
start = clock()
writer = SegmentWriter(out, source, crf=18, preset="veryfast")
times, durations = timeline.times(0, timeline.count), timeline.durations(0, timeline.count)
indexes = (int(index) for index in timeline.sources(0, timeline.count))
for row, (index, frame) in enumerate(source.read_video_frames(indexes)):
    writer.write_frame(frame, float(times[row]), float(durations[row]))
writer.close()
encode = clock() - start
print(decode, track, encode)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    walls: list[float] = []
    records: list[dict] = []
    floors: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(options.runs):
            output = Path(folder) / f"run{run}.mp4"
            command = [sys.executable, "-m", "retalkit", "dub", options.video, options.speech, "-o", output]
            command += ["--cache", Path(folder) / f"cache{run}", "--quiet"]
            start = time.perf_counter()
            subprocess.run([str(part) for part in command], check=True)
            walls.append(time.perf_counter() - start)
            records.append(json.loads(output.with_name(output.name + ".json").read_text()))
            arguments = [sys.executable, "-c", FLOOR, options.video, options.speech, Path(folder) / "floor.mp4"]
            printed = subprocess.run([str(part) for part in arguments], check=True, capture_output=True, text=True)
            floors.append(tuple(float(part) for part in printed.stdout.split()))
    seconds = records[0]["output_seconds"]
    wall = statistics.median(walls)
    print(f"{options.video.name} + {options.speech.name}: {seconds:.2f} s of output, {os.cpu_count()} cores")
    print(f"{'step':<16}{'seconds (median)':>18}")
    for step in records[0]["seconds"]:
        print(f"{step:<16}{statistics.median(record['seconds'][step] for record in records):>18.2f}")
    print(f"{'whole command':<16}{wall:>18.2f}   {seconds / wall:.2f} x real time")
    decode, track, encode = (statistics.median(column) for column in zip(*floors, strict=True))
    print(f"floor: decode {decode:.2f} s, track {track:.2f} s, decode and encode {encode:.2f} s")
    print(f"whole command / floor: {wall / (track + decode + encode):.2f}")
    print(f"peak memory {max(record['peak_memory_bytes'] for record in records) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
