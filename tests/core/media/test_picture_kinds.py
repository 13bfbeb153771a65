"""Videos whose picture has properties that the output does not have, or that change within the file."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from retalkit.media.deinterlacing import deinterlaced
from retalkit.media.frame_editing import to_rgb
from retalkit.media.frame_index import rate_warnings
from retalkit.media.matroska_crop import matroska_crop
from retalkit.media.pixel_format import format_named
from retalkit.media.sources import open_source

WIDTH, HEIGHT = 64, 48


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return an image whose left half is bright and whose right half becomes brighter with each frame."""
    image = np.full((height, width, 3), 200, np.uint8)
    image[:, width // 2 :] = 40 + 8 * number
    return image


def write(path: Path, size=(WIDTH, HEIGHT), rate=25, codec="libx264", pixels="yuv420p", options=None, images=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        for number in range(10):
            image = picture(number, *size) if images is None else images[number]
            form = "rgb24" if image.shape[2] == 3 else "rgba"
            frame = av.VideoFrame.from_ndarray(image, format=form).reformat(format=pixels)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("size", [(32, 24), (128, 96), (32, 48)])
def test_frames_of_a_different_size_are_scaled_to_the_first_size(tmp_path: Path, size: tuple[int, int]) -> None:
    first, second = write(tmp_path / "1.ts"), write(tmp_path / "2.ts", size)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    source = open_source(path)
    assert source.size == (WIDTH, HEIGHT) and source.info.frame_count == 20
    images = dict(source.read(range(20)))
    assert {image.shape for image in images.values()} == {(HEIGHT, WIDTH, 3)}
    assert "size of the video changes (first: frame 10" in source.warnings[-1]
    # The aspect ratio is kept, so a narrower picture has black borders.
    shown = min(WIDTH, size[0] * HEIGHT // size[1])
    border = (WIDTH - shown) // 2
    middle = images[15][HEIGHT // 2].astype(int)
    assert abs(middle[border + shown // 4].mean() - 200) < 8
    assert abs(middle[WIDTH - border - shown // 4].mean() - 80) < 8
    assert border == 0 or middle[: border - 2].max() < 8
    deep = format_named("420", 10)
    frames = [frame for _, frame in source.read_video_frames([2, 15], deep)]
    assert all((frame.width, frame.height, frame.format.name) == (WIDTH, HEIGHT, deep.name) for frame in frames)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le"])
def test_interlaced_video_is_deinterlaced_in_any_order(tmp_path: Path, pixels: str) -> None:
    images = []
    for number in range(10):
        # A bar moves by 2 pixels from field to field.
        image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        for field in range(2):
            left = 6 + 2 * (2 * number + field)
            image[field::2, left : left + 12] = 220
        images.append(image)
    options = {"preset": "ultrafast", "x264-params": "interlaced=1:tff=1", "crf": "8", "g": "4", "bf": "0"}
    source = open_source(write(tmp_path / "a.mp4", options=options, images=images, pixels=pixels))
    assert any("deinterlaced" in warning for warning in source.warnings)
    ascending = dict(source.read(range(10)))
    for number, image in ascending.items():
        # The edges of the bar of the upper field are straight.
        left = 6 + 4 * number
        rows = image[8:-8].astype(int).mean(2)
        assert abs(rows[:, left + 6] - 220).max() < 30 and abs(rows[:, left - 4] - 40).max() < 30
        assert np.abs(np.diff(rows, axis=0)).mean() < 6
    for position in (9, 8, 4, 5, 0):
        assert np.array_equal(next(source.read([position]))[1], ascending[position])


def test_progressive_frames_keep_their_samples() -> None:
    frames = [av.VideoFrame.from_ndarray(picture(number), format="rgb24") for number in range(3)]
    for number, frame in enumerate(frames):
        frame.pts = 7 * number
    results = list(deinterlaced(iter(frames)))
    assert [frame.pts for frame in results] == [0, 7, 14]
    assert all(np.array_equal(frame.to_ndarray(), picture(number)) for number, frame in enumerate(results))


def test_low_frame_rate_is_reported(tmp_path: Path) -> None:
    assert "12 frames per second" in open_source(write(tmp_path / "a.mp4", rate=12)).warnings[0]
    assert open_source(write(tmp_path / "b.mp4", rate=15)).warnings == []
    # A pause does not lower the rate, and rounded timestamps do not either.
    assert rate_warnings(tmp_path / "c.mkv", np.array([0.04, 0.04, 3.0, 0.04])) == []
    assert rate_warnings(tmp_path / "c.mkv", np.array([0.067, 0.067, 0.066])) == []
    assert rate_warnings(tmp_path / "c.mkv", np.zeros(0)) == []


def test_transparency_is_reported(tmp_path: Path) -> None:
    alpha = np.full((HEIGHT, WIDTH, 1), 128, np.uint8)
    images = [np.dstack([picture(number), alpha]) for number in range(10)]
    source = open_source(write(tmp_path / "a.mov", codec="png", pixels="rgba", options={}, images=images))
    assert any("transparency" in warning for warning in source.warnings)
    # FFmpeg's decoder of VP9 ignores the alpha channel.
    path = write(tmp_path / "b.webm", codec="libvpx-vp9", pixels="yuva420p", options={"cpu-used": "8"}, images=images)
    assert any("transparency" in warning for warning in open_source(path).warnings)
    Image.fromarray(picture(0)).save(tmp_path / "c.gif", save_all=True, append_images=[Image.fromarray(picture(9))])
    assert not any("transparency" in warning for warning in open_source(tmp_path / "c.gif").warnings)
    assert abs(next(source.read([0]))[1][24, 10].mean() - 200) < 4


def add_clean_aperture(path: Path, width: int, height: int, across: int, down: int) -> None:
    """Insert a box ``clap`` into the only track of an mp4 file whose index follows the data."""
    box = struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, across, 1, down, 1)
    data = bytearray(path.read_bytes())
    table = data.index(b"stsd")
    entry = data.index(b"avc1", table) - 4
    end = entry + struct.unpack_from(">I", data, entry)[0]
    names = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    for place in (entry, *(data.rindex(name, 0, table + 4) - 4 for name in names)):
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(box))
    path.write_bytes(data[:end] + box + data[end:])


def test_clean_aperture_is_cropped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    whole = next(open_source(path).read([4]))[1]
    add_clean_aperture(path, 32, 24, 4, -2)
    source = open_source(path)
    assert source.size == (32, 24)
    # The centre of the aperture lies 4 pixels to the right of the centre of the picture and 2 pixels above it.
    assert np.array_equal(next(source.read([4]))[1], whole[10:34, 20:52])
    frame = next(source.read_video_frames([4], format_named("444", 10)))[1]
    assert (frame.width, frame.height) == (32, 24)
    assert abs(to_rgb(frame)[12, 2].astype(int).mean() - 200) < 8


def element(name: int, data: bytes) -> bytes:
    """Return an EBML element with a size of 8 bytes."""
    size = (len(data) | 1 << 56).to_bytes(8, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + data


def with_crop(data: bytes, crop: bytes) -> bytes:
    """Return a sequence of EBML elements with ``crop`` appended to the video settings of all tracks."""
    changed, place = b"", 0
    while place < len(data):
        length = 9 - data[place].bit_length()
        name = int.from_bytes(data[place : place + length], "big")
        start = place + length + 9 - data[place + length].bit_length()
        size = int.from_bytes(data[place + length : start], "big") & ((1 << 7 * (start - place - length)) - 1)
        content = data[start : start + size]
        if name in (0x18538067, 0x1654AE6B, 0xAE):
            # The segment, the list of tracks, and a track.
            changed += element(name, with_crop(content, crop))
        else:
            changed += element(name, content + crop) if name == 0xE0 else data[place : start + size]
        place = start + size
    return changed


@pytest.mark.parametrize("checksum", ["00000000", "01820e2e", "ffffffff", "ae81e0e0"])
def test_cropping_of_mkv_files_is_applied(tmp_path: Path, checksum: str) -> None:
    path = write(tmp_path / "a.mkv")
    assert matroska_crop(path, 0, WIDTH, HEIGHT) is None
    whole = next(open_source(path).read([4]))[1]
    plain = path.read_bytes()
    # The list of tracks starts with a checksum, whose 4 bytes differ in each file, because tracks have random numbers.
    place = plain.index(bytes.fromhex("bf84"), plain.rindex(bytes.fromhex("1654ae6b"))) + 2
    plain = plain[:place] + bytes.fromhex(checksum) + plain[place + 4 :]
    edges = ((0x54CC, 20), (0x54BB, 10), (0x54DD, 12), (0x54AA, 14))
    path.write_bytes(with_crop(plain, b"".join(element(name, bytes([value])) for name, value in edges)))
    source = open_source(path)
    assert source.size == (32, 24)
    assert np.array_equal(next(source.read([4]))[1], whole[10:34, 20:52])
    damaged = path.read_bytes()
    for length in range(0, 600, 7):
        path.write_bytes(damaged[:length])
        matroska_crop(path, 0, WIDTH, HEIGHT)
    path.write_bytes(with_crop(plain, element(0x54CC, b"\xff")))
    assert matroska_crop(path, 0, WIDTH, HEIGHT) is None
