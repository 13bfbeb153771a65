"""The speech that drives the mouth: cleaned and listened to once, kept in the cache, read a piece at a time."""

from __future__ import annotations

import json
import threading
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.media.sound import SoundSource
from retalkit.observer import Observer
from retalkit.speech.activity import ActivityConfig, AgreedActivity
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import SPEECH_RATE, DenoiserSession
from retalkit.storage.cache import Folder
from retalkit.storage.row_file import RowReader, RowWriter

VERSION: Final = 1
"""Part of the cache keys: raise it when resampling or voice activity change their result."""

WAVEFORM: Final = "speech.f32"
ACTIVITY: Final = "activity.f32"
DESCRIPTION: Final = "speech.json"

_QUIET_SHARE = 0.1
_NOBODY = 0.1


class StoredSamples:
    """Samples in a raw file, readable anywhere; implements ``retalkit.speech.readers.WaveReader``."""

    def __init__(self, rows: RowReader) -> None:
        self._rows = rows

    @property
    def sample_count(self) -> int:
        return self._rows.count

    def read(self, start_sample: int, stop_sample: int) -> NDArray[np.float32]:
        """float32 [stop_sample - start_sample]; zeros before the first and after the last sample."""
        samples = np.zeros(max(stop_sample - start_sample, 0), np.float32)
        first, last = max(start_sample, 0), min(stop_sample, self._rows.count)
        if last > first:
            samples[first - start_sample : last - start_sample] = self._rows.read(first, last)
        return samples


class StoppedError(Exception):
    """Another part of the run failed: this one need not go on."""


def is_complete(folder: Folder) -> bool:
    """Whether the step of this folder was finished: its description is written last."""
    return folder.path(DESCRIPTION) is not None


def listen(
    sound: SoundSource,
    denoiser: DenoiserSession,
    quietest_speech: float,
    folder: Folder,
    observer: Observer,
    stopped: threading.Event,
) -> None:
    """Resamples to 16 kHz mono, denoises, finds voice activity; stores both as raw float32.

    ``quietest_speech`` in dBFS: what is not louder counts as background. Runs in a thread of its own: setting
    ``stopped`` ends it early with ``StoppedError`` and nothing stored.
    """
    # Asked of the sound before and after denoising: denoised music can pass for speech, and noise fills pauses.
    activity = AgreedActivity(ActivityConfig(level=quietest_speech))
    done = 0
    loudest = 0.0
    with (
        folder.write(WAVEFORM) as waveform_path,
        folder.write(ACTIVITY) as activity_path,
        RowWriter(waveform_path, np.float32) as waveform_file,
        RowWriter(activity_path, np.float32) as activity_file,
    ):

        def store(original: NDArray[np.float32], cleaned: NDArray[np.float32]) -> None:
            nonlocal loudest
            waveform_file.append(cleaned)
            values = activity.push(original, cleaned)
            loudest = max(loudest, float(values.max(initial=0.0)))
            activity_file.append(values)

        for chunk in sound.chunks(SPEECH_RATE):
            if stopped.is_set():
                raise StoppedError
            store(chunk, denoiser.denoise(chunk))
            done += len(chunk)
            observer.advanced("speech", done // SPEECH_RATE)
        rest = denoiser.finish()
        store(rest[:0], rest)
        values = activity.finish()
        loudest = max(loudest, float(values.max(initial=0.0)))
        activity_file.append(values)
    heard = {"highest_activity": loudest, "quiet_seconds": activity.quiet_seconds, "seconds": done / SPEECH_RATE}
    with folder.write(DESCRIPTION) as path:
        path.write_text(json.dumps(heard), encoding="utf-8")


def open_stored(folder: Folder) -> tuple[SpeechTrack, str]:
    """The stored speech, and one sentence for the user where little or nothing of it moves the mouth, else empty."""
    waveform = StoredSamples(RowReader(folder.folder / WAVEFORM, np.float32, ()))
    activity = StoredSamples(RowReader(folder.folder / ACTIVITY, np.float32, ()))
    heard = json.loads((folder.folder / DESCRIPTION).read_text(encoding="utf-8"))
    note = ""
    if heard["quiet_seconds"] > _QUIET_SHARE * heard["seconds"]:
        note = (
            f"{heard['quiet_seconds']:.1f} s of the speech are so quiet that they count as background and leave the "
            "mouth at rest: make the sound louder, or lower quietest_speech"
        )
    elif heard["highest_activity"] <= _NOBODY:
        note = "no speech was found in the sound: the mouth stays at rest"
    return SpeechTrack(waveform, activity), note
