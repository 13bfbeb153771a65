"""Log lines of native libraries, which Python cannot configure."""

from __future__ import annotations

import re
from typing import Final

FILTER_THREAD: Final = "native logs"
"""Name of the thread of the command line that reads and filters the logs."""
LOG_LINE: Final = re.compile(
    rb"^(INFO: Created TensorFlow Lite|WARNING: All log messages before absl|[IW]\d{4} |\[ ?(INFO|WARN|ERROR):\d+@"
    rb"|libpng (warning|error): |Corrupt JPEG data: |Premature end of JPEG file|\s*$)"
)
"""Pattern that matches the log lines of TensorFlow Lite, absl and MediaPipe below the error level, and those of image
decoders, whose failures raise exceptions."""
