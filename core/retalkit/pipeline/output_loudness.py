"""Loudness target of the output's sound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from retalkit.media.limiter import CEILING, LimitedSound, true_peaks
from retalkit.media.sound import channel_names
from retalkit.media.track_source import TrackSource
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.speech.loudness import STANDARD_GATE, LoudnessMeter

_SURROUND_WEIGHT: Final = 1.41


def at_loudness(
    sound: TrackSource, target: float, duration: float, cancelled: Callable[[], bool]
) -> tuple[TrackSource, str]:
    """Return the sound with an integrated loudness of ``target`` LUFS, and a note that describes the change.

    Peaks above -1 dBTP are limited.
    """
    loudness, peak = measure(sound, duration, cancelled)
    if not math.isfinite(loudness):
        return sound, "The output's sound is silent, so its loudness is not changed."
    gain = target - loudness
    limit = peak * 10 ** (gain / 20) > CEILING
    adjusted = LimitedSound(sound, 10 ** (gain / 20), limit=limit)
    text = f"loudness {loudness:.1f} LUFS changed to {target:.1f} LUFS"
    if limit:
        # Limiting lowers the loudness, so the gain is corrected once.
        reached, _ = measure(adjusted, duration, cancelled)
        gain += target - reached
        adjusted = LimitedSound(sound, 10 ** (gain / 20))
        reached, _ = measure(adjusted, duration, cancelled)
        text = f"loudness {loudness:.1f} LUFS changed to {reached:.1f} LUFS, and peaks limited to -1 dBTP"
    return adjusted, f"The output's sound: {text} (gain {gain:+.1f} dB)."


def measure(sound: TrackSource, duration: float, cancelled: Callable[[], bool] = lambda: False) -> tuple[float, float]:
    """Return the integrated loudness in LUFS (ITU-R BS.1770-4) and the true peak of the first ``duration`` seconds.

    The loudness of audio without a block above -70 LUFS is minus infinity. Raises RunCancelledError if ``cancelled()``
    returns True.
    """
    weights = [_channel_weight(name) for name in channel_names(sound.layout)]
    meter = LoudnessMeter(sound.rate, weights, STANDARD_GATE)
    remaining, peak = round(duration * sound.rate), 0.0
    before = np.zeros((0, len(weights)), dtype=np.float32)
    for block in sound.native_chunks(sound.rate):
        check_cancelled(cancelled)
        block = block[:remaining]
        remaining -= len(block)
        meter.push(block)
        with_context = np.concatenate([before[-64:], block])
        peak = max(peak, float(true_peaks(with_context).max(initial=0.0)))
        before = with_context
        if remaining <= 0:
            break
    loudness = meter.loudness()
    return (loudness if loudness > STANDARD_GATE else -math.inf), peak


def _channel_weight(name: str) -> float:
    if name.startswith("LFE"):
        return 0.0
    return _SURROUND_WEIGHT if name[:2] in ("SL", "SR", "BL", "BR") else 1.0
