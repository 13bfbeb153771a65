"""Pictures and sound for tests, made without any download and without a file of its own.

The portrait is NASA's picture of the astronaut Eileen Collins, in the public domain; scikit-image's wheel carries it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.stages import SPEECH_RATE

Image = NDArray[np.uint8]

SIZE: Final = 640
RATE: Final = 25
SECONDS: Final = 5.2
HEAD: Final = (224.0, 140.0)
"""Where the head is in the portrait (x, y), in pixels."""
SHOWN: Final = 256.0
"""Side of the square around the head that fills the frame, in pixels of the portrait."""

_SYLLABLES: Final = 4.0
"""A second; people speak with 3 to 6."""


def portrait() -> Image:
    """RGB uint8 [512, 512, 3]."""
    # Imported when asked: it takes long.
    from skimage import data

    picture: Any = data.astronaut()
    return picture


def motion(seconds: float) -> NDArray[np.float64]:
    """float64 [2, 3]: portrait to frame at a time; slow swaying, nodding and breathing."""
    turn = 2 * np.pi * seconds
    angle = np.radians(1.5) * np.sin(turn * 0.31)
    zoom = SIZE / SHOWN * (1 + 0.02 * np.sin(turn * 0.23))
    sway = np.array([8 * np.sin(turn * 0.27), 5 * np.sin(turn * 0.41 + 1.0)])
    turned = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([SIZE / 2, SIZE / 2]) + sway - turned @ np.array(HEAD)
    return np.hstack([turned, shift[:, None]])


def moving_portrait(picture: Image, seconds: float) -> Image:
    """RGB uint8 [640, 640, 3]: the portrait as it is seen at a time."""
    shown = cv2.warpAffine(
        picture, motion(seconds), (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(shown, np.uint8)


def make_clip(path: Path) -> None:
    """Writes the portrait as a clip of a head that moves: H.264, 640 x 640, 25 frames/s, 5.2 s."""
    picture = portrait()
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "veryfast"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(round(SECONDS * RATE)):
            frame = moving_portrait(picture, index / RATE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def loudness(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [T] in [0, 1]: how loud ``speech`` is at float64 [T] seconds; syllables, with a pause in each 1.6 s."""
    syllable = np.square(np.sin(np.pi * _SYLLABLES * times))
    return np.where((times % 1.6 < 1.2) & (times >= 0), syllable, 0.0)


def speech(seconds: float) -> NDArray[np.float32]:
    """Mono float32 in [-0.5, 0.5] at 16 kHz: a voice-like buzz with moving formants and a little noise. No words."""
    times = np.arange(round(seconds * SPEECH_RATE)) / SPEECH_RATE
    pitch = 2 * np.pi * (120 * times + 6 * np.sin(2 * np.pi * 0.9 * times) / (2 * np.pi * 0.9))
    first, second = 500 + 250 * np.sin(2 * np.pi * 1.7 * times), 1500 + 600 * np.sin(2 * np.pi * 1.1 * times)
    voice = np.zeros_like(times)
    for harmonic in range(1, 31):
        place = 120.0 * harmonic
        strength = 1 / (1 + ((place - first) / 120) ** 2) + 0.5 / (1 + ((place - second) / 200) ** 2) + 0.02
        voice += strength * np.sin(harmonic * pitch)
    noise = np.random.default_rng(0).standard_normal(len(times))
    sound = voice / 4 * loudness(times) + 0.003 * noise
    return np.clip(0.4 * sound, -0.5, 0.5).astype(np.float32)
