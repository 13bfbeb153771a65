"""Softening jumps between exemplars: a short crossfade, aligned by optical flow, inside the lips only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

_INCOMING = {-1: 0.25, 0: 0.6, 1: 0.85}
"""Share of the new exemplar in the frame before a jump, at it, and after it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one output frame shows."""

    main: int
    """Row of the bank; skin comes from it alone."""
    second: int | None = None
    share: float = 0.0
    """How much of the second one is mixed in, inside the lips; below 1."""


def shown_exemplars(index: NDArray[np.int32], sources: NDArray[np.int64], position: int) -> Shown:
    """Reads off the plan's ``index`` [T] what the frame at ``position`` shows.

    ``sources`` int64 [K] are the source frames of the bank's rows: playing on is possible where they are consecutive.
    """
    main = int(index[position])
    best = Shown(main)
    for offset in (0, -1, 1):
        jump = position - offset
        if jump < 1 or jump >= len(index) or not _jumps(index, sources, jump):
            continue
        incoming = _INCOMING[offset]
        if offset < 0:
            second, share = _played(sources, int(index[jump]), offset), incoming
        else:
            second, share = _played(sources, int(index[jump - 1]), offset + 1), 1 - incoming
        if second != main and share > best.share:
            best = Shown(main, second, share)
    return best


def _jumps(index: NDArray[np.int32], sources: NDArray[np.int64], position: int) -> bool:
    before, here = int(index[position - 1]), int(index[position])
    return before >= 0 and here >= 0 and abs(int(sources[here]) - int(sources[before])) > 1


def _played(sources: NDArray[np.int64], number: int, steps: int) -> int:
    """The bank row ``steps`` frames after ``number``, as far as the run of consecutive frames goes."""
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        following = number + direction
        if not 0 <= following < len(sources) or sources[following] - sources[number] != direction:
            break
        number = following
    return number


def morph(first: Float, second: Float, share: float) -> Float:
    """Mixes two float32 [h, w, 3] pictures of the same lips, ``share`` of the second, after moving both half-way along
    the optical flow between them (Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016)."""
    height, width = first.shape[:2]
    if min(height, width) < 16:
        return first * (1 - share) + second * share
    grey = [cv2.cvtColor(cv2.convertScaleAbs(cv2.max(image, 0.0)), cv2.COLOR_RGB2GRAY) for image in (first, second)]
    # The search takes its coarsest scale from the width alone; in a flat picture no patch fits there and it crashes.
    extra = max(0, int(np.ceil(0.4 * width)) + 8 - height)
    grey = [cv2.copyMakeBorder(image, 0, extra, 0, 0, cv2.BORDER_REPLICATE) for image in grey]
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow = finder.calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), np.float32))[:height]
    # Flow between unlike pictures is a guess: small moves only.
    most = 0.08 * width
    across, down = cv2.split(np.clip(cv2.GaussianBlur(flow, (0, 0), 2.0), -most, most))
    columns = np.arange(width, dtype=np.float32)
    rows = np.arange(height, dtype=np.float32)[:, None]
    moved = [
        cv2.remap(image, columns - np.float32(part) * across, rows - np.float32(part) * down, cv2.INTER_LINEAR,
                  borderMode=cv2.BORDER_REPLICATE)
        for image, part in ((first, share), (second, share - 1))
    ]  # fmt: skip
    return np.asarray(cv2.addWeighted(moved[0], 1 - share, moved[1], share, 0), np.float32)
