"""Weighted sums of losses, with the unweighted terms for logging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossTerms:
    """Total loss and its unweighted terms."""

    total: Tensor
    """Scalar that is differentiated."""
    terms: Mapping[str, Tensor]
    """Unweighted scalar of each term that was computed, without gradient."""


def weighted_sum(terms: Mapping[str, tuple[float, Tensor]]) -> LossTerms:
    """Return the sum of the terms, multiplied by their weights.

    Raises:
        ValueError: there are no terms, because all weights are 0.
    """
    if not terms:
        raise ValueError("all loss weights are 0")
    total = torch.stack([weight * value for weight, value in terms.values()]).sum()
    return LossTerms(total, {name: value.detach() for name, (_, value) in terms.items()})
