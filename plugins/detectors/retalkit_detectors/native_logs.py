"""Keeps the chatter of native libraries off the terminal without losing what others write."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

CHATTER: Final = re.compile(rb"^(INFO: Created TensorFlow Lite|WARNING: All log messages before absl|[IW]\d{4} )")
"""Lines of TensorFlow Lite, absl and MediaPipe below the level of an error."""

STDERR: Final = 2


@contextmanager
def without_chatter() -> Iterator[None]:
    """Collects what reaches file descriptor 2 and hands on all lines but native log lines when the block ends.

    Meant for short blocks: building a graph and its first call. Where there is no descriptor 2, does nothing.
    """
    try:
        saved = os.dup(STDERR)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as collected:
        _flush()
        os.dup2(collected.fileno(), STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, STDERR)
            os.close(saved)
            collected.seek(0)
            kept = b"".join(line for line in collected if not CHATTER.match(line))
            if kept:
                os.write(STDERR, kept)


def _flush() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
