"""Estimate of the computation time, based on the rendering of a few frames."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

from retalkit.imaging.compositing import composite
from retalkit.inspection.model import TimeEstimate
from retalkit.inspection.outcomes import Moment
from retalkit.media.decoded_frames import DecodedFrames
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.frame_editing import to_rgb
from retalkit.media.pixel_format import PixelFormat
from retalkit.media.sources import MediaSource
from retalkit.media.video_codec import Encoding
from retalkit.photo_motion.animator import PhotoAnimator
from retalkit.pipeline.face_job import FaceJob
from retalkit.pipeline.frame_edits import animated_frame, edit_frame
from retalkit.pipeline.timing import StepTimer
from retalkit.stages import PassedThrough

TRIAL_FRAMES: Final = 8
_SLOW: Final = 1.0
"""Seconds per frame from which only one frame is measured."""
_JOIN: Final = 0.3
"""Seconds for writing the output file."""


@dataclass(frozen=True, slots=True)
class TrialTimes:
    """Measured times in seconds per frame."""

    first_thread: float
    """Decoding and lip sync."""
    second_thread: float
    """Enhancement, compositing and encoding."""
    encoding: float
    """Encoding of an unchanged frame, including decoding."""
    frames: int

    @property
    def edited(self) -> float:
        """Time per edited frame. The two threads of the renderer work in parallel."""
        return max(self.first_thread, self.second_thread)


NO_TRIAL: Final = TrialTimes(0.0, 0.0, 0.0, 0)
"""Result of a trial without an edited frame."""


def run_trial(
    source: MediaSource, job: FaceJob, animators: Sequence[PhotoAnimator], edited: Sequence[Moment], encoding: Encoding
) -> TrialTimes:
    """Render a few of the ``edited`` frames and measure the time. The first frames only load the networks."""
    chosen = [
        edited[number] for number in np.linspace(0, len(edited) - 1, min(len(edited), TRIAL_FRAMES + 1)).astype(int)
    ]
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(
            Path(folder) / "trial.nut",
            source.size,
            source.colour,
            source.rate,
            output_time_base(job.timeline.time_base),
            encoding,
            sample_aspect=source.sample_aspect,
        )
        measured: list[tuple[float, float, float]] = []
        try:
            for number, moment in enumerate(chosen):
                measured.append(_render(source, job, animators, moment, writer, number, encoding.pixel_format))
                if number >= 1 and sum(measured[-1]) > _SLOW:
                    break
        finally:
            writer.abort()
    if not measured:
        return NO_TRIAL
    rows = np.array(measured[1:] or measured)
    decode, sync, rest = (float(each) for each in np.median(rows, axis=0))
    return TrialTimes(decode + sync, rest, decode, len(rows))


def _render(
    source: MediaSource,
    job: FaceJob,
    animators: Sequence[PhotoAnimator],
    moment: Moment,
    writer: SegmentWriter,
    number: int,
    pixel_format: PixelFormat,
) -> tuple[float, float, float]:
    """Return the seconds of decoding, lip sync, and the rest for one frame.

    Decoding one frame after a seek takes longer than decoding consecutive frames, so decoding is measured on the frames
    that precede the moment.
    """
    first = max(moment.index - 3, 0)
    frames = source.read_video_frames(range(first, moment.index + 1), pixel_format)
    frame = next(frames)[1]
    start = perf_counter()
    decoded = 0
    for _, following in frames:
        frame = following
        decoded += 1
    image = to_rgb(frame) if animators else None
    decode = (perf_counter() - start) / max(decoded, 1)
    start = perf_counter()
    times = source.times(moment.index, moment.index + 1)
    synced = job.sync(DecodedFrames([frame], times, np.array([moment.index], np.int64)), moment.position)
    sync = perf_counter() - start
    start = perf_counter()
    for result in job.enhance(synced):
        if not isinstance(result, PassedThrough):
            frame = edit_frame(frame, result) or frame
            if image is not None:
                composite(image, result)
    if image is not None:
        frame = animated_frame(frame, image, animators, moment.position)
    writer.write_frame(frame, number / 25, 1 / 25)
    return decode, sync, perf_counter() - start


def estimate_time(trials: Sequence[tuple[TrialTimes, int]], timer: StepTimer, total: int) -> TimeEstimate:
    """Return the estimate for ``total`` output frames.

    ``trials``: measured times and number of edited output frames of each person. ``timer`` contains the cost of the
    analysis steps, also if their results were cached.
    """
    render = sum(edited * trial.edited for trial, edited in trials)
    plain = max((trial.encoding for trial, _ in trials), default=0.0)
    render += max(total - max((edited for _, edited in trials), default=0), 0) * plain
    cost = timer.cost
    # The speech is processed in parallel with the video.
    video = sum(cost.get(step, 0.0) for step in ("faces", "tracks", "persons", "coefficients"))
    prepared = max(video, cost.get("speech", 0.0)) + cost.get("references", 0.0) + cost.get("lips", 0.0)
    steps = {step: round(seconds, 3) for step, seconds in cost.items()} | {"render": round(render, 3), "join": _JOIN}
    return TimeEstimate(
        seconds=render + _JOIN,
        fresh_seconds=prepared + render + _JOIN,
        steps=steps,
        render_rate=total / render if render > 0 else 0.0,
        measured_frames=sum(trial.frames for trial, _ in trials),
    )
