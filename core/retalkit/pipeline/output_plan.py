"""Decisions about the output file that are made and checked before other work starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from retalkit.config import RunConfig
from retalkit.media.codec_names import AudioCodec
from retalkit.media.muxing import check_output
from retalkit.media.sources import MediaSource
from retalkit.media.video_codec import Encoding, check_container, choose_audio_codec
from retalkit.pipeline.output_sound import OutputSound


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPlan:
    """Encoding, sound and streams of the output."""

    encoding: Encoding
    audio: AudioCodec
    sound: OutputSound
    notes: tuple[str, ...] = ()


def plan_output(
    config: RunConfig, source: MediaSource, output: Path, inputs: Iterable[Path], *, force: bool, cued: bool = False
) -> OutputPlan:
    """Decide how the output is encoded, and open the files of its sound.

    ``source``: the opened video or still image. ``inputs``: paths of all input files. ``cued``: whether the run has
    cues.

    Raises:
        OutputError: the output cannot be written, or the codecs, the pixel format and the container are incompatible.
        InputError: a file of the sound cannot be used.
    """
    encoding = config.output.encoding(source)
    audio = choose_audio_codec(encoding.codec, None if config.output.audio == "auto" else config.output.audio)
    check_container(output, encoding.codec, audio)
    sound = OutputSound(config.sound, source.path, source.start_time, cued=cued)
    check_output(output, force=force, inputs=(*inputs, *sound.files))
    notes = list(sound.notes)
    sound.notes.clear()
    return OutputPlan(encoding=encoding, audio=audio, sound=sound, notes=tuple(notes))
