"""Compare the CPU time, the quality and the file size of x264's presets for one video.

Every preset is used with the settings of a run. The quality is measured between the decoded source and the encoded
video: SSIM (Wang et al. 2004) and PSNR of the luma plane.

    python benchmarks/encoder_presets.py VIDEO [--frames 150] [--crf 17 18 19]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.video_codec import Encoding
from retalkit.media.yuv_frames import planes_of
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast")
_EVERY = 5
"""Interval of the frames whose quality is measured."""


def encode(source: MediaSource, frames: Sequence[av.VideoFrame], encoding: Encoding, path: Path) -> float:
    """Encode the frames and return the CPU seconds."""
    time_base = output_time_base(Fraction(1, 25))
    start = time.process_time()
    with SegmentWriter(path, source.size, source.colour, source.rate, time_base, encoding) as writer:
        for number, frame in enumerate(frames):
            writer.write_frame(frame, number / 25, 1 / 25)
    return time.process_time() - start


def quality(frames: Sequence[av.VideoFrame], path: Path) -> tuple[float, float]:
    """Return the mean SSIM and the PSNR in dB of the encoded video."""
    ssim: list[float] = []
    error: list[float] = []
    with av.open(str(path)) as container:
        for number, shown in enumerate(container.decode(video=0)):
            if number % _EVERY == 0:
                one, other = planes_of(frames[number])[0], planes_of(shown)[0]
                ssim.append(float(structural_similarity(one, other)))
                error.append(10 ** (-float(peak_signal_noise_ratio(one, other)) / 10))
    return float(np.mean(ssim)), -10 * float(np.log10(np.mean(error)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--crf", type=float, nargs="+", default=[17, 18])
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    options = parser.parse_args(arguments)
    source = open_source(options.video)
    count = min(options.frames, source.info.frame_count)
    frames = [frame for _, frame in source.read_video_frames(range(count))]
    print(f"{options.video.name}: {source.size[0]}x{source.size[1]}, {count} frames")
    print("| preset | crf | CPU ms/frame | KB | SSIM | PSNR dB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.nut"
        for preset in options.presets:
            for crf in options.crf:
                seconds = encode(source, frames, Encoding(preset=preset, crf=crf), path)
                ssim, psnr = quality(frames, path)
                size = path.stat().st_size / 1000
                print(f"| {preset} | {crf:g} | {1000 * seconds / count:.2f} | {size:.0f} | {ssim:.4f} | {psnr:.2f} |")


if __name__ == "__main__":
    main()
