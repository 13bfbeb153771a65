"""Initial networks of the training on real lips, and targets of synthetic speech in units of ``MouthMotion``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.coarticulation import MEASURES
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, LABIODENTAL
from retalkit_training.speech_to_mouth.network import CONTACT, SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.views import Views
from retalkit_training.tasks.speech_to_mouth_config import FineTuningConfig


def initial_network(
    source: SpeechToMouthNetwork, scales: Mapping[str, float], config: FineTuningConfig
) -> SpeechToMouthNetwork:
    """Return a copy of a network with outputs in units of ``MouthMotion`` and an output for lip contact.

    ``source``: a network that was trained on synthetic speech, with the scales of ``export.output_scales``, or a
    fine-tuned network, whose outputs are kept. A bounded look-ahead shifts the taps of the later blocks into the past.
    The weights are a suitable initialisation in this case too, because the residual connections are not shifted.
    """
    network = SpeechToMouthNetwork(
        source.channels, source.dilations, config.lookahead_seconds, config.dropout, contact=True
    )
    tensors = {name: tensor.detach().clone().float() for name, tensor in source.state_dict().items()}
    if source.head.out_channels == CONTACT:
        weight, bias = tensors["head.weight"], tensors["head.bias"]
        sides = 0.5 * (scales["spread"] + scales["rounding"])
        for row, name in enumerate(MEASURES):
            factor = sides if name == "width" else scales[name]
            weight[row] /= factor
            bias[row] /= factor
        labial = weight[[5 + BILABIAL, 5 + LABIODENTAL]].mean(dim=0, keepdim=True)
        tensors["head.weight"] = torch.cat([weight, 0.5 * labial])
        tensors["head.bias"] = torch.cat([bias, bias.new_tensor([-1.0])])
    network.load_state_dict(tensors)
    return network


def encoder_network(views: Views, config: FineTuningConfig) -> SpeechToMouthNetwork:
    """Return a network with random weights that normalises the encoder features of ``views``."""
    network = SpeechToMouthNetwork(
        config.channels,
        config.dilations,
        dropout=config.dropout,
        contact=True,
        features="encoder",
        feature_noise=config.feature_noise,
        feature_dropout=config.feature_dropout,
    )
    mean, deviation = views.statistics()
    network.features.mean.copy_(torch.from_numpy(mean))
    network.features.deviation.copy_(torch.from_numpy(deviation))
    return network


def scaled_targets(targets: NDArray[np.float32], scales: Mapping[str, float]) -> NDArray[np.float32]:
    """Return targets of synthetic speech in units of ``MouthMotion``, float32 [..., 6]."""
    scaled = targets.copy()
    for column, name in ((0, "opening"), (2, "protrusion"), (3, "jaw")):
        scaled[..., column] /= scales[name]
    width = targets[..., 1]
    scaled[..., 1] = np.where(width > 0, width / scales["spread"], width / scales["rounding"])
    return scaled
