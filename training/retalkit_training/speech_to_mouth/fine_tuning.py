"""Fine-tuning on real lips, starting from the network that was trained on synthetic speech.

Each batch contains real lips, synthetic speech and non-speech audio. The loss for real lips consists of the correlation
and the values of opening, width, protrusion and jaw, lip contact, and speech. The loss for synthetic speech also
contains the viseme classes. The fine-tuned network has one additional output, the lip contact logit. Training is
deterministic for a given seed. Fine-tuning takes a few minutes and cannot be resumed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit_renderers.speech_to_mouth.coarticulation import MEASURES
from retalkit_renderers.speech_to_mouth.features import BAND_COUNT, INPUT_CONTEXT, network_input
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, LABIODENTAL
from retalkit_training.speech_to_mouth.losses import real_loss, synthetic_loss
from retalkit_training.speech_to_mouth.network import CONTACT, SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.real_lips import COLUMNS, LipClip, RealLips
from retalkit_training.speech_to_mouth.views import SYNTHETIC_TARGETS, Views
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

logger = logging.getLogger(__name__)

Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FineTuningConfig:
    """Fine-tuning settings. The weights also depend on the data and the initial network."""

    steps: int = 900
    real: int = 12
    """Number of examples with real lips per batch."""
    synthetic: int = 3
    """Number of examples with synthetic speech per batch."""
    non_speech: int = 1
    """Number of examples with non-speech audio per batch."""
    lookahead_seconds: float | None = None
    """Maximum look-ahead in seconds, or None for an unbounded look-ahead. The initial network's look-ahead is
    unbounded."""
    dropout: float = 0.1
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warm_up_steps: int = 30
    averaging: float = 0.99
    """Decay of the exponential moving average of the weights. The averaged weights are exported."""
    loudness_error: float = 0.35
    """Standard deviation of the random offset of the absolute features, in units of 17.4 dB."""
    seed: int = 0
    threads: int = 1
    bfloat16: bool = True


def initial_network(
    source: SpeechToMouthNetwork, scales: dict[str, float], config: FineTuningConfig
) -> SpeechToMouthNetwork:
    """Return a copy of a network that was trained on synthetic speech, with outputs in units of ``MouthMotion`` and an
    additional output for lip contact.

    ``scales``: scales from ``export.output_scales``. A bounded look-ahead shifts the taps of the later blocks into the
    past. The weights are a suitable initialisation in this case too, because the residual connections are not shifted.
    """
    network = SpeechToMouthNetwork(
        source.channels, source.dilations, config.lookahead_seconds, config.dropout, contact=True
    )
    tensors = {name: tensor.detach().clone().float() for name, tensor in source.state_dict().items()}
    sides = 0.5 * (scales["spread"] + scales["rounding"])
    factors = {"opening": scales["opening"], "width": sides, "protrusion": scales["protrusion"], "jaw": scales["jaw"]}
    weight, bias = tensors["head.weight"][:CONTACT], tensors["head.bias"][:CONTACT]
    for row, name in enumerate(MEASURES):
        weight[row] /= factors[name]
        bias[row] /= factors[name]
    labial = weight[[5 + BILABIAL, 5 + LABIODENTAL]].mean(dim=0, keepdim=True)
    tensors["head.weight"] = torch.cat([weight, 0.5 * labial])
    tensors["head.bias"] = torch.cat([bias, bias.new_tensor([-1.0])])
    network.load_state_dict(tensors)
    return network


def scaled_targets(targets: Float, scales: dict[str, float]) -> Float:
    """Return targets of synthetic speech in units of ``MouthMotion``, float32 [..., 6]."""
    scaled = targets.copy()
    for column, name in ((0, "opening"), (2, "protrusion"), (3, "jaw")):
        scaled[..., column] /= scales[name]
    width = targets[..., 1]
    scaled[..., 1] = np.where(width > 0, width / scales["spread"], width / scales["rounding"])
    return scaled


def fine_tune(
    network: SpeechToMouthNetwork,
    lips: RealLips,
    views: Views,
    scales: dict[str, float],
    config: FineTuningConfig,
    held_out: int | None = None,
) -> SpeechToMouthNetwork:
    """Fine-tune ``network`` on all clips outside the fold ``held_out``. Return the network with averaged weights."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    clips = [clip for clip in lips.clips if clip.usable and clip.fold != held_out]
    sampler = _Sampler(config, clips, lips, views, network.lookahead_seconds)
    synthetic_targets = scaled_targets(views.synthetic_targets, scales)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.averaging), use_buffers=True)
    network.train()
    started = time.monotonic()
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _rate(config, step)
        batch = sampler.draw()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
            outputs = network(torch.from_numpy(batch.features)).float()
        loss, parts = real_loss(
            outputs[: config.real],
            torch.from_numpy(batch.targets),
            torch.from_numpy(batch.known),
            torch.from_numpy(batch.weights),
        )
        if len(batch.synthetic):
            loss = loss + synthetic_loss(outputs[config.real :], torch.from_numpy(synthetic_targets[batch.synthetic]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        average.update_parameters(network)
        if (step + 1) % 50 == 0 or step + 1 == config.steps:
            text = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
            logger.info("fine-tuning: step %d, %.0f s: %s", step + 1, time.monotonic() - started, text)
    averaged = average.module
    assert isinstance(averaged, SpeechToMouthNetwork)
    return averaged.eval()


def _rate(config: FineTuningConfig, step: int) -> float:
    warm_up = min(1.0, (step + 1) / max(1, config.warm_up_steps))
    return warm_up * (0.01 + 0.99 * 0.5 * (1.0 + float(np.cos(np.pi * step / config.steps))))


@dataclass(frozen=True, slots=True)
class _Batch:
    features: Float
    """Features of the real examples, followed by the synthetic examples, float32 [B, 160, 500]."""
    targets: Float
    """Targets of the real examples, float32 [real, 6, 250]."""
    known: Float
    """1 for time steps with a target, 0 for padding, float32 [real, 250]."""
    weights: Float
    """Loss weights of the real examples, float32 [real]."""
    synthetic: NDArray[np.int64]
    """Indices of the synthetic examples in ``Views``."""


class _Sampler:
    """Random sampler of batches."""

    def __init__(
        self, config: FineTuningConfig, clips: list[LipClip], lips: RealLips, views: Views, lookahead: float | None
    ) -> None:
        self._config = config
        self._clips = clips
        self._lips = lips
        self._views = views
        self._ahead = INPUT_CONTEXT if lookahead is None else 0
        weights = np.sqrt([clip.count for clip in clips])
        self._probabilities = weights / weights.sum()
        self._generator = np.random.default_rng([config.seed, 3])

    def draw(self) -> _Batch:
        config, generator = self._config, self._generator
        features: list[Float] = []
        targets = np.zeros((config.real, len(COLUMNS), SYNTHETIC_TARGETS), np.float32)
        known = np.zeros((config.real, SYNTHETIC_TARGETS), np.float32)
        weights = np.zeros(config.real, np.float32)
        for row in range(config.real):
            clip = self._clips[int(generator.choice(len(self._clips), p=self._probabilities))]
            found, aims = self._crop(clip)
            length = aims.shape[1]
            missing = SYNTHETIC_TARGETS - length
            features.append(np.pad(self._jitter(found), ((0, 0), (0, 2 * missing)), mode="edge"))
            targets[row, :, :length] = aims
            known[row, :length] = 1.0
            weights[row] = clip.weight
        count = len(self._views.synthetic_targets)
        speech = count - int(count * config.non_speech / max(1, config.non_speech + config.synthetic))
        numbers = np.concatenate(
            [generator.integers(0, speech, config.synthetic), generator.integers(speech, count, config.non_speech)]
        )
        for number in numbers:
            levels = self._views.synthetic(int(number))
            features.append(self._jitter(network_input(levels, self._ahead).T.copy()))
        return _Batch(np.stack(features).astype(np.float32), targets, known, weights, numbers)

    def _crop(self, clip: LipClip) -> tuple[Float, Float]:
        """Return features [160, 2 L] and targets [6, L] of a random crop. L is at most 250."""
        generator = self._generator
        view = int(generator.integers(self._views.per_clip))
        features = network_input(self._views.real(view, clip.first, clip.count), self._ahead).T
        low, high = max(0, clip.shift), clip.count + min(0, clip.shift)
        length = min(SYNTHETIC_TARGETS, high - low)
        start = int(generator.integers(low, high - length + 1))
        sound = 2 * (start - clip.shift)
        return features[:, sound : sound + 2 * length].copy(), self._lips.targets(clip)[start : start + length].T

    def _jitter(self, features: Float) -> Float:
        """Return features with a random loudness offset, masked bands (SpecAugment) and noise."""
        generator = self._generator
        features[:BAND_COUNT] += generator.normal(0.0, self._config.loudness_error)
        if generator.random() < 0.7:
            for _ in range(2):
                width = int(generator.integers(3, 15))
                first = int(generator.integers(0, BAND_COUNT - width))
                features[first : first + width] = features[:BAND_COUNT].min()
                features[BAND_COUNT + first : BAND_COUNT + first + width] = -0.8
        return features + generator.normal(0.0, 0.1, features.shape).astype(np.float32)


def outputs_of(network: nn.Module, levels: Float, ahead: int = INPUT_CONTEXT) -> Float:
    """Return the raw network outputs, float32 [21, J], for log-mel levels [2 J, 80]."""
    features: Tensor = torch.from_numpy(np.ascontiguousarray(network_input(levels, ahead).T))[None]
    with torch.inference_mode():
        return network(features)[0].numpy()
