"""Output codecs, bit depths and pixel formats."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest
from media_clips import HEIGHT, WIDTH, make_wave, steady_clip
from retalkit.errors import OutputError
from retalkit.media.encoding import SegmentWriter, check_encoder, output_time_base
from retalkit.media.frame_editing import blend_edit, to_rgb
from retalkit.media.muxing import SoundTrack, assemble
from retalkit.media.pixel_format import FORMATS
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.media.video_codec import check_container, choose_encoding
from retalkit.media.yuv_frames import planes_of

BT2020, PQ = 9, 16
MASTERING = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"


def deep_clip(path: Path, pixel_format: str = "yuv420p10le", **more) -> Path:
    return steady_clip(path, 8, pixel_format=pixel_format, options={"qp": "0"}, **more)


def transcode(source_path: Path, out: Path, sound: Path | None = None, **options) -> None:
    """Encode all frames of a clip without edits."""
    source = open_source(source_path)
    encoding = choose_encoding(source, **options)
    clock = output_time_base(source.time_base)
    segments = [out.with_name(f"{out.name}.{number}") for number in range(2)]
    frames = list(source.read_video_frames(range(8), encoding.pixel_format))
    for number, path in enumerate(segments):
        with SegmentWriter(path, source.size, source.colour, source.rate, clock, encoding) as writer:
            for index, frame in frames[number * 4 : number * 4 + 4]:
                writer.write_frame(frame, index / 25, 1 / 25)
    track = None if sound is None else SoundTrack(open_sound(sound), codec="flac" if out.suffix == ".mkv" else "pcm")
    assemble(segments, track, out, duration=8 / 25, time_base=clock, frames=8, colour=source.colour)


def stored_planes(path: Path) -> tuple[list[list[np.ndarray]], av.VideoFrame, list[float]]:
    planes, times, last = [], [], None
    with av.open(str(path)) as container:
        for last in container.decode(video=0):
            planes.append([plane.copy() for plane in planes_of(last)])
            times.append(last.time)
    return planes, last, times


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p10le", "yuv444p12le", "yuv420p"])
def test_ffv1_output_is_lossless_at_every_depth(tmp_path: Path, pixel_format: str) -> None:
    codec = "libx265" if "12" in pixel_format else "libx264"
    clip = deep_clip(tmp_path / "clip.mkv", pixel_format, codec=codec, colorspace=BT2020, color_trc=PQ + 2)
    speech = make_wave(tmp_path / "s.wav", 0.3 * np.sin(np.arange(15360) / 9)[:, None] * [1, -1], 48000)
    if pixel_format == "yuv420p":
        clip = deep_clip(tmp_path / "clip.mkv", pixel_format)
    transcode(clip, tmp_path / "out.mkv", speech, codec="ffv1")
    before, first, times = stored_planes(clip)
    after, last, new_times = stored_planes(tmp_path / "out.mkv")
    assert last.format.name == pixel_format
    assert all(
        np.array_equal(a, b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True)
    )
    assert (last.colorspace, last.color_trc) == (first.colorspace, first.color_trc)
    assert new_times == pytest.approx(times, abs=0.001)
    got, given = (
        np.concatenate(list(open_sound(path).native_chunks(48000))) for path in (tmp_path / "out.mkv", speech)
    )
    assert np.array_equal(got, given[: len(got)]) and len(got) == 15360


@pytest.mark.parametrize(
    ("codec", "suffix", "name", "tag", "pixel_format"),
    [
        (None, ".mp4", "hevc", "hvc1", "yuv420p10le"),
        ("h264", ".mp4", "h264", "avc1", "yuv420p10le"),
        ("prores", ".mov", "prores", "apch", "yuv422p10le"),
    ],
)
def test_ten_bits_and_hdr_metadata_are_kept(
    tmp_path: Path, codec: str | None, suffix: str, name: str, tag: str, pixel_format: str
) -> None:
    clip = deep_clip(
        tmp_path / "clip.mp4",
        codec="libx265",
        colorspace=BT2020,
        color_primaries=BT2020,
        color_trc=PQ,
    )
    with_metadata = tmp_path / "hdr.mp4"
    steady_clip(
        with_metadata,
        8,
        pixel_format="yuv420p10le",
        codec="libx265",
        options={"x265-params": f"lossless=1:log-level=error:{MASTERING}"},
        colorspace=BT2020,
        color_primaries=BT2020,
        color_trc=PQ,
    )
    out = tmp_path / f"out{suffix}"
    transcode(with_metadata, out, codec=codec, crf=4)
    before, first, times = stored_planes(with_metadata)
    after, last, new_times = stored_planes(out)
    assert new_times == pytest.approx(times, abs=1e-4)
    assert (last.format.name, last.colorspace, last.color_primaries, last.color_trc) == (
        pixel_format,
        BT2020,
        BT2020,
        PQ,
    )
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.codec_tag) == (name, tag)
    assert np.abs(after[7][0].astype(int) - before[7][0]).mean() < 4
    if codec is None:
        assert open_source(out).hdr == open_source(with_metadata).hdr
        assert open_source(out).hdr.light_level == (1000, 400)
    assert clip.exists()
    with pytest.raises(OutputError) as error:
        choose_encoding(open_source(with_metadata), bit_depth=8)
    assert error.value.code == "hdr-requires-10-bit"


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p"])
def test_edit_keeps_untouched_samples_and_shows_the_patch(tmp_path: Path, pixel_format: str) -> None:
    source = open_source(deep_clip(tmp_path / "clip.mkv", pixel_format))
    chosen = FORMATS[pixel_format]
    assert source.pixel_format == chosen
    _, frame = next(source.read_video_frames([3], chosen))
    before = [plane.copy() for plane in planes_of(frame)]
    image = np.full((21, 33, 3), (200, 90, 60), np.uint8)
    mask = np.zeros((21, 33), np.float32)
    mask[3:18, 2:30] = 1.0
    mask[2, 2:30] = 0.004
    edited = blend_edit(frame, image, mask, 41, 31)
    changed = np.zeros((HEIGHT, WIDTH), bool)
    changed[31:52, 41:74] = mask > 0
    for number, (plane, old, shared) in enumerate(zip(planes_of(edited), before, planes_of(frame), strict=True)):
        steps = (1, 1) if number == 0 else (chosen.chroma_y, chosen.chroma_x)
        cells = changed[: HEIGHT // steps[0] * steps[0]].reshape(
            HEIGHT // steps[0], steps[0], WIDTH // steps[1], steps[1]
        )
        touched = cells.any(axis=(1, 3))
        assert np.array_equal(plane[~touched], old[~touched]) and np.array_equal(shared, old)
        assert (plane[touched] != old[touched]).mean() > 0.9 or number
    shown = to_rgb(edited)[36:46, 46:70].astype(int)
    assert np.abs(shown - (200, 90, 60)).max() <= 2
    # A weight of 0.004 changes luma by less than one 8-bit level, but visibly in 10 bits only if the depth is kept.
    row = planes_of(edited)[0][33, 43:71].astype(int) - before[0][33, 43:71]
    assert np.abs(row).max() <= 4


def test_impossible_combinations_are_rejected(tmp_path: Path) -> None:
    deep = open_source(deep_clip(tmp_path / "deep.mkv"))
    plain = open_source(deep_clip(tmp_path / "plain.mkv", "yuv420p"))
    assert choose_encoding(plain).codec == "h264" and choose_encoding(plain).pixel_format.name == "yuv420p"
    assert choose_encoding(plain, codec="prores").pixel_format.name == "yuv422p10le"
    assert choose_encoding(deep, bit_depth=8).pixel_format.name == "yuv420p"
    cases = [
        {"codec": "prores", "bit_depth": 8},
        {"codec": "h264", "bit_depth": 12},
        {"codec": "hevc", "pixel_format": "yuv420p", "bit_depth": 10},
        {"codec": "prores", "pixel_format": "yuv444p10le", "profile": "hq"},
    ]
    for options in cases:
        with pytest.raises(OutputError) as error:
            choose_encoding(deep, **options)
        assert error.value.code == "unsupported-pixel-format", options
    pairs = [("a.mp4", "prores", "aac"), ("a.mov", "ffv1", "pcm"), ("a.mp4", "h264", "pcm"), ("a.mov", "h264", "flac")]
    for name, video, audio in pairs:
        with pytest.raises(OutputError, match=r"cannot contain") as error:
            check_container(Path(name), video, audio)
        assert error.value.code == "codec-not-in-container"
    check_container(Path("a.MKV"), "ffv1", "flac")


def test_hardware_encoders_are_checked_before_work(tmp_path: Path) -> None:
    source = open_source(deep_clip(tmp_path / "plain.mkv", "yuv420p"))
    for accelerator, format_name in (("nvenc", "yuv420p"), ("qsv", "nv12")):
        encoding = choose_encoding(source, accelerator=accelerator, crf=23)
        assert encoding.encoder == f"h264_{accelerator}" and encoding.encoder_format == format_name
        assert "23" in encoding.options().values() and "crf" not in encoding.options()
    with pytest.raises(OutputError) as error:
        choose_encoding(source, accelerator="qsv", codec="ffv1")
    assert error.value.code == "unsupported-pixel-format"
    check_encoder(choose_encoding(source))
    missing = "videotoolbox" if sys.platform != "darwin" else "qsv"
    with pytest.raises(OutputError) as error:
        check_encoder(choose_encoding(source, accelerator=missing))
    assert error.value.code == "encoder-not-available" and f"does not contain h264_{missing}" in str(error.value)
