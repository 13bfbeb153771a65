"""Published checkpoints that only trainers use. The module does not import torch.

The lip-sync loss uses Wav2Lip's expert. The identity loss uses the checkpoint ``arcface_ir_se50`` of the metric
``identity``, which is the file ``model_ir_se50.pth`` of InsightFace_Pytorch that GPEN uses. LPIPS validation uses the
checkpoints of the metric ``lpips``.
"""

from __future__ import annotations

from typing import Final

from retalkit.weights.checkpoint import Checkpoint

EXPERT: Final = "lipsync_expert"
"""Checkpoint of Wav2Lip's lip-sync expert."""

_LICENCE: Final = (
    "no licence stated for the weights, which were trained on ImageNet (for non-commercial research only); "
    "torchvision's code is BSD-3-Clause"
)

CHECKPOINTS: Final = (
    Checkpoint(
        name="vgg16",
        summary="torchvision's VGG-16, trained on ImageNet; perceptual losses compare outputs of its layers",
        file="vgg16-397923af.pth",
        urls=("https://download.pytorch.org/models/vgg16-397923af.pth",),
        licence=_LICENCE,
        commercial_use=None,
        shapes="retalkit_training.networks.vgg:vgg16_shapes",
        size=553_433_881,
        # The published file name contains the first digits of the hash.
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        ignore_names=(r"^classifier\.",),
    ),
    Checkpoint(
        name="vgg19",
        summary="torchvision's VGG-19, trained on ImageNet; perceptual losses compare outputs of its layers",
        file="vgg19-dcbb9e9d.pth",
        urls=("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",),
        licence=_LICENCE,
        commercial_use=None,
        shapes="retalkit_training.networks.vgg:vgg19_shapes",
        size=574_673_361,
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        ignore_names=(r"^classifier\.",),
    ),
    Checkpoint(
        name=EXPERT,
        summary="Wav2Lip's lip-sync expert, which supervises L-Net and Wav2Lip",
        file="lipsync_expert.pth",
        # The authors' links are invalid since 2025. The URL is that of a copy, and neither size nor hash is published.
        urls=("https://huggingface.co/Nekochu/Wav2Lip/resolve/main/lipsync_expert.pth",),
        licence="research, academic and personal use only (IIIT Hyderabad, 2020)",
        commercial_use=False,
        shapes="retalkit_training.networks.syncnet_expert:parameter_shapes",
        min_size=65_796_856,
        # The training checkpoint also contains the optimiser state.
        entries=("state_dict",),
    ),
)
