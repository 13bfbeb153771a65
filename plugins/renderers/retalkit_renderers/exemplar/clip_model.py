"""Clip-level measurements, which consist of the exemplar bank and the identities and are stored in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import to_head_frame
from retalkit.stages import Analysis, ExpressionEditorSession, FaceBatch, StageContext

from retalkit_renderers.exemplar.bank import Bank, BankBuilder, BankFrame, Exemplars, load_bank
from retalkit_renderers.exemplar.bank_frames import select_bank_frames
from retalkit_renderers.exemplar.identities import Identity, group_tracks
from retalkit_renderers.exemplar.identity_store import load_identities, save_identities
from retalkit_renderers.exemplar.occlusion import MIN_SAMPLES, FaceSample, OcclusionDetector
from retalkit_renderers.exemplar.person import measure_person, sample_shapes
from retalkit_renderers.mesh_warp import even_rectangle

Float = NDArray[np.float32]

_REFERENCE_FRAMES = 6
"""Number of frames per track that are passed to the expression editor."""
_OCCLUSION_FRAMES = 24
"""Number of frames per track to which the occlusion detector is fitted."""
MAX_OCCLUDED_SHARE = 0.04
"""Occluded fraction of the skin around the mouth above which an exemplar is excluded."""


@dataclass(frozen=True, slots=True)
class ClipModel:
    """Identities in a clip and the clip's exemplar bank."""

    identities: list[Identity]
    bank: Bank


def load_or_build_clip_model(
    analysis: Analysis, references: ExpressionEditorSession, bank_size: int, context: StageContext
) -> ClipModel | None:
    """Load the clip model from the cache, or build the model. Return None if the clip contains no face."""
    identities, bank = load_identities(context), load_bank(context)
    if identities is not None and bank is not None:
        return ClipModel(identities, bank)
    indexes = select_bank_frames(analysis, bank_size)
    if not len(indexes):
        return None
    builder = BankBuilder(analysis, indexes, context)
    sampler = _TrackSampler(analysis, references, builder)
    bank = builder.build(sampler)
    identities = [
        _measure_identity(tracks, bank.exemplars, analysis, sampler) for tracks in group_tracks(bank.exemplars)
    ]
    save_identities(identities, context)
    return ClipModel(identities, bank)


def _measure_identity(
    tracks: NDArray[np.int32], exemplars: Exemplars, analysis: Analysis, sampler: _TrackSampler
) -> Identity:
    shapes, openings = sample_shapes(analysis, tracks)
    person = measure_person(shapes, openings, sampler.canonical_shape(tracks))
    rows = np.flatnonzero(np.isin(exemplars.tracks, tracks))
    return Identity(person, tracks, rows, sampler.occlusion_detector(tracks))


class _TrackSampler:
    """Sampler that retains whole frames while the bank is filled.

    The references and the occlusion detector require a larger part of the frame than the mouth crop.
    """

    def __init__(self, analysis: Analysis, editor: ExpressionEditorSession, builder: BankBuilder) -> None:
        self._analysis = analysis
        self._editor = editor
        self._tracks = builder.tracks
        self._shapes: dict[int, list[Float]] = {}
        self._detectors: dict[int, tuple[int, OcclusionDetector]] = {}

    def __call__(self, frames: Iterator[BankFrame]) -> None:
        """Sample the frames of one track."""
        first = next(frames, None)
        if first is None:
            return
        track = int(self._tracks[first.row])
        count = int((self._tracks == track).sum())
        with_reference, sampled = _spread(count, _REFERENCE_FRAMES), _spread(count, _OCCLUSION_FRAMES)

        def samples() -> Iterator[FaceSample]:
            frame: BankFrame | None = first
            number = 0
            while frame is not None:
                if number in with_reference:
                    self._add_reference(track, frame)
                if number in sampled:
                    yield _face_sample(frame)
                number += 1
                frame = next(frames, None)

        if count < MIN_SAMPLES:
            for _ in samples():
                pass
            return
        detector = OcclusionDetector.fit(samples())
        if detector.grid is not None:
            self._detectors[track] = (count, detector)

    def _add_reference(self, track: int, frame: BankFrame) -> None:
        start, stop = frame.index, frame.index + 1
        coefficients = self._analysis.coefficients(start, stop)
        landmarks, boxes = self._analysis.landmarks(start, stop), self._analysis.boxes(start, stop)
        reference = self._editor.edit(FaceBatch(frame.frame, landmarks, coefficients, boxes))
        head = to_head_frame(reference.landmarks, mesh_space.unpack_pose(coefficients))
        if np.isfinite(head).all():
            self._shapes.setdefault(track, []).append(head[0])

    def canonical_shape(self, tracks: NDArray[np.int32]) -> Float | None:
        """Return the canonical head-frame shape, float32 [478, 3], or None if the editor did not return a shape."""
        shapes = [shape for track in tracks for shape in self._shapes.get(int(track), [])]
        return np.median(np.array(shapes), axis=0).astype(np.float32) if shapes else None

    def occlusion_detector(self, tracks: NDArray[np.int32]) -> OcclusionDetector | None:
        """Return the occlusion detector for the longest of ``tracks``."""
        fitted = [self._detectors[int(track)] for track in tracks if int(track) in self._detectors]
        return max(fitted, key=lambda one: one[0])[1] if fitted else None


def _face_sample(frame: BankFrame) -> FaceSample:
    """Return the part of a frame around the face, with a margin of a tenth of its size."""
    points = frame.landmarks[:, :2]
    margin = 0.1 * float(np.ptp(points, axis=0).max())
    left, top, width, height = even_rectangle(points, margin, *frame.frame.size)
    if not width or not height:
        left, top, (width, height) = 0, 0, frame.frame.size
    image = frame.frame.crop(0, left, top, width, height)
    return FaceSample(image, frame.landmarks, frame.pose, (left, top))


def _spread(count: int, most: int) -> set[int]:
    """Return at most ``most`` evenly spaced integers from range(count)."""
    return {int(number) for number in np.linspace(0, count - 1, min(count, most)).round()}


_DARK = 0.6
"""Lightness relative to that of the clip's bright frames, below which an exemplar is too dark to be brightened."""
_ENOUGH_BRIGHT = 12
"""Number of bright exemplars that an identity requires for dark exemplars to be excluded."""


def dark_exemplars(identities: list[Identity], bank: Bank) -> NDArray[np.bool_]:
    """Return a mask of exemplars that are too dark, such as those of a fade from black, bool [K]."""
    out = np.zeros(len(bank.exemplars), bool)
    for identity in identities:
        light = bank.exemplars.skin[identity.rows, 0]
        dark = light < _DARK * np.percentile(light, 75)
        if int((~dark).sum()) >= _ENOUGH_BRIGHT:
            out[identity.rows] = dark
    return out


def occluded_exemplars(numbers: NDArray[np.int64], identity: Identity, bank: Bank) -> NDArray[np.bool_]:
    """Return a mask of exemplars with an occluded mouth, bool with one value for each bank row in ``numbers``."""
    out = np.zeros(len(numbers), bool)
    detector, exemplars = identity.occlusion_detector, bank.exemplars
    if detector is None or detector.grid is None:
        return out
    for position, number in enumerate(numbers):
        corner = np.array([*exemplars.rectangles[number, :2], 0], np.float32)
        pose = mesh_space.unpack_pose(exemplars.coefficients[number : number + 1])
        _, share = detector.detect(bank.crop(int(number)), exemplars.landmarks[number] - corner, pose)
        out[position] = share > MAX_OCCLUDED_SHARE
    return out
