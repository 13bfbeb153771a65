"""Classification of files as photos, animations or videos by their content, and decoding of photos.

The name of a file is ignored. JPEG, PNG, TIFF, BMP and similar files are decoded by OpenCV, AVIF and HEIC files by
Pillow. All formats are rotated according to their EXIF orientation.
"""

from __future__ import annotations

import importlib
import os
import struct
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from retalkit.errors import InputError
from retalkit.media.containers import check_file
from retalkit.media.jpeg_stream import is_jpeg_stream
from retalkit.media.png_stream import is_png_stream

FileKind = Literal["photo", "animation", "video"]

_STILLS: Final = frozenset((b"avif", b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"))
_SEQUENCES: Final = frozenset((b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"))
"""Brands of AVIF and HEIF files (ISO 23008-12)."""
_HEIF: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
LARGEST_PHOTO: Final = 7680 * 4320
"""Maximum number of pixels of a photo. Larger photos are reduced."""
_LONGEST_SIDE: Final = 16384
_ORIENTATION = 0x0112
"""EXIF tag of the orientation."""
_PNG = b"\x89PNG\r\n\x1a\n"
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
    Image.DecompressionBombError,
)
"""Errors that Pillow raises for damaged files, which include those that usually indicate a bug. For example, the AVIF
decoder divides by the stored time base, and the TIFF decoder raises TypeError if a page has no size."""


def file_kind(path: Path) -> FileKind:
    """Return whether a file is a photo, an animation that only Pillow decodes, or a video for FFmpeg.

    Animated PNG, WebP, AVIF and HEIF files with several frames are animations. GIF files, and streams of several JPEG
    or PNG images without a container, are videos. A JPEG file with appended images or videos, such as a panorama, a
    gain map or a motion photo, is a photo.

    Raises InputError if the file cannot be opened.
    """
    check_file(path)
    with path.open("rb") as file:
        start = file.read(64)
    if start[:4] == b"GIF8":
        return "video"
    if start[:3] == b"\xff\xd8\xff":
        return "video" if is_jpeg_stream(path) else "photo"
    if start[:8] == _PNG or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        if start[:1] == b"\x89" and is_png_stream(path):
            return "video"
        return "animation" if _frame_count(path) > 1 else "photo"
    brands = _brands(start)
    if brands and brands[0] in _STILLS | _SEQUENCES:
        return "animation" if _SEQUENCES.intersection(brands) and _frame_count(path) > 1 else "photo"
    return "photo" if _has_reader(path) else "video"


def open_image(path: Path) -> Image.Image:
    """Open an image or animation with Pillow, and with pillow-heif if it is installed.

    Raises InputError if Pillow cannot read the file.
    """
    with path.open("rb") as file:
        brands = _brands(file.read(64))
    if brands and brands[0] not in (b"avif", b"avis"):
        _register_heif()
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        if _HEIF.intersection(brands):
            raise InputError(
                f"{path}: HEIC images require the package pillow-heif; install retalkit[heif], "
                "or save the image as a JPEG file",
                code="unreadable-image",
            ) from error
        raise unreadable_image(path) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except PILLOW_ERRORS as error:
        raise unreadable_image(path) from error


def _too_large(path: Path) -> InputError:
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
    return InputError(
        f"{path}: the image has more than {limit} megapixels; reduce it to at most 33 megapixels",
        code="image-too-large",
    )


def read_photo(path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the upright image, RGB uint8 [H, W, 3], and warnings. Transparent pixels become black.

    An image with more than 33 megapixels is reduced to this size. Raises InputError if the file cannot be read, or if
    the image is so large that decoding it could exhaust the memory.
    """
    image, notes = _decoded(path)
    height, width = image.shape[:2]
    factor = (LARGEST_PHOTO / (width * height)) ** 0.5
    # Encoders reject frames whose long side has more pixels.
    factor = min(factor, _LONGEST_SIDE / max(width, height))
    if factor >= 1:
        return image, notes
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    reduced = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    note = f"{path.name}: the photo is reduced from {width}x{height} to {size[0]}x{size[1]} pixels"
    return reduced, [*notes, note]


def _decoded(path: Path) -> tuple[NDArray[np.uint8], list[str]]:
    check_file(path)
    with path.open("rb") as file:
        brands = _brands(file.read(64))
    if brands:
        image = open_image(path)
        with image:
            return upright_rgb(path, image)
    if _is_animated_png(path):
        # OpenCV's decoder crashes for some damaged files.
        with open_image(path) as image:
            return upright_rgb(path, image)
    notes: list[str] = []
    try:
        with Image.open(path) as image:
            pages = int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1
            notes += [f"{path.name}: only the first of {pages} images is used"] if pages > 1 else []
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except PILLOW_ERRORS:
        # OpenCV may support a format that Pillow does not support.
        pass
    try:
        stored = np.fromfile(path, dtype=np.uint8)
        flags = cv2.IMREAD_UNCHANGED if _has_alpha(path) else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        decoded: Any = cv2.imdecode(stored, flags)
    except cv2.error as error:
        raise unreadable_image(path) from error
    if decoded is None:
        raise unreadable_image(path)
    if flags == cv2.IMREAD_UNCHANGED:
        decoded, more = _without_alpha(path, decoded)
        notes += more
    return np.ascontiguousarray(_rotated(decoded, _orientation(path)), dtype=np.uint8), notes


def _is_animated_png(path: Path) -> bool:
    """Return whether a file contains a PNG image with chunks of an animation, even if the animation is damaged."""
    content = path.read_bytes()
    return content.startswith(_PNG) and any(name in content for name in (b"acTL", b"fcTL", b"fdAT"))


def upright_rgb(path: Path, image: Image.Image) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the current frame of a Pillow image, upright, RGB uint8 [H, W, 3], and warnings.

    Raises InputError if the frame cannot be decoded.
    """
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            layered = np.asarray(upright.convert("RGBA"))
            return _composited(path, layered[..., :3], layered[..., 3])
        return np.ascontiguousarray(np.asarray(upright.convert("RGB"), dtype=np.uint8)), []
    except PILLOW_ERRORS as error:
        raise unreadable_image(path) from error


def unreadable_image(path: Path) -> InputError:
    return InputError(f"{path}: the image cannot be read; save it as a PNG or JPEG file", code="unreadable-image")


def _has_reader(path: Path) -> bool:
    """Return whether OpenCV can decode a file as an image. The decoders test the first bytes."""
    # OpenCV encodes names as UTF-8 in every locale, and terminates the process for names that are not valid UTF-8.
    try:
        return bool(cv2.haveImageReader(os.fsencode(path).decode()))
    except UnicodeDecodeError:
        with path.open("rb") as file:
            return bool(cv2.haveImageReader(f"/dev/fd/{file.fileno()}"))


def _brands(start: bytes) -> list[bytes]:
    """Return the brands of an ISO media file, the major brand first, or an empty list."""
    if start[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return [start[8:12], *(start[place : place + 4] for place in range(16, end - 3, 4))]


def _register_heif() -> None:
    try:
        heif: Any = importlib.import_module("pillow_heif")
    except ImportError:
        return
    heif.register_heif_opener()


def _frame_count(path: Path) -> int:
    try:
        with open_image(path) as image:
            return int(getattr(image, "n_frames", 1))
    except (InputError, *PILLOW_ERRORS):
        return 1


def _orientation(path: Path) -> int:
    """Return the EXIF orientation, 1 to 8, which is 1 for images without EXIF data."""
    try:
        with Image.open(path) as image:
            # The TIFF library rotates the image.
            value = 1 if image.format == "TIFF" else int(image.getexif().get(_ORIENTATION, 1))
    except PILLOW_ERRORS:
        return 1
    return value if 1 <= value <= 8 else 1


def _rotated(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return the image as it is displayed. Orientations 5 to 8 exchange width and height (EXIF 2.3, section 4.6.4)."""
    if orientation >= 5:
        image = np.swapaxes(image, 0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def _has_alpha(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return bool(image.has_transparency_data)
    except PILLOW_ERRORS:
        return False


def _without_alpha(path: Path, decoded: NDArray[Any]) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the RGB image of a decoded BGRA image of 8 or 16 bits. Other images have no alpha channel."""
    if decoded.dtype == np.uint16:
        decoded = (decoded >> 8).astype(np.uint8)
    if decoded.ndim == 2 or decoded.shape[2] != 4:
        code = cv2.COLOR_GRAY2RGB if decoded.ndim == 2 else cv2.COLOR_BGR2RGB
        return np.asarray(cv2.cvtColor(decoded, code), np.uint8), []
    return _composited(path, decoded[..., 2::-1], decoded[..., 3])


def _composited(
    path: Path, colours: NDArray[np.uint8], alpha: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], list[str]]:
    if alpha.min() == 255:
        return np.ascontiguousarray(colours), []
    shown = np.rint(colours * (alpha[..., None] / np.float32(255))).astype(np.uint8)
    return shown, [f"{path.name}: the transparency is not kept, and transparent pixels become black"]
