"""Options of augmentation. The module does not import torch, kornia or librosa."""

from __future__ import annotations

from pydantic import Field
from retalkit_training.losses.config import LossConfig


class AugmentationConfig(LossConfig):
    """Random changes of training windows. Everything is off by default, as in Wav2Lip and in the reproduction
    report.

    All frames of a window, its reference frames and its target receive the same change of the image, and all mel
    windows of a sample the same change of the sound, so that lips and sound stay synchronous. Values are drawn from the
    sample's own random numbers, so that resumed runs use the same ones. Validation windows are not changed. The images
    are changed with kornia, the sound with librosa.
    """

    flip: float = Field(default=0.0, ge=0, le=1)
    """Share of the windows that are mirrored. Wav2Lip: 0. A retraining for 288 pixels (primepake): 0.5."""
    colour: float = Field(default=0.0, ge=0, le=0.5)
    """Maximum change of brightness, contrast and saturation as a factor, such as 0.2, and of the hue, in tenths of this
    number of turns. Not used by Wav2Lip."""
    jpeg: float = Field(default=0.0, ge=0, le=1)
    """Share of the windows that are compressed as JPEG with a quality of 30 to 95. Not used by Wav2Lip."""
    blur: float = Field(default=0.0, ge=0, le=1)
    """Share of the windows that are blurred with a standard deviation of 0.3 to 1.2 pixels. Not used by Wav2Lip."""
    shift: float = Field(default=0.0, ge=0, le=0.2)
    """Maximum shift as a share of the image's side. Not used by Wav2Lip."""
    rotation: float = Field(default=0.0, ge=0, le=30)
    """Maximum rotation in degrees. Not used by Wav2Lip."""
    scale: float = Field(default=0.0, ge=0, le=0.3)
    """Maximum change of size as a factor, such as 0.05. Not used by Wav2Lip."""
    time_stretch: float = Field(default=0.0, ge=0, le=0.1)
    """Maximum change of the speech rate as a factor. The sound is stretched around the middle of the five frames. At
    0.1, the first and the last frame are a quarter of a frame off, so the frames stay the same. The phase vocoder moves
    onsets by up to 8 ms. Not used by Wav2Lip."""
    pitch_shift: float = Field(default=0.0, ge=0, le=6)
    """Maximum change of the pitch in semitones, without a change of the duration. Not used by Wav2Lip."""
    level: float = Field(default=0.0, ge=0, le=20)
    """Maximum change of the level in decibels. Not used by Wav2Lip."""
    mel_mask: float = Field(default=0.0, ge=0, le=1)
    """Share of the samples in which a tenth of the mel bands is replaced by silence. A retraining for 288 pixels
    (primepake): 0.3, with a tenth of the steps, too. Wav2Lip: 0."""

    @property
    def changes_images(self) -> bool:
        """Whether images are changed."""
        return any((self.flip, self.colour, self.jpeg, self.blur, self.shift, self.rotation, self.scale))

    @property
    def changes_waveform(self) -> bool:
        """Whether the waveform is changed."""
        return any((self.time_stretch, self.pitch_shift, self.level))
