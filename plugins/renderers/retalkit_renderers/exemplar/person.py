"""Measurements of a person in a clip: rest shape, mouth range and mouth model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import to_head_frame, yaw_pitch_roll
from retalkit.stages import Analysis, MouthMotion

from retalkit_renderers.exemplar.mouth_model import (
    COEFFICIENT_COUNT,
    CONTROL_COUNT,
    MouthModel,
    closed_rest,
    fit_mouth_model,
)
from retalkit_renderers.lip_thickness import MIDDLE, lip_thickness, relaxed

Float = NDArray[np.float32]

CHUNK = 512
MAX_SHAPES = 1200
"""Maximum number of frames to which the mouth model is fitted.

The limit makes the memory use independent of the clip length.
"""
NEVER_OPENS_BELOW = 0.04
"""Threshold for the 98th percentile of the opening in IOD. A mouth below the threshold is classified as never opening.
"""
NEVER_OPENS_GAIN = 0.7
"""Motion amplitude, relative to the typical range, for a mouth that never opens in the clip."""
_TYPICAL = (0.2, 0.06, 0.06, 0.025)
"""Typical 95th percentiles of opening, spreading, rounding and protrusion for a talking person, in IOD."""
_MIN_FRAMES = 12
_SLIT = 0.016
"""Opening in IOD below which the mouth is considered closed."""


@dataclass(frozen=True, slots=True)
class MouthRange:
    """Ranges of one person's opening, spreading, rounding and protrusion, in IOD relative to the rest shape."""

    opening: float
    spread: float
    rounding: float
    protrusion: float
    max_opening: float
    """Maximum opening in IOD, which is the person's 98th percentile."""


@dataclass(frozen=True, slots=True)
class Person:
    """Measurements of one person that the planner requires."""

    model: MouthModel
    range: MouthRange
    never_opens: bool
    """Whether the mouth never opens in the clip. If True, the mouth interior must be rendered."""
    face_height: float
    """Face height in IOD."""

    def retarget(self, motion: MouthMotion, strength: float = 1.0) -> tuple[Float, Float]:
        """Return coefficients, float32 [T, COEFFICIENT_COUNT], and gap factors, float32 [T], for a motion.

        The extra coefficients are 0.
        """
        mouth_range, speech = self.range, np.clip(motion.speech, 0, 1)
        amplitude = _ramp(speech, 0.15, 0.6) * strength
        opening = np.clip(motion.opening, 0, 1.5) * mouth_range.opening
        gap = 1 - _ramp(motion.closure, 0.25, 0.65)
        out = np.zeros((len(opening), COEFFICIENT_COUNT), np.float32)
        out[:, 0] = soft_limit(opening * amplitude * gap, mouth_range.max_opening)
        # Nearly closed lips are closed completely, because a slit with a height of one pixel looks like an artifact.
        gap = gap * _ramp(out[:, 0], 0.0, _SLIT)
        sideways = np.clip(motion.width, -1.5, 1.5)
        out[:, 1] = np.where(sideways > 0, sideways * mouth_range.spread, sideways * mouth_range.rounding) * amplitude
        out[:, 2] = np.clip(motion.protrusion, 0, 1.5) * mouth_range.protrusion * amplitude
        return out, gap.astype(np.float32)


def soft_limit(value: Float, most: float) -> Float:
    """Compress values above 80% of ``most`` monotonically, so that the result never exceeds ``most``."""
    knee = 0.8 * most
    over = np.maximum(value - knee, 0)
    return np.where(value > knee, knee + (most - knee) * np.tanh(over / max(most - knee, 1e-6)), value)


def _ramp(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return unit * unit * (3 - 2 * unit)


def sample_shapes(analysis: Analysis, tracks: NDArray[np.int32]) -> tuple[Float, Float]:
    """Return head-frame shapes, float32 [F, 478, 3], of frames distributed over ``tracks``, and all openings, float32
    [S].

    The openings include all frames of the tracks. Frames with at least 35 degrees of yaw are excluded if there are
    enough other frames.
    """
    count = analysis.source.info.frame_count
    stride = max(1, -(-count // MAX_SHAPES))
    shapes: list[Float] = []
    yaws: list[Float] = []
    openings: list[Float] = []
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        coefficients = analysis.coefficients(start, stop)
        seen = np.isfinite(coefficients[:, 0]) & np.isin(analysis.tracks(start, stop), tracks)
        openings.append(coefficients[seen, mesh_space.OPENING])
        seen &= (np.arange(start, stop) % stride) == 0
        rows = np.flatnonzero(seen)
        if not len(rows):
            continue
        pose = mesh_space.unpack_pose(coefficients[rows])
        shapes.append(to_head_frame(analysis.landmarks(start, stop)[rows], pose))
        yaws.append(np.abs(yaw_pitch_roll(pose)[:, 0]))
    if not shapes:
        return np.zeros((0, 478, 3), np.float32), np.zeros(0, np.float32)
    joined, yaw = np.concatenate(shapes), np.concatenate(yaws)
    frontal = yaw < 35
    if frontal.sum() >= _MIN_FRAMES:
        joined = joined[frontal]
    return joined, np.concatenate(openings)


def least_open_shape(shapes: Float) -> Float:
    """Return the mean of the least open tenth of the head-frame shapes [F, 478, 3], float32 [478, 3].

    Shapes with pressed lips are excluded.
    """
    shapes = shapes[relaxed(lip_thickness(shapes[:, list(MIDDLE)]))]
    opening = mesh_space.opening(shapes)
    return shapes[opening <= max(float(np.percentile(opening, 10)), 0.008)].mean(0)


def measure_person(shapes: Float, openings: Float, reference: Float | None) -> Person:
    """Compute a person's measurements from head-frame shapes [F, 478, 3] and all openings [S].

    ``reference``: canonical expression from the expression editor, float32 [478, 3], or None. The reference becomes the
    rest shape. If its mouth is open, the mouth is closed first. If ``reference`` is None, the rest shape is computed
    from the person's least open frames. Raises ValueError if there is no shape.
    """
    if not len(shapes):
        raise ValueError("the clip contains no frame with a face")
    rest = closed_rest(least_open_shape(shapes) if reference is None else reference)
    model = fit_mouth_model(rest, shapes)
    controls = mesh_space.measures(shapes)[:, :CONTROL_COUNT] - mesh_space.measures(rest[None])[0, :CONTROL_COUNT]
    most = float(np.percentile(openings, 98)) if len(openings) else 0.0
    never_opens = most < NEVER_OPENS_BELOW or len(shapes) < _MIN_FRAMES
    height = float(np.median(mesh_space.face_height(shapes)))
    return Person(model, _mouth_range(controls, most, never_opens), never_opens, height)


def _mouth_range(controls: Float, most: float, never_opens: bool) -> MouthRange:
    opening, spread, rounding, protrusion = _TYPICAL
    if never_opens:
        gain = NEVER_OPENS_GAIN
        return MouthRange(gain * opening, gain * spread, gain * rounding, gain * protrusion, gain * opening)

    def within(value: float, typical: float) -> float:
        return float(np.clip(value, 0.6 * typical, 1.5 * typical))

    full = within(float(np.percentile(controls[:, 0], 95)), opening)
    return MouthRange(
        opening=min(full, 1.15 * most),
        spread=within(float(np.percentile(controls[:, 1], 95)), spread),
        rounding=within(-float(np.percentile(controls[:, 1], 5)), rounding),
        protrusion=within(float(np.percentile(controls[:, 2], 95)), protrusion),
        max_opening=most,
    )
