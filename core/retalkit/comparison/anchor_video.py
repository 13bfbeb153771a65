"""Encoding of the video for the arm ``real``, which is the unedited clip with the encoder settings of a dub.

The scores of this video therefore include the effect of codec artifacts.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from retalkit.config.model import RunConfig
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.muxing import assemble
from retalkit.media.sound import open_sound
from retalkit.media.sound_encoding import SoundTrack
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline


def encode_anchor(clip: Path, speech: Path, output: Path, config: RunConfig) -> None:
    """Encode the unedited frames that a dub of ``clip`` with ``speech`` would use, with ``speech`` as the audio track.

    Raises:
        InputError: an input file cannot be read.
        OutputError: ``output`` cannot be written.
    """
    source, sound = open_source(clip), open_sound(speech)
    timeline = build_timeline(source, sound.duration, config.length, config.extend)
    time_base = output_time_base(timeline.time_base)
    with TemporaryDirectory(prefix=".anchor-", dir=output.parent) as folder:
        segment = Path(folder) / "segment.mp4"
        encoding = config.output.encoding(source)
        writer = SegmentWriter(
            segment,
            source.size,
            source.colour,
            source.rate,
            time_base,
            encoding,
            sample_aspect=source.sample_aspect,
        )
        try:
            times, durations = timeline.times(0, timeline.count), timeline.durations(0, timeline.count)
            shown = (int(index) for index in timeline.sources(0, timeline.count))
            frames = source.read_video_frames(shown, encoding.pixel_format)
            for position, (_, frame) in enumerate(frames):
                writer.write_frame(frame, float(times[position]), float(durations[position]))
        except BaseException:
            writer.abort()
            raise
        writer.close()
        track = SoundTrack(sound, timeline.duration)
        assemble(
            [segment],
            track,
            output,
            duration=timeline.duration,
            time_base=time_base,
            frames=timeline.count,
            colour=source.colour,
        )
