"""Frames of a run, which are converted to RGB only where a stage reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from retalkit.geometry.scene_cuts import CutDetector
from retalkit.media import decoded_frames
from retalkit.media.decoded_frames import DecodedFrames
from retalkit.media.frame_editing import edit_region, to_rgb
from retalkit.media.pixel_format import FORMATS, YUV420P
from retalkit.media.sources import open_source
from retalkit.media.yuv_frames import planes_of
from retalkit.pipeline.detection_batches import frame_batches
from retalkit.stages import FrameBatch


def _frames(clip: Path, name: str = YUV420P.name) -> DecodedFrames:
    source = open_source(clip)
    decoded = [frame for _, frame in source.read_video_frames(range(3), FORMATS[name])]
    return DecodedFrames(decoded, source.times(0, 3), np.arange(3))


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le"])
def test_crops_are_parts_of_the_images(moving_head: Path, name: str) -> None:
    frames, whole = _frames(moving_head, name), _frames(moving_head, name).images
    assert frames.size == (whole.shape[2], whole.shape[1])
    for left, top, width, height in ((0, 0, 4, 4), (31, 17, 40, 55), (whole.shape[2] - 9, whole.shape[1] - 7, 9, 7)):
        part = whole[2, top : top + height, left : left + width]
        assert np.array_equal(frames.crop(2, left, top, width, height), part)


def test_parts_of_a_crop_are_converted_once(moving_head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _frames(moving_head)
    whole = to_rgb(frames.decoded[1])
    frames.crop(1, 20, 10, 60, 50)
    monkeypatch.setattr(decoded_frames, "rgb_region", None)
    assert np.array_equal(frames.crop(1, 25, 12, 55, 48), whole[12:60, 25:80])
    with pytest.raises(TypeError):
        frames.crop(1, 19, 10, 60, 50)


def test_a_crop_does_not_convert_the_frame(moving_head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _frames(moving_head)
    whole = to_rgb(frames.decoded[1])
    monkeypatch.setattr(decoded_frames, "to_rgb", None)
    assert np.array_equal(frames.crop(1, 10, 20, 30, 40), whole[20:60, 10:40])


@pytest.mark.parametrize("step", [1, 2, 3, 6])
def test_samples_are_pixels_of_the_images(moving_head: Path, step: int) -> None:
    frames, whole = _frames(moving_head), _frames(moving_head).images
    assert np.array_equal(frames.sampled(2, step), whole[2, step // 2 :: step, step // 2 :: step])


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7])
def test_reduced_frames_show_the_image(moving_head: Path, factor: int) -> None:
    frames = _frames(moving_head)
    whole = FrameBatch(_frames(moving_head).images, frames.times, frames.indexes)
    reduced, expected = (each.reduced(1, factor).astype(int) for each in (frames, whole))
    assert reduced.shape == expected.shape == (frames.size[1] // factor, frames.size[0] // factor, 3)
    # Rounding and clipping differ. Isolated pixels at saturated edges differ by up to 20 grey levels.
    assert np.abs(reduced - expected).mean() <= (0 if factor < 3 else 0.6)
    assert np.abs(reduced.mean((0, 1)) - expected.mean((0, 1))).max() < 0.3


def test_batches_contain_the_starts_of_shots(shared_media: Path) -> None:
    source, cuts = open_source(shared_media / "cuts_and_faceless_640x360p2997.mp4"), CutDetector()
    found = [batch.shot_starts for batch in frame_batches(source, 0, 140)]
    expected = [cuts.is_cut(image) for _, image in source.read(range(140))]
    assert sum(expected) >= 2
    assert np.concatenate([each for each in found if each is not None]).tolist() == expected


@pytest.mark.parametrize("rectangle", [(20, 30, 41, 25), (21, 31, 40, 24), (0, 0, 5, 3)])
def test_an_edit_changes_only_its_rectangle(moving_head: Path, rectangle: tuple[int, int, int, int]) -> None:
    frame = _frames(moving_head).decoded[0]
    left, top, width, height = rectangle
    edited = edit_region(frame, rectangle, lambda image: image.__setitem__(slice(None), 255 - image))
    before, after = (planes_of(each) for each in (frame, edited))
    outside = np.ones(before[0].shape, bool)
    outside[top : top + height, left : left + width] = False
    assert np.array_equal(before[0][outside], after[0][outside])
    assert not np.array_equal(before[0], after[0])
    inside = np.s_[top : top + height, left : left + width]
    shown, expected = to_rgb(edited)[inside].astype(int), 255 - to_rgb(frame)[inside].astype(int)
    assert np.abs(shown - expected).mean() < 12, "chroma samples at the border also cover unchanged pixels"
