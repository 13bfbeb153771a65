"""Fine-tuning on real lips, starting from the network that was trained on synthetic speech.

Each batch contains real lips, synthetic speech and non-speech audio. The loss for real lips consists of the correlation
and the values of opening, width, protrusion and jaw, lip contact, and speech. The loss for synthetic speech also
contains the viseme classes. The fine-tuned network has one additional output, the lip contact logit.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import numpy as np
import torch
from retalkit_training.loop.task import Batch, Sample
from retalkit_training.losses.terms import LossTerms
from retalkit_training.speech_to_mouth.fine_tuning_samples import GroupSampler
from retalkit_training.speech_to_mouth.losses import real_loss, synthetic_loss
from retalkit_training.speech_to_mouth.mouth_task import MouthTask
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.real_lips import LipClip, RealLips
from retalkit_training.speech_to_mouth.real_validation import held_out_outputs, mean_correlations
from retalkit_training.speech_to_mouth.views import Views
from retalkit_training.tasks.speech_to_mouth_config import FineTuningConfig
from torch import Tensor, nn


class FineTuningTask(MouthTask):
    """Fine-tuning of a network on real lips."""

    name = "speech-to-mouth-real"

    def __init__(
        self,
        config: FineTuningConfig,
        network: SpeechToMouthNetwork,
        lips: RealLips,
        views: Views,
        scales: Mapping[str, float],
        data_key: str,
        held_out: int | None = None,
    ) -> None:
        """``network``: result of ``initial_network``. ``scales``: scales of the synthetic targets. ``data_key``: key of
        the data and of the initial weights. ``held_out``: fold that is not used for training.
        """
        super().__init__(config, network, data_key)
        self.config = config
        self._lips, self._views = lips, views
        usable = [clip for clip in lips.clips if clip.usable]
        self._validation: list[LipClip] = [clip for clip in usable if clip.fold == held_out]
        self._sampler = GroupSampler(config, [clip for clip in usable if clip.fold != held_out], lips, views, scales)

    def sample(self, generator: np.random.Generator, step: int) -> Sample:
        return self._sampler.draw(generator)

    def _loss(self, batch: Batch, shared: MutableMapping[str, Tensor], step: int) -> LossTerms:
        features = batch["features"]
        outputs: Tensor = self.network(features.flatten(0, 1)).float()
        with torch.autocast(features.device.type, enabled=False):
            groups = [
                self._group_loss(found, {name: value[index] for name, value in batch.items()})
                for index, found in enumerate(outputs.view(*features.shape[:2], *outputs.shape[1:]))
            ]
        terms = {name: torch.stack([group.terms[name] for group in groups]).mean() for name in groups[0].terms}
        return LossTerms(torch.stack([group.total for group in groups]).mean(), terms)

    def _group_loss(self, outputs: Tensor, group: Mapping[str, Tensor]) -> LossTerms:
        real = len(group["targets"])
        loss = real_loss(outputs[:real], group["targets"], group["known"], group["weights"])
        if not len(group["synthetic_targets"]):
            return loss
        synthetic = synthetic_loss(outputs[real:], group["synthetic_targets"])
        return LossTerms(loss.total + synthetic, {**loss.terms, "synthetic": synthetic.detach()})

    def evaluate(self, networks: Mapping[str, nn.Module], step: int) -> dict[str, float]:
        """Return the mean correlations of the held-out clips, or an empty mapping if no fold is held out."""
        network = networks["network"]
        assert isinstance(network, SpeechToMouthNetwork)
        if not self._validation:
            return {}
        outputs = held_out_outputs(network, self._lips, self._views, self._validation)
        opening, width = mean_correlations(outputs, self._lips, self._validation)
        return {"validation/opening_r": opening, "validation/width_r": width}
