"""Dubs an example that needs no download: a portrait from scikit-image, set in motion, and synthetic speech.

The portrait is NASA's picture of the astronaut Eileen Collins, in the public domain; its wheel carries it. The speech
was made by ``make_speech.py``. ``--video`` and ``--speech`` take your own footage instead.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.cli.main import main as retalkit
from skimage import data

HERE = Path(__file__).resolve().parent
SIZE = 640
RATE = 25
SECONDS = 5.2
HEAD = (224.0, 140.0)
"""Where the head is in the portrait (x, y), in pixels."""
SHOWN = 256.0
"""Side of the square around the head that fills the frame, in pixels of the portrait."""


def motion(seconds: float) -> NDArray[np.float64]:
    """float64 [2, 3]: portrait to frame at a time; slow swaying, nodding and breathing."""
    turn = 2 * np.pi * seconds
    angle = np.radians(1.5) * np.sin(turn * 0.31)
    zoom = SIZE / SHOWN * (1 + 0.02 * np.sin(turn * 0.23))
    sway = np.array([8 * np.sin(turn * 0.27), 5 * np.sin(turn * 0.41 + 1.0)])
    turned = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([SIZE / 2, SIZE / 2]) + sway - turned @ np.array(HEAD)
    return np.hstack([turned, shift[:, None]])


def make_clip(path: Path) -> None:
    """Writes the portrait as a clip of a head that moves: H.264, 640 x 640, 25 frames/s, 5.2 s."""
    portrait = data.astronaut()
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "veryfast"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(round(SECONDS * RATE)):
            picture = cv2.warpAffine(
                portrait, motion(index / RATE), (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="your own video or photo instead of the portrait")
    parser.add_argument("--speech", type=Path, default=HERE / "speech.wav", help="your own speech")
    parser.add_argument("--output", type=Path, default=Path("out/demo.mp4"))
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    video = options.video
    if video is None:
        video = options.output.parent / "astronaut.mp4"
        make_clip(video)
    command = ["dub", str(video), str(options.speech), "-o", str(options.output), "--force"]
    print(f"retalkit {' '.join(command)}", file=sys.stderr)
    retalkit(command)


if __name__ == "__main__":
    main()
