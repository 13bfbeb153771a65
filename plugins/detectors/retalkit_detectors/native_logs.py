"""Suppression of log lines that native libraries write to standard error."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

LOG_LINE: Final = re.compile(rb"^(INFO: Created TensorFlow Lite|WARNING: All log messages before absl|[IW]\d{4} )")
"""Pattern that matches TensorFlow Lite, absl and MediaPipe log lines below the error level."""

STDERR: Final = 2


@contextmanager
def suppress_native_logs() -> Generator[None]:
    """Buffer standard error (file descriptor 2) inside the block, and then write all lines except native log lines.

    The block should be short, such as a graph's construction and first call. If descriptor 2 is closed, the function
    has no effect.
    """
    try:
        saved = os.dup(STDERR)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as buffer:
        _flush()
        os.dup2(buffer.fileno(), STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, STDERR)
            os.close(saved)
            buffer.seek(0)
            kept = b"".join(line for line in buffer if not LOG_LINE.match(line))
            if kept:
                os.write(STDERR, kept)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
