"""Lip syncer ``wav2lip``, which generates the lower half of the face from the speech with Wav2Lip.

Reference: Prajwal et al., "A lip sync expert is all you need for speech to lip generation in the wild", ACM Multimedia
2020. The crops, the BGR channel order, the black lower half of the masked face and the mel window of 0.2 s per frame,
which starts at time step ``int(80 k / fps)`` for frame k, follow the published inference script. With the expression
editor ``none``, the reference face is the frame's own face, as in the script. With any other expression editor, the
reference face is the editor's output. The stage differs from the script in the following points:

- Frames without a face are passed through. The script stops at the first such frame.
- Mel windows follow the frame timestamps (``retalkit.speech.mel_windows``). Every output frame has a window, and the
  windows at the end of the speech are moved back. Speech that is shorter than one window is padded with silence. The
  script ends the video at the first window that extends past the speech, and fails for speech that is shorter than one
  window.
- The box is the mean of the five nearest frames of the same shot and face. The script computes the mean of the current
  and the four following frames, including frames after a cut, in integers. Its last means include smoothed boxes.
- The extension below the chin is proportional to the face size. The published extension is 10 pixels for all face
  sizes.
- With ``gate``, the network input is silence where there is no speech (``retalkit_renderers.mel_gate``).
- Only the lower half of the box is edited, with soft edges. The script replaces the whole box, which has visible edges
  and blurs the eyes.
"""

from __future__ import annotations

from retalkit.stages import LipSyncClip, Runtime, StageContext

from retalkit_renderers.face_generation import FaceGenerationSession
from retalkit_renderers.wav2lip.face_generator import FaceGenerator
from retalkit_renderers.wav2lip.face_region import network_faces
from retalkit_renderers.wav2lip.interface import NAME, Wav2LipConfig


class Wav2LipLipSyncer:
    """Lip syncer that requires ``frames``, ``reference:image`` and the speech, and provides ``face:edit``."""

    def __init__(self, config: Wav2LipConfig, runtime: Runtime) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network."""
        self._config = config
        self._generator = FaceGenerator(config.checkpoint, runtime, config.batch)

    def open(self, clip: LipSyncClip, context: StageContext) -> FaceGenerationSession:
        """Return a session that generates faces of 96 x 96 pixels on demand for each frame."""
        return FaceGenerationSession(NAME, self._config, network_faces, self._generator, clip.speech, context)
