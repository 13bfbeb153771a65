"""Options of the trainer of the driver ``model``, which predicts mouth motion from speech.

The module does not import torch. The values were selected by speaker-disjoint cross-validation. There is no published
trainer.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field, model_validator
from retalkit_training.loop.config import LoopConfig, OptimizerConfig
from retalkit_training.losses.config import LossConfig

DILATIONS: Final = (1, 2, 4, 8, 1, 2)
"""Dilations of the network's blocks."""
ENCODER_DILATIONS: Final = (1, 2, 4, 8, 1)
"""Dilations of the blocks of networks on features of the speech encoder."""
Features = Literal["encoder", "log_mel"]
"""Input features of a network: outputs of the speech encoder Moonshine, or a log-mel spectrum."""


class CorpusConfig(LossConfig):
    """Options of the synthetic speech and of the non-speech audio."""

    hours: float = Field(default=10.0, gt=0)
    """Hours of speech of the training voices. A thirtieth is added from held-out voices."""
    flite_share: float = Field(default=0.45, ge=0, le=1)
    """Fraction of the speech that flite synthesises. espeak-ng synthesises the rest. 0: flite is not needed, but the
    weights generalise less well to real voices."""
    shard_minutes: float = Field(default=10.0, gt=0)
    """Maximum duration of a file of the corpus."""
    non_speech_clips: int = Field(default=240, ge=6)
    """Number of clips of noise, hum, tones, music, knocks and babble."""
    non_speech_seconds: float = Field(default=8.0, ge=6)
    """Duration of each of these clips. At least the duration of an example."""
    seed: int = Field(default=1, ge=0)
    """Seed of sentences, voices and non-speech audio."""
    processes: int = Field(default=2, ge=1)
    """Number of processes that synthesise speech. The corpus does not depend on it."""


class SyntheticConfig(LoopConfig):
    """Options of the training on synthetic speech."""

    steps: int = Field(default=3_400, ge=1)
    """Number of steps."""
    batch_size: int = Field(default=12, ge=2)
    """Number of examples."""
    seconds: float = Field(default=5.0, ge=1, le=6)
    """Duration of an example."""
    channels: int = Field(default=160, ge=1)
    """Number of channels of the network."""
    dilations: tuple[int, ...] = Field(default=DILATIONS, min_length=1)
    """Dilation of each block."""
    lookahead_seconds: float | None = Field(default=None, ge=0.0375)
    """Maximum look-ahead of the outputs. None: unbounded, which is 0.75 s for the default dilations."""
    dropout: float = Field(default=0.15, ge=0, lt=1)
    """Dropout in the blocks."""
    non_speech_share: float = Field(default=0.17, ge=0, le=1)
    """Probability that an example is non-speech audio, for which the mouth stays closed."""
    optimizer: OptimizerConfig = OptimizerConfig(
        kind="adamw", learning_rate=2e-3, weight_decay=0.02, warm_up_steps=50, cosine=True
    )
    """Optimiser."""
    average_decay: float = Field(default=0.997, ge=0, lt=1)
    """Decay of the moving average of the parameters, which is validated and exported."""
    clip_norm: float | None = Field(default=2.0, gt=0)
    """Maximum norm of the gradients."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of forward passes. ``auto`` is ``bf16`` on devices that have instructions for bfloat16, where it is
    nearly twice as fast, and ``fp32`` on others, where ``bf16`` is about ten times slower."""
    seed: int = Field(default=1, ge=0)
    """Seed of the initial weights, of the examples and of the dropout."""
    initial: str | None = None
    """Weights from which this training starts: ``published``, the bundled weights trained on synthetic speech, or a
    weights file with the same architecture. None: random weights."""
    evaluation_crops: int = Field(default=20, ge=1)
    """Number of crops of held-out voices, and of non-speech audio, in each evaluation."""
    log_every: int = Field(default=50, ge=1)
    """Number of steps between rows of ``scalars.csv``."""
    evaluate_every: int = Field(default=500, ge=1)
    """Number of steps between evaluations on held-out voices."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Number of steps between checkpoints."""
    keep_checkpoints: int = Field(default=1, ge=1)
    """Number of newest checkpoints that are kept."""


class ViewConfig(LossConfig):
    """Options of the precomputed features for the fine-tuning."""

    per_clip: int = Field(default=8, ge=1)
    """Number of views of each clip with real lips. The first is unchanged, the second has another vocal tract length,
    and the others have noise, rooms, microphones and codecs."""
    synthetic: int = Field(default=2_250, ge=1)
    """Number of crops of synthetic speech."""
    non_speech: int = Field(default=750, ge=1)
    """Number of crops of non-speech audio."""
    seed: int = Field(default=5, ge=0)
    """Seed of the views."""


class EncoderConfig(LoopConfig):
    """Options of the training of the speech encoder for noisy speech, which only the step ``encoder`` runs."""

    published: str | None = None
    """File that ``retalkit_training.speech_to_mouth.convert_moonshine`` writes."""
    steps: int = Field(default=400, ge=1)
    """Number of steps."""
    batch_size: int = Field(default=10, ge=1)
    """Number of examples."""
    seconds: float = Field(default=3.0, ge=1)
    """Duration of an example."""
    unchanged_share: float = Field(default=0.15, ge=0, le=1)
    """Probability that an example is clean speech."""
    room_share: float = Field(default=0.5, ge=0, le=1)
    """Probability that the speech of a noisy example has the acoustics of a room and of a microphone."""
    ratios: tuple[float, float] = (-2.0, 20.0)
    """Range of the signal-to-noise ratio in dB."""
    optimizer: OptimizerConfig = OptimizerConfig(
        kind="adamw", learning_rate=4e-4, weight_decay=0.0, warm_up_steps=20, cosine=True
    )
    """Optimiser."""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """Maximum norm of the gradients."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of forward passes."""
    evaluation_crops: int = Field(default=20, ge=1)
    """Number of fixed examples in an evaluation."""
    log_every: int = Field(default=25, ge=1)
    """Number of steps between rows of ``scalars.csv``."""
    evaluate_every: int = Field(default=200, ge=1)
    """Number of steps between evaluations."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Number of steps between checkpoints."""
    keep_checkpoints: int = Field(default=1, ge=1)
    """Number of newest checkpoints that are kept."""


class FineTuningConfig(LoopConfig):
    """Options of the training on real lips."""

    features: Features = "encoder"
    """Input features. ``encoder``: outputs of the speech encoder, and random initial weights. ``log_mel``: log-mel
    features, and initial weights that were trained on synthetic speech; 900 steps are then better than 320."""
    channels: int = Field(default=160, ge=1)
    """Number of channels of a network on encoder features."""
    dilations: tuple[int, ...] = Field(default=ENCODER_DILATIONS, min_length=1)
    """Dilation of each block of a network on encoder features."""
    feature_noise: float = Field(default=0.2, ge=0)
    """Standard deviation of the noise on encoder features, relative to that of each feature."""
    feature_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of encoder features."""
    unchanged_share: float = Field(default=0.3, ge=0, le=1)
    """Probability that an example with real lips and encoder features is the unchanged audio. Otherwise, each other
    view of the clip is equally probable."""
    steps: int = Field(default=320, ge=1)
    """Number of steps."""
    batch_size: int = Field(default=1, ge=1)
    """Number of groups of examples. Each group has ``real`` + ``synthetic`` + ``non_speech`` examples."""
    real: int = Field(default=14, ge=1)
    """Number of examples with real lips in a group."""
    synthetic: int = Field(default=3, ge=0)
    """Number of examples with synthetic speech in a group."""
    non_speech: int = Field(default=1, ge=0)
    """Number of examples with non-speech audio in a group."""
    lookahead_seconds: float | None = Field(default=None, ge=0.0375)
    """Maximum look-ahead of the outputs, only with log-mel features. None: unbounded."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout in the blocks."""
    loudness_error: float = Field(default=0.35, ge=0)
    """Standard deviation of the random offset of the absolute log-mel features, in units of 17.4 dB."""
    optimizer: OptimizerConfig = OptimizerConfig(
        kind="adamw", learning_rate=1.5e-3, weight_decay=0.05, warm_up_steps=30, cosine=True
    )
    """Optimiser."""
    average_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the moving average of the parameters, which is scored and exported."""
    clip_norm: float | None = Field(default=2.0, gt=0)
    """Maximum norm of the gradients."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of forward passes. ``auto`` is ``bf16`` on devices that have instructions for bfloat16, where it is
    nearly twice as fast, and ``fp32`` on others, where ``bf16`` is about ten times slower."""
    initial: str | None = None
    """Weights from which the training starts: ``published``, the bundled weights for ``features``, or a weights file.
    None: random weights for encoder features, and the result of the training on synthetic speech for log-mel
    features."""
    log_every: int = Field(default=50, ge=1)
    """Number of steps between rows of ``scalars.csv``."""
    evaluate_every: int = Field(default=320, ge=1)
    """Number of steps between evaluations on the held-out speakers."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Number of steps between checkpoints."""
    keep_checkpoints: int = Field(default=1, ge=1)
    """Number of newest checkpoints that are kept, for each network."""

    @model_validator(mode="after")
    def _check_lookahead(self) -> FineTuningConfig:
        if self.features == "encoder" and self.lookahead_seconds is not None:
            raise ValueError("lookahead_seconds requires features=log_mel, because the encoder is not causal")
        return self

    @property
    def needs_synthetic_weights(self) -> bool:
        """Return whether the training starts from the result of the training on synthetic speech."""
        return self.features == "log_mel" and self.initial is None


class SpeechToMouthConfig(LossConfig):
    """Options of the trainer of the driver ``model``."""

    corpus: CorpusConfig = CorpusConfig()
    """Synthetic speech and non-speech audio."""
    synthetic: SyntheticConfig = SyntheticConfig()
    """Training on synthetic speech."""
    validation_crops: int = Field(default=60, ge=1)
    """Number of crops of held-out voices for the scores and the calibration of the weights."""
    views: ViewConfig = ViewConfig()
    """Precomputed features for the fine-tuning."""
    encoder: EncoderConfig = EncoderConfig()
    """Training of the speech encoder for noisy speech."""
    fine_tuning: FineTuningConfig = FineTuningConfig()
    """Training on real lips."""
    live: FineTuningConfig = FineTuningConfig(
        features="log_mel", lookahead_seconds=0.2, steps=900, real=12, dropout=0.1
    )
    """Fine-tuning of ``live.safetensors``, which has a bounded look-ahead."""

    @model_validator(mode="after")
    def _check_durations(self) -> SpeechToMouthConfig:
        if self.synthetic.seconds > self.corpus.non_speech_seconds:
            raise ValueError(
                f"synthetic.seconds {self.synthetic.seconds:g} exceeds corpus.non_speech_seconds "
                f"{self.corpus.non_speech_seconds:g}"
            )
        return self


_TINY_LOOP: Final[dict[str, Any]] = {"precision": "fp32", "log_every": 2, "evaluate_every": 8, "workers": 0}

TINY: Final[dict[str, Any]] = {
    "corpus": {
        "hours": 0.02,
        "flite_share": 0.0,
        "shard_minutes": 0.7,
        "non_speech_clips": 8,
        "non_speech_seconds": 6.0,
    },
    "synthetic": {
        "steps": 8,
        "batch_size": 3,
        "seconds": 2.0,
        "channels": 16,
        "optimizer": {"warm_up_steps": 2},
        "checkpoint_every": 4,
        "evaluation_crops": 1,
        **_TINY_LOOP,
    },
    "validation_crops": 3,
    "views": {"per_clip": 2, "synthetic": 3, "non_speech": 1},
    "encoder": {"steps": 2, "batch_size": 2, "seconds": 1.0, "evaluation_crops": 1, **_TINY_LOOP},
    "fine_tuning": {"steps": 2, "real": 2, "synthetic": 1, "channels": 16, **_TINY_LOOP},
    "live": {"steps": 2, "real": 2, "synthetic": 1, **_TINY_LOOP},
}
"""Preset ``tiny``: minimal sizes, with which all steps run in half a minute. The networks are not usable."""
