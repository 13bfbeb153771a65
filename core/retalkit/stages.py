"""The six stage contracts and the data types that stages exchange.

The docstrings of this module define every array that stages exchange by its shape, dtype, unit and value range. ``T``
is the number of frames in a batch, ``N`` the number of landmarks, ``C`` the number of coefficients, and ``H`` and ``W``
are the image height and width in pixels.

A stage is constructed once per process from its options and a ``Runtime``. The constructor loads the networks. A stage
object must not hold any state of a clip. ``open`` is called once per clip, or once per face of a clip for lip syncers
and enhancers. ``open`` receives a frozen clip object and a ``StageContext``, and returns a session. The runner passes
batches to the session in ascending order and finally closes the session.

A stage that must process the whole clip performs this processing in ``open``, which may read the complete stored
analysis. ``open`` should store its results in ``context.cache`` so that a resumed run can reuse the results. Network
inference belongs in the session's method.

Sessions must follow three rules. Results must not depend on the division of frames into batches. Inputs must not be
modified. Results must be deterministic for a given ``StageContext.seed``. A session must therefore neither use nor
change the state of the process-wide random number generators.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from retalkit.observer import Observer

if TYPE_CHECKING:
    # NumPy is used only in annotations. Importing it lazily shortens the start-up time of the command line.
    import numpy as np
    from numpy.typing import NDArray

SPEECH_RATE = 16000
"""Sample rate in Hz of all waveforms that stages exchange."""

_T = TypeVar("_T")


class StageKind(StrEnum):
    """The six stage kinds in the order in which a run uses their results."""

    DETECTOR = "detector"
    RECONSTRUCTOR = "reconstructor"
    EXPRESSION_EDITOR = "expression_editor"
    DENOISER = "denoiser"
    LIP_SYNCER = "lip_syncer"
    ENHANCER = "enhancer"


class DigitalSourceType(StrEnum):
    """Origin of generated pixels, as terms of the IPTC vocabulary of digital source types.

    The members are in ascending order: an output that several stages changed has the last of their types. Source:
    https://cv.iptc.org/newscodes/digitalsourcetype.
    """

    ALGORITHMICALLY_ENHANCED = "algorithmicallyEnhanced"
    """Captured pixels that an algorithm without generated content changes, such as a warp or a filter."""
    COMPOSITE_SYNTHETIC = "compositeSynthetic"
    """Captured pixels combined with computer graphics that no trained model generated."""
    COMPOSITE_WITH_TRAINED_ALGORITHMIC_MEDIA = "compositeWithTrainedAlgorithmicMedia"
    """Captured pixels combined with pixels that a trained model generated."""
    TRAINED_ALGORITHMIC_MEDIA = "trainedAlgorithmicMedia"
    """Images that a trained model generated completely."""

    @property
    def uri(self) -> str:
        """Return the term's identifier, which Content Credentials and IPTC metadata contain."""
        return f"http://cv.iptc.org/newscodes/digitalsourcetype/{self.value}"


@dataclass(frozen=True, slots=True)
class ContractVersion:
    """Current version of a contract and the oldest version that is still supported."""

    current: int
    oldest: int

    def accepts(self, version: int) -> bool:
        """Return whether a plugin that implements ``version`` is supported."""
        return self.oldest <= version <= self.current


CONTRACT_VERSIONS: Mapping[str, ContractVersion] = {
    **{kind.value: ContractVersion(current=2, oldest=2) for kind in StageKind},
    "driver": ContractVersion(current=2, oldest=2),
    "finisher": ContractVersion(current=1, oldest=1),
    "metric": ContractVersion(current=1, oldest=1),
    "recogniser": ContractVersion(current=1, oldest=1),
    "checkpoint": ContractVersion(current=1, oldest=1),
    "command": ContractVersion(current=1, oldest=1),
}
"""Mapping from contract name (a stage kind, ``driver``, ``finisher``, ``metric``, ``recogniser``, ``checkpoint`` or
``command``) to supported versions.

A plugin that implements an unsupported version is listed with the reason, but the plugin cannot be run.
"""


# --------------------------------------------------------------------------- data types


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Properties of the source video after its rotation metadata has been applied."""

    width: int
    height: int
    frame_count: int
    """Number of decodable frames, determined by counting instead of by an estimate from the metadata."""
    duration: float
    """Time in seconds from the start of the clip to the end of the last frame."""
    is_photo: bool = False


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """Consecutive decoded frames."""

    images: NDArray[np.uint8]
    """RGB images, uint8 [T, H, W, 3]."""
    times: NDArray[np.float64]
    """Presentation times in seconds, float64 [T]. The frame rate may vary."""
    indexes: NDArray[np.int64]
    """Frame indexes in the source video, int64 [T]."""
    shot_starts: NDArray[np.bool_] | None = None
    """Whether a new shot starts at each frame, bool [T], or None if the caller has not detected the scene cuts."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames in pixels."""
        return self.images.shape[2], self.images.shape[1]

    def crop(self, row: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a rectangle of the image in ``row``, RGB uint8 [height, width, 3]. Callers must not modify the result.

        A run converts frames on demand, so that ``crop`` is faster than ``images`` for a stage that reads only the
        face. The rectangle must be inside the frame.
        """
        return self.images[row, top : top + height, left : left + width]

    def reduced(self, row: int, factor: int) -> NDArray[np.uint8]:
        """Return the image in ``row`` reduced by area averaging, RGB uint8 [H // factor, W // factor, 3].

        Up to ``factor`` - 1 pixels at the right and bottom borders are discarded. Callers must not modify the result. A
        run reduces the decoded frames before it converts them to RGB, so that ``reduced`` is faster than ``images``.
        Its values then differ slightly from those of the reduced RGB image. ``factor`` must be positive and at most the
        smaller side of the frame.
        """
        import cv2
        import numpy as np

        image = self.images[row]
        rows, columns = image.shape[0] // factor, image.shape[1] // factor
        part = image[: rows * factor, : columns * factor]
        return np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def sampled(self, row: int, step: int) -> NDArray[np.uint8]:
        """Return every ``step``-th pixel of the image in ``row``, RGB uint8 [h, w, 3], starting at ``step // 2``.

        Callers must not modify the result.
        """
        return self.images[row, step // 2 :: step, step // 2 :: step]


@dataclass(frozen=True, slots=True)
class Face:
    """Detected face in one frame."""

    box: NDArray[np.float32]
    """Bounding box (left, top, right, bottom) in pixels, float32 [4]. The box may extend beyond the frame."""
    landmarks: NDArray[np.float32]
    """Landmark positions (x, y, z) in pixels, float32 [N, 3]. x points right, y points down, and z points away from the
    camera and has the scale of x. z is 0 where the depth is unknown."""
    score: float
    """Detection confidence in [0, 1]."""
    reason: str = ""
    """Short phrase that explains why the image contradicts the landmarks, such as ``upside down``, or an empty string.
    A face with a reason is never edited."""


@dataclass(frozen=True, slots=True)
class FaceBatch:
    """Frames with the analysis of the face that is edited."""

    frames: FrameBatch
    landmarks: NDArray[np.float32]
    """Landmark positions in pixels, smoothed within each track, float32 [T, N, 3]. The values are NaN for frames
    without a face. A run passes no frames without a face to lip syncers and enhancers, but other callers may do so."""
    coefficients: NDArray[np.float32]
    """Coefficients in the coefficient space that the reconstructor declares, float32 [T, C]. The values are NaN for
    frames without a face."""
    boxes: NDArray[np.float32]
    """Bounding boxes of the face (left, top, right, bottom) in pixels, averaged over five frames of the track, float32
    [T, 4]. A box may extend beyond the frame. The values are NaN for frames without a face."""


@dataclass(frozen=True, slots=True)
class ReferenceBatch:
    """Faces with the canonical expression, one for each frame of a ``FaceBatch``."""

    landmarks: NDArray[np.float32]
    """Landmark positions in pixels of the edited frame, float32 [T, N, 3]. The values are NaN for frames without a
    face."""
    images: NDArray[np.uint8] | None = None
    """Full-frame RGB images, uint8 [T, H, W, 3], or None if ``reference:image`` is not requested. The reference images
    differ from the source frames in a region that includes the jaw and extends below the chin. The mask of an edit that
    is generated from a reference image must cover this region, because otherwise the original jaw remains visible."""


@dataclass(frozen=True, slots=True)
class FaceEdit:
    """Replacement pixels for a region of one frame."""

    image: NDArray[np.uint8]
    """RGB image, uint8 [h, w, 3]."""
    mask: NDArray[np.float32]
    """Opacity of ``image`` in [0, 1], float32 [h, w]. Frame pixels with an opacity of 0 remain bit-identical."""
    matrix: NDArray[np.float32]
    """Affine matrix from pixel centres of the frame (x, y, 1) to pixel centres of ``image``, float32 [2, 3]. If the
    matrix is an integer translation, which means that the edit has the frame's resolution, the edit is pasted without
    resampling."""
    confidence: float = 1.0
    """Confidence in [0, 1]. The confidence is only reported, because the stage must already have attenuated ``mask`` by
    the confidence."""
    reason: str = ""
    """Short phrase that explains a low confidence, such as ``large yaw`` or ``occluded``."""
    unrounded_image: NDArray[np.float32] | None = None
    """RGB image in [0, 1] before rounding to 8 bits, float32 [h, w, 3]. This field is optional. A network sets the
    field so that the next network receives its output without rounding errors, for example when E-Net processes the
    face that L-Net has generated. A stage that changes ``image`` must set the field to the new unrounded image or to
    None."""


@dataclass(frozen=True, slots=True)
class PassedThrough:
    """Result for a frame that remains unchanged."""

    reason: str
    """Short phrase that explains why the frame is unchanged, such as ``no face``. The run record counts frames by
    reason."""


FrameResult = FaceEdit | PassedThrough


@dataclass(frozen=True, slots=True)
class FrameForecast:
    """Prediction of the result of ``LipSyncerSession.sync`` for one frame."""

    confidence: float
    """Confidence of the edit in [0, 1]. 0 means that the frame is passed through unchanged."""
    reason: str = ""
    """Reason of the ``PassedThrough`` or of the low confidence, in the words of the result."""


@dataclass(frozen=True, slots=True)
class MouthMotion:
    """Target mouth motion at the requested times. All arrays are float32 [T].

    The units are normalised across persons. A lip syncer retargets the motion to the person in the clip.
    """

    opening: NDArray[np.float32]
    """Normalised distance between the inner lips in [0, 1.5]. 0 means closed, and 1 is the 95th percentile during
    speech."""
    width: NDArray[np.float32]
    """Normalised signed mouth width. 0 is the rest position, 1 is the 95th percentile of lip spreading (as in "ee"),
    and -1 is the 95th percentile of lip rounding (as in "oo")."""
    protrusion: NDArray[np.float32]
    """Normalised, non-negative lip protrusion. 0 is the rest position and 1 is full protrusion."""
    closure: NDArray[np.float32]
    """Probability in [0, 1] that the lips touch (p, b, m) or that the lower lip touches the teeth (f, v)."""
    speech: NDArray[np.float32]
    """Probability in [0, 1] of speech. At 0 the mouth is in its rest position."""


class SpeechToMouth(Protocol):
    """Driver interface for predicting mouth motion from speech.

    Lip syncers select a driver by name (``driver: {use: NAME}``).
    """

    def motion(self, speech: Speech, times: NDArray[np.float64]) -> MouthMotion:
        """Return the mouth motion at ``times`` (seconds, float64 [T], in any order) in the units of ``MouthMotion``.

        The result for one time must not depend on the other requested times. The mouth must be in its rest position in
        long pauses, that is, at all times that are more than 1 s from any time at which ``speech.activity`` exceeds 0.
        The lip syncer retargets the motion to a person. A driver may be called for several speeches and from several
        threads.
        """
        ...


@runtime_checkable
class DriverWithNotes(Protocol):
    """Driver with notes for the user. Lip syncers pass the notes to ``StageContext.observer``."""

    def notes(self, speech: Speech) -> Sequence[str]:
        """Return notes about the motion for ``speech``, such as an ignored transcript. Each note is one line."""
        ...


@runtime_checkable
class DriverWithLead(Protocol):
    """Driver whose predicted motion is late by a constant, for example because of late lips in the training data.

    ``retalkit.speech.displayed_motion`` compensates for the delay.
    """

    @property
    def lead(self) -> float:
        """Delay of the predicted motion in seconds. The motion that the driver returns for time t is displayed at
        t - lead."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceImage:
    """Face in one frame, for a face recogniser."""

    image: NDArray[np.uint8]
    """Whole frame, RGB uint8 [H, W, 3]."""
    landmarks: NDArray[np.float32]
    """Landmark positions in pixels, float32 [N, 3]."""
    landmark_scheme: str
    """Landmark scheme, as in ``Analysis.landmark_scheme``."""


class FaceRecogniser(Protocol):
    """Recogniser that describes faces, so that a person can be recognised in another shot or after an absence.

    A recogniser is constructed once per process from a ``Runtime``, and may be called from several threads.
    """

    def describe(self, face: FaceImage) -> NDArray[np.float32] | None:
        """Return a descriptor, float32 [D], or None if the face cannot be described.

        The mean of several descriptors of one person is also a descriptor.
        """
        ...

    def distance(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
        """Return the distance between two descriptors. The distance is at least 0, and 1 is the boundary between one
        person and two people, at which both are equally probable."""
        ...


# --------------------------------------------------------------------------- inputs of a session


class Source(Protocol):
    """Source video whose frames can be decoded in any order without loading the whole video into memory."""

    @property
    def info(self) -> SourceInfo: ...

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the presentation times in seconds of frames [start, stop), float64 [stop - start].

        Time 0 is the start of the clip. The first frame is later if the clip's sound starts before its video.
        """
        ...

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield (index, RGB image uint8 [H, W, 3]) in the requested order. Ascending order is fastest."""
        ...


class Analysis(Protocol):
    """Stored analysis of the source video and of the face that is edited."""

    @property
    def source(self) -> Source: ...

    @property
    def landmark_scheme(self) -> str:
        """Landmark scheme: ``mesh478``, ``ibug68`` or a scheme that a plugin defines."""
        ...

    @property
    def coefficient_space(self) -> str:
        """Coefficient space: ``mesh``, ``bfm257`` or a space that a plugin defines. The string is empty before the
        reconstructor has run."""
        ...

    def landmarks(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the smoothed landmarks of source frames [start, stop) in pixels, float32 [T, N, 3].

        The values are NaN for frames without a face.
        """
        ...

    def coefficients(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the coefficients of source frames [start, stop), float32 [T, C].

        The values are NaN for frames without a face.
        """
        ...

    def boxes(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the bounding boxes of source frames [start, stop), float32 [T, 4], as in ``FaceBatch.boxes``."""
        ...

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the track number of each source frame in [start, stop), int32 [T].

        A new track starts after every cut and every gap. The track number is -1 for frames without a face.
        """
        ...


class Timeline(Protocol):
    """Output timeline, which maps each output frame to a source frame and a presentation time."""

    @property
    def count(self) -> int: ...

    @property
    def duration(self) -> float:
        """End time of the last frame in seconds."""
        ...

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the presentation times of output frames [start, stop) in seconds, float64 [T].

        Times are relative to the start of the output's sound.
        """
        ...

    def sources(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the source frame index of each output frame in [start, stop), int64 [T]."""
        ...


class Strength(Protocol):
    """Strength of an edit in [0, 1] over time, which rises at the start of a cue and falls at its end."""

    def __call__(self, times: NDArray[np.float64], /) -> NDArray[np.float32]:
        """Return the strength at output times in seconds, float32 [T]."""
        ...


class Speech(Protocol):
    """Denoised speech. Times are output times in seconds. The signal is silent before 0 and after ``duration``."""

    @property
    def duration(self) -> float: ...

    @property
    def loudness(self) -> float:
        """Integrated loudness of the whole recording in LUFS (ITU-R BS.1770); -110 for digital silence."""
        ...

    def waveform(self, start: float, stop: float) -> NDArray[np.float32]:
        """Return the mono waveform in [-1, 1] at 16 kHz, float32 [round((stop - start) * 16000)].

        Samples outside the speech are zero.
        """
        ...

    def mel_windows(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the mel spectrogram windows that the published networks require, values in [-4, 4], float32 [T, 80,
        16].

        Each window contains 80 mel bands and 16 time steps (0.2 s at 80 time steps per second).
        """
        ...

    def activity(self, times: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the voice activity in [0, 1] after the level gate, float32 [T]. The activity is 0 for silence, noise,
        hum and music."""
        ...


class StageCache(Protocol):
    """Cache directory for one combination of stage, configuration and input."""

    def path(self, name: str) -> Path | None:
        """Return the path of the completed cache file ``name``, or None if the cache file does not exist."""
        ...

    def write(self, name: str) -> AbstractContextManager[Path]:
        """Return a context manager that yields a temporary path and renames it to ``name`` on success.

        Usage: ``with cache.write("plan.npz") as path:``.
        """
        ...


class ObjectPool:
    """Thread-safe pool of objects, such as stages and networks, that are created once per process and shared."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the object stored under ``key``. The first call creates the object with ``make``."""
        with self._lock:
            if key not in self._objects:
                self._objects[key] = make()
            return cast("_T", self._objects[key])


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Runtime environment of a stage: device, precision, threads, weight files and drivers."""

    device: str = "cpu"
    """PyTorch device: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    precision: str = "float32"
    """Number format of convolutions and matrix multiplications: ``float32``, ``bfloat16`` or ``float16``."""
    threads: int = 0
    """Number of CPU threads per network. 0 selects the inference library's default."""
    inference: str = "auto"
    """Inference library: ``torch``, ``openvino`` or ``auto``. The property ``backend`` resolves ``auto``."""
    weights: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Mapping from checkpoint name to the path of a safetensors file, whose tensors have the network's parameter
    names."""
    drivers: Mapping[str, SpeechToMouth] = field(default_factory=dict[str, SpeechToMouth])
    """Mapping from option name to driver, for each option of the type ``DriverChoice``."""
    pool: ObjectPool = field(default_factory=ObjectPool)

    @property
    def backend(self) -> str:
        """Inference library for ``retalkit.inference.compile_network``: ``openvino`` or ``torch``.

        ``auto`` selects OpenVINO for float32 and bfloat16 on the CPU if OpenVINO is installed, and PyTorch otherwise.
        """
        if self.inference != "auto":
            return self.inference
        suitable = self.device == "cpu" and self.precision in ("float32", "bfloat16")
        return "openvino" if suitable and find_spec("openvino") is not None else "torch"

    def shared(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the process-wide object stored under ``key``, such as a loaded network. The first call creates the
        object.

        ``key`` must identify the object that ``make`` creates. Device, precision, threads and backend are added to
        ``key``.
        """
        return self.pool.get((self.device, self.precision, self.threads, self.backend, key), make)


@dataclass(frozen=True, slots=True)
class StageContext:
    """Execution context that every session receives in addition to its clip."""

    cache: StageCache
    observer: Observer
    seed: int = 0
    requested_ports: frozenset[str] = frozenset()
    """Ports of this stage that later stages require, such as ``reference:image``. The stage need not compute any other
    ports."""
    cancellation: threading.Event = field(default_factory=threading.Event)
    """Event that the caller sets to stop the run between batches."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller has requested cancellation.

        Long computations in ``open`` should check this property and raise ``RunCancelledError``.
        """
        return self.cancellation.is_set()


# --------------------------------------------------------------------------- stage contracts


class Session(Protocol):
    """Stage instance that is opened for one clip."""

    def close(self) -> None:
        """Release the resources that ``open`` acquired.

        The runner calls ``close`` at the end of the clip and after errors. A second call must have no effect.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionClip:
    """Input of ``Detector.open``."""

    source: SourceInfo


class DetectorSession(Session, Protocol):
    def detect(self, frames: FrameBatch) -> list[list[Face]]:
        """Return all faces of each frame in any order. The list of a frame without faces is empty."""
        ...


class Detector(Protocol):
    """Stage that detects faces and their landmarks."""

    def open(self, clip: DetectionClip, context: StageContext) -> DetectorSession: ...


@runtime_checkable
class DetectorWithReasons(Protocol):
    """Detector that explains low scores, so that the user learns why a face is not edited."""

    def low_score_reason(self, face: Face, width: int, height: int) -> str:
        """Return a short phrase that explains the low score of a face, such as ``profile``, or an empty string.

        ``width`` and ``height``: size of the frame in pixels.
        """
        ...


@runtime_checkable
class PersonSegmenter(Protocol):
    """Detector that also separates persons from the background. A photo can only be animated with such a detector."""

    def person_opacity(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the opacity of the persons in an image, in [0, 1], float32 [H, W].

        ``image``: RGB uint8 [H, W, 3], in which one head covers about a quarter of the width.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionClip:
    """Input of ``Reconstructor.open``."""

    analysis: Analysis
    """Landmarks, boxes and tracks of one face. Coefficients are not available yet."""


class ReconstructorSession(Session, Protocol):
    def reconstruct(self, faces: FaceBatch) -> NDArray[np.float32]:
        """Return the coefficients, float32 [T, C]. The values must be NaN for frames without a face.

        ``faces.coefficients`` has the shape [T, 0].
        """
        ...


class Reconstructor(Protocol):
    """Stage that fits a face model to each frame."""

    def open(self, clip: ReconstructionClip, context: StageContext) -> ReconstructorSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionEditClip:
    """Input of ``ExpressionEditor.open``."""

    analysis: Analysis


class ExpressionEditorSession(Session, Protocol):
    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        """Return the faces with the canonical expression, one for each frame in ``faces``."""
        ...


class ExpressionEditor(Protocol):
    """Stage that changes every face to a canonical expression.

    The canonical expression is required because lip generation networks copy the expression of their reference image.
    """

    def open(self, clip: ExpressionEditClip, context: StageContext) -> ExpressionEditorSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiseClip:
    """Input of ``Denoiser.open``."""

    duration: float
    """Duration of the speech in seconds according to the container metadata."""


class DenoiserSession(Session, Protocol):
    def denoise(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Process the next mono 16 kHz chunk (float32, any length) and return the completed samples, possibly none."""
        ...

    def finish(self) -> NDArray[np.float32]:
        """Return the remaining samples. All returned chunks together must have the input's length and must not be
        delayed."""
        ...


class Denoiser(Protocol):
    """Stage that removes noise from the speech that drives the mouth. The audio track of the output is not denoised."""

    def open(self, clip: DenoiseClip, context: StageContext) -> DenoiserSession: ...


@dataclass(frozen=True, slots=True)
class SyncBatch:
    """Consecutive output frames to lip-sync."""

    positions: NDArray[np.int64]
    """Frame positions in the output timeline, int64 [T], ascending in steps of 1."""
    times: NDArray[np.float64]
    """Presentation times in the output in seconds, float64 [T]."""
    faces: FaceBatch
    """Source frames displayed at ``positions``, with their analysis. ``frames.indexes`` contains the source frame
    indexes."""
    references: ReferenceBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class LipSyncClip:
    """Input of ``LipSyncer.open``: one face and the speech that drives it."""

    analysis: Analysis
    references: ExpressionEditorSession
    """Session that returns references with the canonical expression for any source frames. ``open`` can use the session
    to plan the edits."""
    timeline: Timeline
    speech: Speech
    strength: Strength | None = None
    """Strength of the edit at output times, or None for the full strength at all times. The runner passes no frames
    with a strength of 0 to the session. A lip syncer whose spec sets ``eases`` moves the mouth from its shape in the
    source frame to the target shape in proportion to the strength."""


class LipSyncerSession(Session, Protocol):
    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        """Return one result for each position."""
        ...


@runtime_checkable
class ForecastingSession(Protocol):
    """Lip syncer session that tells which frames it would edit without rendering them."""

    def forecast(self, batch: SyncBatch) -> list[FrameForecast]:
        """Return the forecast for each position. It must agree with the confidence and the reason that ``sync``
        returns.

        The positions ascend, but need not be consecutive. ``batch.references`` contains no images, and its landmarks
        are those of the source frames.
        """
        ...


class LipSyncer(Protocol):
    """Stage that synchronises the lower face with the speech."""

    def open(self, clip: LipSyncClip, context: StageContext) -> LipSyncerSession: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancementClip:
    """Input of ``Enhancer.open`` and ``ReferenceEnhancer.open_references``."""

    analysis: Analysis


class EnhancerSession(Session, Protocol):
    def enhance(self, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
        """Return the enhanced edits in the order of ``edits``. ``PassedThrough`` results must be returned unchanged.

        ``batch`` contains the original frames.
        """
        ...


class Enhancer(Protocol):
    """Stage that restores the sharpness and detail of an edited face (``enhancers:`` in a run file)."""

    def open(self, clip: EnhancementClip, context: StageContext) -> EnhancerSession: ...


class ReferenceEnhancerSession(Session, Protocol):
    def enhance_references(self, faces: FaceBatch, references: ReferenceBatch) -> ReferenceBatch:
        """Return ``references`` with enhanced ``images``."""
        ...


class ReferenceEnhancer(Protocol):
    """Stage that enhances reference images before the lip syncer uses the images (``reference_enhancers:`` in a run
    file).

    An enhancer that supports reference images implements this protocol in addition to ``Enhancer``, and lists
    ``reference:image`` in the ``gives`` field of its spec.
    """

    def open_references(self, clip: EnhancementClip, context: StageContext) -> ReferenceEnhancerSession: ...


Stage = Detector | Reconstructor | ExpressionEditor | Denoiser | LipSyncer | Enhancer | ReferenceEnhancer
