"""Frames of a short video are decoded once, although several passes read them in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.media import sources
from retalkit.media.frame_editing import to_rgb
from retalkit.media.pixel_format import FORMATS, YUV420P
from retalkit.media.sources import open_source

DEEP = FORMATS["yuv420p10le"]
ORDERS = {
    "pingpong": [*range(25), *range(23, -1, -1), *range(1, 25)],
    "loop": [*range(20), *range(20)],
    "freeze": [0, 1, 2, 2, 2, 2],
    "from the end": [*range(24, -1, -1), *range(1, 25)],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_frames_are_decoded_once(
    order: list[int], moving_head: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(moving_head)
    shown = list(source.read_video_frames(iter(order)))
    assert [index for index, _ in shown] == order
    assert sorted(decoded) == sorted(set(order))
    again = dict(source.read_video_frames(range(25)))
    assert sorted(decoded) == list(range(25)), "a second pass decodes the frames that are missing"
    monkeypatch.setattr(sources, "SHORT_BYTES", 1000)
    decoded.clear()
    plain = [to_rgb(frame) for _, frame in open_source(moving_head).read_video_frames(iter(order))]
    assert len(decoded) == len(order)
    for (index, frame), image in zip(shown, plain, strict=True):
        assert np.array_equal(to_rgb(frame), image) and np.array_equal(to_rgb(again[index]), image)


def test_formats_are_kept_separately_until_the_source_is_closed(moving_head: Path, decoded: list[int]) -> None:
    source = open_source(moving_head)
    for _ in range(2):
        assert all(frame.format.name == YUV420P.name for _, frame in source.read_video_frames([3, 4]))
        assert all(frame.format.name == DEEP.name for _, frame in source.read_video_frames([3, 4], DEEP))
    assert len(decoded) == 4
    source.close()
    list(source.read_video_frames([3, 4]))
    assert len(decoded) == 6


def test_indexes_are_consumed_on_demand(moving_head: Path) -> None:
    source = open_source(moving_head)
    list(source.read_video_frames(range(25)))
    asked: list[int] = []

    def indexes():
        for index in [*range(25), *range(25)]:
            asked.append(index)
            yield index

    frames = source.read_video_frames(indexes())
    for count in range(1, 40):
        next(frames)
        assert len(asked) <= count + 1
