"""Driving speech, which is denoised and analysed once, cached, and read in chunks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from retalkit.media.sound import SoundSource
from retalkit.observer import Observer
from retalkit.pipeline.stage_errors import check_cancelled
from retalkit.speech.activity import AgreedActivity
from retalkit.speech.activity_options import VoiceActivityOptions
from retalkit.speech.loudness import LoudnessMeter, reference_gain
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import SPEECH_RATE, DenoiserSession
from retalkit.storage.cache import CacheEntry, Folder
from retalkit.storage.row_file import RowReader, RowWriter

VERSION: Final = 5
"""Version number in the cache key. The number must be increased when the result of resampling or voice activity
detection changes."""

WAVEFORM: Final = "speech.f32"
ACTIVITY: Final = "activity.f32"
DESCRIPTION: Final = "speech.json"

_QUIET_SHARE = 0.1
_NO_SPEECH = 0.1


class StoredSamples:
    """Reader for the audio samples in a raw file, which implements ``retalkit.speech.readers.WaveReader``."""

    def __init__(self, rows: RowReader) -> None:
        self._rows = rows

    @property
    def sample_count(self) -> int:
        return self._rows.count

    def read(self, start_sample: int, stop_sample: int) -> NDArray[np.float32]:
        """Return samples [start_sample, stop_sample), float32 [stop_sample - start_sample], zero-padded outside the
        file."""
        samples = np.zeros(max(stop_sample - start_sample, 0), np.float32)
        first, last = max(start_sample, 0), min(stop_sample, self._rows.count)
        if last > first:
            samples[first - start_sample : last - start_sample] = self._rows.read(first, last)
        return samples


def is_complete(folder: CacheEntry) -> bool:
    """Return whether the speech in ``folder`` is complete. The description is written last."""
    return folder.has(DESCRIPTION, WAVEFORM, ACTIVITY)


def prepare_speech(
    sound: SoundSource,
    denoiser: DenoiserSession,
    options: VoiceActivityOptions,
    folder: Folder,
    observer: Observer,
    cancelled: Callable[[], bool],
) -> None:
    """Resample the audio to 16 kHz mono, denoise it, detect voice activity, and store waveform and activity as raw
    float32.

    A first pass measures the loudness. The denoiser and voice activity detection receive the speech at the reference
    loudness, so the result does not depend on the recording level. The stored waveform has the recording's original
    level.

    Raises RunCancelledError between chunks if ``cancelled()`` returns True. In that case, no files are stored.
    """
    meter = LoudnessMeter()
    for chunk in _joined(sound.chunks(SPEECH_RATE)):
        check_cancelled(cancelled)
        meter.push(chunk)
    loudness = meter.loudness()
    gain = np.float32(reference_gain(loudness))
    # Voice activity is computed before and after denoising, because denoised music can resemble speech, and noise fills
    # pauses.
    activity = AgreedActivity(options)
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
            waveform_file.append(cleaned / gain)
            values = activity.push(original, cleaned)
            loudest = max(loudest, float(values.max(initial=0.0)))
            activity_file.append(values)

        for chunk in _joined(sound.chunks(SPEECH_RATE)):
            check_cancelled(cancelled)
            normalised = chunk * gain
            store(normalised, denoiser.denoise(normalised))
            done += len(chunk)
            observer.advanced("speech", done // SPEECH_RATE)
        rest = denoiser.finish()
        store(rest[:0], rest)
        values = activity.finish()
        loudest = max(loudest, float(values.max(initial=0.0)))
        activity_file.append(values)
    summary = {
        "highest_activity": loudest,
        "quiet_seconds": activity.quiet_seconds,
        "seconds": done / SPEECH_RATE,
        "loudness": loudness,
    }
    with folder.write(DESCRIPTION) as path:
        path.write_text(json.dumps(summary), encoding="utf-8")


def open_stored(folder: Folder) -> tuple[SpeechTrack, str]:
    """Return the stored speech and a note for the user if little or no voice activity was detected, otherwise an empty
    string."""
    waveform = StoredSamples(RowReader(folder.folder / WAVEFORM, np.float32, ()))
    activity = StoredSamples(RowReader(folder.folder / ACTIVITY, np.float32, ()))
    summary = json.loads((folder.folder / DESCRIPTION).read_text(encoding="utf-8"))
    note = ""
    if summary["quiet_seconds"] > _QUIET_SHARE * summary["seconds"]:
        note = (
            f"{summary['quiet_seconds']:.1f} s of the speech are treated as background and leave the mouth at rest, "
            "because they are much quieter than the rest; equalise the levels or lower voice_activity.quietest_speech"
        )
    elif summary["highest_activity"] <= _NO_SPEECH:
        note = "no speech detected in the audio; the mouth stays at rest"
    return SpeechTrack(waveform, activity, float(summary["loudness"])), note


def _joined(chunks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Join short chunks to chunks of at least one second, because each chunk is processed by several stages."""
    pieces: list[NDArray[np.float32]] = []
    for chunk in chunks:
        pieces.append(chunk)
        if sum(map(len, pieces)) >= SPEECH_RATE:
            yield np.concatenate(pieces)
            pieces = []
    if pieces:
        yield np.concatenate(pieces)
