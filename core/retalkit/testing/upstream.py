"""What earlier stages would have stored of the kit's clip: made by the embedded stages once in a process, then cut,
shifted and converted as a check needs it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from retalkit.cache import Folder
from retalkit.discovery import discover
from retalkit.geometry.schemes import COUNTS, MESH478, convert
from retalkit.observing import SilentObserver
from retalkit.speech.track import SpeechTrack
from retalkit.stages import SPEECH_RATE, FrameBatch, StageContext, StageKind
from retalkit.testing import material
from retalkit.testing.clips import LAST_FRAME, Clip, ClipAnalysis, ClipSource, speech_track

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

WIDTH: Final = 336
HEIGHT: Final = 288
"""Not square, so that a stage that takes one for the other is found out."""
FRAMES: Final = 48
OUTPUT: Final = 80
"""Frames of the output: more than the source has, so that a stage that takes one number for the other is found out."""
FACELESS: Final = (3, 30)
"""Source frames without a face."""

SPACES: Final = {"mesh": 13, "bfm257": 262}
"""Numbers of a frame in each coefficient space that the kit can make."""

_ZOOM: Final = 288 / 640
_SMALLER: Final = 3


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of the whole picture that a clip shows."""

    left: int
    top: int
    width: int
    height: int


WHOLE: Final = _Window(0, 0, WIDTH, HEIGHT)
ODD: Final = _Window(131, 50, 167, 121)
"""Odd in both sides, and the face's chin and an ear reach outside."""
PIXEL: Final = _Window(160, 140, 1, 1)


def clip(scheme: str = MESH478, space: str = "mesh") -> Clip:
    """The kit's clip: 48 frames of 336 x 288 at varying times, two of them without a face; an output of 80 frames.

    ``scheme`` is one of ``retalkit.geometry.schemes.COUNTS``, ``space`` one of ``SPACES`` or empty.
    """
    return _cut(WHOLE, FRAMES, OUTPUT, scheme, space)


def odd_clip(scheme: str = MESH478, space: str = "mesh") -> Clip:
    """The same of 167 x 121 pixels, with the face partly outside."""
    return _cut(ODD, FRAMES, OUTPUT, scheme, space)


def one_pixel_clip(scheme: str = MESH478, space: str = "mesh") -> Clip:
    """Two frames of 1 x 1 without a face."""
    return _faceless(_cut(PIXEL, 2, 2, scheme, space))


def one_frame_clip(scheme: str = MESH478, space: str = "mesh") -> Clip:
    """A single frame."""
    return _cut(WHOLE, 1, 1, scheme, space)


def faceless_clip(scheme: str = MESH478, space: str = "mesh") -> Clip:
    """Four frames, none with a face."""
    return _faceless(_cut(WHOLE, 4, 4, scheme, space))


def silent_clip(scheme: str = MESH478, space: str = "mesh") -> Clip:
    """The kit's clip with a speech of zeros, in which nobody speaks."""
    nothing = np.zeros(round(OUTPUT * LAST_FRAME * SPEECH_RATE), np.float32)
    return replace(clip(scheme, space), speech=speech_track(nothing, np.zeros_like))


def short_speech_clip(scheme: str = MESH478, space: str = "mesh") -> Clip:
    """The kit's clip with a speech that ends after one second of the output's 3.2."""
    return replace(clip(scheme, space), speech=speech_track(material.speech(1.0), _first_second))


def _first_second(times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(times < 1.0, material.loudness(times), 0.0)


def long_clip(count: int, scheme: str = MESH478, space: str = "mesh") -> Clip:
    """The kit's clip at a third of its size, over and over to ``count`` frames; output and speech are as long."""
    again = np.arange(count) % FRAMES
    whole = clip(scheme, space).analysis
    pictures = _small_pictures()
    height, width = pictures[0].shape[:2]

    def draw(index: int) -> Image:
        return pictures[index % FRAMES].copy()

    turn = np.arange(count) // FRAMES
    times = _times()[again] + (_times()[-1] + LAST_FRAME) * turn
    # Three tracks a turn, since two frames without a face lie between them.
    shots = np.where(whole.all_shots[again] < 0, -1, whole.all_shots[again] + 3 * turn).astype(np.int32)
    landmarks = whole.all_landmarks[again]
    # Depth is at the scale of x.
    landmarks *= np.float32(1 / _SMALLER)
    analysis = replace(
        whole,
        clip_source=ClipSource(draw, times, width, height),
        all_landmarks=landmarks,
        all_coefficients=whole.all_coefficients[again],
        all_boxes=whole.all_boxes[again] / np.float32(_SMALLER),
        all_shots=shots,
    )
    heard = np.resize(_eight_seconds(), round(count * LAST_FRAME * SPEECH_RATE))
    return Clip(analysis, draw, speech_track(heard, material.loudness), count)


@lru_cache(maxsize=1)
def _eight_seconds() -> Float:
    """A whole number of turns, so that it can follow itself."""
    return material.speech(8.0)


@lru_cache(maxsize=1)
def _small_pictures() -> tuple[Image, ...]:
    return tuple(np.ascontiguousarray(still_picture(index)[::_SMALLER, ::_SMALLER]) for index in range(FRAMES))


def still_picture(index: int, window: _Window = WHOLE) -> Image:
    """RGB uint8 [H, W, 3]: what the clip shows in a frame; without the head in a frame of ``FACELESS``."""
    matrix = material.motion(float(_times()[index])) * _ZOOM
    matrix[:, 2] += [(WIDTH - HEIGHT) / 2 - window.left, -window.top]
    if index in FACELESS:
        # The lower left of the portrait: a suit and a flag.
        matrix[:, 2] -= matrix[:, :2] @ [-180.0, 300.0]
    shown = cv2.warpAffine(
        _portrait(), matrix, (window.width, window.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(shown, np.uint8)


@lru_cache(maxsize=1)
def _portrait() -> Image:
    # Smaller pictures are made of smaller ones, or they would alias.
    return np.asarray(cv2.GaussianBlur(material.portrait(), (0, 0), 0.6), np.uint8)


@lru_cache(maxsize=1)
def _times() -> NDArray[np.float64]:
    """float64 [48] seconds: about 25 frames a second, never the same step twice in a row."""
    steps = LAST_FRAME * (1 + 0.3 * np.sin(np.arange(FRAMES) * 1.7))
    return np.concatenate([[0.0], np.cumsum(steps)[:-1]])


@lru_cache(maxsize=1)
def _speech() -> SpeechTrack:
    return speech_track(material.speech(OUTPUT * LAST_FRAME), material.loudness)


def _source(window: _Window, count: int) -> ClipSource:
    return ClipSource(lambda index: still_picture(index, window), _times()[:count], window.width, window.height)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the embedded stages found in the whole clip."""

    landmarks: Float
    """float32 [48, 478, 3]."""
    boxes: Float
    shots: NDArray[np.int32]


@lru_cache(maxsize=1)
def _known() -> _Known:
    """Raises PluginError where the stages that come with Retalkit are not there."""
    source = _source(WHOLE, FRAMES)
    landmarks = np.full((FRAMES, COUNTS[MESH478], 3), np.nan, np.float32)
    boxes = np.full((FRAMES, 4), np.nan, np.float32)
    spec = discover().find(StageKind.DETECTOR, "retalkit:mediapipe").spec
    with tempfile.TemporaryDirectory(prefix="retalkit-testing-") as folder:
        context = StageContext(Folder(Path(folder)), SilentObserver())
        session: Any = spec.make(spec.config()).open(source.info, context)
        try:
            for index in range(FRAMES):
                at = np.array([index], np.int64)
                frames = FrameBatch(still_picture(index)[None], source.times(index, index + 1), at)
                faces = session.detect(frames)[0]
                if faces and index not in FACELESS:
                    landmarks[index], boxes[index] = faces[0].landmarks, faces[0].box
        finally:
            session.close()
    for array in (landmarks, boxes):
        array.setflags(write=False)
    return _Known(landmarks, boxes, _shots(np.isfinite(boxes).all(axis=1)))


def _shots(seen: NDArray[np.bool_]) -> NDArray[np.int32]:
    """int32 [T]: a gap starts a new track."""
    begins = seen & ~np.concatenate([[False], seen[:-1]])
    return np.where(seen, np.cumsum(begins) - 1, -1).astype(np.int32)


@lru_cache(maxsize=32)
def _cut(window: _Window, count: int, output: int, scheme: str, space: str) -> Clip:
    known = _known()
    shift = np.array([window.left, window.top], np.float32)
    landmarks, boxes = known.landmarks[:count].copy(), known.boxes[:count].copy()
    landmarks[..., :2] -= shift
    boxes -= np.tile(shift, 2)
    source = _source(window, count)
    nothing = np.zeros((count, 0), np.float32)
    mesh = ClipAnalysis(source, MESH478, "", landmarks, nothing, boxes, known.shots[:count])
    coefficients = _coefficients(mesh, space) if space else nothing
    analysis = replace(
        mesh,
        scheme=scheme,
        space=space,
        all_landmarks=convert(landmarks, MESH478, scheme),
        all_coefficients=coefficients,
    )
    return Clip(analysis, lambda index: still_picture(index, window), _speech(), output)


def _faceless(whole: Clip) -> Clip:
    analysis = whole.analysis
    nothing = {
        name: np.full_like(getattr(analysis, name), np.nan)
        for name in ("all_landmarks", "all_coefficients", "all_boxes")
    }
    nobody = np.full(whole.count, -1, np.int32)
    return replace(whole, analysis=replace(analysis, **nothing, all_shots=nobody))


def _coefficients(analysis: ClipAnalysis, space: str) -> Float:
    return _fitted(analysis) if space == "mesh" else _drawn_bfm257(analysis)


def _fitted(analysis: ClipAnalysis) -> Float:
    """float32 [T, 13] of the space ``mesh``, by the reconstructor ``shallow``."""
    found = np.full((len(analysis.all_landmarks), SPACES["mesh"]), np.nan, np.float32)
    if not np.isfinite(analysis.all_landmarks).any():
        return found
    spec = discover().find(StageKind.RECONSTRUCTOR, "retalkit:shallow").spec
    whole = Clip(analysis, lambda index: np.zeros((0, 0, 3), np.uint8), _speech(), 1)
    with tempfile.TemporaryDirectory(prefix="retalkit-testing-") as folder:
        session: Any = spec.make(spec.config()).open(analysis, StageContext(Folder(Path(folder)), SilentObserver()))
        try:
            indexes = np.arange(len(found), dtype=np.int64)
            return np.asarray(session.reconstruct(whole.faces(indexes, images=False)), np.float32)
        finally:
            session.close()


def _drawn_bfm257(analysis: ClipAnalysis) -> Float:
    """float32 [T, 262] of the space ``bfm257``: nobody's face, but numbers of the size that the network gives."""
    boxes = analysis.all_boxes
    count = len(boxes)
    moments = np.arange(count, dtype=np.float64)[:, None]
    found = np.zeros((count, SPACES["bfm257"]), np.float64)
    found[:, :80] = 0.3 * np.sin(np.arange(80))
    found[:, 80:144] = 0.4 * np.sin(np.arange(64) + 0.3 * moments)
    found[:, 144:224] = 0.3 * np.cos(np.arange(80))
    found[:, 224:227] = 0.1 * np.sin(0.2 * moments + np.arange(3))
    found[:, 227:254] = 0.1 * np.cos(np.arange(27))
    found[:, 254:257] = 0.05 * np.sin(0.15 * moments + np.arange(3))
    found[:, 257:262] = [256.0, 256.0, 60.0, 128.0, 128.0]
    found[:, 259:] += np.sin(0.1 * moments + np.arange(3))
    found[~np.isfinite(boxes).all(axis=1)] = np.nan
    return found.astype(np.float32)


def sound(seconds: float) -> Float:
    """The kit's sound with a soft hiss, mono float32 at 16 kHz."""
    samples = round(seconds * SPEECH_RATE)
    once = material.speech(min(seconds, 8.0))
    return np.resize(once, samples).astype(np.float32)
