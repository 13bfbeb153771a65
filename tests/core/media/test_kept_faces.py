"""Faces that are kept between two passes over a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.media import sources
from retalkit.media.frame_editing import to_rgb
from retalkit.media.kept_faces import KeptFaces
from retalkit.media.sources import VideoSource, open_source
from retalkit.pipeline.run import dub


@pytest.fixture(autouse=True)
def large_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """No video fits into the memory for whole frames."""
    monkeypatch.setattr(sources, "SHORT_BYTES", 1000)


def keep(source: VideoSource, points: np.ndarray, limit: int = 1 << 20) -> KeptFaces:
    kept = KeptFaces(source, limit)
    for index, frame in source.read_video_frames(range(5)):
        kept.add(index, frame, [points])
    return kept


def test_crops_are_identical_and_other_parts_are_decoded(moving_head: Path, decoded: list[int]) -> None:
    source = open_source(moving_head)
    assert isinstance(source, VideoSource)
    points = np.array([[101, 83, 0], [151, 141, 0]], np.float32)
    whole = {index: to_rgb(frame) for index, frame in source.read_video_frames(range(5))}
    batches = keep(source, points).read([1, 3])
    decoded.clear()
    for index, batch in zip((1, 3), batches or (), strict=True):
        assert batch.size == source.size and batch.indexes.tolist() == [index]
        assert batch.times == source.times(index, index + 1)
        for left, top, width, height in ((101, 83, 50, 58), (100, 82, 51, 59), (111, 90, 7, 5)):
            expected = whole[index][top : top + height, left : left + width]
            assert np.array_equal(batch.crop(0, left, top, width, height), expected)
        assert not decoded
        assert np.array_equal(batch.crop(0, 3, 5, 20, 30), whole[index][5:35, 3:23])
        assert np.array_equal(batch.images[0], whole[index])
        assert decoded == [index], "a frame is decoded once if a part is missing"
        decoded.clear()


def test_nothing_is_kept_above_the_limit(moving_head: Path, decoded: list[int]) -> None:
    source = open_source(moving_head)
    assert isinstance(source, VideoSource)
    points = np.array([[101, 83, 0], [151, 141, 0]], np.float32)
    kept = keep(source, points)
    assert kept.read([0, 4]) is not None and kept.read([4, 5]) is None
    kept.clear()
    assert kept.read([0]) is None
    assert keep(source, points, limit=30_000).read([0]) is None
    assert keep(source, np.full((2, 3), np.nan, np.float32)).read([0]) is None


def test_a_run_decodes_a_large_video_twice(
    moving_head: Path, short_speech: Path, tmp_path: Path, decoded: list[int]
) -> None:
    """The analysis and the rendering decode the video. The exemplars are read from the kept faces."""
    dub(moving_head, short_speech, tmp_path / "out.mp4", cache=tmp_path / "cache")
    counts = {index: decoded.count(index) for index in range(25)}
    assert max(counts.values()) <= 2, counts
