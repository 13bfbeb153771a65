"""What each stage makes of a few frames, as images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.geometry.face_quad import extract_quad, face_quad
from retalkit.geometry.schemes import IBUG68, POINTS5, convert, convertible
from retalkit.imaging.compositing import composite
from retalkit.inspection.model import LandmarkCurve, Picture, StageView, StageViews
from retalkit.inspection.outcomes import Moment
from retalkit.inspection.pictures import around_face, make_picture
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.pipeline.detect import StoredDetections
from retalkit.pipeline.face_job import FaceJob
from retalkit.pipeline.keys import JobKeys
from retalkit.pipeline.steps import ClipSteps
from retalkit.stages import ExpressionEditClip, FaceBatch, FrameBatch, FrameResult, PassedThrough, StageContext
from retalkit.storage.cache import make_key

Image = NDArray[np.uint8]
Float = NDArray[np.float32]

FRAMES: Final = (1, 50, 100, 150)
"""Numbers of the frames, from 1, as in the figures of published reproductions."""
_SIZE = 320
_CURVE_FRAMES = 40
"""Number of frames of the curves. The filter's effect is invisible in long curves."""
_RAW, _SMOOTH, _ANCHOR = (235, 130, 40), (40, 130, 235), (250, 240, 60)
_IMAGE_PORT: Final = "reference:image"


@dataclass(frozen=True, slots=True)
class _Frame:
    """One of the frames that are shown."""

    number: int
    """Frame number from 1."""
    moment: Moment
    image: Image
    faces: FaceBatch
    raw: Float
    """Detected landmarks in pixels before smoothing, float32 [N, 3]."""


def stage_views(
    job: FaceJob,
    person: str,
    moments: Sequence[Moment],
    detections: StoredDetections,
    steps: ClipSteps,
    keys: JobKeys,
    numbers: Sequence[int] = FRAMES,
) -> list[StageViews]:
    """Return what each stage makes of the frames ``numbers`` (from 1), or an empty list if no frame shows the face.

    ``person``: id of the person that the job edits.

    A frame without a face is replaced by the nearest frame with a face.
    """
    shown = [
        moment for moment in moments if moment.position >= 0 and not job.skip_reason(moment.position, moment.index)
    ]
    if not shown:
        return []
    chosen: dict[int, Moment] = {}
    for number in numbers:
        nearest = min(shown, key=lambda moment: abs(moment.index - (number - 1)))
        chosen[nearest.index + 1] = nearest
    raw = _raw_landmarks(job.analysis, detections, [moment.index for moment in chosen.values()])
    frames = [_load(job, number, moment, raw[moment.index]) for number, moment in chosen.items()]
    views = [_landmark_view(frames), _detail_view(frames, job.analysis.landmark_scheme)]
    crop = _cropper(job.analysis)
    views.append(
        _view(
            "crops",
            "Aligned faces",
            "The face, aligned by the eyes and the mouth.",
            frames,
            crop,
            lambda one: one.image,
        )
    )
    views += _edited_views(job, frames, crop, steps, keys)
    first = frames[0].moment.index
    named = tuple(_with_prefix(view, person) for view in views)
    return [StageViews(person, job.name, named, _curves(job.analysis, detections, first))]


def _with_prefix(view: StageView, prefix: str) -> StageView:
    """Return the view with image names that are unique among all persons."""
    pictures = tuple((label, replace(image, name=f"{prefix}-{image.name}")) for label, image in view.pictures)
    return replace(view, pictures=pictures)


def _load(job: FaceJob, number: int, moment: Moment, raw: Float) -> _Frame:
    source = job.analysis.source
    _, image = next(iter(source.read([moment.index])))
    index = np.array([moment.index], np.int64)
    faces = job.analysis.faces(FrameBatch(image[None], source.times(moment.index, moment.index + 1), index))
    return _Frame(number, moment, image, faces, raw)


def _raw_landmarks(analysis: StoredAnalysis, detections: StoredDetections, indexes: Sequence[int]) -> dict[int, Float]:
    """Return the detected landmarks of the tracked face in frames ``indexes``."""
    wanted, found = set(indexes), dict[int, Float]()
    for frame in detections:
        if frame.index not in wanted:
            continue
        smooth = analysis.landmarks(frame.index, frame.index + 1)[0]
        found[frame.index] = min(
            (face.landmarks for face in frame.faces),
            key=lambda points: float(np.abs(points - smooth).mean()),
            default=smooth,
        )
    return found


def _view(
    name: str, title: str, text: str, frames: Sequence[_Frame], crop: Callable[[_Frame, Image], Image],
    image_of: Callable[[_Frame], Image],
) -> StageView:  # fmt: skip
    pictures: list[tuple[str, Picture]] = []
    for one in frames:
        label = f"frame {one.number}"
        pictures.append(
            (label, make_picture(f"{name}-{one.number}", crop(one, image_of(one)), _SIZE, f"{title}, {label}"))
        )
    return StageView(title, text, tuple(pictures))


def _cropper(analysis: StoredAnalysis) -> Callable[[_Frame, Image], Image]:
    """Return the function that crops the aligned face square, or the face box for landmarks without eyes and mouth."""
    if IBUG68 not in convertible(analysis.landmark_scheme):
        return lambda one, image: around_face(image, one.faces.boxes[0], 0.2)

    def crop(one: _Frame, image: Image) -> Image:
        points = convert(one.faces.landmarks[0], analysis.landmark_scheme, IBUG68)
        return extract_quad(image, face_quad(points), _SIZE)

    return crop


def _landmark_view(frames: Sequence[_Frame]) -> StageView:
    def drawn(one: _Frame) -> Image:
        box = one.faces.boxes[0]
        canvas, points = _zoomed(one, [one.faces.landmarks[0]], box)
        for x, y in points[0]:
            cv2.circle(canvas, (round(x * 8), round(y * 8)), 16, _SMOOTH, -1, cv2.LINE_AA, 3)
        return canvas

    return _view("landmarks", "Landmarks", "All landmarks after smoothing.", frames, lambda _, image: image, drawn)


def _detail_view(frames: Sequence[_Frame], scheme: str) -> StageView:
    """Return the eyes and the nose with detected and smoothed landmarks and the anchor points."""
    known = POINTS5 in convertible(scheme)

    def drawn(one: _Frame) -> Image:
        smooth = one.faces.landmarks[0]
        anchors = convert(smooth, scheme, POINTS5)[:3] if known else smooth[:0]
        if known:
            left, right, nose = anchors[:, :2]
            centre, half = (left + right + nose) / 3, float(np.hypot(*(right - left))) * 0.95
            box = np.array([*(centre - half), *(centre + half)], np.float32)
        else:
            box = one.faces.boxes[0]
        canvas, (raw, kept, marked) = _zoomed(one, [one.raw, smooth, anchors], box, 0.0)
        for points, colour, radius in ((raw, _RAW, 28), (kept, _SMOOTH, 16)):
            for x, y in points:
                cv2.circle(canvas, (round(x * 8), round(y * 8)), radius, colour, -1, cv2.LINE_AA, 3)
        for x, y in marked:
            cv2.drawMarker(canvas, (round(x), round(y)), _ANCHOR, cv2.MARKER_CROSS, 30, 3, cv2.LINE_AA)
        return canvas

    text = (
        "Detected landmarks (orange) and landmarks after a Savitzky-Golay filter over five frames (blue). The yellow "
        "crosses are the anchors of the alignment: the centres of the eyes and the tip of the nose."
    )
    return _view("anchors", "Eyes and nose", text, frames, lambda _, image: image, drawn)


def _zoomed(one: _Frame, landmarks: Sequence[Float], box: Float, margin: float = 0.15) -> tuple[Image, list[Float]]:
    """Return the enlarged region around a box, and the landmarks in pixels of the region."""
    height, width = one.image.shape[:2]
    side = float(max(box[2] - box[0], box[3] - box[1])) * (1 + 2 * margin)
    centre = (box[:2] + box[2:]) / 2
    left, top = np.clip(np.floor(centre - side / 2), 0, [width - 1, height - 1]).astype(int)
    right, bottom = min(int(left + side), width), min(int(top + side), height)
    scale = 2 * _SIZE / max(side, 1.0)
    crop = one.image[top:bottom, left:right]
    size = max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1)
    canvas = np.ascontiguousarray(cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    corner = np.array([left, top], np.float32)
    return canvas, [((points[:, :2] - corner + 0.5) * scale - 0.5).astype(np.float32) for points in landmarks]


def _edited_views(
    job: FaceJob, frames: Sequence[_Frame], crop: Callable[[_Frame, Image], Image], steps: ClipSteps, keys: JobKeys
) -> list[StageView]:
    canonical = _canonical(job, frames, steps, keys)
    synced: dict[int, Image] = {}
    enhanced: dict[int, Image] = {}
    for one in frames:
        batch = job.sync(one.faces.frames, one.moment.position)
        synced[one.number] = _applied(one.image, batch.results[0])
        enhanced[one.number] = _applied(one.image, job.enhance(batch)[0])
    views: list[StageView] = []
    plan = steps.plan
    if canonical:
        text = f"The frame with the canonical expression of {plan.expression_editor.label}."
        views.append(_view("canonical", "Canonical expression", text, frames, crop, lambda one: canonical[one.number]))
    text = f"The frame after {plan.lip_syncer.label}."
    views.append(_view("synced", "Lip-synced", text, frames, crop, lambda one: synced[one.number]))
    if plan.enhancers:
        names = ", ".join(stage.label for stage in plan.enhancers)
        text = f"The frame after {names}."
        views.append(_view("enhanced", "Enhanced", text, frames, crop, lambda one: enhanced[one.number]))
    return views


def _canonical(job: FaceJob, frames: Sequence[_Frame], steps: ClipSteps, keys: JobKeys) -> dict[int, Image]:
    """Return the frames with the canonical expression, or an empty mapping if the editor renders no images.

    The run's session renders no images if no stage requires them, so another session is opened.
    """
    planned = steps.plan.expression_editor
    if _IMAGE_PORT not in planned.gives:
        return {}
    folder = steps.cache.entry(make_key("inspected references", keys.references))
    context = StageContext(
        cache=folder,
        observer=steps.observer,
        seed=steps.plan.config.seed,
        requested_ports=planned.requested_ports | {_IMAGE_PORT},
        cancellation=steps.cancellation,
    )
    found: dict[int, Image] = {}
    with closing(steps.make(planned).open(ExpressionEditClip(analysis=job.analysis), context)) as session:
        for one in frames:
            images = session.edit(one.faces).images
            if images is None:
                return {}
            found[one.number] = images[0]
    return found


def _applied(image: Image, result: FrameResult) -> Image:
    out = image.copy()
    if not isinstance(result, PassedThrough):
        composite(out, result)
    return out


def _curves(analysis: StoredAnalysis, detections: StoredDetections, first: int) -> tuple[LandmarkCurve, ...]:
    """Return the positions of the eyes and the nose over a few seconds of the track that contains frame ``first``."""
    scheme = analysis.landmark_scheme
    if POINTS5 not in convertible(scheme):
        return ()
    count = analysis.source.info.frame_count
    stop = min(first + _CURVE_FRAMES, count)
    tracks = analysis.tracks(first, stop)
    length = int(np.argmax(tracks != tracks[0])) if (tracks != tracks[0]).any() else len(tracks)
    if length < 5:
        return ()
    indexes = range(first, first + length)
    raw = _raw_landmarks(analysis, detections, indexes)
    before = convert(np.stack([raw[index] for index in indexes]), scheme, POINTS5)[:, :3, :2]
    after = convert(analysis.landmarks(first, first + length), scheme, POINTS5)[:, :3, :2]
    times = tuple(float(each) for each in analysis.source.times(first, first + length))
    curves: list[LandmarkCurve] = []
    for point, label in enumerate(("left eye", "right eye", "nose")):
        for axis, name in enumerate(("x", "y")):
            mean = float(before[:, point, axis].mean())
            values = (before[:, point, axis] - mean, after[:, point, axis] - mean)
            rows = (tuple(round(float(each), 3) for each in row) for row in values)
            curves.append(LandmarkCurve(f"{label}, {name}", times, *rows))
    return tuple(curves)
