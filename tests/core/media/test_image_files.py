"""Classification and orientation of images."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from media_clips import frame_image
from PIL import Image
from retalkit.errors import InputError
from retalkit.media.image_files import file_kind, read_photo
from retalkit.media.photo_source import PhotoSource
from retalkit.media.sources import AnimationSource, VideoSource, open_source

ORIENTATION = 0x0112


def jpeg(number: int) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(frame_image(number)).save(stored, "JPEG", quality=92)
    return stored.getvalue()


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    shown = frame_image(3)
    stored = {3: shown[::-1, ::-1], 5: shown.swapaxes(0, 1), 6: np.rot90(shown), 8: np.rot90(shown, -1)}[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    # The name does not matter.
    path = tmp_path / "turned.bin"
    with path.open("wb") as file:
        options = {"lossless": True} if suffix == "webp" else {"quality": 95}
        format_name = "jpeg" if suffix == "jpg" else suffix
        Image.fromarray(np.ascontiguousarray(stored)).save(file, format_name, exif=exif, **options)
    source = open_source(path)
    assert source.info.is_photo
    assert source.size == (shown.shape[1], shown.shape[0])
    assert np.abs(next(source.read([0]))[1].astype(int) - shown).mean() < 6


@pytest.mark.parametrize("suffix", ["png", "webp", "avif"])
def test_animation_keeps_its_frames_and_durations(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving.{suffix}"
    images = [Image.fromarray(frame_image(number)) for number in (0, 7, 14, 21)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[80, 40, 120, 80])
    source = open_source(path)
    assert isinstance(source, AnimationSource) and not source.info.is_photo
    assert source.info.duration == pytest.approx(0.32)
    assert source.times(0, 4) == pytest.approx([0, 0.08, 0.12, 0.24])
    for index, image in source.read([0, 1, 2, 3, 2, 1, 0]):
        assert np.abs(image.astype(int) - frame_image(7 * index)).mean() < 8


def test_image_with_one_frame_of_an_animation_format_is_a_photo(tmp_path: Path) -> None:
    for suffix in ("png", "webp", "avif"):
        Image.fromarray(frame_image(0)).save(tmp_path / f"a.{suffix}", save_all=True)
        assert isinstance(open_source(tmp_path / f"a.{suffix}"), PhotoSource)


@pytest.mark.parametrize("name", ["a.mjpeg", "a.jpg", "a.bin"])
def test_stream_of_jpeg_images_is_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"".join(jpeg(number) for number in range(5)))
    source = open_source(tmp_path / name)
    assert isinstance(source, VideoSource) and source.info.frame_count == 5
    for index, image in source.read([4, 0, 2]):
        assert np.abs(image.astype(int) - frame_image(index)).mean() < 8


@pytest.mark.parametrize("name", ["a.png", "a.bin"])
def test_stream_of_png_images_is_a_video(tmp_path: Path, name: str) -> None:
    stored = io.BytesIO()
    for number in range(5):
        Image.fromarray(frame_image(number)).save(stored, "PNG")
    (tmp_path / name).write_bytes(stored.getvalue())
    source = open_source(tmp_path / name)
    assert isinstance(source, VideoSource) and source.info.frame_count == 5
    assert all(np.abs(image.astype(int) - frame_image(index)).mean() < 8 for index, image in source.read([4, 0, 2]))


def test_image_for_other_programs_is_not_part_of_the_animation(tmp_path: Path) -> None:
    images = [Image.fromarray(frame_image(number)) for number in (0, 7, 14, 21)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:], duration=40, default_image=True)
    source = open_source(tmp_path / "a.png")
    assert source.info.frame_count == 3 and source.info.duration == pytest.approx(0.12)
    for index, image in source.read([2, 0, 1]):
        assert np.abs(image.astype(int) - frame_image(7 * (index + 1))).mean() < 8


def test_further_pages_of_a_tiff_file_are_reported(tmp_path: Path) -> None:
    images = [Image.fromarray(frame_image(number)) for number in range(3)]
    images[0].save(tmp_path / "a.tif", save_all=True, append_images=images[1:])
    assert "first of 3 images" in open_source(tmp_path / "a.tif").warnings[0]


def test_jpeg_with_appended_data_is_a_photo(tmp_path: Path) -> None:
    small = io.BytesIO()
    Image.fromarray(frame_image(1)).resize((32, 24)).save(small, "JPEG")
    pair = io.BytesIO()
    second = Image.fromarray(frame_image(1))
    Image.fromarray(frame_image(0)).save(pair, "MPO", save_all=True, append_images=[second])
    for number, data in enumerate((jpeg(0) + small.getvalue(), jpeg(0) + b"\0\0\0\x18ftypmp42", pair.getvalue())):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(data)
        assert file_kind(path) == "photo"


def test_transparent_pixels_become_black_with_a_warning(tmp_path: Path) -> None:
    alpha = np.full((*frame_image(0).shape[:2], 1), 255, np.uint8)
    alpha[:, :20] = 0
    for suffix in ("png", "webp"):
        path = tmp_path / f"cut.{suffix}"
        Image.fromarray(np.dstack([frame_image(0), alpha])).save(path, lossless=True)
        source = open_source(path)
        image = next(source.read([0]))[1]
        assert not image[:, :20].any() and np.array_equal(image[:, 20:], frame_image(0)[:, 20:])
        assert "transparency" in source.warnings[0]


def test_heic_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(InputError, match=r"retalkit\[heif\]") as failure:
        open_source(path)
    assert failure.value.code == "unreadable-image"
    # With the package, the file is read, and this one is damaged.
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=lambda: None))
    with pytest.raises(InputError):
        open_source(path)


def test_huge_photo_is_reduced_or_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    Image.new("RGB", (400, 100), "red").save(path)
    monkeypatch.setattr("retalkit.media.image_files.LARGEST_PHOTO", 10_000)
    image, notes = read_photo(path)
    assert image.shape == (50, 200, 3) and "400x100 to 200x50" in notes[0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(InputError) as error:
        read_photo(path)
    assert error.value.code == "image-too-large"


def test_image_reader_is_found_in_every_locale(tmp_path: Path) -> None:
    path = tmp_path / "bild-\u00e4.bmp"
    Image.new("RGB", (8, 8)).save(path)
    assert file_kind(path) == "photo"


@pytest.mark.parametrize("frames", [1, 2])
def test_damaged_avif_files_are_rejected_with_one_line(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "damaged.avif"
    first, *others = (Image.fromarray(frame_image(number)).resize((48, 32)) for number in range(frames))
    first.save(path, quality=50, save_all=frames > 1, append_images=others, duration=40)
    content = path.read_bytes()
    rejected: set[str] = set()
    for place in range(16, content.index(b"mdat"), frames):
        path.write_bytes(content[:place] + b"\0" + content[place + 1 :])
        try:
            open_source(path)
        except InputError as error:
            rejected.add(error.code)
    assert "unreadable-image" in rejected


def test_damaged_animated_png_is_not_decoded_by_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "damaged.png"
    frames = [Image.fromarray(frame_image(number)) for number in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    content = path.read_bytes()
    place = content.index(b"acTL")
    # A file without a valid animation is a photo. OpenCV's decoder crashes for some of these files.
    path.write_bytes(content[: place - 4] + content[place + 16 :])
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded by OpenCV"))
    assert file_kind(path) == "photo"
    image, _ = read_photo(path)
    assert image.shape == frame_image(0).shape


def test_damaged_second_page_of_a_tiff_file_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "pages.tiff"
    first, second = (Image.fromarray(frame_image(number)) for number in range(2))
    first.save(path, save_all=True, append_images=[second])
    content = bytearray(path.read_bytes())
    # The second page has no width (tag 256, type 4), for which Pillow raises TypeError.
    place = content.rindex(struct.pack("<HHI", 256, 4, 1))
    content[place : place + 2] = struct.pack("<H", 250)
    path.write_bytes(content)
    image, notes = read_photo(path)
    assert np.array_equal(image, frame_image(0)) and not notes
