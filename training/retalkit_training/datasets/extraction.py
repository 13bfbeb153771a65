"""Extraction of training clips from one video: detection, tracking, offset correction, crops, audio and arrays."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.config import Choice, RunConfig
from retalkit.errors import InputError, OutputError, PlanError, RetalkitError
from retalkit.geometry.face_crop import crop_boxes, crop_face, points_in_crop
from retalkit.media.sound import open_sound, pcm
from retalkit.media.sources import open_source
from retalkit.motion_eval.agreement import MAX_OFFSET, Lips, predict_motion
from retalkit.motion_eval.clips import measure_lips
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import LimitedSource, StoredAnalysis
from retalkit.pipeline.keys import analysis_keys, speech_key
from retalkit.pipeline.plan import Plan, choose_driver, plan, plan_driver, plan_stage
from retalkit.pipeline.planned_stage import PlannedStage
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.speech.mel import mel_spectrogram
from retalkit.stages import SPEECH_RATE, ObjectPool, Runtime, Source, Speech, StageKind
from retalkit.storage.cache import Cache, content_hash, make_key
from retalkit_renderers.lower_face import face_box
from retalkit_training.datasets.clip_format import FORMAT, REFERENCE_SIZE, EncodedImages, PreparedClip
from retalkit_training.datasets.face_edits import FaceEdits, OpenEdits
from retalkit_training.datasets.face_folder import BORDER, SIDE, FaceFolderSource
from retalkit_training.datasets.face_shape import mean_shape
from retalkit_training.datasets.layouts import SourceVideo
from retalkit_training.datasets.quality import clip_quality, lip_motion, yaw_degrees
from retalkit_training.datasets.settings import (
    ALIGNED_SIZE,
    FACE_SIZES,
    FRAME_RATE,
    NEAREST,
    RESTORED_SIZE,
    PrepareSettings,
)
from retalkit_training.datasets.shards import write_loose
from retalkit_training.datasets.sync_offset import MARGIN, OffsetEstimate, estimate

VERSION: Final = 1
"""Version number in the key of a video. It is increased when extraction changes its results."""
SAMPLES: Final = SPEECH_RATE // FRAME_RATE
"""Audio samples per frame."""
FACE_MODEL: Final = "deep3d"
"""Reconstructor of the 3DMM coefficients."""
_SEARCHES: Final = 3
"""Number of searches for the offset. Three searches find offsets up to 18 frames."""
_DISK_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of the output directory, with which no other video can be prepared."""
STATE: Final = "state"
WORK: Final = "work"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """Clips of one video, stored in ``state/KEY.json``."""

    key: str
    clips: dict[str, int]
    """Mapping from the key of a clip to its number of frames."""
    rejected: list[dict[str, Any]]
    facts: dict[str, Any]
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Consecutive frames of one track on the 25 Hz grid."""

    first: int
    """Position of the first frame on the grid."""
    frames: NDArray[np.int64]
    """Source frame of each grid frame."""

    @property
    def span(self) -> dict[str, float]:
        return {"first": self.first / FRAME_RATE, "last": (self.first + len(self.frames)) / FRAME_RATE}


class Extractor:
    """Extractor with loaded stages. A process needs one."""

    def __init__(self, settings: PrepareSettings, registry: Registry | None = None) -> None:
        """Select the stages. Raises PlanError if a stage cannot run on this machine."""
        self.settings = settings
        registry = registry if registry is not None else discover()
        self._plan = plan(RunConfig.from_preset("embedded", registry=registry), registry)
        driver = plan_driver(choose_driver(self._plan, None), registry, "driver")
        self._pool = ObjectPool()
        self._driver = driver
        self._made: Any = None
        self.without_coefficients = "" if settings.coefficients else "not requested"
        self._model_plan: Plan | None = None
        if settings.coefficients:
            try:
                fitted = plan_stage(StageKind.RECONSTRUCTOR, Choice(use=FACE_MODEL), registry, "coefficients")
                self._model_plan = replace(self._plan, reconstructor=fitted)
            except RetalkitError as error:
                self.without_coefficients = str(error)
        self.coefficients = self._model_plan.reconstructor.coefficient_space if self._model_plan else ""
        self.edits = FaceEdits(settings, registry, self.without_coefficients)

    def key(self, source: SourceVideo) -> str:
        """Return the key of a video, which depends on its content and on everything that changes its clips."""
        stages = [self._plan.detector, self._plan.reconstructor, self._plan.denoiser]
        if self._model_plan is not None:
            stages.append(self._model_plan.reconstructor)
        identities = [*(_identity(stage) for stage in stages), *self.edits.identities()]
        kept = self.settings.model_dump(mode="json")
        content = _content(source)
        return make_key(
            "video", VERSION, FORMAT, content, source.kind, source.spans, kept, identities, self._driver.identity()
        )

    def extract(self, source: SourceVideo, folder: Path, key: str) -> VideoResult:
        """Write the clips of a video below ``folder`` and return their keys. The result is stored last.

        A video that cannot be used results in a ``VideoResult`` with a reason instead of an exception.
        """
        work = folder / WORK / key
        try:
            result = self._extract(source, folder, key, Cache(work))
        except InputError as error:
            result = VideoResult(key=key, clips={}, rejected=[], facts={"code": error.code}, error=str(error))
        except (PlanError, OutputError):
            raise
        except OSError as error:
            if error.errno in _DISK_ERRORS:
                raise
            return self._failed(source, key, error)
        except Exception as error:
            return self._failed(source, key, error)
        write_result(folder, result)
        shutil.rmtree(work, ignore_errors=True)
        return result

    @staticmethod
    def _failed(source: SourceVideo, key: str, error: Exception) -> VideoResult:
        # One video must not stop a long preparation. The result is not stored, so that the next call tries again.
        text = f"{source.path}: internal error: {type(error).__name__}: {error}"
        return VideoResult(key=key, clips={}, rejected=[], facts={"code": "internal-error"}, error=text)

    def _extract(self, source: SourceVideo, folder: Path, key: str, cache: Cache) -> VideoResult:
        if source.kind == "photo":
            return self._extract_photo(source, folder, key, cache)
        opened, sound_path, rate = _open(source)
        steps = ClipSteps(self._plan, cache, SilentObserver(), self._pool)
        sound = open_sound(sound_path)
        limited = LimitedSource(opened, opened.info.frame_count)
        keys = analysis_keys(self._plan, key, limited.info.frame_count)
        analysis = steps.fit(steps.track(limited, keys, source.path), keys)
        speech = steps.speech(sound, speech_key(self._plan, key))
        lips = measure_lips(analysis)
        found, motion, centre = self._estimate(speech, lips)
        offset = found.offset if self.settings.correct_offset and found.follows else 0
        facts: dict[str, Any] = {
            "rate": round(rate, 3),
            "frames": limited.info.frame_count,
            "width": limited.info.width,
            "height": limited.info.height,
            "seconds": round(limited.info.duration, 3),
            "sound_seconds": round(sound.duration, 3),
            "frames_without_face": int((analysis.tracks(0, limited.info.frame_count) < 0).sum()),
            "corrected_offset": offset,
            "estimate": found.plain(),
        }
        wave = np.round(np.clip(pcm(sound_path), -1, 32767 / 32768) * 32768).astype(np.int16)
        model = self._model_analysis(limited, source, key, cache)
        clips: dict[str, int] = {}
        rejected: list[dict[str, Any]] = []
        sounds = wave, motion, centre, speech
        with self.edits.open(steps, analysis, model, key) as edits:
            for piece in _pieces(analysis, source, self.settings, offset, len(wave)):
                reason = self._reject_early(analysis, piece, self.settings)
                if reason is None:
                    clip = self._clip(key, source, edits, piece, (offset, found), sounds, model)
                    facts_of = {"rate": facts["rate"], "corrected_offset": offset}
                    clip = replace(clip, meta={**clip.meta, **facts_of})
                    reason = self._reject_blurred(clip)
                    if reason is None:
                        write_loose(folder, clip)
                        clips[clip.key] = clip.frame_count
                        continue
                rejected.append({**piece.span, **reason})
        return VideoResult(key=key, clips=clips, rejected=rejected, facts=facts)

    def _extract_photo(self, source: SourceVideo, folder: Path, key: str, cache: Cache) -> VideoResult:
        """Write one clip with one frame and without sound."""
        opened = open_source(source.path)
        if not opened.info.is_photo:
            raise InputError(f"{source.path}: expected a still image, got a video", code="unreadable-media")
        photo = LimitedSource(opened, 1)
        steps = ClipSteps(self._plan, cache, SilentObserver(), self._pool)
        keys = analysis_keys(self._plan, key, 1)
        analysis = steps.fit(steps.track(photo, keys, source.path), keys)
        model = self._model_analysis(photo, source, key, cache)
        facts: dict[str, Any] = {"frames": 1, "width": photo.info.width, "height": photo.info.height}
        if not (np.isfinite(crop_boxes(analysis, 0, 1)).all() and np.isfinite(analysis.boxes(0, 1)).all()):
            raise InputError(f"{source.path}: no face was found", code="no-face")
        piece = _Piece(0, np.zeros(1, np.int64))
        settings = self.settings.model_copy(update={"shortest": 1})
        reason = self._reject_early(analysis, piece, settings)
        clips: dict[str, int] = {}
        if reason is None:
            with self.edits.open(steps, analysis, model, key) as edits:
                clip = self._clip(key, source, edits, piece, None, None, model)
            reason = self._reject_blurred(clip)
            if reason is None:
                write_loose(folder, clip)
                clips[clip.key] = 1
        rejected = [] if reason is None else [{**piece.span, **reason}]
        return VideoResult(key=key, clips=clips, rejected=rejected, facts=facts)

    def _estimate(self, speech: Speech, lips: Lips) -> tuple[OffsetEstimate, NDArray[np.float64], int]:
        """Return the offset, the predicted motion, and the delay that the motion already contains, in frames.

        If the best offset is at the limit of the search range, the search continues around this offset.
        """
        mouth = np.stack([lips.opening, lips.width], 1)
        tried: list[tuple[OffsetEstimate, NDArray[np.float64], int]] = []
        centre = 0
        for _ in range(_SEARCHES):
            motion = self._motion(speech, Lips(lips.opening, lips.width, -centre / FRAME_RATE))
            found = estimate([(mouth, motion)])
            tried.append((replace(found, offset=centre + found.offset), motion, centre))
            if abs(found.offset) < MAX_OFFSET:
                break
            centre += found.offset
        # NaN scores are smaller than all others.
        return max(tried, key=lambda each: each[0].score if math.isfinite(each[0].score) else -math.inf)

    def _motion(self, speech: Speech, lips: Lips) -> NDArray[np.float64]:
        if self._made is None:
            config = self._plan.config
            self._made = self._driver.make(
                Runtime(device=config.device, precision=config.precision, threads=config.threads, pool=self._pool)
            )
        motion = predict_motion(self._made, speech, lips)
        return np.stack([motion.opening, motion.width], 1)

    def _model_analysis(
        self, source: LimitedSource, video: SourceVideo, key: str, cache: Cache
    ) -> StoredAnalysis | None:
        """Return the analysis with 3DMM coefficients, or None without the weights."""
        if self._model_plan is None:
            return None
        steps = ClipSteps(self._model_plan, cache, SilentObserver(), self._pool)
        keys = analysis_keys(self._model_plan, key, source.info.frame_count)
        return steps.fit(steps.track(source, keys, video.path), keys)

    def _reject_early(
        self, analysis: StoredAnalysis, piece: _Piece, settings: PrepareSettings
    ) -> dict[str, Any] | None:
        """Return the reason for which a piece is left out, judged before its frames are decoded."""
        if len(piece.frames) < settings.shortest:
            return {"reason": "too-short", "detail": f"{len(piece.frames)} frames"}
        if not settings.filter:
            return None
        first, last = int(piece.frames[0]), int(piece.frames[-1]) + 1
        width = _face_width(analysis, first, last)
        if width < settings.smallest_face:
            return {"reason": "small-face", "detail": f"{width:.0f} pixels"}
        yaw = _yaw(analysis, first, last)
        if yaw > settings.largest_yaw:
            return {"reason": "non-frontal", "detail": f"{yaw:.0f} degrees"}
        return None

    def _reject_blurred(self, clip: PreparedClip) -> dict[str, Any] | None:
        sharp = float(clip.meta["sharpness"])
        if self.settings.filter and sharp < self.settings.blurriest:
            return {"reason": "blurred", "detail": f"sharpness {sharp:.1f}"}
        return None

    def _clip(
        self,
        key: str,
        source: SourceVideo,
        edits: OpenEdits,
        piece: _Piece,
        offsets: tuple[int, OffsetEstimate] | None,
        sounds: tuple[NDArray[np.int16], NDArray[np.float64], int, Speech] | None,
        model: StoredAnalysis | None,
    ) -> PreparedClip:
        """Return the clip of a piece. ``offsets`` and ``sounds`` are None for still images, whose audio is silence."""
        analysis = edits.analysis
        frames, count = piece.frames, len(piece.frames)
        first, last = int(frames[0]), int(frames[-1]) + 1
        rows = frames - first
        landmarks = analysis.landmarks(first, last)[rows]
        squares = crop_boxes(analysis, first, last)[rows]
        info = analysis.source.info
        if source.kind == "faces":
            constant = np.array([BORDER, BORDER, BORDER + SIDE, BORDER + SIDE], np.float32)
            boxes = np.broadcast_to(constant, (count, 4)).copy()
        else:
            found = [
                face_box(box, self.settings.chin, info.width, info.height) for box in analysis.boxes(first, last)[rows]
            ]
            boxes = np.stack([np.full(4, np.nan, np.float32) if box is None else box for box in found])
        crops: dict[int, list[NDArray[np.uint8]]] = {side: [] for side in FACE_SIZES}
        references: list[NDArray[np.uint8]] = []
        shown = -1
        for index, image in analysis.source.read(np.unique(frames).tolist()):
            restored, reference = edits.restored(image, index), edits.reference(image, index)
            for row in np.flatnonzero(frames == index):
                for side in FACE_SIZES:
                    whole = restored if side == RESTORED_SIZE else image
                    crops[side].append(crop_face(whole, squares[row] if side == ALIGNED_SIZE else boxes[row], side))
                if reference is not None:
                    references.append(crop_face(reference, boxes[row], REFERENCE_SIZE))
            shown = index
        if shown != frames[-1]:
            raise InputError(f"{source.path}: frame {int(frames[-1])} cannot be decoded", code="undecodable-video")
        part, activity = np.zeros(count * SAMPLES, np.int16), np.zeros(1, np.float32)
        spoken: dict[str, NDArray[Any]] = {}
        if sounds is not None and offsets is not None:
            wave, motion, centre, speech = sounds
            start = (piece.first - offsets[0]) * SAMPLES
            part = wave[start : start + count * SAMPLES]
            activity = speech.activity(np.arange(start / SPEECH_RATE, (start + len(part)) / SPEECH_RATE, 0.01))
            spoken["motion"] = _slice_motion(motion, piece.first - offsets[0] + centre, count)
        mesh = analysis.coefficients(first, last)[rows]
        small = np.stack(crops[FACE_SIZES[0]])
        sampled = (part / np.float32(32768)).astype(np.float32)
        arrays: dict[str, NDArray[Any]] = {
            "landmarks": np.stack([points_in_crop(p, b) for p, b in zip(landmarks, squares, strict=True)]).astype("f4"),
            "crop_boxes": squares,
            "face_boxes": boxes,
            "source_frames": frames,
            "source_times": analysis.source.times(first, last)[rows],
            "lips": lip_motion(mesh),
            **spoken,
        }
        shape = mean_shape(landmarks, analysis.landmark_scheme)
        if shape is not None:
            arrays["face_shape"] = shape
        if model is not None:
            arrays["coefficients"] = model.coefficients(first, last)[rows]
        meta: dict[str, Any] = {
            "landmark_scheme": analysis.landmark_scheme,
            "coefficient_space": self.coefficients,
            "frames": count,
            "first_seconds": piece.first / FRAME_RATE,
            "face_width": round(_source_width(analysis, source, first, last), 1),
            "yaw": round(_yaw(analysis, first, last), 2),
            "photo": source.kind == "photo",
            "follows": offsets is not None and offsets[1].follows,
            **clip_quality(small, sampled, activity),
        }
        return PreparedClip(
            key=make_key("clip", key, piece.first, count),
            faces={
                side: EncodedImages.encode(np.stack(crops[side]), self.settings.jpeg_quality) for side in FACE_SIZES
            },
            references=EncodedImages.encode(np.stack(references), self.settings.jpeg_quality) if references else None,
            wave=part,
            mel=mel_spectrogram(sampled),
            arrays=arrays,
            meta=meta,
        )


def result_path(folder: Path, key: str) -> Path:
    """Return the path of a video's stored result."""
    return folder / STATE / f"{key}.json"


def write_result(folder: Path, result: VideoResult) -> None:
    """Store the result of a video atomically."""
    path = result_path(folder, result.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    stored = {name: getattr(result, name) for name in ("key", "clips", "rejected", "facts", "error")}
    partial.write_text(json.dumps(stored), encoding="utf-8")
    partial.replace(path)


def read_result(folder: Path, key: str) -> VideoResult | None:
    """Return the stored result of a video, or None if it does not exist or is damaged."""
    try:
        return VideoResult(**json.loads(result_path(folder, key).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _identity(stage: PlannedStage[Any]) -> dict[str, Any]:
    return stage.identity()


def _content(source: SourceVideo) -> str:
    return FaceFolderSource(source.path).content_hash() if source.kind == "faces" else content_hash(source.path)


def _open(source: SourceVideo) -> tuple[Source, Path, float]:
    """Return the frames, the file with the audio and the frame rate."""
    if source.kind == "faces":
        return FaceFolderSource(source.path), source.path / "audio.wav", float(FRAME_RATE)
    opened = open_source(source.path)
    if opened.info.is_photo:
        raise InputError(f"{source.path}: expected a video, got a still image", code="photo-not-supported")
    return opened, source.path, float(opened.rate)


def _pieces(
    analysis: StoredAnalysis, source: SourceVideo, settings: PrepareSettings, offset: int, samples: int
) -> Iterator[_Piece]:
    """Yield the parts of all tracks without missing frames, at most ``settings.longest`` frames long.

    Only frames whose audio exists after the offset is removed are used.
    """
    count = analysis.source.info.frame_count
    times, tracks = analysis.source.times(0, count), analysis.tracks(0, count)
    grid = np.arange(max(offset, 0), min(int(times[-1] * FRAME_RATE + 1e-6) + 1, samples // SAMPLES + offset))
    seconds = grid / FRAME_RATE
    right = np.clip(np.searchsorted(times, seconds), 0, count - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(times[left] - seconds) < np.abs(times[right] - seconds), left, right)
    usable = (np.abs(times[nearest] - seconds) <= NEAREST) & (tracks[nearest] >= 0)
    usable &= np.isfinite(crop_boxes(analysis, 0, count)).all(axis=1)[nearest]
    usable &= np.isfinite(analysis.boxes(0, count)).all(axis=1)[nearest]
    label = np.where(usable, tracks[nearest], -1)
    if source.spans:
        part = np.full(len(grid), -1)
        for number, (first, last) in enumerate(source.spans):
            part[(seconds >= first) & (seconds < last)] = number
        label = np.where(part >= 0, label * len(source.spans) + part, -1)
        label[~usable] = -1
    edges = np.flatnonzero(np.diff(label, prepend=-2, append=-2))
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        if label[first] < 0:
            continue
        parts = math.ceil((last - first) / settings.longest)
        for each in np.array_split(np.arange(first, last), parts):
            yield _Piece(int(grid[each[0]]), nearest[each].astype(np.int64))


def _slice_motion(motion: NDArray[np.float64], first: int, count: int) -> NDArray[np.float64]:
    """Return the predicted motion of a clip with its margins, float64 [count + 18, 2]. Edge values extend it."""
    rows = np.clip(np.arange(first, first + count + 2 * MARGIN), 0, len(motion) - 1)
    return motion[rows]


def _face_width(analysis: StoredAnalysis, first: int, last: int) -> float:
    boxes = analysis.boxes(first, last)
    return float(np.nanmedian(boxes[:, 2] - boxes[:, 0]))


def _source_width(analysis: StoredAnalysis, source: SourceVideo, first: int, last: int) -> float:
    """Return the width of the face in pixels of the original images."""
    width = _face_width(analysis, first, last)
    return width * FaceFolderSource(source.path).face_width / SIDE if source.kind == "faces" else width


def _yaw(analysis: StoredAnalysis, first: int, last: int) -> float:
    yaw = yaw_degrees(analysis.coefficients(first, last))
    return float(np.nanpercentile(yaw, 90)) if np.isfinite(yaw).any() else 0.0


def limit_threads() -> None:
    """Limit the libraries of a worker process to one thread."""
    import cv2

    cv2.setNumThreads(1)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
