"""LSE-C, LSE-D and the AV offset of a video and its sound.

What the published evaluation leaves to chance is fixed: the sound comes without loss and is never encoded (AAC moves it
by up to 50 ms), the frames are taken by their timestamps, and all variants of a clip are seen through the same square
(``crops``). One curve of distances is made of all shots together, so that a video has one offset.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.inference import computing, load_weights, slices
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene, ScoredFrame

from retalkit_metrics.syncnet.cepstra import RATE as SOUND_RATE
from retalkit_metrics.syncnet.cepstra import STEPS_PER_SECOND, as_pcm, cepstra
from retalkit_metrics.syncnet.crops import RATE, Stretch, cut_square, find_stretches
from retalkit_metrics.syncnet.interface import NETWORK, REACH
from retalkit_metrics.syncnet.network import FRAMES, STEPS, empty_network
from retalkit_metrics.syncnet.offsets import summed_distances, synchrony

SHORTEST: Final = 45
"""Windows of lips and sound below which a stretch is left out: 2 s, which leaves 30 pairs at the far offsets."""

_LIP_BATCH: Final = 16
_SOUND_BATCH: Final = 64
_STEPS_PER_FRAME: Final = STEPS_PER_SECOND // RATE


class SyncNetMetric:
    """Opens ``SyncNetSession``."""

    def open(self, scene: Scene) -> SyncNetSession:
        """Raises WeightsError where the file of weights does not fit."""
        return SyncNetSession(scene)


class SyncNetSession:
    """NaN where no face was followed for two seconds together with sound."""

    def __init__(self, scene: Scene) -> None:
        assert scene.sound is not None
        self._network = load_weights(empty_network(), scene.weights[NETWORK], scene.device)
        self._device = scene.device
        self._cepstra = cepstra(as_pcm(scene.sound))
        moments = len(scene.sound) * RATE // SOUND_RATE
        stretches = [(stretch, _windows(stretch, moments)) for stretch in find_stretches(scene)]
        self._waiting = [(stretch, windows) for stretch, windows in stretches if windows >= SHORTEST]
        self._crops: list[NDArray[np.uint8]] = []
        self._lips: list[NDArray[np.float32]] = []
        self._seen = 0
        """Moments of the first stretch that waits whose frame was cut out."""
        self._distances = np.zeros(2 * REACH + 1)
        self._pairs = np.zeros(2 * REACH + 1, np.int64)

    def add(self, frame: ScoredFrame) -> None:
        """Takes the next frame."""
        while self._waiting:
            stretch, windows = self._waiting[0]
            if stretch.frames[self._seen] != frame.index:
                return
            self._crops.append(cut_square(frame.image, stretch.centres[self._seen], stretch.half))
            self._seen += 1
            if len(self._crops) == _LIP_BATCH + FRAMES - 1:
                self._read_lips()
            if self._seen == windows + FRAMES - 1:
                self._finish(stretch, windows)

    def result(self) -> Scores:
        """Measure -> value."""
        if not self._pairs.all():
            return dict.fromkeys(("lse_c", "lse_d", "av_offset"), float("nan"))
        found = synchrony(self._distances / self._pairs)
        return {"lse_c": found.confidence, "lse_d": found.distance, "av_offset": float(found.offset)}

    def _finish(self, stretch: Stretch, windows: int) -> None:
        """Adds the distances of a stretch all of whose lips were seen."""
        if len(self._crops) >= FRAMES:
            self._read_lips()
        distances, pairs = summed_distances(np.concatenate(self._lips), self._sound(stretch.start, windows))
        self._distances += distances
        self._pairs += pairs
        self._crops, self._lips, self._seen = [], [], 0
        self._waiting.pop(0)

    def _read_lips(self) -> None:
        # Blue first, 0 to 255: the published code feeds what OpenCV reads.
        crops = np.stack(self._crops)[..., ::-1].transpose(3, 0, 1, 2)
        with computing(self._device, "float32"):
            tensor = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device).float()
            self._lips.append(self._network.lips(tensor).cpu().numpy())
        self._crops = self._crops[-(FRAMES - 1) :]

    def _sound(self, start: int, windows: int) -> NDArray[np.float32]:
        """Embeddings [windows, 1024] of the sound from moment ``start`` on."""
        views = np.lib.stride_tricks.sliding_window_view(self._cepstra, STEPS, axis=1).transpose(1, 0, 2)
        views = views[::_STEPS_PER_FRAME][start : start + windows]
        parts: list[NDArray[np.float32]] = []
        with computing(self._device, "float32"):
            for part in slices(windows, _SOUND_BATCH):
                batch = torch.from_numpy(np.ascontiguousarray(views[part])).to(self._device)
                parts.append(self._network.sound(batch).cpu().numpy())
        return np.concatenate(parts)


def _windows(stretch: Stretch, moments: int) -> int:
    """Windows of a stretch under which there is sound, ``moments`` being how much of it there is. As many as the
    published evaluation takes, which is one less than there are."""
    return min(stretch.start + len(stretch.frames), moments) - stretch.start - FRAMES
