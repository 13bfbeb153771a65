"""Results of an inspection. All classes are immutable and can be converted to JSON with ``to_json``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, Literal, cast

Outcome = Literal["edited", "faded", "passed", "outside", "unused"]
"""``edited``: the face is edited with full confidence. ``faded``: the edit is partly transparent. ``passed``: the face
stays unchanged, and the reason is known. ``outside``: the frame is outside the person's cues. ``unused``: the output
does not contain the frame."""

FORMAT: Final = 1
"""Version number of the JSON format."""


@dataclass(frozen=True, slots=True)
class Picture:
    """JPEG image."""

    name: str
    """File name without suffix, unique in the inspection."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    data: bytes = field(repr=False)
    """JPEG data."""
    alt: str = ""
    """Description for readers who do not see the image."""


@dataclass(frozen=True, slots=True)
class Span:
    """Part of the video with one outcome for one person."""

    start: float
    """Start time in seconds of the video."""
    end: float
    """End time in seconds of the video."""
    outcome: Outcome
    reason: str = ""
    """Reason why the edit fades or the frame is passed through, in the words of the run record."""
    detail: str = ""
    """Additional explanation, such as ``profile`` if the detector rejected a face."""

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class PersonInfo:
    """Person in the video."""

    id: str
    """Identifier that selects the person, such as ``p1``."""
    name: str
    """Name of the person in the run, such as ``largest`` or a name of the cues. Empty if the run does not edit the
    person."""
    picture: Picture | None
    """Largest frontal view of the face."""
    visible: float
    """Time in seconds in which the face is visible."""
    shots: tuple[int, ...]
    """Numbers of the shots that show the person."""
    face_width: float
    """Median width of the face in pixels."""
    face_share: float
    """Median height of the face relative to the height of the frame."""
    largest_yaw: float
    """95th percentile of the head's yaw in degrees."""
    opening: float | None
    """98th percentile of the lip opening, relative to the distance between the outer eye corners, or None if the
    landmarks do not include the lips. The lip syncer ``exemplar`` opens the mouth no wider than this."""
    openings: tuple[float, ...]
    """Share of the frames per step of 0.04 of the opening, from 0. The last value includes all larger openings."""
    confidence: float = 1.0
    """Lowest confidence with which the person was recognised in a shot."""
    uncertain: float = 0.0
    """Time in seconds in which a face may be this person, but is not edited because the confidence is too low."""


@dataclass(frozen=True, slots=True)
class PersonSpans:
    """Outcome of one shot for one edited person."""

    person: str
    """Id of the person, such as ``p1``."""
    spans: tuple[Span, ...]
    """Parts of the shot with one outcome, in order."""


@dataclass(frozen=True, slots=True)
class ShotInfo:
    """Shot of the video."""

    number: int
    """Number from 1."""
    start: float
    """Start time in seconds."""
    end: float
    """End time in seconds."""
    frames: int
    picture: Picture | None
    """Frame in the middle of the shot."""
    faces: int
    """Largest number of faces in one frame."""
    results: tuple[PersonSpans, ...]
    """Outcome for each edited person."""
    spans: tuple[Span, ...]
    """Best outcome of all edited persons, in order."""


def seconds_of(spans: Iterable[Span], outcome: Outcome) -> float:
    """Return the time in seconds with an outcome."""
    return sum(span.seconds for span in spans if span.outcome == outcome)


def reasons_of(spans: Iterable[Span], outcome: Outcome) -> dict[str, float]:
    """Return the time in seconds for each reason of an outcome, longest first.

    Details follow the reason in parentheses.
    """
    found: dict[str, float] = {}
    for span in spans:
        if span.reason and span.outcome == outcome:
            text = f"{span.reason} ({span.detail})" if span.detail else span.reason
            found[text] = found.get(text, 0.0) + span.seconds
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class SpeechInfo:
    """Speech that drives the lips of one person."""

    name: str
    """File name, or the name of the person whose cues contain the speech."""
    duration: float
    """Duration in seconds."""
    loudness: float
    """Integrated loudness in LUFS."""
    step: float
    """Interval in seconds of ``levels``."""
    levels: tuple[float, ...]
    """Peak amplitude in each interval, in [0, 1]."""
    active: tuple[tuple[float, float], ...]
    """Start and end time in seconds of each part with speech. The mouth rests in between."""
    note: str = ""

    @property
    def speaking(self) -> float:
        """Time with speech in seconds."""
        return sum(end - start for start, end in self.active)

    @property
    def longest_pause(self) -> float:
        """Duration in seconds of the longest part without speech."""
        edges = [0.0, *(time for part in self.active for time in part), self.duration]
        return max((after - before for before, after in zip(edges[::2], edges[1::2], strict=True)), default=0.0)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of the video."""

    name: str
    width: int
    height: int
    frames: int
    duration: float
    """Duration in seconds."""
    rate: float
    """Mean frame rate in frames per second."""
    is_photo: bool
    inspected: float
    """Time in seconds from the start of the video that a run analyses."""


@dataclass(frozen=True, slots=True)
class LengthInfo:
    """Durations of the inputs and of the output."""

    video: float
    speech: float
    output: float
    note: str
    """What happens if the durations differ, or an empty string."""


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Estimated computation time of the run on this machine."""

    seconds: float
    """Time in seconds that a run takes now. Results that the inspection has cached are not computed again."""
    fresh_seconds: float
    """Time in seconds without cached results."""
    steps: dict[str, float]
    """Mapping from step to time in seconds without cached results."""
    render_rate: float
    """Estimated number of frames that are rendered per second."""
    measured_frames: int
    """Number of frames that were rendered to measure the rate. 0 means that no frame could be rendered."""


@dataclass(frozen=True, slots=True)
class StageView:
    """Images of one stage's results."""

    title: str
    text: str
    """What the images show."""
    pictures: tuple[tuple[str, Picture], ...]
    """Label and image."""


@dataclass(frozen=True, slots=True)
class LandmarkCurve:
    """Position of one landmark over time, before and after smoothing."""

    label: str
    times: tuple[float, ...]
    """Times in seconds."""
    raw: tuple[float, ...]
    """Detected position in pixels, relative to its mean."""
    smoothed: tuple[float, ...]
    """Smoothed position in pixels, relative to the mean of the detected position."""


@dataclass(frozen=True, slots=True)
class StageViews:
    """What each stage makes of a few frames of one person."""

    person: str
    """Id of the person."""
    name: str
    """Name of the person in the cues, or the selected face."""
    views: tuple[StageView, ...]
    curves: tuple[LandmarkCurve, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that is known about a run before rendering."""

    video: VideoInfo
    shots: tuple[ShotInfo, ...]
    persons: tuple[PersonInfo, ...]
    speeches: tuple[SpeechInfo, ...]
    """Speech of each edited person. Empty for an inspection without a speech."""
    length: LengthInfo | None
    estimate: TimeEstimate
    stages: tuple[StageViews, ...]
    """Views of each edited person. Empty if they were not requested, or if no frame shows an edited person."""
    notes: tuple[str, ...]
    """Notes that the run would print."""
    configuration: dict[str, Any]
    """Complete run file as plain data."""
    sampled: int
    """The outcome was computed for every n-th frame."""
    retalkit: str
    """Version of Retalkit."""
    format: int = FORMAT

    @property
    def spans(self) -> tuple[Span, ...]:
        """Best outcome of all edited persons over the whole video."""
        return tuple(span for shot in self.shots for span in shot.spans)

    def seconds(self, outcome: Outcome) -> float:
        """Return the time in seconds of the video with an outcome."""
        return seconds_of(self.spans, outcome)

    def pictures(self) -> list[Picture]:
        """Return all images."""
        found = [each.picture for each in (*self.shots, *self.persons) if each.picture is not None]
        return found + [picture for of in self.stages for view in of.views for _, picture in view.pictures]


def to_json(value: Any, folder: str = "images") -> Any:
    """Return the value as data that ``json.dumps`` accepts. Images become the path of a JPEG file in ``folder``."""
    if isinstance(value, Picture):
        return {"file": f"{folder}/{value.name}.jpg", "width": value.width, "height": value.height, "alt": value.alt}
    if is_dataclass(value):
        return {each.name: to_json(getattr(value, each.name), folder) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_json(each, folder) for key, each in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [to_json(each, folder) for each in cast("list[Any]", value)]
    return round(value, 5) if isinstance(value, float) else value
