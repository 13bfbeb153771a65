"""Import of OpenVINO without telemetry.

On import and in ``openvino.convert_model``, OpenVINO sends usage data to its publisher through the package
``openvino_telemetry``. If that package is missing, OpenVINO uses a stub. Retalkit must not send usage data. Retalkit
therefore hides the package during the import and converts models directly with OpenVINO's frontend.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_TELEMETRY: Final = "openvino_telemetry"


@contextmanager
def _without_telemetry() -> Generator[None]:
    """Disable imports of the telemetry package during the block."""
    hide = _TELEMETRY not in sys.modules
    if hide:
        sys.modules[_TELEMETRY] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        if hide:
            del sys.modules[_TELEMETRY]


with _without_telemetry():
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

__all__ = ["FrontEndManager", "TorchScriptPythonDecoder", "openvino"]
