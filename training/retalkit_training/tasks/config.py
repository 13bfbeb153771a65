"""Options and presets of the trainers. The module does not import torch.

Presets: ``seed`` contains the values of the reproduction report that this project starts from, and ``published`` the
values of the published code of the same family (Wav2Lip, PIRender, GPEN). Where neither states a value, both use the
default, whose docstring contains the source. The sources are listed in ``retalkit_training.losses.config``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field
from retalkit.errors import ConfigError
from retalkit_training.augmentation_config import AugmentationConfig
from retalkit_training.averaging_config import PUBLISHED_DECAY
from retalkit_training.loop.config import LoopConfig, OptimizerConfig
from retalkit_training.losses.config import (
    DNET_EQUATIONS,
    DNET_REPRODUCTION,
    DNetLossConfig,
    ENetLossConfig,
    LNetLossConfig,
    SyncConfig,
    Wav2LipLossConfig,
)

WAV2LIP_GAN: Final = OptimizerConfig(betas=(0.5, 0.999))
"""Optimiser of Wav2Lip's generator and discriminator (``hq_wav2lip_train.py``)."""


class SyncNetConfig(LoopConfig):
    """Options of the trainer of the lip-sync expert."""

    steps: int = Field(default=200_000, ge=1)
    """Number of steps. Wav2Lip's authors: the loss falls below 0.69 after 150,000 to 200,000 iterations on LRS2."""
    batch_size: int = Field(default=64, ge=2)
    """Number of pairs of windows. Wav2Lip: 64 (``hparams.py``: ``syncnet_batch_size``)."""
    channels: int = Field(default=32, ge=1)
    """Number of channels of the first convolutions. Published files have 32. Other widths train faster, but no stage
    loads them."""
    loss: SyncConfig = SyncConfig()
    """Lip-sync loss."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Wav2Lip: Adam, 1e-4 (``hparams.py``: ``syncnet_lr``)."""
    contrastive_steps: int = Field(default=0, ge=0)
    """Number of first steps with a contrastive loss: the cross-entropy over all pairs of the batch. Wav2Lip: 0. With
    little data, the published loss stays at 0.69, and the contrastive loss does not."""
    contrastive_scale: float = Field(default=15.0, gt=0)
    """Factor of the cosine similarities in the contrastive loss."""
    flip: bool = False
    """Whether half of the windows are mirrored, independently of the option ``flip`` of ``augmentation``, which sets
    the share. Use one of them: with both, half of the windows that ``augmentation`` mirrors are mirrored back. Wav2Lip:
    no."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Augmentation of the training windows. Wav2Lip: none."""
    evaluation_pairs: int = Field(default=512, ge=2)
    """Number of pairs of windows of each evaluation."""


class GeneratorConfig(LoopConfig):
    """Options of the trainers of L-Net and Wav2Lip's generator."""

    expert: Literal["published"] | Path | None = None
    """Weights of the lip-sync expert: ``published``, the checkpoint ``lipsync_expert`` of the store (Wav2Lip's), or a
    file, such as an exported file of ``retalkit train syncnet``. Required if the weight of the lip-sync loss is above
    0."""
    references: Literal["consecutive", "random"] = "consecutive"
    """Reference frames of the same clip. ``consecutive``: five frames from another random start (Wav2Lip). ``random``:
    five random frames (report)."""
    mel_alignment: Literal["inference", "wav2lip"] = "inference"
    """Mel window of each frame. ``inference``: the window of the stage. ``wav2lip``: 40 ms earlier, as in Wav2Lip's
    training code (``get_segmented_mels``), so that training and inference differ."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Augmentation of the training windows. Wav2Lip and the reproduction report: none."""

    @property
    def uses_expert(self) -> bool:
        """Whether the lip-sync loss has a weight above 0."""
        raise NotImplementedError

    def check_expert(self) -> None:
        """Raise ConfigError if the lip-sync loss is used but no expert is configured."""
        if self.uses_expert and self.expert is None:
            raise ConfigError(
                "expert: the lip-sync loss needs the weights of an expert; set expert=published (Wav2Lip's, see "
                "`retalkit weights pull lipsync_expert`), expert=FILE, or loss.sync_weight=0",
                code="missing-expert",
            )


class LNetConfig(GeneratorConfig):
    """Options of L-Net's trainer."""

    reference_expression: Literal["none", "neutral_warp", "dnet"] = "none"
    """Expression editor of the reference faces, whose faces `retalkit dataset prepare --references` stores. Report:
    D-Net's faces with a constant expression (``dnet``), as in a run. ``none``: the frames themselves (Wav2Lip), from
    which the network can copy the mouth."""

    steps: int = Field(default=400_000, ge=1)
    """Number of steps. Report: 400,000 on LRS2."""
    batch_size: int = Field(default=5, ge=1)
    """Number of windows of five frames. Report: batches of 5 x 6 x 96 x 96 are one window; the number of windows is not
    published."""
    references: Literal["consecutive", "random"] = "random"
    """Reference frames of the same clip. Report: five random frames. ``consecutive``: as in Wav2Lip."""
    loss: LNetLossConfig = LNetLossConfig()
    """Loss, equation 7 of the report."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Report: Adam, 1e-4. The betas are not published."""

    @property
    def uses_expert(self) -> bool:
        return self.loss.sync_weight > 0


class Wav2LipConfig(GeneratorConfig):
    """Options of the trainer of Wav2Lip's generator and quality discriminator."""

    steps: int = Field(default=300_000, ge=1)
    """Number of steps. Wav2Lip trains until the evaluated losses no longer fall."""
    batch_size: int = Field(default=16, ge=1)
    """Number of windows of five frames. Wav2Lip: 16 (``hparams.py``)."""
    channels: int = Field(default=32, ge=1)
    """Number of channels of the first convolutions. Published files have 32 (generator: 16 at full resolution)."""
    loss: Wav2LipLossConfig = Wav2LipLossConfig()
    """Losses of the generator."""
    optimizer: OptimizerConfig = WAV2LIP_GAN
    """Optimiser of the generator. Wav2Lip: Adam, 1e-4, betas 0.5 and 0.999."""
    discriminator_optimizer: OptimizerConfig = WAV2LIP_GAN
    """Optimiser of the quality discriminator. Wav2Lip: Adam, 1e-4, betas 0.5 and 0.999."""

    @property
    def uses_expert(self) -> bool:
        return self.loss.started_sync_weight > 0


class DNetConfig(LoopConfig):
    """Options of D-Net's trainer."""

    steps: int = Field(default=400_000, ge=1)
    """Number of steps of both stages. The report and PIRender: 400,000."""
    warp_steps: int = Field(default=200_000, ge=0)
    """Number of first steps that train the mapping and warping networks only. The report and PIRender: 200,000."""
    batch_size: int = Field(default=5, ge=1)
    """Number of pairs of frames. Both directions of each pair are trained. PIRender: 5 per GPU."""
    columns: int = Field(default=27, ge=1)
    """Number of frames of coefficients around a frame. PIRender trains with 27 (13 on each side), VideoReTalking's
    inference uses 26."""
    loss: DNetLossConfig = DNetLossConfig()
    """Losses of both stages."""
    optimizer: OptimizerConfig = OptimizerConfig(betas=(0.5, 0.999))
    """Report: Adam, 1e-4. PIRender: betas 0.5 and 0.999. PIRender also configures a decay by 0.2 at step 300,000, which
    its code applies to an optimiser that is no longer used; ``decay_every: 300000`` applies it."""
    reset_optimizer: bool = True
    """Whether the second stage starts with empty moments (PIRender: ``reset_trainer``)."""
    average_decay: float = Field(default=PUBLISHED_DECAY, ge=0, lt=1)
    """Decay of the moving average, which is the exported network. PIRender: 0.5 ** (32 / 10000). 0: no average."""
    initialisation: Literal["normal", "default"] = "normal"
    """Initial weights. ``normal``: N(0, 0.02^2) (PIRender). ``default``: those of torch."""
    size: Literal[64, 256] = 256
    """Side of the faces in pixels. The stage uses 256. 64 halves the stored crops twice, for tests."""
    driving: Literal["target", "neutral", "smile"] = "target"
    """Driving expression. ``target``: that of the target frame (PIRender). ``neutral`` and ``smile``: the expression
    template of this name in every column, with the unedited source as target. The reproduction (section 5.1 of the
    report) trains with ``smile`` on single images. Then no target shows the driving expression, so the network learns
    to ignore the coefficients."""
    lpips: bool = False
    """Whether evaluations compute LPIPS (AlexNet) of the moving average, which then selects the best checkpoint.
    PIRender: yes, every 40,000 steps. Needs the weights `lpips_alexnet` and `lpips_linear`."""

    def warnings(self) -> list[str]:
        if self.driving == "target":
            return []
        return [
            f"driving={self.driving}: the target is the unedited image, so the network learns to ignore the "
            "coefficients; use driving=target for a D-Net that edits expressions"
        ]


class ENetConfig(LoopConfig):
    """Options of E-Net's trainer."""

    steps: int = Field(default=400_000, ge=1)
    """Number of steps, which is not published."""
    batch_size: int = Field(default=4, ge=1)
    """Number of frames. GPEN: 4. Not published for E-Net."""
    lnet: Literal["published"] | Path | None = None
    """Weights of the frozen L-Net: ``published``, the checkpoint ``lnet`` of the store, or a file, such as a run's
    exported file."""
    loss: ENetLossConfig = ENetLossConfig()
    """Losses of the generator and the discriminator, equations 8 to 12 of the report."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-5)
    """A reader quotes 1e-5 from the paper's appendix. Rates above 1e-4 diverge, because the output is unbounded."""
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=0.002 * 16 / 17, betas=(0.0, 0.99 ** (16 / 17))
    )
    """GPEN: Adam, 0.002 x 16 / 17, betas 0 and 0.99 ** (16 / 17)."""
    clip_norm: float | None = 10.0
    """Maximum norm of the gradients. Not published; without it, E-Net diverges at higher learning rates."""
    average_decay: float = Field(default=PUBLISHED_DECAY, ge=0, lt=1)
    """Decay of the moving average. GPEN and GFPGAN: 0.5 ** (32 / 10000). Not published for E-Net. 0: no average."""

    def check_lnet(self) -> None:
        """Raise ConfigError if no L-Net is configured."""
        if self.lnet is None:
            raise ConfigError(
                "lnet: E-Net is trained behind a frozen L-Net; set lnet=FILE (an exported L-Net, or LNet.pth), or "
                "lnet=published",
                code="missing-lnet",
            )

    def warnings(self) -> list[str]:
        weight, others = self.loss.adversarial_weight, self.loss.l1_weight + self.loss.perceptual_weight
        if weight <= 10 * others:
            return []
        return [
            f"loss.adversarial_weight={weight:g}: E-Net is mainly trained by the discriminator (GFPGAN: 0.1, with 0.1 "
            "for L1 and 1 for the perceptual loss)"
        ]


TrainConfig = SyncNetConfig | LNetConfig | DNetConfig | ENetConfig | Wav2LipConfig

CONFIGS: Final[Mapping[str, type[LoopConfig]]] = {
    "syncnet": SyncNetConfig,
    "lnet": LNetConfig,
    "dnet": DNetConfig,
    "enet": ENetConfig,
    "wav2lip": Wav2LipConfig,
}
"""Options model of each trainer."""

_PIRENDER_DECAY: Final = {"optimizer": {"betas": [0.5, 0.999]}}

PRESETS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "syncnet": {"seed": {}, "published": {}},
    "lnet": {
        "seed": {"references": "random", "reference_expression": "dnet"},
        # Wav2Lip's sampling, from which L-Net's training was derived.
        "published": {"references": "consecutive", "mel_alignment": "wav2lip", "optimizer": {"betas": [0.5, 0.999]}},
    },
    "dnet": {
        "seed": {
            "loss": DNET_EQUATIONS.model_dump(mode="json"),
            "optimizer": {"betas": [0.9, 0.999]},
            "reset_optimizer": False,
            "average_decay": 0.0,
            "initialisation": "default",
        },
        "published": {**_PIRENDER_DECAY, "lpips": True, "evaluate_every": 40_000},
        "reproduction": {
            "steps": 300,
            "warp_steps": 0,
            "batch_size": 10,
            "driving": "smile",
            "loss": DNET_REPRODUCTION.model_dump(mode="json"),
            "optimizer": {"betas": [0.9, 0.999]},
            "reset_optimizer": False,
            "average_decay": 0.0,
            "initialisation": "default",
            "evaluate_every": 50,
            "images_every": 50,
            "checkpoint_every": 50,
        },
    },
    "enet": {
        "seed": {"loss": {"adversarial": {"kind": "saturating"}}},
        "published": {"loss": {"adversarial": {"kind": "non-saturating"}}},
    },
    "wav2lip": {
        "seed": {"mel_alignment": "inference"},
        "published": {
            "mel_alignment": "wav2lip",
            "loss": {"sync": {"batch_statistics": True, "probability": "unclamped"}},
        },
    },
}
"""Values of each preset that differ from the defaults."""
