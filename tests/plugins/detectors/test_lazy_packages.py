"""MediaPipe's ``__init__`` runs only when other code uses the package."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from retalkit_detectors.mediapipe_graphs import MeshGraph
MeshGraph().close()
loaded = {"matplotlib", "sounddevice", "mediapipe.tasks"} & {*sys.modules}
assert not loaded, loaded
import mediapipe
assert mediapipe.python.solutions.face_mesh.FaceMesh
assert mediapipe.solutions.drawing_utils.plt.figure is not None
assert mediapipe.tasks.BaseOptions and mediapipe.Image and mediapipe.__version__
"""


def test_other_code_can_use_mediapipe() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
