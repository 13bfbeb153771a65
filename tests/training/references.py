"""Reference losses, gradients and training steps, and the comparison with ours.

The tolerances are those of the README of the folder ``parity_training``, section 6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.pseudo_weights import load_module, manifest

LOSS = 1e-5
"""Relative tolerance of losses before the first step."""
EXACT_LOSS = 1e-9
"""Relative tolerance of losses in float64."""
R1_LOSS = 1e-3
"""Relative tolerance of the R1 penalty in float32.

The penalty is the square of a gradient. Kinks of activations change sign with the order of sums, which depends on the
instructions of the CPU.
"""
BATCH_STATISTICS_LOSS = 1e-4
"""Relative tolerance of losses of a network with batch statistics in float32.

The published float32 and float64 losses differ by 1.2e-5.
"""
LATER_LOSS = 5e-3
"""Relative tolerance of losses after Adam steps."""
TOTAL_GRADIENT = 0.01
"""Relative tolerance of the norm of all gradients."""
GRADIENT = 0.1
"""Relative tolerance of the gradient of one parameter."""
ROUNDING = 5e-7
"""Share of the total norm below which a gradient is rounding noise. It is the share of biases before a norm layer."""


class References:
    """One file of reference numbers, with the inputs and weights from which it was computed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.rules = load_module(folder / "inputs_training.py")
        with np.load(folder / f"{name}.npz") as arrays:
            self.arrays: dict[str, NDArray[Any]] = dict(arrays)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def inputs(self, case: str, prefix: str = "", **sizes: int) -> dict[str, torch.Tensor]:
        """Return the inputs of a case. ``prefix``: prefix of the stored digests, with which they are compared."""
        made: dict[str, NDArray[np.float32]] = self.rules.make(case, **sizes)
        for name, array in made.items():
            stored = self.arrays.get(f"{prefix}in_{name}__sha256_8")
            if stored is not None:
                digest = hashlib.sha256(array.tobytes()).digest()[:8]
                assert digest == stored.tobytes(), f"input {name} differs from the one of the reference"
        return {name: torch.from_numpy(array) for name, array in made.items()}

    def fill(self, network: Any, profile: str = "default", prefix: str = "") -> Any:
        """Return the network with pseudo-random weights. ``prefix``: name of the network in a surrounding one."""
        state = network.state_dict()
        shapes = {prefix + name: tuple(value.shape) for name, value in state.items()}
        floats = {prefix + name: value.is_floating_point() for name, value in state.items()}
        arrays: dict[str, NDArray[np.float32]] = self.rules.fill_arrays(shapes, profile, floats)
        tensors = {name.removeprefix(prefix): torch.from_numpy(array) for name, array in arrays.items()}
        missing, unexpected = network.load_state_dict(tensors, strict=False)
        assert not unexpected
        assert all(name.endswith(("num_batches_tracked", "kernel")) for name in missing), missing
        return network

    def shapes(self, network: str) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of each entry of the published state dict."""
        return {name: tuple(shape) for name, (shape, _) in manifest(self.folder, network)["state_dict"].items()}

    def check_loss(self, value: torch.Tensor, name: str, tolerance: float = LOSS) -> None:
        np.testing.assert_allclose(value.detach().double().numpy(), self[name], rtol=tolerance, atol=0)

    def check_pixel_gradient(self, gradient: torch.Tensor | None, name: str, tolerance: float = TOTAL_GRADIENT) -> None:
        """Compare a gradient with respect to images: its norm, and its pixels at the stored stride."""
        assert gradient is not None
        found = gradient.numpy()
        stride = int(self[f"{name}_stride"])
        assert relative_difference(found[..., ::stride, ::stride], self[name]) < tolerance
        np.testing.assert_allclose(np.linalg.norm(found.astype(np.float64)), self[f"{name}_norm"], rtol=tolerance)

    def check_gradients(
        self,
        parameters: Iterable[tuple[str, torch.nn.Parameter]],
        name: str,
        *,
        without: set[str] | None = None,
    ) -> None:
        """Compare the gradients of all parameters: which exist, their norms, and their first four elements.

        ``without``: parameters whose gradient is 0 up to rounding, in addition to those with a small norm.
        """
        gradients = {key: value.grad.double().numpy() for key, value in parameters if value.grad is not None}
        names = [str(key) for key in self[f"{name}_grad_names"]]
        assert set(gradients) == set(names)
        norms = np.array([np.linalg.norm(gradients[key]) for key in names])
        expected = self[f"{name}_grad_norms"]
        whole = float(self[f"{name}_grad_total_norm"])
        np.testing.assert_allclose(np.linalg.norm(norms), whole, rtol=TOTAL_GRADIENT)
        large = (expected > ROUNDING * whole) & np.array([key not in (without or set()) for key in names])
        assert large.sum() > 0.7 * len(names)
        np.testing.assert_allclose(norms[large], expected[large], rtol=GRADIENT)
        firsts = np.stack([_first_four(gradients[key]) for key in names])
        assert relative_difference(firsts[large], self[f"{name}_grad_head4"][large]) < GRADIENT

    def rounding_names(self, name: str) -> set[str]:
        """Return the parameters whose gradient is 0 up to rounding."""
        small = self[f"{name}_grad_norms"] <= ROUNDING * float(self[f"{name}_grad_total_norm"])
        return {str(key) for key in self[f"{name}_grad_names"][small]}

    def check_state(
        self, state: dict[str, torch.Tensor], name: str, tolerance: float, *, without: set[str] | None = None
    ) -> None:
        """Compare parameters or buffers: their norms and their first four elements."""
        names = [str(key) for key in self[f"{name}_names"]]
        kept = np.array([key not in (without or set()) for key in names])
        arrays = {key: state[key].detach().double().numpy() for key in names}
        norms = np.array([np.linalg.norm(arrays[key]) for key in names])
        np.testing.assert_allclose(norms[kept], self[f"{name}_norms"][kept], rtol=tolerance)
        firsts = np.stack([_first_four(arrays[key]) for key in names])
        assert relative_difference(firsts[kept], self[f"{name}_head4"][kept]) < tolerance


def relative_difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the norm of the difference, divided by the norm of the expected array."""
    assert found.shape == expected.shape
    difference = np.asarray(found, np.float64) - expected
    return float(np.linalg.norm(difference) / np.linalg.norm(np.asarray(expected, np.float64)))


def _first_four(array: NDArray[np.float64]) -> NDArray[np.float64]:
    first = array.ravel()[:4]
    return np.pad(first, (0, 4 - len(first)))
