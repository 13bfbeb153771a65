"""Small synthetic clips: every frame contains its number as a bar code that survives lossy coding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from scipy.io import wavfile

BITS = 12
CELL = 16
WIDTH, HEIGHT = BITS * CELL, 96


def frame_image(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return RGB uint8 [height, width, 3]: the bar code at the top, a moving gradient below."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack(
        [(columns + 3 * number) % 256, (rows * 2 + columns) % 256, np.full_like(rows, 60 + number % 120)], axis=-1
    ).astype(np.uint8)
    for bit in range(BITS):
        image[:CELL, bit * CELL : (bit + 1) * CELL] = 235 if number >> bit & 1 else 20
    return image


def number_of(image: np.ndarray) -> int:
    """Read the number of a ``frame_image``."""
    centres = image[CELL // 2, CELL // 2 : BITS * CELL : CELL].mean(axis=-1)
    return sum(1 << bit for bit, value in enumerate(centres) if value > 128)


def make_clip(
    path: Path,
    ticks: Sequence[int],
    time_base: Fraction,
    *,
    pixel_format: str = "yuv420p",
    codec: str = "libx264",
    rate: Fraction | int = 25,
    options: dict[str, str] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    **context: Any,
) -> Path:
    """Write a clip that shows ``frame_image(i)`` at ``ticks[i] * time_base`` seconds."""
    with av.open(str(path), "w", format=container, options=container_options or {}) as target:
        stream = target.add_stream(
            codec, rate=rate, options={"crf": "12", "preset": "ultrafast", **(options or {})}, time_base=time_base
        )
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pixel_format
        stream.codec_context.thread_count = 1
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(frame_image(number, *size), format="rgb24")
            frame = frame.reformat(format=pixel_format, dst_colorspace=context.get("colorspace"))
            frame.pts, frame.time_base = tick, time_base
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


def steady_clip(path: Path, count: int, rate: int = 25, **more: Any) -> Path:
    """Write ``count`` frames at a constant integer rate."""
    return make_clip(path, range(count), Fraction(1, rate), rate=rate, **more)


def make_wave(path: Path, samples: np.ndarray, rate: int) -> Path:
    """Write float [N] or [N, channels] in [-1, 1] as 16-bit wav."""
    wavfile.write(path, rate, np.round(samples * 32767).astype(np.int16))
    return path


def clicks(times: Sequence[float], seconds: float, rate: int) -> np.ndarray:
    """Return float [N]: silence with a short burst that starts at each of the times."""
    sound = np.zeros(round(seconds * rate))
    burst = 0.8 * np.sin(2 * np.pi * 2000 * np.arange(round(0.01 * rate)) / rate)
    for time in times:
        start = round(time * rate)
        sound[start : start + len(burst)] = burst
    return sound


def click_times(sound: np.ndarray, rate: int) -> list[float]:
    """Return the start times of the bursts, at least 0.1 s apart."""
    loud = np.flatnonzero(np.abs(sound) > 0.2) / rate
    return [float(time) for i, time in enumerate(loud) if i == 0 or time - loud[i - 1] > 0.1]
