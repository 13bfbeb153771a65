"""First steps of mel windows compared with the published data sets and inference code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from retalkit.speech.mel_windows import window_starts
from retalkit_training.mel_windows import expert_window, generator_window


def test_windows_match_published(references: Callable[[str], Any]) -> None:
    published = references("windows")
    frames = range(250)
    assert [expert_window(frame) for frame in frames] == published["expert_start_fps25"].tolist()
    # Wav2Lip never uses frame 0.
    expected = published["generator_training_start_fps25"].tolist()[1:]
    assert [generator_window(frame, "wav2lip") for frame in frames[1:]] == expected
    for name, rate in (("25", 25.0), ("2997", 29.97), ("2213", 22.13)):
        starts = published[f"inference_start_fps{name}"].tolist()
        assert [generator_window(frame, "inference", rate) for frame in frames] == starts
        # The stages use the same windows.
        assert window_starts(np.arange(250) / rate, 10_000).tolist() == starts


def test_first_frame_has_no_window_in_the_training_of_wav2lip() -> None:
    with pytest.raises(ValueError, match="frame 0"):
        generator_window(0, "wav2lip")
