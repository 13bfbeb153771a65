"""Measuring the person in the clip: rest shape, range of the mouth, mouth model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import to_head_frame, yaw_pitch_roll
from retalkit.stages import Analysis, MouthMotion

from retalkit_renderers.exemplar.mouth_model import ASKED, COUNT, MouthModel, closed_rest, fit_mouth_model

Float = NDArray[np.float32]

CHUNK = 512
MOST_SHAPES = 1200
"""Most frames that the mouth model is fitted to: memory does not grow with the clip."""
SILENT_OPENING = 0.04
"""A person whose 98th percentile of opening stays below this many IOD never opens the mouth."""
SILENT_GAIN = 0.7
_TYPICAL = (0.2, 0.06, 0.06, 0.025)
"""What a talker usually does, in IOD: 95th percentile of opening, of spreading, of rounding, of protrusion."""
_FEWEST_FRAMES = 12
_SLIT = 0.016


@dataclass(frozen=True, slots=True)
class MouthRange:
    """What full opening, spreading, rounding and protrusion mean for this person, in IOD from rest."""

    opening: float
    spread: float
    rounding: float
    protrusion: float
    most_opening: float
    """The opening that is never exceeded: the person's own 98th percentile."""


@dataclass(frozen=True, slots=True)
class Person:
    """Everything that planning needs of the person."""

    model: MouthModel
    range: MouthRange
    silent: bool
    """The mouth never opens in the clip: its inside has to be made up."""
    face_height: float
    """IOD."""

    def targets(self, motion: MouthMotion, strength: float = 1.0) -> tuple[Float, Float]:
        """Coefficients float32 [T, COUNT] (the extra ones 0) and gap factors float32 [T] for what is asked."""
        size, speech = self.range, np.clip(motion.speech, 0, 1)
        lively = _ramp(speech, 0.15, 0.6) * strength
        opening = np.clip(motion.opening, 0, 1.5) * size.opening
        gap = 1 - _ramp(motion.closure, 0.25, 0.65)
        out = np.zeros((len(opening), COUNT), np.float32)
        out[:, 0] = soft_limit(opening * lively * gap, size.most_opening)
        # What is nearly closed closes: a slit of a pixel looks like a fault.
        gap = gap * _ramp(out[:, 0], 0.0, _SLIT)
        sideways = np.clip(motion.width, -1.5, 1.5)
        out[:, 1] = np.where(sideways > 0, sideways * size.spread, sideways * size.rounding) * lively
        out[:, 2] = np.clip(motion.protrusion, 0, 1.5) * size.protrusion * lively
        return out, gap.astype(np.float32)


def soft_limit(value: Float, most: float) -> Float:
    """Bends values above 80% of ``most`` so that they never exceed it; keeps their order."""
    knee = 0.8 * most
    over = np.maximum(value - knee, 0)
    return np.where(value > knee, knee + (most - knee) * np.tanh(over / max(most - knee, 1e-6)), value)


def _ramp(value: Float, low: float, high: float) -> Float:
    unit = np.clip((value - low) / (high - low), 0, 1)
    return unit * unit * (3 - 2 * unit)


def sample_shapes(analysis: Analysis, wanted: NDArray[np.int32]) -> tuple[Float, Float]:
    """Head-frame shapes float32 [F, 478, 3] of frames spread over the shots ``wanted`` with the head turned less than
    35 degrees where there are enough, and the openings of all their frames, float32 [S]."""
    count = analysis.source.info.frame_count
    stride = max(1, -(-count // MOST_SHAPES))
    shapes: list[Float] = []
    turned: list[Float] = []
    openings: list[Float] = []
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        coefficients = analysis.coefficients(start, stop)
        seen = np.isfinite(coefficients[:, 0]) & np.isin(analysis.tracks(start, stop), wanted)
        openings.append(coefficients[seen, mesh_space.OPENING])
        seen &= (np.arange(start, stop) % stride) == 0
        rows = np.flatnonzero(seen)
        if not len(rows):
            continue
        pose = mesh_space.unpack_pose(coefficients[rows])
        shapes.append(to_head_frame(analysis.landmarks(start, stop)[rows], pose))
        turned.append(np.abs(yaw_pitch_roll(pose)[:, 0]))
    if not shapes:
        return np.zeros((0, 478, 3), np.float32), np.zeros(0, np.float32)
    joined, yaw = np.concatenate(shapes), np.concatenate(turned)
    frontal = yaw < 35
    if frontal.sum() >= _FEWEST_FRAMES:
        joined = joined[frontal]
    return joined, np.concatenate(openings)


def own_rest(shapes: Float) -> Float:
    """The least open tenth of head-frame shapes [F, 478, 3], averaged: float32 [478, 3]."""
    opening = mesh_space.opening(shapes)
    return shapes[opening <= max(float(np.percentile(opening, 10)), 0.008)].mean(0)


def measure_person(shapes: Float, openings: Float, reference: Float | None) -> Person:
    """Builds the person from head-frame shapes [F, 478, 3] and all openings [S].

    ``reference`` float32 [478, 3]: the canonical expression of the expression editor, taken as rest and closed where
    it is open; None: the person's own least open frames. Raises ValueError without any shape.
    """
    if not len(shapes):
        raise ValueError("no frame has a face")
    rest = closed_rest(own_rest(shapes) if reference is None else reference)
    model = fit_mouth_model(rest, shapes)
    asked = mesh_space.measures(shapes)[:, :ASKED] - mesh_space.measures(rest[None])[0, :ASKED]
    most = float(np.percentile(openings, 98)) if len(openings) else 0.0
    silent = most < SILENT_OPENING or len(shapes) < _FEWEST_FRAMES
    height = float(np.median(mesh_space.face_height(shapes)))
    return Person(model, _range(asked, most, silent), silent, height)


def _range(asked: Float, most: float, silent: bool) -> MouthRange:
    opening, spread, rounding, protrusion = _TYPICAL
    if silent:
        gain = SILENT_GAIN
        return MouthRange(gain * opening, gain * spread, gain * rounding, gain * protrusion, gain * opening)

    def within(value: float, typical: float) -> float:
        return float(np.clip(value, 0.6 * typical, 1.5 * typical))

    full = within(float(np.percentile(asked[:, 0], 95)), opening)
    return MouthRange(
        opening=min(full, 1.15 * most),
        spread=within(float(np.percentile(asked[:, 1], 95)), spread),
        rounding=within(-float(np.percentile(asked[:, 1], 5)), rounding),
        protrusion=within(float(np.percentile(asked[:, 2], 95)), protrusion),
        most_opening=most,
    )
