"""MediaPipe is imported without matplotlib, which is loaded on first use."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import retalkit_detectors.mediapipe_graphs
loaded = [name for name in sys.modules if name.startswith("matplotlib")]
assert not loaded, loaded
import mediapipe
drawing = mediapipe.solutions.drawing_utils
assert drawing.plt.figure is not None
import matplotlib.pyplot
assert drawing.plt.figure is matplotlib.pyplot.figure
assert matplotlib.pyplot.__file__.endswith("pyplot.py")
"""


def test_matplotlib_is_loaded_on_first_use() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
