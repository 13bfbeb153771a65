"""Options of the losses. The module does not import torch.

Each docstring names the source of the default value and of the alternatives:

* The report: the reproduction report that this project starts from, with its equation numbers.
* VideoReTalking: Cheng et al., SIGGRAPH Asia 2022 (OpenTalker/video-retalking), whose training code is unpublished.
* PIRender: Ren et al., ICCV 2021 (RenYurui/PIRender, ``config/face.yaml`` and ``loss/perceptual.py``).
* Wav2Lip: Prajwal et al., ACM Multimedia 2020 (Rudrabha/Wav2Lip).
* GPEN: Yang et al., CVPR 2021 (yangxy/GPEN). GFPGAN: Wang et al., CVPR 2021 (TencentARC/GFPGAN).
* StyleGAN2: Karras et al., CVPR 2020 (rosinality/stylegan2-pytorch).
"""

from __future__ import annotations

from typing import Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class LossConfig(BaseModel):
    """Base class for the options of losses. Unknown keys raise errors, and instances are immutable.

    The docstring below a field is the field's description in the JSON Schema of training files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def _check_weights(config: ConfigT, *names: str) -> ConfigT:
    if not any(getattr(config, name) for name in names):
        raise ValueError(f"{', '.join(names)}: at least one weight must be above 0")
    return config


PIRENDER_LAYERS: Final = ("relu_1_1", "relu_2_1", "relu_3_1", "relu_4_1", "relu_5_1")
"""Layers of PIRender's perceptual loss (``config/face.yaml``)."""


class PerceptualConfig(LossConfig):
    """Options of the perceptual loss with an optional style loss. The defaults are PIRender's loss at one scale."""

    network: Literal["vgg16", "vgg19"] = "vgg19"
    """Feature extractor. PIRender publishes ``vgg19``. The report and the reproduction state VGG-16."""
    layers: tuple[str, ...] = PIRENDER_LAYERS
    """Compared layers, named ``conv_B_C`` (before the ReLU), ``relu_B_C`` or ``pool_B``. PIRender: ``relu_1_1`` to
    ``relu_5_1``. Johnson et al., ECCV 2016: ``relu_1_2``, ``relu_2_2``, ``relu_3_3``, ``relu_4_3`` of VGG-16. GFPGAN:
    ``conv_1_2``, ``conv_2_2``, ``conv_3_4``, ``conv_4_4``, ``conv_5_4`` of VGG-19. The reproduction (report,
    section 5.1): the last convolutional layer of VGG-16, ``relu_5_3`` or ``pool_5``."""
    layer_weights: tuple[float, ...] = ()
    """Weight of each layer, for content and style. Empty: 1 for each layer (PIRender). GFPGAN: 0.1, 0.1, 1, 1, 1."""
    distance: Literal["l1", "mse", "norm"] = "l1"
    """Distance of two features: ``l1``, the mean absolute difference (PIRender, GFPGAN); ``mse``, the mean squared
    difference; ``norm``, the L2 norm of each image's difference, averaged over the batch (equation 1 of the report
    taken literally, and the reproduction)."""
    scales: int = Field(default=1, ge=1)
    """Number of scales. Each scale has half the width and height of the previous one. PIRender uses 4 at 256 pixels.
    The number is not published for L-Net and E-Net; at L-Net's 96 pixels PIRender's code supports at most 2.
    """
    style_weight: float = Field(default=0.0, ge=0)
    """Weight of the style loss relative to the content loss. PIRender and the report: 250 in D-Net's second stage.
    GFPGAN: 50. The style loss is computed at the first scale only (PIRender)."""
    gram_divisor: Literal["size", "none"] = "size"
    """Divisor of Gram matrices: ``size``, C h w (PIRender, GFPGAN, Johnson et al.), or ``none``."""
    instance_normalised: bool = False
    """Whether the distance compares instance-normalised features. An option of PIRender's class, off in all of its
    configurations."""
    resize_to_224: bool = False
    """Whether images are resized to 224 x 224 first. An option of PIRender's class, off in all of its
    configurations."""

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError("layers: at least one layer, and none twice")
        if self.layer_weights and len(self.layer_weights) != len(self.layers):
            raise ValueError(f"layer_weights: {len(self.layer_weights)} weights for {len(self.layers)} layers")
        return self


PIRENDER_WARP: Final = PerceptualConfig(scales=4)
"""PIRender's loss of the warped image (``config/face.yaml``, ``vgg_param_warp``)."""
PIRENDER_FINAL: Final = PerceptualConfig(scales=4, style_weight=250)
"""PIRender's loss of the edited image (``config/face.yaml``, ``vgg_param_final``)."""
REPRODUCTION: Final = PerceptualConfig(network="vgg16", layers=("relu_5_3",), distance="norm", style_weight=250)
"""Loss of the reproduction's D-Net training (section 5.1 of the report: L2 distances in the last layer before the fully
connected ones, weights 1 and 250)."""
EQUATION_1: Final = PerceptualConfig(network="vgg16", distance="norm")
"""Equation 1 of the report taken literally: the sum of L2 norms over the layers of VGG-16."""
JOHNSON: Final = PerceptualConfig(
    network="vgg16", layers=("relu_1_2", "relu_2_2", "relu_3_3", "relu_4_3"), distance="norm"
)
"""Layers of Johnson et al., "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016."""
GFPGAN_PERCEPTUAL: Final = PerceptualConfig(
    layers=("conv_1_2", "conv_2_2", "conv_3_4", "conv_4_4", "conv_5_4"),
    layer_weights=(0.1, 0.1, 1, 1, 1),
    style_weight=50,
)
"""GFPGAN's perceptual and style loss (``options/train_gfpgan_v1.yml``)."""


class SyncConfig(LossConfig):
    """Options of the lip-sync loss."""

    batch_statistics: bool = False
    """Whether the expert runs in training mode while it supervises a generator. Wav2Lip never switches its expert to
    evaluation mode: its gradients then depend on the batch, its running statistics change, and a batch of one fails.
    The report does not state the mode."""
    probability: Literal["clamped", "unclamped"] = "clamped"
    """Range of the cosine similarity, which the loss interprets as a probability. ``clamped``: limited to [0, 1]
    (MuseTalk). ``unclamped``: as in Wav2Lip, whose loss raises an error if rounding results in a cosine above 1.
    """


class AdversarialConfig(LossConfig):
    """Options of the adversarial losses. The defaults are those of StyleGAN2, GPEN and GFPGAN."""

    kind: Literal["non-saturating", "saturating", "hinge", "lsgan"] = "non-saturating"
    """Loss function. ``non-saturating``: generator softplus(-D(G)) (StyleGAN2, GPEN, GFPGAN); on the logits of the
    quality discriminator also Wav2Lip's loss. ``saturating``: generator log(1 - sigmoid(D(G))) (equation 11 of the
    report). The discriminator's loss is logistic in both cases. ``hinge``: Lim and Ye, "Geometric GAN", 2017.
    ``lsgan``: Mao et al., "Least squares generative adversarial networks", ICCV 2017."""
    r1_weight: float = Field(default=10.0, ge=0)
    """Weight of the R1 penalty, halved as published (Mescheder et al., "Which training methods for GANs do actually
    converge?", ICML 2018). GPEN and GFPGAN: 10. 0 disables the penalty."""
    r1_interval: int = Field(default=16, ge=1)
    """Number of steps between R1 penalties. The penalty is multiplied by this number (StyleGAN2, GPEN, GFPGAN: 16)."""
    path_length_weight: float = Field(default=0.0, ge=0)
    """Weight of the path length penalty of the generator, with respect to E-Net's identity codes. GPEN: 2. GFPGAN's
    training file: 0. E-Net: not published, and off by default."""
    path_length_interval: int = Field(default=4, ge=1)
    """Number of steps between path length penalties. The penalty is multiplied by this number (StyleGAN2, GPEN: 4)."""
    path_length_decay: float = Field(default=0.01, gt=0, le=1)
    """Share of the new batch in the running mean of path lengths (StyleGAN2, GPEN: 0.01)."""
    size: int = Field(default=256, ge=8, le=1024)
    """Side of the discriminator's images in pixels, a power of two. Other images are resized with antialiasing. E-Net's
    discriminator is not published. Its output has a side of 384, for which StyleGAN2's discriminator does not exist.
    GPEN's default is 256."""
    narrow: float = Field(default=1.0, gt=0)
    """Factor that multiplies the discriminator's numbers of channels (GPEN: 1)."""
    deviation_groups: Literal["batch", "four"] = "batch"
    """Items over which the discriminator computes the minibatch standard deviation: ``batch`` (GPEN) or groups of
    ``four`` (StyleGAN2)."""

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: int) -> int:
        if size.bit_count() != 1:
            raise ValueError(f"{size} is not a power of two; use 256 or 512 for E-Net")
        return size


class IdentityConfig(LossConfig):
    """Options of the identity loss, the distance of ArcFace embeddings."""

    distance: Literal["l2", "cosine", "l1"] = "l2"
    """Distance of two embeddings. ``l2``: L2 norm of the difference (equation 10 of the report). ``cosine``: 1 - cosine
    (GPEN). ``l1``: mean absolute difference (GFPGAN, whose network is a different one). For unit vectors, l2 ** 2 = 2
    (1 - cosine)."""
    crop: Literal["whole", "gpen", "gpen-integer"] = "whole"
    """Part of the image. ``whole``: all of it (the report does not state a crop). ``gpen``: rows 35 to 223 and columns
    32 to 220 of 256, scaled by h / 256. ``gpen-integer``: as in GPEN, scaled by the integer part of h / 256, which cuts
    a wrong part from images whose size is not a multiple of 256, such as E-Net's 384."""
    network_colours: Literal["bgr", "rgb"] = "bgr"
    """Channel order of the network's input. ``bgr``: as the network was trained (InsightFace_Pytorch). ``rgb``: as in
    GPEN."""


class DNetLossConfig(LossConfig):
    """Weights of D-Net's losses. The defaults are PIRender's (``config/face.yaml``)."""

    warp: PerceptualConfig = PIRENDER_WARP
    """Perceptual loss between the warped source image and the target image."""
    final: PerceptualConfig = PIRENDER_FINAL
    """Perceptual and style loss between the edited image and the target image. Report: content weight 1, style weight
    250 (equation 3), as in PIRender."""
    warp_weight: float = Field(default=2.5, ge=0)
    """Weight of ``warp`` in both stages. PIRender: 2.5, which no paper states. Report: 1 (equations 1 and 3), and 0 in
    the reproduction."""
    final_weight: float = Field(default=4.0, ge=0)
    """Weight of ``final`` in the second stage. PIRender: 4, which no paper states. Report, equation 3: 1."""

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        return _check_weights(self, "warp_weight", "final_weight")


DNET_EQUATIONS: Final = DNetLossConfig(
    warp=EQUATION_1, final=EQUATION_1.model_copy(update={"style_weight": 250.0}), warp_weight=1, final_weight=1
)
"""D-Net's losses, equations 1 to 3 of the report taken literally."""
DNET_REPRODUCTION: Final = DNetLossConfig(warp=REPRODUCTION, final=REPRODUCTION, warp_weight=0, final_weight=1)
"""Losses of the reproduction's D-Net training (section 5.1 of the report), which compares edited images only."""


class LNetLossConfig(LossConfig):
    """Weights of L-Net's loss, equation 7 of the report: ``l1_weight`` L1 + ``perceptual_weight`` P + ``sync_weight``
    sync."""

    l1_weight: float = Field(default=1.0, ge=0)
    """Weight of the mean absolute difference of all pixels (equation 4). Report: 1."""
    perceptual_weight: float = Field(default=1.0, ge=0)
    """Weight of the perceptual loss (equation 5). Report: 1."""
    sync_weight: float = Field(default=0.3, ge=0)
    """Weight of the lip-sync loss (equation 6). Report: 0.3. Without it, L-Net can ignore the speech."""
    perceptual: PerceptualConfig = PerceptualConfig()
    """Perceptual loss. L-Net's author states that PIRender's file was used (OpenTalker/video-retalking issue 266). The
    number of scales is not published; the default of PIRender's class is 1."""
    sync: SyncConfig = SyncConfig()
    """Lip-sync loss of Wav2Lip's expert."""

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        return _check_weights(self, "l1_weight", "perceptual_weight", "sync_weight")


class ENetLossConfig(LossConfig):
    """Weights of E-Net's loss, equation 12 of the report.

    Another reader quotes the paper's weights as 0.2, 1, 100 and 0.4, so neither set is confirmed. With a weight of 100,
    E-Net is mainly trained by the discriminator: GFPGAN uses 0.1 for the adversarial loss, together with 0.1 for L1, 1
    for perceptual and 10 for identity.
    """

    l1_weight: float = Field(default=0.1, ge=0)
    """Weight of the mean absolute difference (equation 8). Report: 0.1."""
    perceptual_weight: float = Field(default=2.0, ge=0)
    """Weight of the perceptual loss (equation 9). Report: 2."""
    adversarial_weight: float = Field(default=100.0, ge=0)
    """Weight of the generator's adversarial loss (equation 11). Report: 100. GFPGAN: 0.1. GPEN: 1."""
    identity_weight: float = Field(default=0.4, ge=0)
    """Weight of the identity loss (equation 10). Report: 0.4. GFPGAN: 10. GPEN: 1."""
    perceptual: PerceptualConfig = PerceptualConfig()
    """Perceptual loss. Network, layers and scales are not published for E-Net."""
    adversarial: AdversarialConfig = AdversarialConfig()
    """Discriminator and adversarial losses. Equation 11 of the report is ``kind: saturating``. It prints log D(O) for
    the real term, which must be log D(I_gt); the discriminator's loss here has the corrected term."""
    identity: IdentityConfig = IdentityConfig()
    """Identity loss (equation 10)."""

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        return _check_weights(self, "l1_weight", "perceptual_weight", "adversarial_weight", "identity_weight")


class Wav2LipLossConfig(LossConfig):
    """Weights of Wav2Lip's generator: w_s sync + w_d quality + (1 - w_s - w_d) L1 (``hq_wav2lip_train.py``)."""

    sync_weight: float | None = Field(default=None, ge=0, le=1)
    """Weight of the lip-sync loss after its start. Null, as in Wav2Lip: 0.03 with the quality discriminator
    (``hq_wav2lip_train.py``), 0.01 without it (``wav2lip_train.py``)."""
    sync_start: float | None = Field(default=0.75, gt=0)
    """Evaluated sync loss (``validation/sync``) below which the lip-sync loss starts. Its weight is 0 before, and stays
    ``sync_weight`` afterwards. Wav2Lip: 0.75. Null: from the first step."""
    quality_weight: float = Field(default=0.07, ge=0, le=1)
    """Weight of the quality discriminator's loss. Wav2Lip: 0.07 (``hparams.py``: ``disc_wt``), 0 in
    ``wav2lip_train.py``."""
    sync: SyncConfig = SyncConfig()
    """Lip-sync loss of Wav2Lip's expert."""

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if self.started_sync_weight + self.quality_weight > 1:
            raise ValueError("sync_weight + quality_weight: at most 1, because the weight of L1 is the remainder")
        return self

    @property
    def started_sync_weight(self) -> float:
        """Weight of the lip-sync loss after its start."""
        if self.sync_weight is not None:
            return self.sync_weight
        return 0.03 if self.quality_weight else 0.01
