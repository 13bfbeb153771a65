"""Published outputs of a network, and the comparison with ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.pseudo_weights import load_module, manifest

TOLERANCE = 1e-4


class Published:
    """Inputs and outputs of the published implementation, with pseudo-random weights."""

    def __init__(self, parity: Path, name: str, inputs: dict[str, NDArray[np.float32]] | None = None) -> None:
        self.inputs: dict[str, NDArray[np.float32]] = inputs or load_module(parity / "inputs.py").make(name)
        self.shapes = {key: tuple(shape) for key, (shape, _) in manifest(parity, name)["state_dict"].items()}
        """Name and shape of each entry of the checkpoint."""
        with np.load(parity / f"{name}.npz") as arrays:
            self.outputs: dict[str, NDArray[Any]] = dict(arrays)

    def check(self, result: NDArray[np.float32], name: str, tolerance: float = TOLERANCE) -> None:
        """Assert that ``result`` differs from the published output by at most ``tolerance``.

        The published output is stored with a stride, with two corners at full resolution, and with its mean, standard
        deviation, minimum and maximum.
        """
        outputs, near = self.outputs, {"rtol": 0, "atol": tolerance}
        stride = int(outputs.get(f"{name}__stride", 1))
        strided = result[..., ::stride, ::stride] if stride > 1 else result
        np.testing.assert_allclose(strided, outputs[name], **near)
        if stride > 1:
            np.testing.assert_allclose(result[..., :16, :16], outputs[f"{name}__tl16"], **near)
            np.testing.assert_allclose(result[..., -16:, -16:], outputs[f"{name}__br16"], **near)
        if f"{name}__stats" in outputs:
            statistics = (
                result.mean(dtype=np.float64),
                result.std(dtype=np.float64, ddof=1),
                result.min(),
                result.max(),
            )
            np.testing.assert_allclose(statistics, outputs[f"{name}__stats"], **near)
