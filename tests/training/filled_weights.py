"""Random weights in place of published ones, for the frozen networks of trainers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from retalkit.errors import WeightsError
from torch import Tensor


class RandomWeights:
    """Weights of new networks. Names other than those of frozen networks are missing, as in an empty store."""

    def stored(self, name: str, purpose: str) -> Mapping[str, Tensor]:
        from retalkit_metrics.identity.interface import NETWORK
        from retalkit_metrics.identity.network import FaceRecogniser
        from retalkit_metrics.lpips.network import AlexNetFeatures, LinearLayers
        from retalkit_training.networks.vgg import VggFeatures

        torch.manual_seed(0)
        if name == "vgg16" or name == "vgg19":
            return VggFeatures(name, ["pool_5"]).state_dict()
        if name == NETWORK:
            return FaceRecogniser().state_dict()
        if name == "lpips_alexnet":
            return AlexNetFeatures().state_dict()
        if name == "lpips_linear":
            return {key: value.abs() for key, value in LinearLayers().state_dict().items()}
        if name == "expression_templates":
            return {"expression_mouth": torch.full((1, 64), 0.25), "expression_center": torch.zeros(1, 64)}
        raise WeightsError(f"{purpose} needs the weights '{name}'", code="missing-weights")

    def file(self, path: Path) -> Mapping[str, Tensor]:
        from retalkit_renderers.lnet.network import LNet
        from retalkit_training.networks.syncnet_expert import SyncNetExpert

        torch.manual_seed(0)
        return LNet().state_dict() if path.stem == "lnet" else SyncNetExpert(2).state_dict()
