"""Measure the peak memory of ``retalkit dub`` for one clip that is looped to several durations.

python benchmarks/memory.py VIDEO SPEECH [--seconds 10 60 600]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av


def looped_video(clip: Path, seconds: float, out: Path) -> None:
    """Loop or trim the clip to ``seconds``, and write the re-encoded clip to ``out``."""
    with av.open(str(out), "w") as target:
        with av.open(str(clip)) as first:
            video = first.streams.video[0]
            rate = video.average_rate or Fraction(25)
            stream = target.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "20"})
            stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        done = 0
        while done / rate < seconds:
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    frame = frame.reformat(format="yuv420p")
                    frame.pts, frame.time_base = done, 1 / rate
                    target.mux(stream.encode(frame))
                    done += 1
                    if done / rate >= seconds:
                        break
        target.mux(stream.encode())


def looped_sound(sound: Path, seconds: float, out: Path) -> None:
    """Loop the speech to a duration of at least ``seconds``, and write the result as a 16 kHz mono WAV file."""
    resampler = av.AudioResampler("s16", "mono", 16000)
    with av.open(str(out), "w") as target:
        stream = target.add_stream("pcm_s16le", rate=16000, layout="mono")
        done = 0
        while done / 16000 < seconds:
            with av.open(str(sound)) as source:
                for frame in source.decode(audio=0):
                    frame.pts = None
                    for piece in resampler.resample(frame):
                        piece.pts = done
                        piece.time_base = Fraction(1, 16000)
                        done += piece.samples
                        target.mux(stream.encode(piece))
                    if done / 16000 >= seconds:
                        break
        target.mux(stream.encode(None))


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
            looped_video(options.video, seconds, video)
            looped_sound(options.speech, seconds, speech)
            command = [sys.executable, "-m", "retalkit", "dub", video, speech, "-o", output]
            command += ["--cache", folder / "cache", "--quiet"]
            subprocess.run([str(part) for part in command], check=True)
            record = json.loads(output.with_name(output.name + ".json").read_text())
            peak = record["peak_memory_bytes"] / 2**20
            print(f"{seconds:>8.0f}{peak:>10.0f}{record['realtime_factor']:>13.2f}", flush=True)


if __name__ == "__main__":
    main()
