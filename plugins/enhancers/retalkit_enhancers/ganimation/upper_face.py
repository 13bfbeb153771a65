"""A face with another expression, at the size of the face that it is taken from."""

from __future__ import annotations

from pathlib import Path

import torch
from retalkit.inference import load_weights
from torch import Tensor
from torch.nn import functional

from retalkit_enhancers.ganimation.emotions import units_of
from retalkit_enhancers.ganimation.generator import SIZE, empty_generator


class EmotionalFace:
    """Gives faces one emotion."""

    def __init__(self, weights: Path, emotion: str, device: str) -> None:
        self._generator = load_weights(empty_generator(), weights, device).arrange()
        self._response = self._generator.respond(torch.tensor([units_of(emotion)], device=device))

    def __call__(self, faces: Tensor) -> Tensor:
        """[T, 3, h, w], blue first, in [0, 1], to the same with the emotion. It goes through 128 x 128 pixels and back,
        bilinear without a filter, as published: fine detail is lost."""
        small = functional.interpolate(faces * 2 - 1, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        moved = self._generator.animate(small, self._response).over(small) / 2 + 0.5
        return functional.interpolate(moved.float(), size=faces.shape[2:], mode="bilinear", align_corners=False)
