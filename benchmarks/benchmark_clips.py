"""Clips and speech for benchmarks, which are made from the real clips in a directory.

Run: python benchmarks/benchmark_clips.py MEDIA FOLDER

MEDIA must contain talk_man_700p22.mp4, talk_woman_590p25.mp4, sitting_woman_1080x1920p25_hevc.mp4,
silent_woman_1280x720p30.mp4 and speech_16k_mono.wav.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from retalkit.media.sound import open_sound
from scipy.io import wavfile

CLIPS = (
    "talk_man_700p22",
    "talk_woman_590p25",
    "sitting_woman_1080x1920p25_hevc",
    "silent_woman_1280x720p30",
)
SCALED = {"1280x720p25": (1280, 720), "1920x1080p25": (1920, 1080)}
"""Scaled versions of the last clip at 25 frames/s."""
SPEECH = "speech_16k_mono.wav"
REQUIRED = (*(f"{name}.mp4" for name in CLIPS), SPEECH)
"""Files that the directory of the real clips must contain."""
SPEECH_SECONDS = (5.0, 9.6, 57.0)
LOOP = "_60s"
"""Suffix of clips that are looped to at least 60 seconds."""


def write_clips(media: Path, folder: Path) -> None:
    """Write the clips and their loops to ``folder``, together with the speech in each duration."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CLIPS:
        shutil.copy(media / f"{name}.mp4", folder)
    for name, size in SCALED.items():
        reencode_video(media / f"{CLIPS[-1]}.mp4", folder / f"{name}.mp4", size=size, rate=Fraction(25))
    for name in (*CLIPS, *SCALED):
        loop_video(folder / f"{name}.mp4", 60, folder / f"{name}{LOOP}.mp4")
    for seconds in SPEECH_SECONDS:
        loop_sound(media / SPEECH, seconds, folder / speech_name(seconds))


def speech_name(seconds: float) -> str:
    """Return the file name of the speech with a duration of ``seconds``."""
    return f"speech_{seconds:g}s.wav"


def reencode_video(
    clip: Path,
    out: Path,
    *,
    seconds: float | None = None,
    size: tuple[int, int] | None = None,
    rate: Fraction | None = None,
) -> None:
    """Write the first ``seconds`` of a clip as H.264, scaled to ``size`` and played at ``rate`` frames/s.

    By default, the whole clip is written with its own size and rate. The sound is omitted.
    """
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        video = source.streams.video[0]
        rate = rate or video.average_rate or Fraction(25)
        stream = target.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height = size or (video.width, video.height)
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(source.decode(video)):
            if seconds is not None and index / float(rate) >= seconds:
                break
            frame = frame.reformat(stream.width, stream.height, "yuv420p")
            frame.pts, frame.time_base = index, 1 / rate
            target.mux(stream.encode(frame))
        target.mux(stream.encode())


def loop_video(clip: Path, seconds: float, out: Path) -> None:
    """Repeat the whole clip until it lasts at least ``seconds``. The packets are copied, and the sound is omitted."""
    with av.open(str(out), "w") as target:
        stream = None
        start = 0
        while stream is None or start * stream.time_base < seconds:
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                packets = [packet for packet in source.demux(video) if packet.size]
                first = min(packet.pts for packet in packets)
                length = max(packet.pts + packet.duration for packet in packets) - first
                if stream is None:
                    stream = target.add_stream_from_template(video)
                    stream.time_base = video.time_base
                for packet in packets:
                    packet.pts += start - first
                    packet.dts += start - first
                    packet.stream = stream
                    target.mux(packet)
            start += length


def loop_sound(sound: Path, seconds: float, out: Path) -> None:
    """Loop or trim the speech to ``seconds``, and write the result as a 16 kHz mono WAV file."""
    samples = np.concatenate(list(open_sound(sound).chunks(16000)))
    samples = np.resize(samples, round(seconds * 16000))
    wavfile.write(out, 16000, (samples.clip(-1, 1) * 32767).astype(np.int16))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("media", type=Path, help="directory with the real clips and the speech")
    parser.add_argument("folder", type=Path, help="directory for the clips of the benchmarks")
    options = parser.parse_args(arguments)
    missing = [name for name in REQUIRED if not (options.media / name).is_file()]
    if missing:
        parser.error(
            f"{options.media} lacks {', '.join(missing)}; use VIDEO and SPEECH of dub_speed.py for other clips"
        )
    write_clips(options.media, options.folder)


if __name__ == "__main__":
    main()
