"""Training loss of the speech-to-mouth network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from training.speech_to_mouth.visemes import BILABIAL, CLASSES, LABIODENTAL

MEASURE_WEIGHTS = (10.0, 4.0, 3.0, 3.0)
_SILENT_WEIGHT = 0.3
_CORRELATION_WEIGHTS = (0.6, 0.5, 0.2, 0.2)
_SPEECH_WEIGHT = 0.5
_CLASS_WEIGHT = 0.35
_MIN_DEVIATION = 0.03


def class_weights() -> Tensor:
    """Return the cross-entropy class weights.

    The weights emphasise closures, because closures are rare, short and conspicuous.
    """
    weights = torch.ones(len(CLASSES))
    weights[BILABIAL] = 2.5
    weights[LABIODENTAL] = 2.0
    return weights


def training_loss(outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the training loss and its terms for the log.

    ``outputs``: [B, 20, J]. ``targets``: [B, J, 6]. The loss is the sum of squared errors, cross-entropies, and the
    correlation loss (1 - Pearson's r) of each measure in sequences with a moving target. The motion is later scaled to
    the range of each person, so its shape is more important than its amplitude.
    """
    expected = targets.transpose(1, 2)
    measures, aims = outputs[:, :4].float(), expected[:, :4]
    speech = expected[:, 4]
    weight = _SILENT_WEIGHT + (1.0 - _SILENT_WEIGHT) * speech
    squares = ((measures - aims) ** 2 * weight[:, None]).mean(dim=(0, 2))
    regression = (squares * squares.new_tensor(MEASURE_WEIGHTS)).sum()
    correlation, means = _correlation_loss(measures, aims)
    voice = functional.binary_cross_entropy_with_logits(outputs[:, 4].float(), speech)
    classes = functional.cross_entropy(outputs[:, 5:].float(), expected[:, 5].long(), weight=class_weights())
    total = regression + correlation + _SPEECH_WEIGHT * voice + _CLASS_WEIGHT * classes
    parts = {
        "loss": total,
        "opening": squares[0],
        "width": squares[1],
        "r_opening": 1.0 - means[0],
        "r_width": 1.0 - means[1],
        "speech": voice,
        "classes": classes,
    }
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _correlation_loss(measures: Tensor, aims: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of 1 - Pearson's r, and the mean of 1 - Pearson's r for each measure."""
    outputs = measures - measures.mean(2, keepdim=True)
    targets = aims - aims.mean(2, keepdim=True)
    products = (outputs * targets).mean(2)
    deviations = ((outputs**2).mean(2) + 1e-4).sqrt() * ((targets**2).mean(2) + 1e-6).sqrt()
    moving = ((targets**2).mean(2).sqrt() > _MIN_DEVIATION).float()
    means = ((1.0 - products / deviations) * moving).sum(0) / moving.sum(0).clamp(min=1.0)
    return (means * means.new_tensor(_CORRELATION_WEIGHTS)).sum(), means
