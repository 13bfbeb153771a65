"""Finisher that draws a visible label on the video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from retalkit.media.codec_names import Codec
from retalkit.media.containers import file_url
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.frame_editing import blend_edit
from retalkit.media.sources import MediaSource, open_source
from retalkit.media.video_codec import Encoding, choose_encoding
from retalkit.media.video_replacement import replace_video
from retalkit.plugins.specs import FinishedRun
from retalkit.provenance.label_image import draw_label, label_place
from retalkit.provenance.options import LabelOptions


class Label:
    """Finisher that draws the label on the frames and encodes the video again. The sound is copied."""

    def __init__(self, config: LabelOptions) -> None:
        self.config = config

    def finish(self, source: Path, target: Path, run: FinishedRun) -> None:
        """Write the labelled video with the run's encoder settings."""
        video = open_source(source)
        segment = target.with_name(f"{target.name}.video")
        time_base = output_time_base(video.time_base)
        count = video.info.frame_count
        times = video.times(0, count)
        end = max(video.info.duration, float(times[-1]))
        duration = np.inf if self.config.duration is None else self.config.duration
        # The picture may start later than the sound. Matroska rounds timestamps to milliseconds.
        until = float(times[0]) + duration - 0.002
        stamp = _Stamp(self.config, video.size)
        try:
            encoding = _encoding(source, video, run.record)
            frames = video.read_video_frames(range(count), encoding.pixel_format)
            with SegmentWriter(
                segment, video.size, video.colour, video.rate, time_base, encoding, sample_aspect=video.sample_aspect
            ) as writer:
                for index, frame in frames:
                    following = float(times[index + 1]) if index + 1 < count else end
                    drawn = stamp.draw(frame) if times[index] < until else frame
                    writer.write_frame(drawn, float(times[index]), following - float(times[index]))
            start = video.start_time
            replace_video(
                source, segment, target, times=times, start=start, end=end, time_base=time_base, colour=video.colour
            )
        finally:
            segment.unlink(missing_ok=True)
            video.close()
        run.results.update(text=self.config.text, seconds=None if duration == np.inf else duration)


class _Stamp:
    """Label image with its position in the frame."""

    def __init__(self, options: LabelOptions, size: tuple[int, int]) -> None:
        self._colours, self._opacity = draw_label(options, *size)
        height, width = self._opacity.shape
        self._left, self._top = label_place(options, size, (width, height))

    def draw(self, frame: av.VideoFrame) -> av.VideoFrame:
        return blend_edit(frame, self._colours, self._opacity, self._left, self._top)


def _encoding(path: Path, video: MediaSource, record: Mapping[str, Any]) -> Encoding:
    """Return the encoding of the file with the run's quality settings."""
    configuration = cast("Mapping[str, Any]", record["configuration"])
    output = cast("Mapping[str, Any]", configuration["output"])
    with av.open(file_url(path)) as container:
        codec = cast("Codec", container.streams.video[0].codec_context.name)
    return choose_encoding(
        video,
        codec=codec,
        pixel_format=video.pixel_format.name,
        crf=output["crf"],
        preset=None if output["preset"] == "auto" else output["preset"],
        profile=output.get("profile", "auto"),
    )
