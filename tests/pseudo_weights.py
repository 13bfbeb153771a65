"""Untrained checkpoints: every value follows from its parameter name and shape, by the rule of the parity folder."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def load_module(path: Path) -> ModuleType:
    """Import a Python file outside any package."""
    spec = importlib.util.spec_from_file_location(f"parity_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest(parity: Path, network: str) -> dict[str, Any]:
    """Return the manifest of one network."""
    return json.loads((parity / f"{network}.manifest.json").read_text(encoding="utf-8"))


def fill(parity: Path, network: str, file: Path) -> None:
    """Write the pseudo-random checkpoint of a network; for ``enet`` without the L-Net that it contains."""
    rule: Any = load_module(parity / "fill.py")
    # The vectors of a spectral norm are computed from the weights of the same layer, which would be drawn again.
    rule.draw = lru_cache(maxsize=4)(rule.draw)
    known = manifest(parity, network)
    entries: dict[str, Any] = {k: v for k, v in known["state_dict"].items() if not k.startswith("low_res.")}
    shapes = {name: tuple(shape) for name, (shape, _) in entries.items()}
    floats = {name: "float" in kind for name, (_, kind) in entries.items()}
    arrays: dict[str, np.ndarray] = rule.fill_arrays(shapes, known["profile"], floats)
    for name, shape in shapes.items():
        if name in arrays:
            continue
        if name.endswith("kernel"):
            # GPEN's low-pass filters, as the published constructor makes them: [1, 3, 3, 1] in both directions, times
            # four where the image is upsampled.
            taps = np.outer([1.0, 3.0, 3.0, 1.0], [1.0, 3.0, 3.0, 1.0]) / 64.0
            arrays[name] = (taps * (1.0 if name.startswith("ecd") else 4.0)).astype(np.float32)
        else:
            arrays[name] = np.zeros(shape, np.int64)
    # ascontiguousarray would turn a scalar into a vector.
    save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, file)
