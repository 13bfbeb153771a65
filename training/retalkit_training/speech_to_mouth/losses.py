"""Losses of the speech-to-mouth network."""

from __future__ import annotations

import torch
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL, CLASSES, LABIODENTAL
from retalkit_training.losses.terms import LossTerms
from torch import Tensor
from torch.nn import functional

MEASURE_WEIGHTS = (10.0, 4.0, 3.0, 3.0)
_SILENT_WEIGHT = 0.3
_CORRELATION_WEIGHTS = (0.6, 0.5, 0.2, 0.2)
_SPEECH_WEIGHT = 0.5
_CLASS_WEIGHT = 0.35
_MIN_DEVIATION = 0.03
_REAL_CORRELATION_WEIGHTS = (1.0, 0.6, 0.1, 0.15)


def class_weights() -> Tensor:
    """Return the cross-entropy class weights.

    The weights emphasise closures, because closures are rare, short and conspicuous.
    """
    weights = torch.ones(len(CLASSES))
    weights[BILABIAL] = 2.5
    weights[LABIODENTAL] = 2.0
    return weights


def training_loss(outputs: Tensor, targets: Tensor) -> LossTerms:
    """Return the loss for the training on synthetic speech.

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
    classes = functional.cross_entropy(
        outputs[:, 5:].float(), expected[:, 5].long(), weight=class_weights().to(outputs.device)
    )
    total = regression + correlation + _SPEECH_WEIGHT * voice + _CLASS_WEIGHT * classes
    parts = {
        "opening": squares[0],
        "width": squares[1],
        "r_opening": 1.0 - means[0],
        "r_width": 1.0 - means[1],
        "speech": voice,
        "classes": classes,
    }
    return LossTerms(total, {name: value.detach() for name, value in parts.items()})


def _correlation_loss(measures: Tensor, aims: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of 1 - Pearson's r, and the mean of 1 - Pearson's r for each measure."""
    outputs = measures - measures.mean(2, keepdim=True)
    targets = aims - aims.mean(2, keepdim=True)
    products = (outputs * targets).mean(2)
    deviations = ((outputs**2).mean(2) + 1e-4).sqrt() * ((targets**2).mean(2) + 1e-6).sqrt()
    moving = ((targets**2).mean(2).sqrt() > _MIN_DEVIATION).float()
    means = ((1.0 - products / deviations) * moving).sum(0) / moving.sum(0).clamp(min=1.0)
    return (means * means.new_tensor(_CORRELATION_WEIGHTS)).sum(), means


def real_loss(outputs: Tensor, targets: Tensor, known: Tensor, weights: Tensor) -> LossTerms:
    """Return the loss for real lips.

    ``outputs``: network outputs [B, 21, J]. ``targets``: targets [B, 6, J] in the order of ``real_lips.COLUMNS``.
    ``known``: 1 for time steps with a target, 0 elsewhere [B, J]. ``weights``: weights of the examples [B]. The
    correlation of width, protrusion and jaw has a higher weight than the values, because the absolute values in a clip
    are uncertain.
    """
    share = weights / weights.sum()
    correlations = torch.stack([_masked_correlation(outputs[:, row], targets[:, row], known) for row in range(4)], 1)
    rows = known * weights[:, None]
    total = rows.sum()

    def mean(values: Tensor, mask: Tensor = rows) -> Tensor:
        return (values * mask).sum() / total

    opening = mean(functional.smooth_l1_loss(outputs[:, 0], targets[:, 0], reduction="none", beta=0.3))
    width = mean(functional.smooth_l1_loss(outputs[:, 1], targets[:, 1], reduction="none", beta=0.5))
    others = mean(((outputs[:, 2:4] - targets[:, 2:4]) ** 2).sum(1))
    values = opening + 0.3 * width + 0.2 * others
    contact = mean(functional.binary_cross_entropy_with_logits(outputs[:, 20], targets[:, 4], reduction="none"))
    contact_correlation = _masked_correlation(torch.sigmoid(outputs[:, 20]), targets[:, 4], known)
    speech = functional.binary_cross_entropy_with_logits(outputs[:, 4], targets[:, 5], reduction="none")
    speech = (speech * known).sum() / known.sum()
    correlation = ((1.0 - correlations) * share[:, None]).sum(0)
    loss = (
        (correlation * correlation.new_tensor(_REAL_CORRELATION_WEIGHTS)).sum()
        + 1.5 * values
        + 0.3 * contact
        + 0.1 * ((1.0 - contact_correlation) * share).sum()
        + 0.3 * speech
    )
    means = correlations.mean(0)
    parts = {"r_opening": means[0], "r_width": means[1], "values": values, "contact": contact, "speech": speech}
    return LossTerms(loss, {name: value.detach() for name, value in parts.items()})


def synthetic_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss for synthetic speech.

    ``outputs``: network outputs [B, 21, J]. ``targets``: targets [B, J, 6] in units of ``MouthMotion``.
    """
    expected = targets.transpose(1, 2)
    speech, classes = expected[:, 4], expected[:, 5].long()
    weight = _SILENT_WEIGHT + (1.0 - _SILENT_WEIGHT) * speech
    squares = ((outputs[:, :4] - expected[:, :4]) ** 2 * weight[:, None]).mean(dim=(0, 2))
    return (
        0.3 * (squares * squares.new_tensor((4.0, 1.5, 1.0, 1.0))).sum()
        + _SPEECH_WEIGHT * functional.binary_cross_entropy_with_logits(outputs[:, 4], speech)
        + 0.3 * functional.cross_entropy(outputs[:, 5:20], classes, weight=class_weights().to(outputs.device))
        + 0.15 * functional.binary_cross_entropy_with_logits(outputs[:, 20], (classes == BILABIAL).float())
    )


def _masked_correlation(outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return Pearson's correlation [B] over the known time steps of ``outputs`` and ``targets`` [B, J]."""
    count = known.sum(-1, keepdim=True)
    first, second = ((each - (each * known).sum(-1, keepdim=True) / count) * known for each in (outputs, targets))
    return (first * second).sum(-1) / (first.norm(dim=-1) * second.norm(dim=-1) + 1e-3)
