"""Shared parts of the stage tests: a real face with detected landmarks, and what the CPU must have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.observer import SilentObserver
from retalkit.pipeline.devices import has_instructions
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, FrameBatch, SourceInfo, StageContext, StageKind
from retalkit.storage.cache import Folder


@dataclass(frozen=True)
class Portrait:
    """One image and the landmarks of its face; read-only."""

    image: NDArray[np.uint8]
    """RGB uint8 [H, W, 3]."""
    landmarks: NDArray[np.float32]
    """float32 [478, 3], pixels."""


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    """The face is about 180 pixels high; the mouth shows teeth."""
    data: Any = pytest.importorskip("skimage.data")
    image = np.ascontiguousarray(data.astronaut()[:320, 60:400])
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    context = StageContext(Folder(tmp_path_factory.mktemp("detector")), SilentObserver())
    clip = DetectionClip(source=SourceInfo(image.shape[1], image.shape[0], 1, 0.04))
    session = spec.make(spec.config()).open(clip, context)
    try:
        faces = session.detect(FrameBatch(image[None], np.zeros(1), np.zeros(1, np.int64)))[0]
    finally:
        session.close()
    image.setflags(write=False)
    return Portrait(image, faces[0].landmarks)


@pytest.fixture
def bfloat16_instructions() -> None:
    """Skip tests of complete networks in bfloat16 where they take minutes."""
    if has_instructions("bfloat16") is False:
        pytest.skip("PyTorch emulates bfloat16 on this CPU")
