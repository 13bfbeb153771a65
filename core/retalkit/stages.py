"""The six stage contracts and the data that passes between stages.

Every array that crosses a stage border is described here, once: shape, dtype, unit and range.
``T`` counts frames of a batch, ``N`` landmarks, ``C`` coefficients, ``H`` and ``W`` pixels.

A stage is built once per process, from its options and a ``Runtime``; it loads its networks then and holds no state of
a clip. ``open`` is called once per clip (for lip syncers and enhancers: once per face of a clip) with a frozen clip
object and a ``StageContext``, and returns a session. The session receives batches in ascending order and is closed.

A stage that needs the whole clip does that work in ``open``: it may read everything that the analysis stored, and keeps
results in ``context.cache``, so that a killed run finds them again. A network works in the session's method.

Rules for sessions: results do not depend on how frames are cut into batches. Inputs are not modified. Results depend on
``StageContext.seed`` alone, never on the random generators of the process, whose state is left unchanged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from retalkit.observer import Observer

if TYPE_CHECKING:
    # Only annotations name arrays: without NumPy the command line starts faster.
    import numpy as np
    from numpy.typing import NDArray

SPEECH_RATE = 16000
"""Sample rate in Hz of every waveform that passes between stages."""

_T = TypeVar("_T")


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
    **{kind.value: ContractVersion(current=2, oldest=2) for kind in StageKind},
    "driver": ContractVersion(current=2, oldest=2),
    "finisher": ContractVersion(current=1, oldest=1),
    "metric": ContractVersion(current=1, oldest=1),
    "checkpoint": ContractVersion(current=1, oldest=1),
}
"""Contract (a stage kind, ``driver``, ``finisher``, ``metric`` or ``checkpoint``) -> its version. A plugin made for a
version outside the accepted range is listed with the reason and not run."""


# --------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Properties of the source video, with rotation metadata applied."""

    width: int
    height: int
    frame_count: int
    """Number of decodable frames: counted, not estimated."""
    duration: float
    """Seconds from the first frame's start to the last frame's end."""
    is_photo: bool = False


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Consecutive decoded frames."""

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
    """Frames with the analysis of the face that is edited."""

    frames: FrameBatch
    landmarks: NDArray[np.float32]
    """float32 [T, N, 3] in pixels, smoothed within each track. A row of NaN means that the frame has no face. A run
    passes no such frame to lip syncers and enhancers, but other callers may."""
    coefficients: NDArray[np.float32]
    """float32 [T, C] in the space that the reconstructor declares; NaN rows as above."""
    boxes: NDArray[np.float32]
    """float32 [T, 4]: bounding box of the face (left, top, right, bottom in pixels; may reach outside the frame),
    averaged over five frames of the track; NaN rows as above."""


@dataclass(frozen=True, slots=True)
class ReferenceBatch:
    """The face with the canonical expression, for each frame of a FaceBatch."""

    landmarks: NDArray[np.float32]
    """float32 [T, N, 3] in pixels of the edited frame, NaN rows where there is no face."""
    images: NDArray[np.uint8] | None = None
    """RGB uint8 [T, H, W, 3], full frames, only when ``reference:image`` is requested; else None. They differ from the
    source frames out to the jaw and below the chin: the mask of an edit that is made from them must cover that region,
    or the original jaw remains visible."""


@dataclass(frozen=True, slots=True)
class FaceEdit:
    """New pixels for a part of one frame."""

    image: NDArray[np.uint8]
    """RGB uint8 [h, w, 3]."""
    mask: NDArray[np.float32]
    """float32 [h, w] in [0, 1]: opacity of ``image``. Where it is 0 the frame stays bit-identical."""
    matrix: NDArray[np.float32]
    """float32 [2, 3]: maps pixel centres of the frame (x, y, 1) to pixel centres of ``image``. An integer translation
    (an edit at the resolution of the frame) is pasted without resampling."""
    confidence: float = 1.0
    """In [0, 1]. Reported only: the stage has already faded ``mask`` accordingly."""
    reason: str = ""
    """Why confidence is low, as a short phrase such as ``large yaw`` or ``occluded``."""
    unrounded_image: NDArray[np.float32] | None = None
    """float32 [h, w, 3], RGB in [0, 1]: ``image`` before rounding to 8 bits. Optional. A network sets it so that the
    next network reads its output without rounding (E-Net reads L-Net's face); a stage that changes ``image`` sets it
    to the unrounded new image or to None."""


@dataclass(frozen=True, slots=True)
class PassedThrough:
    """The frame stays unchanged."""

    reason: str
    """A short phrase such as ``no face``; the run record counts frames by reason."""


FrameResult = FaceEdit | PassedThrough


@dataclass(frozen=True, slots=True)
class MouthMotion:
    """Target mouth motion, one row for each requested time. All arrays are float32 [T].

    Units are independent of the person: a lip syncer retargets them to the person in the clip.
    """

    opening: NDArray[np.float32]
    """Distance between the inner lips: 0 closed, 1 the 95th percentile of a talking person; up to 1.5."""
    width: NDArray[np.float32]
    """Signed mouth width: 0 at rest, 1 the 95th percentile of spreading (as in "ee"), -1 of rounding ("oo")."""
    protrusion: NDArray[np.float32]
    """Lip protrusion: 0 at rest, 1 full; not negative."""
    closure: NDArray[np.float32]
    """Probability in [0, 1] that the lips touch (p, b, m; for f and v the lower lip and the teeth)."""
    speech: NDArray[np.float32]
    """Probability in [0, 1] of speech; 0: the mouth is at rest."""


class SpeechToMouth(Protocol):
    """A driver: predicts the mouth motion of a speech. Lip syncers use drivers by name (``driver: {use: NAME}``)."""

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at float64 [T] seconds, in any order, in the units of ``MouthMotion``.

        The values at one time do not depend on the other requested times. Where ``speech.activity`` is 0 the mouth
        rests. Retargeting to a person is the lip syncer's task. One driver serves several speeches and threads.
        """
        ...


# --------------------------------------------------------------------------- what a session may read


class Source(Protocol):
    """The source video, readable in any order without being held in memory."""

    @property
    def info(self) -> SourceInfo: ...

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return float64 [stop - start] presentation times in seconds."""
        ...

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (index, RGB uint8 [H, W, 3]) in the requested order; ascending order is fastest."""
        ...


class Analysis(Protocol):
    """The stored analysis of the source video and of the face that is edited."""

    @property
    def source(self) -> Source: ...

    @property
    def landmark_scheme(self) -> str:
        """``mesh478``, ``ibug68`` or a scheme of a plugin."""
        ...

    @property
    def coefficient_space(self) -> str:
        """``mesh``, ``bfm257`` or a space of a plugin; empty before the reconstructor has run."""
        ...

    def landmarks(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return float32 [T, N, 3] of source frames [start, stop) in pixels, smoothed; NaN rows: no face."""
        ...

    def coefficients(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return float32 [T, C] of source frames [start, stop), NaN rows where there is no face."""
        ...

    def boxes(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return float32 [T, 4] of source frames [start, stop), see ``FaceBatch.boxes``."""
        ...

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return int32 [T]: the track number of each frame; a cut or a gap starts a new track; -1: no face."""
        ...


class Timeline(Protocol):
    """The output timeline: which source frame is shown at which time."""

    @property
    def count(self) -> int: ...

    @property
    def duration(self) -> float:
        """Seconds until the end of the last frame."""
        ...

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return float64 [T] presentation times of output frames, in seconds from the first one."""
        ...

    def sources(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return int64 [T] source index of each output frame."""
        ...


class Speech(Protocol):
    """The denoised speech. Times are in seconds of the output; before 0 and after the end there is silence."""

    @property
    def duration(self) -> float: ...

    def waveform(self, start: float, stop: float) -> NDArray[np.float32]:
        """Return mono float32 [round((stop - start) * 16000)] in [-1, 1] at 16 kHz, zero-padded outside."""
        ...

    def mel_windows(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return float32 [T, 80, 16] in [-4, 4]: for each time the window of 16 mel steps (0.2 s, 80 steps per second)
        that the published networks read."""
        ...

    def activity(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return float32 [T] in [0, 1]: voice activity after the level gate; 0 in silence, noise, hum and music."""
        ...


class StageCache(Protocol):
    """A cache directory of one stage, one configuration and one input."""

    def path(self, name: str) -> Path | None:
        """Return the finished file of that name, or None."""
        ...

    def write(self, name: str) -> AbstractContextManager[Path]:
        """``with cache.write("plan.npz") as path:`` yields a temporary path and renames it on success."""
        ...


class ObjectPool:
    """Objects that are built once per process and shared: stages, networks. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the object of ``key``. ``make`` builds it at the first call."""
        with self._lock:
            if key not in self._objects:
                self._objects[key] = make()
            return cast("_T", self._objects[key])


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a stage is built with besides its options: device, precision, threads, weight files, drivers."""

    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    precision: str = "float32"
    """``float32``, ``bfloat16`` or ``float16``: number format of convolutions and matrix products."""
    threads: int = 0
    """CPU threads that a network should use; 0: the default of its library."""
    inference: str = "auto"
    """Library that runs networks: ``torch``, ``openvino``, or ``auto``; ``backend`` resolves it."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Checkpoint name -> safetensors file with the network's parameter names."""
    drivers: Mapping[str, SpeechToMouth] = field(default_factory=dict[str, SpeechToMouth])
    """Option name -> driver, for each option of the type ``DriverChoice``."""
    pool: ObjectPool = field(default_factory=ObjectPool)

    @property
    def backend(self) -> str:
        """``openvino`` or ``torch``: the library that runs networks (``retalkit.inference.compile_network``).

        ``auto`` is OpenVINO where it is installed, for float32 on the CPU; else PyTorch.
        """
        if self.inference != "auto":
            return self.inference
        suitable = self.device == "cpu" and self.precision == "float32"
        return "openvino" if suitable and find_spec("openvino") is not None else "torch"

    def shared(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the object of ``key`` in this process, such as a loaded network; ``make`` builds it at the first call.

        ``key`` must identify what ``make`` builds; device, precision, threads and backend are added to it.
        """
        return self.pool.get((self.device, self.precision, self.threads, self.backend, key), make)


@dataclass(frozen=True, slots=True)
class StageContext:
    """What every session receives besides its clip."""

    cache: StageCache
    observer: Observer
    seed: int = 0
    requested_ports: frozenset[str] = frozenset()
    """Ports of this stage that later stages need, such as ``reference:image``. Others need not be computed."""
    cancellation: threading.Event = field(default_factory=threading.Event)
    """Set by the caller of the run to stop it between batches."""

    @property
    def cancelled(self) -> bool:
        """Whether the run is being stopped. Long work in ``open`` should check this and raise ``RunCancelledError``."""
        return self.cancellation.is_set()


# --------------------------------------------------------------------------- the six contracts


class Session(Protocol):
    """A stage opened for one clip."""

    def close(self) -> None:
        """Release what ``open`` acquired. Called at the end, also after an error; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionClip:
    """What a detector is opened with."""

    source: SourceInfo


class DetectorSession(Session, Protocol):
    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """Return all faces of each frame, in any order; an empty list where there is none."""
        ...


class Detector(Protocol):
    """Finds faces and their landmarks."""

    def open(self, clip: DetectionClip, context: StageContext) -> DetectorSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionClip:
    """What a reconstructor is opened with."""

    analysis: Analysis
    """Landmarks, boxes and tracks of one face; no coefficients yet."""


class ReconstructorSession(Session, Protocol):
    def reconstruct(self, faces: FaceBatch) -> NDArray[np.float32]:
        """Return float32 [T, C]; NaN rows where there is no face. ``faces.coefficients`` is empty [T, 0]."""
        ...


class Reconstructor(Protocol):
    """Fits a face model to each frame."""

    def open(self, clip: ReconstructionClip, context: StageContext) -> ReconstructorSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionEditClip:
    """What an expression editor is opened with."""

    analysis: Analysis


class ExpressionEditorSession(Session, Protocol):
    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return the same faces with the canonical expression."""
        ...


class ExpressionEditor(Protocol):
    """Gives every face one canonical expression, because lip generation copies what its reference shows."""

    def open(self, clip: ExpressionEditClip, context: StageContext) -> ExpressionEditorSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseClip:
    """What a denoiser is opened with."""

    duration: float
    """Seconds of the speech, as the container states it."""


class DenoiserSession(Session, Protocol):
    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take the next mono float32 chunk (any length, 16 kHz) and return the samples that are ready, maybe none."""
        ...

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining samples. All chunks together have the input's length and no delay against it."""
        ...


class Denoiser(Protocol):
    """Removes noise from the speech that drives the mouth. The sound of the output is not changed."""

    def open(self, clip: DenoiseClip, context: StageContext) -> DenoiserSession: ...


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """Consecutive output frames to lip-sync."""

    positions: NDArray[np.int64]
    """int64 [T], position of each frame in the output timeline, ascending by 1."""
    times: NDArray[np.float64]
    """float64 [T], presentation times of the output."""
    faces: FaceBatch
    """The source frames shown at these positions (``frames.indexes`` has their numbers), with their analysis."""
    references: ReferenceBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class LipSyncClip:
    """What a lip syncer is opened with: one face and its speech."""

    analysis: Analysis
    references: ExpressionEditorSession
    """Returns the canonical expression of any source frames, for planning in ``open``."""
    timeline: Timeline
    speech: Speech


class LipSyncerSession(Session, Protocol):
    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Return one result for each position."""
        ...


class LipSyncer(Protocol):
    """Makes the lower face follow the speech."""

    def open(self, clip: LipSyncClip, context: StageContext) -> LipSyncerSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancementClip:
    """What an enhancer is opened with."""

    analysis: Analysis


class EnhancerSession(Session, Protocol):
    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Return enhanced edits in the same order; PassedThrough stays. ``batch`` has the original frames."""
        ...


class Enhancer(Protocol):
    """Restores sharpness and detail of an edited face (``enhancers:`` in a run file)."""

    def open(self, clip: EnhancementClip, context: StageContext) -> EnhancerSession: ...


class ReferenceEnhancerSession(Session, Protocol):
    def enhance_references(self, faces: FaceBatch, references: ReferenceBatch) -> ReferenceBatch:
        """Return the references with enhanced ``images``."""
        ...


class ReferenceEnhancer(Protocol):
    """Enhances reference images before the lip syncer reads them (``reference_enhancers:`` in a run file).

    An enhancer that can do so implements this besides ``Enhancer`` and declares ``reference:image`` in its ``gives``.
    """

    def open_references(self, clip: EnhancementClip, context: StageContext) -> ReferenceEnhancerSession: ...


Stage = Detector | Reconstructor | ExpressionEditor | Denoiser | LipSyncer | Enhancer | ReferenceEnhancer
