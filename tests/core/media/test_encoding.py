"""Encoding of segments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import HEIGHT, WIDTH, frame_image, make_clip, number_of, steady_clip
from retalkit.errors import OutputError
from retalkit.media.colour import BT709
from retalkit.media.encoding import SegmentWriter, output_time_base
from retalkit.media.muxing import assemble
from retalkit.media.sources import open_source
from retalkit.media.video_codec import Encoding
from retalkit.media.yuv_frames import frame_from_rgb

CLOCK = Fraction(1, 90000)


def encode(path: Path, numbers: list[int], times: np.ndarray, **options) -> Path:
    """Encode the frames ``frame_image(n)``, shown from ``times[n]`` to ``times[n + 1]``."""
    with SegmentWriter(path, (WIDTH, HEIGHT), BT709, Fraction(25), CLOCK, Encoding(**options)) as writer:
        for number in numbers:
            writer.write_frame(frame_from_rgb(frame_image(number)), times[number], times[number + 1] - times[number])
    return path


@pytest.fixture
def uneven_times() -> np.ndarray:
    steps = np.random.default_rng(3).integers(900, 9000, 61)
    return np.concatenate([[0], np.cumsum(steps)]) / 90000


def test_concatenated_segments_equal_one_segment(tmp_path: Path, uneven_times: np.ndarray) -> None:
    cuts = [0, 1, 3, 20, 21, 44, 60]
    pieces = [
        encode(tmp_path / f"{start}.nut", list(range(start, stop)), uneven_times, crf=5)
        for start, stop in zip(cuts, cuts[1:], strict=False)
    ]
    whole = [encode(tmp_path / "whole.nut", list(range(60)), uneven_times, crf=5)]
    end = float(uneven_times[60])
    for name, segments in (("pieces.mp4", pieces), ("whole.mp4", whole)):
        assemble(segments, None, tmp_path / name, duration=end, time_base=CLOCK)
        result = open_source(tmp_path / name)
        assert result.info.frame_count == 60
        assert np.allclose(result.times(0, 60), uneven_times[:60], rtol=0, atol=1e-9)
        assert [number_of(image) for _, image in result.read(range(60))] == list(range(60))
        assert result.info.duration == pytest.approx(end, abs=1e-4)
        with av.open(str(tmp_path / name)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        assert all(later.dts > earlier.dts for earlier, later in zip(packets, packets[1:], strict=False))
        assert all(packet.dts <= packet.pts for packet in packets)
        assert any(packet.dts < packet.pts for packet in packets), "the test needs B-frames"
    pairs = zip(
        open_source(tmp_path / "pieces.mp4").read(range(60)),
        open_source(tmp_path / "whole.mp4").read(range(60)),
        strict=True,
    )
    assert max(np.abs(a[1].astype(int) - b[1]).mean() for a, b in pairs) < 2


def test_output_can_be_read_from_any_segment(tmp_path: Path, uneven_times: np.ndarray) -> None:
    pieces = [encode(tmp_path / f"{n}.nut", list(range(n, n + 20)), uneven_times) for n in (0, 20, 40)]
    out = tmp_path / "out.mp4"
    assemble(pieces, None, out, duration=float(uneven_times[60]), time_base=CLOCK)
    plain = [image for _, image in open_source(out).read(range(60))]
    for index in (45, 20, 59, 39, 0):
        assert np.array_equal(next(open_source(out).read([index]))[1], plain[index])


@pytest.mark.parametrize(("rate", "count"), [(Fraction(1350, 61), 45), (Fraction(30000, 1001), 45)])
def test_source_times_are_preserved(tmp_path: Path, rate: Fraction, count: int) -> None:
    source = open_source(make_clip(tmp_path / "in.mp4", range(count), 1 / rate, rate=rate))
    clock = output_time_base(source.time_base)
    times = source.times(0, count)
    with SegmentWriter(tmp_path / "a.nut", source.size, source.colour, source.rate, clock) as writer:
        for index, frame in source.read_video_frames(range(count)):
            writer.write_frame(frame, times[index], 1 / float(rate))
    out = tmp_path / "out.mp4"
    assemble([tmp_path / "a.nut"], None, out, duration=source.info.duration, time_base=clock)
    result = open_source(out)
    assert np.array_equal(result.times(0, count), times)
    assert result.info == source.info


def test_output_is_deterministic(tmp_path: Path, uneven_times: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    plain_encode = SegmentWriter._encode

    def encode_in_used_memory(writer: SegmentWriter, *arguments) -> None:
        """The content of freed memory must not influence the output."""
        random.integers(0, 256, random.integers(1, 200_000), dtype=np.uint8)
        plain_encode(writer, *arguments)

    monkeypatch.setattr(SegmentWriter, "_encode", encode_in_used_memory)
    numbers = list(range(30))
    segments = {encode(tmp_path / f"{n}.nut", numbers, uneven_times).read_bytes() for n in range(25)}
    assert len(segments) == 1
    for name in ("0", "1"):
        assemble([tmp_path / f"{name}.nut"], None, tmp_path / f"{name}.mp4", duration=3.0, time_base=CLOCK)
    assert (tmp_path / "0.mp4").read_bytes() == (tmp_path / "1.mp4").read_bytes()


def test_decoded_picture_types_do_not_force_encoder_types(tmp_path: Path) -> None:
    source = open_source(steady_clip(tmp_path / "all_intra.mp4", 30, options={"g": "1"}))
    with SegmentWriter(tmp_path / "a.nut", source.size, source.colour, source.rate, CLOCK) as writer:
        for index, frame in source.read_video_frames(range(30)):
            writer.write_frame(frame, index / 25, 1 / 25)
    with av.open(str(tmp_path / "a.nut")) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size) == 1


def test_odd_sizes_repeat_last_column_and_row(tmp_path: Path) -> None:
    image = frame_image(1, 193, 97)
    with SegmentWriter(tmp_path / "a.nut", (193, 97), BT709, Fraction(25), CLOCK, Encoding(crf=1)) as writer:
        writer.write_frame(frame_from_rgb(image), 0, 0.04)
    with av.open(str(tmp_path / "a.nut")) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (194, 98)
    shown = frame.to_ndarray(format="gray").astype(int)
    assert np.abs(shown[:, 193] - shown[:, 192]).mean() < 4 and np.abs(shown[97] - shown[96]).mean() < 4


def test_sample_aspect_ratio_is_preserved(tmp_path: Path) -> None:
    source = open_source(steady_clip(tmp_path / "wide.mp4", 3, sample_aspect_ratio=Fraction(4, 3)))
    assert source.sample_aspect == Fraction(4, 3)
    options = {"sample_aspect": source.sample_aspect}
    with SegmentWriter(tmp_path / "a.nut", source.size, source.colour, source.rate, CLOCK, **options) as writer:
        for index, frame in source.read_video_frames(range(3)):
            writer.write_frame(frame, index / 25, 1 / 25)
    assemble([tmp_path / "a.nut"], None, tmp_path / "out.mp4", duration=0.12, time_base=CLOCK)
    assert open_source(tmp_path / "out.mp4").sample_aspect == Fraction(4, 3)


def test_wrong_frames_and_encoder_errors_are_raised_in_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.nut"
    writer = SegmentWriter(path, (WIDTH, HEIGHT), BT709, Fraction(25), CLOCK)
    with pytest.raises(ValueError, match="expected a yuv420p frame"):
        writer.write_frame(frame_from_rgb(frame_image(0, 64, 64)), 0, 0.04)

    def fail(writer: SegmentWriter, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "_encode", fail)
    frame = frame_from_rgb(frame_image(0))
    with pytest.raises(OutputError, match="No space left") as error:
        for number in range(50):
            writer.write_frame(frame, number / 25, 0.04)
    assert error.value.code == "unwritable-output"
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_partial_file_is_removed_after_an_error_in_the_caller(tmp_path: Path) -> None:
    def fail_halfway() -> None:
        with SegmentWriter(tmp_path / "a.nut", (WIDTH, HEIGHT), BT709, Fraction(25), CLOCK) as writer:
            for number in range(30):
                writer.write_frame(frame_from_rgb(frame_image(number)), number / 25, 0.04)
            raise KeyError("caller")

    with pytest.raises(KeyError):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []


def test_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written") as error:
        SegmentWriter(tmp_path / "no" / "a.nut", (WIDTH, HEIGHT), BT709, Fraction(25), CLOCK)
    assert error.value.code == "directory-not-found"


@pytest.mark.parametrize("source", [Fraction(1, 25), Fraction(1001, 30000), Fraction(1, 1000), Fraction(1, 15360)])
def test_output_time_base_divides_source_time_base(source: Fraction) -> None:
    clock = output_time_base(source)
    assert (source / clock).denominator == 1 and clock <= Fraction(1, 10000)
