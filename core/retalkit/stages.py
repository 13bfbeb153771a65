"""The six stage contracts and the data that passes between them.

Every array that crosses a stage border is described here, once: shape, dtype, unit and range.
``T`` counts frames of a batch, ``N`` landmarks, ``C`` coefficients, ``H`` and ``W`` pixels.

A stage object is made from its configuration and holds no state of a clip. ``open`` is called once
for a clip and returns a session; the session then serves batches in ascending order and is closed.
A per-clip stage does its work in ``open`` (it may read everything that the analysis pass stored) and
keeps results in ``context.cache``, so that a killed run finds them again. A per-batch stage, such as a
network, does its work in the session's method. A session must not depend on how the frames were cut
into batches: N frames at once give what N batches of one give. What a session is given it leaves as it is, and
its results depend on ``StageContext.seed`` alone, never on the random generators of the process, which it
leaves as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from retalkit.observer import Observer

if TYPE_CHECKING:
    # Only annotations name arrays; without numpy the command line answers sooner.
    import numpy as np
    from numpy.typing import NDArray

SPEECH_RATE = 16000
"""Samples a second of every waveform that passes between stages."""


class StageKind(StrEnum):
    """The six kinds of stage, in the order in which a run uses their results."""

    DETECTOR = "detector"
    RECONSTRUCTOR = "reconstructor"
    EXPRESSION_EDITOR = "expression_editor"
    DENOISER = "denoiser"
    LIP_SYNCER = "lip_syncer"
    ENHANCER = "enhancer"


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """Version of one contract, and the oldest version that still runs."""

    current: int
    oldest: int

    def accepts(self, version: int) -> bool:
        """Whether a plugin made for ``version`` runs."""
        return self.oldest <= version <= self.current


CONTRACT_VERSIONS: Mapping[str, ContractVersion] = {
    **{kind.value: ContractVersion(current=1, oldest=1) for kind in StageKind},
    "driver": ContractVersion(current=1, oldest=1),
    "metric": ContractVersion(current=1, oldest=1),
    "checkpoint": ContractVersion(current=1, oldest=1),
}
"""Contract (a stage kind, ``driver``, ``metric`` or ``checkpoint``) -> its version. A plugin made for a version outside
the accepted range is listed with the reason and not run."""


# --------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of the source video before it is decoded, after rotation metadata was applied."""

    width: int
    height: int
    frame_count: int
    """Frames that decode, counted, not estimated."""
    duration: float
    """Seconds from the first frame's start to the last frame's end."""
    is_photo: bool = False


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Decoded frames in a row."""

    images: NDArray[np.uint8]
    """RGB uint8 [T, H, W, 3]."""
    times: NDArray[np.float64]
    """float64 [T], presentation time in seconds; variable frame rate is normal."""
    indexes: NDArray[np.int64]
    """int64 [T], position of each frame in the source video. Not a time."""


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face in one frame."""

    box: NDArray[np.float32]
    """float32 [4]: left, top, right, bottom in pixels; may reach outside the frame."""
    landmarks: NDArray[np.float32]
    """float32 [N, 3] in pixels (x right, y down, z away from the camera at the scale of x; 0 where unknown)."""
    score: float
    """Confidence in [0, 1]."""


@dataclass(frozen=True, slots=True)
class FaceBatch:
    """Frames together with what analysis knows of the one face that the run edits."""

    frames: FrameBatch
    landmarks: NDArray[np.float32]
    """float32 [T, N, 3] in pixels, smoothed inside each shot; a row of NaN: no face in that frame. A run asks
    lip syncers and enhancers for no such frame, but other callers may."""
    coefficients: NDArray[np.float32]
    """float32 [T, C] in the space that the reconstructor names; NaN rows as above."""
    boxes: NDArray[np.float32]
    """float32 [T, 4]: the detector's box of the face (left, top, right, bottom in pixels, may reach outside the frame),
    mean of five frames of the shot; NaN rows as above."""


@dataclass(frozen=True, slots=True)
class ReferenceBatch:
    """The same face wearing one canonical expression, for each frame of a FaceBatch."""

    landmarks: NDArray[np.float32]
    """float32 [T, N, 3] in pixels of the frame that the lips are put into, NaN rows where there is no face."""
    images: NDArray[np.uint8] | None = None
    """RGB uint8 [T, H, W, 3] whole frames, only when the run asked for ``reference:image``; else None. They differ from
    the frames down to below the frame's own chin and out to the jaw: the mask of an edit that is made of them must
    cover all of that, or the old jaw shows."""


@dataclass(frozen=True, slots=True)
class FaceEdit:
    """New pixels for a part of one frame."""

    image: NDArray[np.uint8]
    """RGB uint8 [h, w, 3]."""
    mask: NDArray[np.float32]
    """float32 [h, w] in [0, 1]: how much of ``image`` replaces the frame. 0 means: pixel stays bit-identical."""
    matrix: NDArray[np.float32]
    """float32 [2, 3]: maps pixel centres of the frame (x, y, 1) to pixel centres of ``image``. A pure integer
    translation (an edit at the frame's own resolution) is pasted without resampling."""
    confidence: float = 1.0
    """In [0, 1]; the stage has already faded ``mask`` accordingly. Reported, not applied again."""
    reason: str = ""
    """Why confidence is low, as a short phrase such as ``large yaw`` or ``occluded``."""
    exact: NDArray[np.float32] | None = None
    """float32 [h, w, 3], RGB in [0, 1]: ``image`` before it was rounded, from a stage that computes in such numbers and
    for one that goes on with them (E-Net with L-Net's face); else None."""


@dataclass(frozen=True, slots=True)
class PassedThrough:
    """The frame stays as it was."""

    reason: str
    """A short phrase such as ``no face`` that the run record counts."""


FrameResult = FaceEdit | PassedThrough


@dataclass(frozen=True, slots=True)
class MouthMotion:
    """What the mouth should do, one row for each asked time. All arrays are float32 [T].

    The units belong to nobody: a lip syncer retargets them to the person in the clip.
    """

    opening: NDArray[np.float32]
    """Distance of the inner lips: 0 closed, 1 the 95th percentile of a person who talks; up to 1.5."""
    width: NDArray[np.float32]
    """Signed mouth width: 0 at rest, 1 the 95th percentile of spreading (as in "ee"), -1 of rounding ("oo")."""
    protrusion: NDArray[np.float32]
    """Lips forward: 0 at rest, 1 fully protruded; at least 0."""
    closure: NDArray[np.float32]
    """Probability in [0, 1] that the lips touch here (p, b, m; f, v for the lower lip)."""
    speech: NDArray[np.float32]
    """Probability in [0, 1] that somebody speaks; 0 means: mouth at rest."""


class SpeechToMouth(Protocol):
    """Says what the mouth does at any time of a speech; a lip syncer may be driven by one."""

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """The mouth at float64 [T] seconds, in any order, in the units of ``MouthMotion``.

        A time's values do not depend on which other times are asked with it. Where ``speech.activity`` is 0 the
        mouth rests. Retargeting to a person is the lip syncer's work.
        """
        ...


# --------------------------------------------------------------------------- what a session may read


class Source(Protocol):
    """The source video, readable in any order without being held in memory."""

    @property
    def info(self) -> SourceInfo: ...

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """float64 [stop-start] presentation times in seconds."""
        ...

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yields (index, RGB uint8 [H, W, 3]) in the order asked; ascending order is cheapest."""
        ...


class Analysis(Protocol):
    """What the analysis pass stored of the source video and the face that is edited."""

    @property
    def source(self) -> Source: ...

    @property
    def landmark_scheme(self) -> str:
        """``mesh478`` or ``ibug68`` or what a plugin names."""
        ...

    @property
    def coefficient_space(self) -> str:
        """``mesh`` or ``bfm257`` or what a plugin names; empty before the reconstructor ran."""
        ...

    def landmarks(self, start: int, stop: int) -> NDArray[np.float32]:
        """float32 [T, N, 3] of source frames [start, stop): pixels, smoothed, NaN rows where there is no face."""
        ...

    def coefficients(self, start: int, stop: int) -> NDArray[np.float32]:
        """float32 [T, C] of source frames [start, stop), NaN rows where there is no face."""
        ...

    def boxes(self, start: int, stop: int) -> NDArray[np.float32]:
        """float32 [T, 4] of source frames [start, stop), see ``FaceBatch.boxes``."""
        ...

    def shots(self, start: int, stop: int) -> NDArray[np.int32]:
        """int32 [T]: number of the track each frame belongs to; a cut or a gap starts a new one; -1: no face."""
        ...


class Timeline(Protocol):
    """The output: which source frame is shown when."""

    @property
    def count(self) -> int: ...

    @property
    def duration(self) -> float:
        """Seconds to the end of the last frame."""
        ...

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """float64 [T] presentation times of output frames, seconds from the first one."""
        ...

    def sources(self, start: int, stop: int) -> NDArray[np.int64]:
        """int64 [T] source index of each output frame."""
        ...


class Speech(Protocol):
    """The cleaned speech. Times are seconds of the output; before 0 and after the end there is silence."""

    @property
    def duration(self) -> float: ...

    def waveform(self, start: float, stop: float) -> NDArray[np.float32]:
        """Mono float32 [round((stop-start)*16000)] in [-1, 1] at 16 kHz, zero padded outside."""
        ...

    def mel_windows(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """float32 [T, 80, 16]: for each time the 16 mel steps (0.2 s, 80 steps a second) that the published
        networks take, in [-4, 4]."""
        ...

    def activity(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """float32 [T] in [0, 1]: voice activity after the absolute level gate; 0 in silence, noise, hum, music."""
        ...


class StageCache(Protocol):
    """A folder that belongs to this stage, this configuration and this input alone."""

    def path(self, name: str) -> Path | None:
        """The finished file of that name, or None."""
        ...

    def write(self, name: str) -> AbstractContextManager[Path]:
        """``with cache.write("plan.npz") as path:`` gives a temporary path and renames it on a clean exit."""
        ...


@dataclass(frozen=True, slots=True)
class StageContext:
    """What every session is given besides its input."""

    cache: StageCache
    observer: Observer
    seed: int = 0
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    precision: str = "float32"
    weights: dict[str, Path] = field(default_factory=dict[str, Path])
    """Checkpoint name -> safetensors file with the network's own names, for what spec and options name."""
    wanted: frozenset[str] = frozenset()
    """Ports that later stages need of this one, for instance ``reference:image``; others need not be computed."""


# --------------------------------------------------------------------------- the six contracts


class Session(Protocol):
    """Something opened for one clip."""

    def close(self) -> None:
        """Frees what ``open`` took. Called at the end, also after an error; a second call does nothing."""
        ...


class DetectorSession(Session, Protocol):
    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """All faces of each frame, in any order; an empty list where there is none."""
        ...


class Detector(Protocol):
    """Finds faces and their landmarks."""

    def open(self, source: SourceInfo, context: StageContext) -> DetectorSession: ...


class ReconstructorSession(Session, Protocol):
    def reconstruct(self, faces: FaceBatch) -> NDArray[np.float32]:
        """float32 [T, C]; NaN rows where there is no face. ``faces.coefficients`` is empty [T, 0]."""
        ...


class Reconstructor(Protocol):
    """Fits a face model to each frame."""

    def open(self, analysis: Analysis, context: StageContext) -> ReconstructorSession: ...


class ExpressionEditorSession(Session, Protocol):
    def edit(self, faces: FaceBatch) -> ReferenceBatch: ...


class ExpressionEditor(Protocol):
    """Makes the face wear one canonical expression, because lip generation copies what its reference shows."""

    def open(self, analysis: Analysis, context: StageContext) -> ExpressionEditorSession: ...


class DenoiserSession(Session, Protocol):
    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Takes the next mono float32 chunk (any length, 16 kHz) and gives what is ready, maybe less or nothing."""
        ...

    def finish(self) -> NDArray[np.float32]:
        """The rest. All chunks together have exactly the input's length, with no delay against it."""
        ...


class Denoiser(Protocol):
    """Removes noise from the speech that drives the mouth. The sound of the output is not changed by it."""

    def open(self, context: StageContext) -> DenoiserSession: ...


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """A run of output frames to be lip-synced."""

    positions: NDArray[np.int64]
    """int64 [T], position of each frame in the output timeline, ascending by 1."""
    times: NDArray[np.float64]
    """float64 [T], presentation times of the output."""
    faces: FaceBatch
    """The source frames shown at these positions (``frames.indexes`` says which), with their analysis."""
    references: ReferenceBatch


class LipSyncerSession(Session, Protocol):
    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """One result for each position."""
        ...


class LipSyncer(Protocol):
    """Makes the lower face say the speech."""

    def open(
        self,
        analysis: Analysis,
        references: ExpressionEditorSession,
        timeline: Timeline,
        speech: Speech,
        context: StageContext,
    ) -> LipSyncerSession:
        """``references`` may be asked for the canonical expression of any source frames while planning."""
        ...


class EnhancerSession(Session, Protocol):
    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Sharper edits in the same order; PassedThrough stays. ``batch`` has the original frames."""
        ...


class ReferenceEnhancerSession(EnhancerSession, Protocol):
    """What an enhancer's session can do besides, when its options say ``on: reference``."""

    def enhance_references(self, faces: FaceBatch, references: ReferenceBatch) -> ReferenceBatch:
        """Sharper ``references.images``, for the lip syncer; ``enhance`` is not called then."""
        ...


class Enhancer(Protocol):
    """Restores sharpness and detail of an edited face."""

    def open(self, analysis: Analysis, context: StageContext) -> EnhancerSession: ...


Stage = Detector | Reconstructor | ExpressionEditor | Denoiser | LipSyncer | Enhancer
