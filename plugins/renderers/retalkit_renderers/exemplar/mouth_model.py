"""Linear model of one person's lower-face motion in the head frame, in units of IOD.

The first coefficients are the controls opening, width and protrusion. Each control is measured as the difference from
the rest shape in IOD. The next ``EXTRA_COUNT`` coefficients belong to principal components of the person's other lip
motion, such as asymmetry and lip shape.

The controls are fitted to the person's frames by ridge regression. The mean of the regression prior is a generic
geometric model, so that the mouth model is defined even for a person who never speaks in the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space

Float = NDArray[np.float32]

CONTROL_COUNT = 3
EXTRA_COUNT = 6
COEFFICIENT_COUNT = CONTROL_COUNT + EXTRA_COUNT
_PRIOR_FRAMES = 25.0
_PRIOR_SPREAD = np.array([0.06, 0.03, 0.02])
_LIPS = list(mesh478.LIPS)


@dataclass(frozen=True, slots=True)
class MouthModel:
    """Rest shape and displacement basis of one person."""

    rest: Float
    """Rest shape with closed lips in the head frame, float32 [478, 3]."""
    basis: Float
    """Displacement per unit of each coefficient, float32 [COEFFICIENT_COUNT, 478, 3]."""
    extra_limit: Float
    """Maximum magnitude of each extra coefficient, float32 [EXTRA_COUNT]."""

    def shape(self, coefficients: Float, gap: Float) -> Float:
        """Return shapes, float32 [T, 478, 3], for coefficients [T, COEFFICIENT_COUNT].

        ``gap``: scale factor in [0, 1] for the distance between the inner lips, float32 [T]. A value of 0 closes the
        lips. The lips never cross.
        """
        moved = self.rest + np.einsum("tc,cnd->tnd", coefficients, self.basis)
        return close_lips(moved.astype(np.float32), gap)


def close_lips(shapes: Float, gap: Float) -> Float:
    """Return shapes with the distance of each inner lip pair scaled by ``gap`` [T] in [0, 1].

    Crossed lip pairs are closed.
    """
    out = shapes.copy()
    upper, lower = np.array(mesh478.INNER_LIP_PAIRS, np.intp).T
    middle = (out[:, upper] + out[:, lower]) / 2
    half = (out[:, lower] - out[:, upper]) / 2
    half = half * np.where(half[..., 1:2] < 0, 0, gap[:, None, None])
    out[:, upper] = middle - half
    out[:, lower] = middle + half
    return out


def closed_rest(shape: Float) -> Float:
    """Return a nearly neutral shape [478, 3] after closing its lips.

    The lips are closed by raising the lower lip and the jaw, and lowering the upper lip.
    """
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
    """Return the prior displacements for a ``rest`` shape, float32 [CONTROL_COUNT, 478, 3], in IOD per IOD.

    The displacements open the jaw and the lips, spread the mouth corners and protrude the lips. They are hand-crafted
    functions of the distance from the mouth.
    """
    half = _half_width(rest)
    mouth = rest[[13, 14]].mean(0)
    across, down = rest[:, 0] - mouth[0], rest[:, 1] - mouth[1]
    centre = np.clip(1 - (across / (1.12 * half)) ** 2, 0, 1)
    wide = np.clip(1 - (across / 0.8) ** 2, 0, 1)
    lower, upper = list(mesh478.LOWER_LIP), list(mesh478.UPPER_LIP)
    basis = np.zeros((CONTROL_COUNT, len(rest), 3))
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
    """Fit the model to one person's head-frame shapes, float32 [F, 478, 3], around ``rest``. F may be 0."""
    prior = generic_basis(rest).reshape(CONTROL_COUNT, -1).astype(np.float64)
    count = rest.size
    displacement = (shapes - rest).reshape(len(shapes), count).astype(np.float64)
    base = mesh_space.measures(rest[None])[0, :CONTROL_COUNT]
    controls = (
        mesh_space.measures(shapes)[:, :CONTROL_COUNT].astype(np.float64) - base
        if len(shapes)
        else np.zeros((0, CONTROL_COUNT))
    )
    # Outliers, such as frames with tracking failures, would distort the fit.
    size = np.abs(displacement).max(1) if len(displacement) else np.zeros(0)
    keep = size < max(0.5, float(np.quantile(size, 0.99))) if len(size) else np.zeros(0, bool)
    controls, displacement = controls[keep], displacement[keep]
    ridge = np.diag(_PRIOR_FRAMES * _PRIOR_SPREAD**2)
    basis = np.linalg.solve(controls.T @ controls + ridge, controls.T @ displacement + ridge @ prior)
    basis = _normalise_controls(basis, rest)
    extra, limit = _extra_components(displacement - controls @ basis, basis, rest)
    joined = np.vstack([basis, extra]).reshape(COEFFICIENT_COUNT, *rest.shape)
    return MouthModel(rest, joined.astype(np.float32), limit)


def _gradient(rest: Float) -> NDArray[np.float64]:
    """Return the gradients of opening and width with respect to the point displacements, float64 [2, 478 * 3]."""
    rows = np.zeros((2, *rest.shape))
    rows[0, 14, 1], rows[0, 13, 1] = 1, -1
    rows[1, mesh478.INNER_RIGHT_CORNER, 0], rows[1, mesh478.INNER_LEFT_CORNER, 0] = 1, -1
    return rows.reshape(2, -1)


def _normalise_controls(basis: NDArray[np.float64], rest: Float) -> NDArray[np.float64]:
    """Return linear combinations of the controls whose measures are decoupled.

    For example, one unit of the opening control changes the opening by 1 and the width by 0.
    """
    out = basis.copy()
    gradient = _gradient(rest)
    out[:2] = np.linalg.inv(out[:2] @ gradient.T) @ out[:2]
    out[2] -= (out[2] @ gradient.T) @ out[:2]
    return out


def _extra_components(
    residual: NDArray[np.float64], basis: NDArray[np.float64], rest: Float
) -> tuple[NDArray[np.float64], Float]:
    """Return principal components of the lip residual, [EXTRA_COUNT, 478 * 3], and the coefficient limits."""
    limit = np.zeros(EXTRA_COUNT, np.float32)
    if len(residual) < 4 * EXTRA_COUNT:
        return np.zeros((EXTRA_COUNT, residual.shape[1])), limit
    # Depth is unreliable, so the components are computed from x and y only.
    lips = residual.reshape(-1, *rest.shape)[:, _LIPS, :2].reshape(len(residual), -1)
    _, _, right = np.linalg.svd(lips, full_matrices=False)
    score = lips @ right[:EXTRA_COUNT].T
    spread = score.std(0) + 1e-6
    score = score / spread
    ridge = 5.0 * np.eye(EXTRA_COUNT)
    extra = np.linalg.solve(score.T @ score + ridge, score.T @ residual)
    extra -= (extra @ _gradient(rest).T) @ basis[:2]
    limit[:] = 2.0
    return extra, limit


def fit_coefficients(model: MouthModel, shapes: Float) -> Float:
    """Return the model coefficients for ``shapes``, float32 [F, COEFFICIENT_COUNT].

    The controls are computed from the measured opening, width and protrusion. The extra coefficients are fitted to the
    lips by least squares and clipped to the model's limits.
    """
    base = mesh_space.measures(model.rest[None])[0, :CONTROL_COUNT]
    out = np.zeros((len(shapes), COEFFICIENT_COUNT), np.float32)
    out[:, :CONTROL_COUNT] = mesh_space.measures(shapes)[:, :CONTROL_COUNT] - base
    residual = shapes - model.rest - np.einsum("fc,cnd->fnd", out[:, :CONTROL_COUNT], model.basis[:CONTROL_COUNT])
    lips = residual[:, _LIPS, :2].reshape(len(shapes), -1)
    columns = model.basis[CONTROL_COUNT:][:, _LIPS, :2].reshape(EXTRA_COUNT, -1)
    if model.extra_limit.any():
        system = columns @ columns.T + 1e-4 * np.eye(EXTRA_COUNT)
        out[:, CONTROL_COUNT:] = np.clip(
            np.linalg.solve(system, columns @ lips.T).T, -model.extra_limit, model.extra_limit
        )
    return out
