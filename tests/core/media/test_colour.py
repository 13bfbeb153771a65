"""Colour conversion, colour tags, and edits of single frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import frame_image, steady_clip
from retalkit.media.colour import colour_of, rgb_to_yuv, yuv_to_rgb
from retalkit.media.encoding import SegmentWriter
from retalkit.media.frame_editing import apply_edits, rgb_region, to_rgb
from retalkit.media.sources import open_source
from retalkit.media.video_codec import Encoding
from retalkit.media.yuv_frames import copy_frame, frame_from_rgb, planes_of

KNOWN = {
    # H.273 matrix -> (Y, Cb, Cr) of pure red in limited range, computed by hand from Kr and Kb.
    1: (63, 102, 240),
    6: (81, 90, 240),
    9: (74, 97, 240),
}


def test_known_colours() -> None:
    red = np.zeros((2, 2, 3), dtype=np.uint8)
    red[..., 0] = 255
    for matrix, expected in KNOWN.items():
        luma, blue, red_difference = rgb_to_yuv(red, matrix, full=False)
        got = (luma[0, 0], blue[0, 0], red_difference[0, 0])
        assert np.abs(np.array(got, dtype=int) - expected).max() <= 1, (matrix, got)
    luma, blue, red_difference = rgb_to_yuv(np.full((2, 2, 3), 255, np.uint8), 1, full=True)
    assert (luma[0, 0], blue[0, 0], red_difference[0, 0]) == (255, 128, 128)


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [(40, 64), (41, 63), (1, 1), (131, 2)])
def test_round_trip_to_rgb_preserves_samples(matrix: int, full: bool, size: tuple[int, int]) -> None:
    height, width = size
    random = np.random.default_rng(1)
    half = ((height + 1) // 2, (width + 1) // 2)
    # Colours outside the RGB cube cannot be recovered.
    luma = random.integers(90, 160, size, dtype=np.uint8)
    blue, red = (random.integers(110, 146, half, dtype=np.uint8) for _ in range(2))
    back = rgb_to_yuv(yuv_to_rgb(luma, blue, red, matrix, full), matrix, full)
    for before, after in zip((luma, blue, red), back, strict=True):
        assert np.abs(before.astype(int) - after).max() <= 1


@pytest.mark.parametrize(("matrix", "colour_range"), [(1, 1), (1, 2), (6, 1), (6, 2), (9, 1)])
def test_colours_and_tags_survive_decode_edit_encode(tmp_path: Path, matrix: int, colour_range: int) -> None:
    expected = np.zeros((64, 96, 3), dtype=np.uint8)
    for column, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (220, 180, 150)]):
        expected[:, column * 20 : column * 20 + 20] = colour
    planes = rgb_to_yuv(expected, matrix, colour_range == 2)
    path = tmp_path / "colours.mp4"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"qp": "0"}, width=96, height=64)
        context = stream.codec_context
        context.colorspace, context.color_range = matrix, colour_range
        context.color_primaries, context.color_trc = 1, 1
        for tick in range(3):
            frame = av.VideoFrame(96, 64, "yuv420p")
            for view, plane in zip(planes_of(frame), planes, strict=True):
                view[:] = plane
            frame.pts = tick
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))

    source = open_source(path)
    assert (source.colour.matrix, source.colour.range) == (matrix, colour_range)
    out = tmp_path / "out.nut"
    with SegmentWriter(out, source.size, source.colour, source.rate, Fraction(1, 12800), Encoding(crf=1)) as writer:
        for index, frame in source.read_video_frames(range(3)):
            image = to_rgb(frame)
            assert np.abs(image.astype(int) - expected)[:, 2:-2].max() <= 3
            writer.write_frame(apply_edits(frame, image[10:40, 10:50], 10, 10), index / 25, 1 / 25)
    with av.open(str(out)) as container:
        for frame in container.decode(video=0):
            assert (int(frame.colorspace), int(frame.color_range)) == (matrix, colour_range)
            assert (int(frame.color_primaries), int(frame.color_trc)) == (1, 1)
            assert np.abs(to_rgb(frame).astype(int) - expected).mean() < 2


def test_unspecified_matrix_is_guessed_from_size_and_stays_unspecified(tmp_path: Path) -> None:
    for size, matrix in (((192, 96), 6), ((192, 640), 1)):
        path = steady_clip(tmp_path / f"{matrix}.mp4", 2, size=size)
        with av.open(str(path)) as container:
            colour = colour_of(next(container.decode(video=0)))
        assert (colour.matrix, colour.range, colour.working_matrix) == (2, 0, matrix)
        out = tmp_path / f"{matrix}.nut"
        source = open_source(path)
        with SegmentWriter(out, source.size, source.colour, source.rate, Fraction(1, 12800)) as writer:
            for index, frame in source.read_video_frames(range(2)):
                writer.write_frame(frame, index / 25, 1 / 25)
        with av.open(str(out)) as container:
            assert colour_of(next(container.decode(video=0))) == colour


RECTANGLES = [(20, 30, 40, 16), (21, 31, 41, 17), (0, 0, 192, 96), (0, 0, 1, 1), (150, 80, 42, 16), (191, 95, 1, 1)]


@pytest.mark.parametrize("rectangle", RECTANGLES)
@pytest.mark.parametrize("masked", [False, True])
def test_samples_outside_an_edit_are_bit_identical(rectangle: tuple[int, int, int, int], masked: bool) -> None:
    left, top, width, height = rectangle
    random = np.random.default_rng(2)
    frame = frame_from_rgb(frame_image(7))
    before = [plane.copy() for plane in planes_of(frame)]
    patch = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = random.random((height, width)) < 0.3 if masked else None
    edited = planes_of(apply_edits(frame, patch, left, top, mask))

    may_change = np.zeros((96, 192), dtype=bool)
    may_change[top : top + height, left : left + width] = True if mask is None else mask
    assert np.array_equal(edited[0][~may_change], before[0][~may_change])
    cells = may_change.reshape(48, 2, 96, 2).any(axis=(1, 3))
    for chroma in (1, 2):
        assert np.array_equal(edited[chroma][~cells], before[chroma][~cells])
    if may_change.sum() > 20:
        assert (edited[0] != before[0]).sum() > may_change.sum() / 2
    for plane, unchanged in zip(planes_of(frame), before, strict=True):
        assert np.array_equal(plane, unchanged), "the input frame was modified"


def test_edit_replaces_pixels() -> None:
    frame = frame_from_rgb(frame_image(7))
    patch = np.full((31, 41, 3), (180, 90, 60), dtype=np.uint8)
    shown = to_rgb(apply_edits(frame, patch, 21, 33))[33:64, 21:62]
    assert np.abs(shown.astype(int) - patch)[1:-1, 1:-1].max() <= 2
    outside = apply_edits(frame, patch, -30, 80)
    assert np.abs(to_rgb(outside)[82:, :10].astype(int) - patch[:14, :10]).max() <= 2
    assert np.array_equal(planes_of(apply_edits(frame, patch, 500, 500))[0], planes_of(frame)[0])


def test_edit_with_own_pixels_changes_almost_nothing(shared_media: Path) -> None:
    source = open_source(shared_media / "talk_man_700p22.mp4")
    for _, frame in source.read_video_frames([20]):
        edited = apply_edits(frame, rgb_region(frame, 201, 301, 333, 255), 201, 301)
        for before, after in zip(planes_of(frame), planes_of(edited), strict=True):
            difference = np.abs(before.astype(int) - after)
            assert difference.max() <= 2 and difference.mean() < 0.01


@pytest.mark.parametrize("rectangle", RECTANGLES)
def test_region_equals_part_of_the_full_conversion(rectangle: tuple[int, int, int, int]) -> None:
    left, top, width, height = rectangle
    frame = frame_from_rgb(frame_image(9))
    whole = to_rgb(frame)
    assert np.array_equal(rgb_region(frame, *rectangle), whole[top : top + height, left : left + width])
    with pytest.raises(ValueError, match="exceeds the frame"):
        rgb_region(frame, left, top, 193, 1)


def test_decoded_frames_are_copied_before_an_edit(tmp_path: Path) -> None:
    source = open_source(steady_clip(tmp_path / "clip.mp4", 10, options={"preset": "medium"}))
    black = np.zeros((96, 192, 3), dtype=np.uint8)
    plain = [copy_frame(frame).to_ndarray() for _, frame in source.read_video_frames(range(10))]
    for index, frame in source.read_video_frames(range(10)):
        assert np.array_equal(frame.to_ndarray(), plain[index])
        apply_edits(frame, black, 0, 0)
