"""Source frames that the output shows several times are decoded once, if they fit into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.media.frame_editing import to_rgb
from retalkit.media.pixel_format import YUV420P
from retalkit.media.sources import VideoSource, open_source
from retalkit.pipeline import repeated_frames
from retalkit.pipeline.repeated_frames import decode_once

ORDERS = {
    "pingpong": [*range(25), *range(23, -1, -1), *range(1, 25)],
    "loop": [*range(20), *range(20)],
    "freeze": [0, 1, 2, 2, 2, 2],
    "from the end": [*range(24, -1, -1), *range(1, 25)],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_frames_are_decoded_once(order: list[int], moving_head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(moving_head)
    plain = [to_rgb(frame) for _, frame in source.read_video_frames(range(25))]
    read = VideoSource.read_video_frames
    requested: list[int] = []

    def counting(self, indexes, pixel_format=YUV420P):
        def counted():
            for index in indexes:
                requested.append(index)
                yield index

        return read(self, counted(), pixel_format)

    monkeypatch.setattr(VideoSource, "read_video_frames", counting)
    shown = list(decode_once(source, iter(order), 25, YUV420P))
    assert sorted(requested) == sorted(set(order))
    assert len(shown) == len(order)
    assert all(np.array_equal(to_rgb(frame), plain[index]) for frame, index in zip(shown, order, strict=True))
    requested.clear()
    monkeypatch.setattr(repeated_frames, "KEPT_BYTES", 1000)
    assert len(list(decode_once(source, iter(order), 25, YUV420P))) == len(order) == len(requested)
