"""Decisions about the output file that are made and checked before other work starts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from retalkit.config import RunConfig
from retalkit.config.output import OriginalSound
from retalkit.errors import OutputError
from retalkit.media.codec_names import AudioCodec
from retalkit.media.encoding import check_encoder
from retalkit.media.image_files import file_kind
from retalkit.media.kept_streams import KeptStreams, other_content, plan_kept_streams
from retalkit.media.layer import check_layer
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
    kept: KeptStreams | None = None
    """Streams of the source that are copied to the output."""
    layer: Path | None = None
    """File or directory for the edit alone, with transparency."""
    notes: tuple[str, ...] = ()


def plan_output(
    config: RunConfig,
    source: MediaSource,
    output: Path,
    inputs: Iterable[Path],
    *,
    force: bool,
    cued: bool = False,
    layer: Path | None = None,
) -> OutputPlan:
    """Decide how the output is encoded, and open the files of its sound.

    ``source``: the opened video or still image. ``inputs``: paths of all input files. ``cued``: whether the run has
    cues. ``layer``: path for the edit alone, or None.

    Raises:
        OutputError: the output cannot be written, or the codecs, the pixel format and the container are incompatible.
        InputError: a file of the sound cannot be used.
    """
    encoding = config.output.encoding(source)
    check_encoder(encoding)
    audio = choose_audio_codec(encoding.codec, None if config.output.audio == "auto" else config.output.audio)
    check_container(output, encoding.codec, audio)
    sound = OutputSound(config.sound, source.path, source.start_time, cued=cued)
    taken = (*inputs, *sound.files)
    check_output(output, force=force, inputs=taken)
    if layer is not None:
        check_layer(layer, force, taken)
        if layer.resolve() == output.resolve():
            raise OutputError(f"--layer {layer}: this is also the output; choose another path", code="output-is-input")
    notes = list(sound.notes)
    sound.notes.clear()
    kept, note = _kept_streams(config, source, output)
    notes += [note] if note else []
    return OutputPlan(encoding=encoding, audio=audio, sound=sound, kept=kept, layer=layer, notes=tuple(notes))


def _kept_streams(config: RunConfig, source: MediaSource, output: Path) -> tuple[KeptStreams | None, str]:
    """Return the streams to copy, and a note about the source's content that the output will not contain."""
    if file_kind(source.path) != "video":
        return None, ""
    original = config.sound.original
    track = original.track if isinstance(original, OriginalSound) else None
    if config.output.keep == "none":
        missing = other_content(source.path, track)
        return None, f"Not copied from the video: {missing}; --keep streams copies them." if missing else ""
    kept = plan_kept_streams(source.path, output, source.start_time, track)
    if not kept.dropped:
        return kept, ""
    return kept, f"A {output.suffix.lower()} file cannot contain {kept.dropped} of the video; not copied."
