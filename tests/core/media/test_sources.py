"""Indexing and random access of videos and photos."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from media_clips import HEIGHT, WIDTH, frame_image, make_clip, number_of, steady_clip
from retalkit.media import sources
from retalkit.media.decoding import FrameDecoder
from retalkit.media.pixel_format import PixelFormat
from retalkit.media.sources import VideoSource, open_source


def numbers(source, indexes) -> list[tuple[int, int]]:
    return [(index, number_of(image)) for index, image in source.read(indexes)]


def test_variable_frame_rate_keeps_all_timestamps(tmp_path: Path) -> None:
    ticks = np.cumsum([0, 3000, 3000, 1500, 9000, 3000, 2999, 45000, 1, 3000]).tolist()
    source = open_source(make_clip(tmp_path / "vfr.mp4", ticks, Fraction(1, 90000)))
    assert source.info.frame_count == len(ticks)
    assert np.allclose(source.times(0, 10), np.array(ticks) / 90000, rtol=0, atol=1e-9)
    assert np.array_equal(source.times(3, 5), source.times(0, 10)[3:5])
    assert numbers(source, range(10)) == [(i, i) for i in range(10)]


@pytest.mark.parametrize("rate", [Fraction(1350, 61), Fraction(30000, 1001), Fraction(24000, 1001)])
def test_fractional_rates_are_not_rounded(tmp_path: Path, rate: Fraction) -> None:
    source = open_source(make_clip(tmp_path / "odd.mp4", range(30), 1 / rate, rate=rate))
    assert np.allclose(source.times(0, 30), np.arange(30) / float(rate), rtol=0, atol=1e-6)
    assert source.info.duration == pytest.approx(30 / float(rate), abs=1e-6)
    assert float(source.rate) == pytest.approx(float(rate), rel=1e-4)


def test_first_frame_has_time_zero_if_the_video_starts_late(tmp_path: Path) -> None:
    source = open_source(make_clip(tmp_path / "late.mkv", range(40, 60), Fraction(1, 25)))
    assert source.start_time == pytest.approx(1.6)
    assert source.times(0, 2).tolist() == pytest.approx([0, 0.04])
    assert numbers(source, [0, 19]) == [(0, 0), (19, 19)]


ORDERS = {
    "forward": list(range(60)),
    "backward": list(range(59, -1, -1)),
    "pingpong": [*range(60), *range(58, -1, -1), 1, 2],
    "loop": [*range(50, 60), *range(10)],
    "repeats": [7, 7, 7, 8, 8, 7, 7, 59, 59, 0, 0],
    "jumps": [3, 55, 20, 21, 19, 40, 0, 59, 30, 22, 14, 13, 12],
}


GROUPS = {
    "closed": "keyint=17:scenecut=0",
    "open": "keyint=17:scenecut=0:open-gop=1",
    "refresh": "keyint=17:scenecut=0:intra-refresh=1",
}
"""Kinds of random access points in a stream."""


@pytest.mark.parametrize("groups", list(GROUPS))
@pytest.mark.parametrize("order", ["backward", "jumps"])
def test_every_kind_of_keyframe_decodes_like_forward_reading(
    tmp_path: Path, groups: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CHUNK_BYTES", 4 * WIDTH * HEIGHT * 3 // 2)
    options = {"preset": "medium", "x264-params": GROUPS[groups]}
    path = steady_clip(tmp_path / f"{groups}.mp4", 60, options=options)
    with av.open(str(path)) as container:
        plain = [frame.to_ndarray() for frame in container.decode(video=0)]
    for index, frame in open_source(path).read_video_frames(ORDERS[order]):
        assert np.array_equal(frame.to_ndarray(), plain[index]), index


@pytest.fixture(scope="module")
def reordered_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """B-frames and several groups of pictures."""
    options = {"preset": "medium", "g": "17", "bf": "3", "sc_threshold": "0"}
    return steady_clip(tmp_path_factory.mktemp("clips") / "gops.mp4", 60, options=options)


@pytest.mark.parametrize("order", list(ORDERS))
@pytest.mark.parametrize("chunk_frames", [2, 5, 1000])
def test_any_order_decodes_like_forward_reading(
    reordered_clip: Path, order: str, chunk_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CHUNK_BYTES", chunk_frames * WIDTH * HEIGHT * 3 // 2)
    source = open_source(reordered_clip)
    with av.open(str(reordered_clip)) as container:
        plain = [frame.to_ndarray() for frame in container.decode(video=0)]
    got = [(index, frame.to_ndarray()) for index, frame in source.read_video_frames(ORDERS[order])]
    assert [index for index, _ in got] == ORDERS[order]
    for index, planes in got:
        assert np.array_equal(planes, plain[index]), index


def test_backward_reading_needs_one_chunk_only(reordered_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_CHUNK_BYTES", 6 * WIDTH * HEIGHT * 3 // 2)
    requested: list[int] = []

    def backward():
        for index in range(59, -1, -1):
            requested.append(index)
            yield index

    decoded = 0
    plain_frame = FrameDecoder.frame

    def counting(decoder: FrameDecoder, position: int, pixel_format: PixelFormat) -> av.VideoFrame:
        nonlocal decoded
        decoded += 1
        return plain_frame(decoder, position, pixel_format)

    monkeypatch.setattr(FrameDecoder, "frame", counting)
    for returned, _ in enumerate(open_source(reordered_clip).read_video_frames(backward()), start=1):
        assert len(requested) <= returned + 6
        assert decoded <= returned + 6


def test_two_concurrent_readers_and_an_abandoned_one(reordered_clip: Path) -> None:
    source = open_source(reordered_clip)
    first, second = source.read(range(60)), source.read(range(30, 60))
    assert [number_of(next(first)[1]) for _ in range(3)] == [0, 1, 2]
    assert number_of(next(second)[1]) == 30
    first.close()
    assert number_of(next(second)[1]) == 31
    second.close()
    assert numbers(source, [2, 1]) == [(2, 2), (1, 1)]
    source.close()
    assert numbers(source, [5]) == [(5, 5)]


def test_open_source_can_be_pickled(reordered_clip: Path) -> None:
    source = open_source(reordered_clip)
    reader = source.read([3])
    next(reader)
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own object
    assert copy.info == source.info
    assert numbers(copy, [59, 0]) == [(59, 59), (0, 0)]
    assert len(pickle.dumps(source)) < 5000


def test_index_out_of_range(reordered_clip: Path) -> None:
    with pytest.raises(IndexError):
        list(open_source(reordered_clip).read([60]))


@pytest.mark.parametrize(("rotation", "mirrored"), [(90, False), (180, False), (270, False), (0, True), (90, True)])
def test_rotation_metadata_is_applied(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    path = steady_clip(tmp_path / "turned.mp4", 4, rotation=rotation, mirrored=mirrored)
    source = open_source(path)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        stored = frame.to_ndarray(format="rgb24")
        assert frame.rotation % 360 == rotation or mirrored
    upright = np.rot90(stored, rotation // 90)
    upright = upright[:, ::-1] if mirrored else upright
    assert source.size == (upright.shape[1], upright.shape[0])
    assert (source.info.width, source.info.height) == source.size
    index, image = next(source.read([0]))
    assert np.abs(image.astype(int) - upright).mean() < 3
    assert not next(source.read_video_frames([0]))[1].rotation


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p", "yuv444p", "yuv422p10le"])
def test_other_bit_depths_and_subsampling_become_8_bit_420(tmp_path: Path, pixel_format: str) -> None:
    source = open_source(steady_clip(tmp_path / "deep.mp4", 5, pixel_format=pixel_format))
    assert next(source.read_video_frames([0]))[1].format.name == "yuv420p"
    for index, image in source.read(range(5)):
        assert number_of(image) == index
        assert np.abs(image.astype(int) - frame_image(index))[24:].mean() < 6


def test_video_stored_as_rgb(tmp_path: Path) -> None:
    path = tmp_path / "rgb.mkv"
    source = open_source(steady_clip(path, 3, codec="libx264rgb", pixel_format="rgb24", options={"crf": "0"}))
    assert (source.colour.matrix, source.colour.range) == (1, 1)
    assert np.abs(next(source.read([2]))[1].astype(int) - frame_image(2))[24:].mean() < 4


@pytest.mark.parametrize("suffix", ["h264", "avi", "ts", "webm"])
def test_other_containers(tmp_path: Path, suffix: str) -> None:
    codec = "libvpx" if suffix == "webm" else "libx264"
    options = {"g": "10", "bf": "0"}
    if codec == "libvpx":
        options |= {"deadline": "realtime", "cpu-used": "8", "preset": "", "crf": "10", "b": "2M"}
        options.pop("preset")
    source = open_source(steady_clip(tmp_path / f"clip.{suffix}", 30, codec=codec, options=options))
    assert source.info.frame_count == 30
    assert np.allclose(np.diff(source.times(0, 30)), 0.04, atol=0.0011)
    assert numbers(source, [29, 4, 5, 0]) == [(29, 29), (4, 4), (5, 5), (0, 0)]


def test_truncated_video_is_read_to_the_truncation(tmp_path: Path) -> None:
    options = {"preset": "medium", "bf": "3", "g": "12"}
    whole = steady_clip(tmp_path / "complete.mp4", 60, options=options, container_options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.7)])
    source = open_source(cut)
    assert 30 < source.info.frame_count < 60
    assert len(source.warnings) == 1 and "cannot be decoded" in source.warnings[0]
    shown = [number_of(image) for _, image in source.read(range(source.info.frame_count))]
    assert np.array_equal(np.array(shown) / 25, source.times(0, 60))
    assert source.info.duration == pytest.approx(source.times(0, 60)[-1] + 0.04, abs=0.05)


def test_damaged_frames_repeat_the_previous_frame(tmp_path: Path) -> None:
    path = steady_clip(tmp_path / "hole.mp4", 60, options={"g": "10", "bf": "0"})
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size]
    damaged = bytearray(path.read_bytes())
    for number in range(30, 40):
        damaged[positions[number] : positions[number + 1]] = bytes(positions[number + 1] - positions[number])
    path.write_bytes(bytes(damaged))
    source = open_source(path)
    assert source.info.frame_count == 60
    shown = numbers(source, range(60))
    assert [index for index, _ in shown] == list(range(60))
    assert [number for index, number in shown if index < 30 or index >= 40] == [*range(30), *range(40, 60)]
    assert {number for index, number in shown if 30 <= index < 40} == {29}
    assert len(source.warnings) == 1 and "frame 30" in source.warnings[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_photo(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"photo{suffix}"
    cv2.imwrite(str(path), frame_image(5)[..., ::-1])
    source = open_source(path)
    assert source.info.is_photo and source.info.frame_count == 1
    got = [(index, image) for index, image in source.read([0, 0])]
    assert [index for index, _ in got] == [0, 0]
    assert np.abs(got[0][1].astype(int) - frame_image(5)).mean() < 6
    frame = next(source.read_video_frames([0]))[1]
    assert (frame.format.name, frame.width, frame.height) == ("yuv420p", WIDTH, HEIGHT)
    assert pickle.loads(pickle.dumps(source)).info == source.info  # noqa: S301 - our own object


def test_real_hevc_reads_backward_like_forward(shared_media: Path) -> None:
    source = open_source(shared_media / "sitting_woman_1080x1920p25_hevc.mp4")
    assert (source.size, source.info.frame_count) == ((1080, 1920), 250)
    forward = {index: frame.to_ndarray()[::8] for index, frame in source.read_video_frames(range(30))}
    for index, frame in source.read_video_frames(range(29, -1, -1)):
        assert np.array_equal(frame.to_ndarray()[::8], forward[index])


def test_real_2997_video_starts_late_and_keeps_its_steps(shared_media: Path) -> None:
    source = open_source(shared_media / "cuts_and_faceless_640x360p2997.mp4")
    assert isinstance(source, VideoSource)
    assert source.info.frame_count == 275
    # The sound starts 8 ms after the container's time 0, and the picture 852 ms after it.
    assert source.start_time == pytest.approx(0.008, abs=1e-3)
    assert np.allclose(source.times(0, 275), 0.844 + np.arange(275) / 29.97, atol=1e-3)
    assert np.allclose(np.diff(source.times(0, 275)), 1 / 29.97, atol=1e-9)
