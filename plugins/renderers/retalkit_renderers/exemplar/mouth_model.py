"""A small linear model of how one person's lower face moves, in the head frame (unit IOD).

Coefficients, in order: opening, width, protrusion (each the difference from rest, in IOD), then ``EXTRA`` ways in
which this person's lips move besides them (asymmetry, lip shape), found by principal components.

The first three columns come from a ridge regression on the person's own frames that is pulled towards a generic
prior made of simple geometry, so that a person who never speaks has a mouth model, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space

Float = NDArray[np.float32]

ASKED = 3
EXTRA = 6
COUNT = ASKED + EXTRA
_PRIOR_FRAMES = 25.0
_PRIOR_SPREAD = np.array([0.06, 0.03, 0.02])
_LIPS = list(mesh478.LIPS)


@dataclass(frozen=True, slots=True)
class MouthModel:
    """Rest shape and displacements of one person."""

    rest: Float
    """float32 [478, 3], lips closed, head frame."""
    basis: Float
    """float32 [COUNT, 478, 3], displacement for one unit of each coefficient."""
    extra_limit: Float
    """float32 [EXTRA], largest magnitude of the extra coefficients."""

    def shape(self, coefficients: Float, gap: Float) -> Float:
        """Target shapes float32 [T, 478, 3] from coefficients [T, COUNT].

        ``gap`` float32 [T] in [0, 1] multiplies the opening between the inner lips: 0 makes them touch. Lips never
        cross.
        """
        moved = self.rest + np.einsum("tc,cnd->tnd", coefficients, self.basis)
        return close_lips(moved.astype(np.float32), gap)


def close_lips(shapes: Float, gap: Float) -> Float:
    """Scales the gap of each pair of inner lip points by ``gap`` [T] in [0, 1]; crossed pairs are made to touch."""
    out = shapes.copy()
    upper, lower = np.array(mesh478.INNER_LIP_PAIRS, np.intp).T
    middle = (out[:, upper] + out[:, lower]) / 2
    half = (out[:, lower] - out[:, upper]) / 2
    half = half * np.where(half[..., 1:2] < 0, 0, gap[:, None, None])
    out[:, upper] = middle - half
    out[:, lower] = middle + half
    return out


def closed_rest(shape: Float) -> Float:
    """Closes a nearly neutral shape [478, 3]: the lower lip and the jaw rise, the upper lip comes down a little."""
    out = shape.copy()
    gap = float(max(0.0, shape[14, 1] - shape[13, 1]))
    across = np.abs(shape[:, 0] - shape[13, 0])
    half = _half_width(shape)
    if gap > 0.004:
        profile = np.clip(1 - (across / (1.25 * half)) ** 2, 0, 1)
        lower, upper = list(mesh478.LOWER_LIP), list(mesh478.UPPER_LIP)
        out[lower, 1] -= 0.85 * gap * profile[lower]
        out[upper, 1] += 0.15 * gap * profile[upper]
        skin = shape[:, 1] > (shape[13, 1] + shape[14, 1]) / 2
        skin[_LIPS] = False
        out[skin, 1] -= 0.8 * gap * np.clip(1 - (across[skin] / 0.6) ** 2, 0, 1)
    for pair in mesh478.INNER_LIP_PAIRS:
        if shape[pair[1], 1] - shape[pair[0], 1] < 0.02 or gap > 0.004:
            out[list(pair)] = out[list(pair)].mean(0)
    return out


def _half_width(rest: Float) -> float:
    return float(abs(rest[mesh478.INNER_RIGHT_CORNER, 0] - rest[mesh478.INNER_LEFT_CORNER, 0])) / 2


def generic_basis(rest: Float) -> Float:
    """Prior displacements float32 [ASKED, 478, 3] for a ``rest`` shape: jaw and lips open, corners spread, lips
    protrude. Made by hand from how far points lie from the mouth; unit IOD for each IOD."""
    half = _half_width(rest)
    mouth = rest[[13, 14]].mean(0)
    across, down = rest[:, 0] - mouth[0], rest[:, 1] - mouth[1]
    centre = np.clip(1 - (across / (1.12 * half)) ** 2, 0, 1)
    wide = np.clip(1 - (across / 0.8) ** 2, 0, 1)
    lower, upper = list(mesh478.LOWER_LIP), list(mesh478.UPPER_LIP)
    basis = np.zeros((ASKED, len(rest), 3))
    below = down > 0.01
    basis[0, below, 1] = 0.75 * wide[below] * np.clip(0.3 + down[below] / 0.35, 0, 1)
    basis[0, lower, 1] = 0.85 * centre[lower] ** 0.8
    basis[0, upper, 1] = -0.15 * centre[upper]
    corners = np.exp(-((np.abs(across) - half) ** 2 + down**2) / 0.1**2)
    basis[0, :, 1] += 0.3 * corners * (1 - centre)
    reach = np.abs(across) / half
    pull = np.where(reach <= 1, reach, np.clip((2.4 - reach) / 1.4, 0, 1)) * np.exp(-((down / 0.3) ** 2))
    basis[1, :, 0] = 0.5 * np.sign(across) * pull
    forward = np.exp(-((across / (0.8 * half)) ** 2) - (down / 0.14) ** 2)
    basis[2, :, 2] = -forward
    basis[2, :, 0] = -0.3 * np.sign(across) * pull
    return basis.astype(np.float32)


def fit_mouth_model(rest: Float, shapes: Float) -> MouthModel:
    """Fits the model to head-frame shapes float32 [F, 478, 3] of one person (F may be 0) around ``rest``."""
    prior = generic_basis(rest).reshape(ASKED, -1).astype(np.float64)
    count = rest.size
    moved = (shapes - rest).reshape(len(shapes), count).astype(np.float64)
    base = mesh_space.measures(rest[None])[0, :ASKED]
    asked = mesh_space.measures(shapes)[:, :ASKED].astype(np.float64) - base if len(shapes) else np.zeros((0, ASKED))
    # Frames that stray far (a lost tracker) would pull the fit.
    size = np.abs(moved).max(1) if len(moved) else np.zeros(0)
    keep = size < max(0.5, float(np.quantile(size, 0.99))) if len(size) else np.zeros(0, bool)
    asked, moved = asked[keep], moved[keep]
    pull = np.diag(_PRIOR_FRAMES * _PRIOR_SPREAD**2)
    basis = np.linalg.solve(asked.T @ asked + pull, asked.T @ moved + pull @ prior)
    basis = _exact(basis, rest)
    extra, limit = _extra(moved - asked @ basis, basis, rest)
    joined = np.vstack([basis, extra]).reshape(COUNT, *rest.shape)
    return MouthModel(rest, joined.astype(np.float32), limit)


def _gradient(rest: Float) -> NDArray[np.float64]:
    """Linear opening and width, float64 [2, 478 * 3], as functions of the displacement."""
    rows = np.zeros((2, *rest.shape))
    rows[0, 14, 1], rows[0, 13, 1] = 1, -1
    rows[1, mesh478.INNER_RIGHT_CORNER, 0], rows[1, mesh478.INNER_LEFT_CORNER, 0] = 1, -1
    return rows.reshape(2, -1)


def _exact(basis: NDArray[np.float64], rest: Float) -> NDArray[np.float64]:
    """Mixes the columns so that one unit of opening opens by one and leaves the width alone, and so on."""
    out = basis.copy()
    gradient = _gradient(rest)
    out[:2] = np.linalg.inv(out[:2] @ gradient.T) @ out[:2]
    out[2] -= (out[2] @ gradient.T) @ out[:2]
    return out


def _extra(residual: NDArray[np.float64], basis: NDArray[np.float64], rest: Float) -> tuple[NDArray[np.float64], Float]:
    """Principal components [EXTRA, 478 * 3] of what the asked columns leave, weighted to the lips, and their limits."""
    limit = np.zeros(EXTRA, np.float32)
    if len(residual) < 4 * EXTRA:
        return np.zeros((EXTRA, residual.shape[1])), limit
    # Depth is the tracker's guess; it must not win components.
    lips = residual.reshape(-1, *rest.shape)[:, _LIPS, :2].reshape(len(residual), -1)
    _, _, right = np.linalg.svd(lips, full_matrices=False)
    score = lips @ right[:EXTRA].T
    spread = score.std(0) + 1e-6
    score = score / spread
    ridge = 5.0 * np.eye(EXTRA)
    extra = np.linalg.solve(score.T @ score + ridge, score.T @ residual)
    extra -= (extra @ _gradient(rest).T) @ basis[:2]
    limit[:] = 2.0
    return extra, limit


def extra_coefficients(model: MouthModel, shapes: Float) -> Float:
    """float32 [F, COUNT]: the coefficients of given shapes; the asked ones from their measures, the rest by least
    squares on the lips, within the model's limits."""
    base = mesh_space.measures(model.rest[None])[0, :ASKED]
    out = np.zeros((len(shapes), COUNT), np.float32)
    out[:, :ASKED] = mesh_space.measures(shapes)[:, :ASKED] - base
    left = shapes - model.rest - np.einsum("fc,cnd->fnd", out[:, :ASKED], model.basis[:ASKED])
    lips = left[:, _LIPS, :2].reshape(len(shapes), -1)
    columns = model.basis[ASKED:][:, _LIPS, :2].reshape(EXTRA, -1)
    if model.extra_limit.any():
        system = columns @ columns.T + 1e-4 * np.eye(EXTRA)
        out[:, ASKED:] = np.clip(np.linalg.solve(system, columns @ lips.T).T, -model.extra_limit, model.extra_limit)
    return out
