"""Lower bound of the duration of ``retalkit dub``: decoding, face tracking and encoding, one after the other.

The parts use the code of the pipeline, but they do not overlap. Decoding counts every output frame and every analysed
frame once. Tracking includes the required conversions to RGB. The edits, the speech, the start of the
process and the loading of the detector are not counted.

Run: python benchmarks/dub_floor.py VIDEO SPEECH
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import av
from retalkit.config.model import DEFAULT_PRESET, load
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.pixel_format import YUV420P, PixelFormat
from retalkit.media.sound import open_sound
from retalkit.media.sources import VideoSource, open_source
from retalkit.media.timeline import build_timeline
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import analysed_part
from retalkit.pipeline.detection_batches import frame_batches
from retalkit.pipeline.plan import plan
from retalkit.pipeline.segments import segment_ranges
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, ObjectPool, StageContext
from retalkit.storage.cache import Folder

CHUNK_BYTES = 1 << 30
"""Maximum size of the decoded frames that are kept while their detection or encoding is measured."""


@dataclass(slots=True)
class Floor:
    """Durations in seconds."""

    decode: float = 0.0
    track: float = 0.0
    encode: float = 0.0


class DecodedSource(VideoSource):
    """Video source that provides frames which have already been decoded."""

    def __init__(self, source: VideoSource) -> None:
        super().__init__(source.path, source.index)
        self.frames: dict[int, av.VideoFrame] = {}
        """Mapping from frame index to decoded frame."""

    def read_video_frames(
        self, indexes: Iterable[int], pixel_format: PixelFormat = YUV420P
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        for index in indexes:
            yield index, self.frames[index]


def measure_floor(video: Path, speech: Path, folder: Path) -> Floor:
    """Measure the lower bound for the default preset. Temporary files are written to ``folder``."""
    source = open_source(video)
    config = load(registry := discover(), preset=DEFAULT_PRESET)
    timeline = build_timeline(source, open_sound(speech).duration, config.length, config.extend)
    limited = analysed_part(source, timeline, config.analysis_seconds)
    detector = plan(config, registry).detector.make(config, ObjectPool())
    context = StageContext(cache=Folder(folder / "detector"), observer=SilentObserver())
    assert isinstance(source, VideoSource)
    floor, clip = Floor(), DecodedSource(source)
    size = max(1, CHUNK_BYTES // (source.info.width * source.info.height * 3 // 2))
    chunks = [
        (start, min(start + size, last))
        for first, last in segment_ranges(0, timeline.count)
        for start in range(first, last, size)
    ]
    analysed = 0

    def track(frames: dict[int, av.VideoFrame]) -> None:
        """Track the frames that follow the tracked frames."""
        nonlocal analysed
        stop = analysed
        while stop < limited.info.frame_count and stop in frames:
            stop += 1
        clip.frames = frames
        start = time.perf_counter()
        for batch in frame_batches(clip, analysed, stop):
            session.detect(batch)
        floor.track += time.perf_counter() - start
        analysed = stop

    with closing(detector.open(DetectionClip(source=limited.info), context)) as session:
        encoding, time_base = config.output.encoding(source), output_time_base(timeline.time_base)
        for start, stop in chunks:
            began = time.perf_counter()
            shown = (int(index) for index in timeline.sources(start, stop))
            frames = list(source.read_video_frames(shown, encoding.pixel_format))
            floor.decode += time.perf_counter() - began
            track(dict(frames))
            times, durations = timeline.times(start, stop), timeline.durations(start, stop)
            began = time.perf_counter()
            path = folder / "segment.nut"
            with SegmentWriter(path, source.size, source.colour, source.rate, time_base, encoding) as writer:
                for (_, frame), second, duration in zip(frames, times, durations, strict=True):
                    writer.write_frame(frame, float(second), float(duration))
            floor.encode += time.perf_counter() - began
        for start in range(analysed, limited.info.frame_count, size):
            began = time.perf_counter()
            rest = range(start, min(start + size, limited.info.frame_count))
            frames = dict(source.read_video_frames(rest))
            floor.decode += time.perf_counter() - began
            track(frames)
    return floor


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("speech", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asdict(measure_floor(options.video, options.speech, Path(folder)))))


if __name__ == "__main__":
    main()
