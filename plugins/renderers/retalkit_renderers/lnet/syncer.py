"""Lip syncer ``lnet``, which generates the lower half of the face from the speech with L-Net.

Reference: Cheng et al., "VideoReTalking: audio-based lip synchronization for talking head video editing in the wild",
SIGGRAPH Asia 2022, section 3.2. The box, the crops, the BGR channel order, the black lower half of the masked face and
the mel window of 0.2 s per frame follow the publication. The stage differs from the published script in the following
points:

- Mel windows follow the frame timestamps (``retalkit.speech.mel_windows``), including speech that is shorter than one
  window.
- The box is averaged over five frames of a shot. The published average includes frames from other shots and faces and
  is applied twice.
- The extension below the chin is proportional to the face size. The published extension is 20 pixels for all face
  sizes.
- With ``gate``, the network input is silence where there is no speech (``retalkit_renderers.mel_gate``).
- The result is blended over the edge of the lower half. In the published script, E-Net's face replaces the whole box.
"""

from __future__ import annotations

from retalkit.stages import LipSyncClip, Runtime, StageContext

from retalkit_renderers.face_generation import FaceGenerationSession
from retalkit_renderers.lnet.face_generator import FaceGenerator
from retalkit_renderers.lnet.face_region import network_faces
from retalkit_renderers.lnet.interface import NETWORK, LNetConfig


class LNetLipSyncer:
    """Lip syncer that requires ``frames``, ``reference:image`` and the speech, and provides ``face:edit``."""

    def __init__(self, config: LNetConfig, runtime: Runtime) -> None:
        """Load the network. Raises WeightsError if the checkpoint does not match the network."""
        self._config = config
        self._generator = FaceGenerator(runtime, config.batch)

    def open(self, clip: LipSyncClip, context: StageContext) -> FaceGenerationSession:
        """Return a session that generates faces of 96 x 96 pixels on demand for each frame."""
        return FaceGenerationSession(NETWORK, self._config, network_faces, self._generator, clip.speech, context)
