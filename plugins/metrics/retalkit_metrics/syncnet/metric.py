"""LSE-C, LSE-D and the AV offset between a video and its audio.

The published evaluation does not define some details, which this module specifies. The audio is lossless and never
encoded, because AAC can shift audio by up to 50 ms. Frames are selected by timestamp, and all variants of a clip use
identical square crops (see ``crops``). Distances are accumulated over all tracks, so that a video has one offset.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights, slices
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene, ScoredFrame

from retalkit_metrics.syncnet.crops import RATE, Segment, crop_square, find_segments
from retalkit_metrics.syncnet.interface import NETWORK, REACH
from retalkit_metrics.syncnet.mfcc import RATE as SOUND_RATE
from retalkit_metrics.syncnet.mfcc import STEPS_PER_SECOND, mfcc, to_int16_scale
from retalkit_metrics.syncnet.network import FRAMES, STEPS, empty_network
from retalkit_metrics.syncnet.offsets import distance_sums, synchrony

MIN_WINDOWS: Final = 45
"""Minimum number of lip and audio windows in a segment. The value corresponds to 2 s, which leaves 30 pairs at the
largest offsets.
"""

_LIP_BATCH: Final = 16
_SOUND_BATCH: Final = 64
_STEPS_PER_FRAME: Final = STEPS_PER_SECOND // RATE


class SyncNetMetric:
    """Metric ``syncnet``, computed by SyncNet."""

    def open(self, scene: Scene) -> SyncNetSession:
        """Open a session. Raises WeightsError if the checkpoint does not match the network."""
        return SyncNetSession(scene)


class SyncNetSession:
    """Metric session that accumulates lip-audio distances.

    The scores are NaN if no face was tracked for at least two seconds with audio.
    """

    def __init__(self, scene: Scene) -> None:
        assert scene.sound is not None
        self._network = load_weights(empty_network(), scene.weights[NETWORK], scene.device)
        self._device = scene.device
        self._mfcc = mfcc(to_int16_scale(scene.sound))
        steps = len(scene.sound) * RATE // SOUND_RATE
        segments = [(segment, _window_count(segment, steps)) for segment in find_segments(scene)]
        self._pending = [(segment, windows) for segment, windows in segments if windows >= MIN_WINDOWS]
        self._crops: list[NDArray[np.uint8]] = []
        self._lips: list[NDArray[np.float32]] = []
        self._done = 0
        """Number of cropped time steps in the first pending segment."""
        self._distances = np.zeros(2 * REACH + 1)
        self._pairs = np.zeros(2 * REACH + 1, np.int64)

    def add(self, frame: ScoredFrame) -> None:
        """Process the next frame."""
        while self._pending:
            segment, windows = self._pending[0]
            if segment.frames[self._done] != frame.index:
                return
            self._crops.append(crop_square(frame.image, segment.centres[self._done], segment.half))
            self._done += 1
            if len(self._crops) == _LIP_BATCH + FRAMES - 1:
                self._embed_lips()
            if self._done == windows + FRAMES - 1:
                self._finish(segment, windows)

    def result(self) -> Scores:
        """Return a mapping from measure name to value."""
        if not self._pairs.all():
            return dict.fromkeys(("lse_c", "lse_d", "av_offset"), float("nan"))
        found = synchrony(self._distances / self._pairs)
        return {"lse_c": found.confidence, "lse_d": found.distance, "av_offset": float(found.offset)}

    def _finish(self, segment: Segment, windows: int) -> None:
        """Add the distances of a segment after all of its frames have been processed."""
        if len(self._crops) >= FRAMES:
            self._embed_lips()
        distances, pairs = distance_sums(np.concatenate(self._lips), self._embed_audio(segment.start, windows))
        self._distances += distances
        self._pairs += pairs
        self._crops, self._lips, self._done = [], [], 0
        self._pending.pop(0)

    def _embed_lips(self) -> None:
        # BGR values from 0 to 255, because the published code passes images in OpenCV's channel order.
        crops = np.stack(self._crops)[..., ::-1].transpose(3, 0, 1, 2)
        with computing(self._device, "float32"):
            tensor = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device).float()
            self._lips.append(self._network.lips(tensor).cpu().numpy())
        self._crops = self._crops[-(FRAMES - 1) :]

    def _embed_audio(self, start: int, windows: int) -> NDArray[np.float32]:
        """Return the embeddings [windows, 1024] of the audio that starts at the 25 Hz time step ``start``."""
        views = np.lib.stride_tricks.sliding_window_view(self._mfcc, STEPS, axis=1).transpose(1, 0, 2)
        views = views[::_STEPS_PER_FRAME][start : start + windows]
        parts: list[NDArray[np.float32]] = []
        with computing(self._device, "float32"):
            for part in slices(windows, _SOUND_BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(views[part])).to(self._device)
                parts.append(self._network.sound(batch).cpu().numpy())
        return np.concatenate(parts)


def _window_count(segment: Segment, steps: int) -> int:
    """Return the number of windows in a segment, limited to ``steps`` 25 Hz time steps of audio.

    As in the published evaluation, the result is one less than the number of complete windows.
    """
    return min(segment.start + len(segment.frames), steps) - segment.start - FRAMES
