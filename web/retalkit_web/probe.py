"""Examination of an uploaded file in a separate process, so that a malicious file cannot harm the server.

``python -m retalkit_web.probe FILE KIND SECONDS`` prints a JSON object with the properties of the file, or with an
error.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

MAX_PIXELS: Final = 40_000_000
"""Maximum number of pixels of a frame or photo."""
MAX_FRAMES: Final = 500_000
MAX_TEXT: Final = 200_000
"""Maximum size of a text file in bytes."""
CPU_SECONDS: Final = 60
_MEMORY: Final = 6 << 30
_PLAYABLE: Final = {"h264": ("yuv420p", "yuvj420p"), "vp8": ("yuv420p",), "vp9": ("yuv420p",), "av1": ("yuv420p",)}
_BROWSER_SUFFIXES: Final = (".mp4", ".m4v", ".mov", ".webm")
_BROWSER_PHOTOS: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_TEXT: Final = {"transcript": (".txt", ".srt", ".vtt"), "motion": (".csv", ".json")}


def main(arguments: list[str]) -> None:
    """Print the properties of a file as JSON."""
    _limit_resources()
    path, kind, seconds = Path(arguments[0]), arguments[1], float(arguments[2])
    from retalkit.errors import RetalkitError

    try:
        found = examine(path, kind, seconds)
    except RetalkitError as error:
        found = {"error": {"code": error.code, "message": str(error)}}
    except (MemoryError, RecursionError):
        found = {"error": {"code": "file-too-complex", "message": f"{path.name}: the file needs too much memory"}}
    sys.stdout.write(json.dumps(found))


def _limit_resources() -> None:
    with suppress(ImportError):
        import resource

        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def examine(path: Path, kind: str, longest: float) -> dict[str, Any]:
    """Return the properties of an uploaded file. ``longest``: maximum duration in seconds.

    Raises InputError, ConfigError or WebError if the file cannot be used.
    """
    if kind == "video":
        return _video(path, longest)
    if kind == "sound":
        return _sound(path, longest)
    if kind == "transcript":
        return _text(path, kind)
    return _motion(path)


def _video(path: Path, longest: float) -> dict[str, Any]:
    from retalkit.media.image_files import file_kind
    from retalkit.media.sound import has_sound
    from retalkit.media.sources import open_source

    kind = file_kind(path)
    playable = False
    if kind == "video":
        playable = _check_stream(path, longest)
    else:
        _check_image(path)
    source = open_source(path)
    info = source.info
    if info.is_photo:
        return _photo(path, info.width, info.height)
    _check_duration(path, info.duration, longest)
    if info.frame_count > MAX_FRAMES:
        raise _too_large(path, f"the video has {info.frame_count} frames; the limit is {MAX_FRAMES}")
    return {
        "kind": "video",
        "seconds": info.duration,
        "width": info.width,
        "height": info.height,
        "rate": float(source.rate),
        "sound": kind == "video" and has_sound(path),
        "playable": playable,
    }


def _check_stream(path: Path, longest: float) -> bool:
    """Check the size and the duration in the header of a video. Return whether browsers can play the video."""
    from retalkit.media.containers import open_media, video_stream

    with open_media(path) as container:
        stream = video_stream(container, path)
        _check_pixels(path, stream.width, stream.height)
        _check_duration(path, (container.duration or 0) / 1e6, longest)
        pixels = _PLAYABLE.get(stream.codec_context.name, ())
        return stream.codec_context.pix_fmt in pixels and path.suffix.lower() in _BROWSER_SUFFIXES


def _photo(path: Path, width: int, height: int) -> dict[str, Any]:
    playable = path.suffix.lower() in _BROWSER_PHOTOS
    return {"kind": "photo", "width": width, "height": height, "playable": playable}


def _check_image(path: Path) -> None:
    """Read only the header of an image, because a small file can decode to an enormous image."""
    import warnings

    from PIL import Image
    from retalkit.errors import InputError
    from retalkit.media.image_files import open_image

    with warnings.catch_warnings():
        # The number of pixels is checked below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with open_image(path) as image:
                width, height = image.size
        except InputError as error:
            if isinstance(error.__cause__, Image.DecompressionBombError):
                raise _too_large(path, "the image has too many pixels") from error
            raise
    _check_pixels(path, width, height)


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width} x {height} pixels; the limit is {MAX_PIXELS // 1_000_000} megapixels")


def _sound(path: Path, longest: float) -> dict[str, Any]:
    from retalkit.media.containers import check_file, open_media
    from retalkit.media.sound import open_sound

    check_file(path)
    with open_media(path) as container:
        _check_duration(path, (container.duration or 0) / 1e6, longest)
    sound = open_sound(path)
    _check_duration(path, sound.duration, longest)
    return {"kind": "sound", "seconds": sound.duration, "sound": True}


def _text(path: Path, kind: str) -> dict[str, Any]:
    from retalkit.errors import InputError

    if path.suffix.lower() not in _TEXT[kind]:
        raise InputError(f"{path.name}: expected a {', '.join(_TEXT[kind])} file", code="unsupported-file")
    if path.stat().st_size > MAX_TEXT:
        raise _too_large(path, f"the limit of text files is {MAX_TEXT // 1000} kB")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: the file is not encoded in UTF-8", code="unreadable-file") from error
    if "\0" in text:
        raise InputError(f"{path.name}: the file is not a text file", code="unreadable-file")
    return {"kind": kind}


def _motion(path: Path) -> dict[str, Any]:
    from retalkit.errors import InputError
    from retalkit.media.motion_files import read_motion

    if path.suffix.lower() not in _TEXT["motion"]:
        raise InputError(f"{path.name}: expected a .csv or .json file", code="unsupported-file")
    table = read_motion(path)
    return {"kind": "motion", "seconds": float(table.times[-1])}


def _check_duration(path: Path, seconds: float, longest: float) -> None:
    if seconds > longest:
        raise _too_large(path, f"{seconds:.0f} s; the limit of this server is {longest:.0f} s", "file-too-long")


def _too_large(path: Path, reason: str, code: str = "file-too-large") -> Exception:
    from retalkit_web.settings import WebError

    return WebError(f"{path.name}: {reason}", code=code)


if __name__ == "__main__":
    main(sys.argv[1:])
