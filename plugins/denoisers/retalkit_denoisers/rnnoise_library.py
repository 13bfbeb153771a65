"""Native RNNoise library of the package ``pyrnnoise``."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME = 480
"""Samples of a frame at 48 kHz."""


class RnnoiseState:
    """State of the recurrent network for one stream."""

    def __init__(self) -> None:
        self._library = _library()
        self._state: Any = self._library.create()

    def process(self, samples: NDArray[np.float32]) -> None:
        """Denoise whole frames in place. The samples are contiguous, at 48 kHz and in the range of 16-bit integers.

        A call of the library takes 0.5 ms for a frame of 10 ms. The library has no call for several frames.
        """
        for start in range(0, len(samples), FRAME):
            frame = samples[start : start + FRAME].ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            self._library.lib.rnnoise_process_frame(self._state, frame, frame)

    def close(self) -> None:
        if self._state is not None:
            self._library.destroy(self._state)
            self._state = None


@lru_cache(maxsize=1)
def _library() -> Any:
    """Return the module ``pyrnnoise.rnnoise``, which declares the functions of the native library.

    The module is loaded when noisy speech is found, and without the package's ``__init__``, which imports audio filters
    and a command line. Both together save 0.1 s at the start of a run.
    """
    package = find_spec("pyrnnoise")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'pyrnnoise'", name="pyrnnoise")
    path = Path(package.submodule_search_locations[0]) / "rnnoise.py"
    spec = spec_from_file_location("pyrnnoise.rnnoise", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {path}", name="pyrnnoise.rnnoise", path=str(path))
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
