"""Opening media files and saying in one line what is wrong with those that cannot be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from retalkit.errors import InputError

_TEXT_ART_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}
"""Demuxers that turn any text or binary file into a picture; nobody means them."""
_PICTURE_FORMATS = {"image2", "gif", "apng", "webp"}


@dataclass(frozen=True, slots=True)
class VideoProbe:
    """What a file's header says, without decoding: good for checking a run before it starts."""

    path: Path
    width: int
    """Stored width in pixels; rotation metadata not applied. 0 for photos, which have no header that we read."""
    height: int
    rate: Fraction | None
    """Mean frames a second, as the header has it."""
    duration: float | None
    """Seconds, as the header has it."""
    codec: str
    pixel_format: str
    has_sound: bool
    is_photo: bool


def check_file(path: Path) -> None:
    """Raises InputError where ``path`` is missing, a folder, empty or not readable."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a media file inside it")
    if not path.exists():
        raise InputError(f"{path} does not exist: check the path")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file: give a media file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read: you have no permission to")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): copy or record it again")


def open_media(path: Path) -> InputContainer:
    """Opens a local file for reading; the caller closes it.

    Raises:
        InputError: missing, a folder, empty, no permission, not media, or an mp4 that lost its index.
    """
    check_file(path)
    try:
        # "file:" keeps names with a colon from being read as network addresses, and the whitelist keeps playlists
        # from opening any.
        container = av.open(f"file:{path}", "r", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        if _looks_like_mp4(path):
            raise InputError(
                f"{path} is an mp4 or mov without its index (moov), so it was cut off or never finished: "
                "copy or record it again"
            ) from error
        raise InputError(
            f"{path} is not media that ffmpeg can read ({reason(error)}): convert it to mp4 or wav"
        ) from error
    if container.format.name in _TEXT_ART_FORMATS:
        container.close()
        raise InputError(f"{path} is not media that ffmpeg can read (it looks like text): convert it to mp4 or wav")
    return container


def reason(error: BaseException) -> str:
    """ffmpeg's own words for an error, short and on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream that shows the video: the default one, never a cover image.

    Raises:
        InputError: the file has no picture.
    """
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
    ]
    if not streams:
        if container.streams.audio:
            raise InputError(f"{path} has sound but no picture; give it as SPEECH, and a video or photo as VIDEO")
        raise InputError(f"{path} has no picture: give a video or a photo")
    defaults = [stream for stream in streams if stream.disposition & Disposition.default]
    return (defaults or streams)[0]


def is_photo_file(path: Path) -> bool:
    """True for still pictures that OpenCV reads (png, jpeg, webp, tiff, bmp ...); animations are videos."""
    check_file(path)
    with path.open("rb") as file:
        start = file.read(6)
    return start[:4] != b"GIF8" and bool(cv2.haveImageReader(str(path)))


def is_picture_container(container: InputContainer) -> bool:
    """True where ffmpeg read the file as a picture rather than a video."""
    name = container.format.name
    return name.endswith("_pipe") or name in _PICTURE_FORMATS


def probe_video(path: Path) -> VideoProbe:
    """Checks that ``path`` is a video or photo that can be opened, without decoding it.

    Raises:
        InputError: missing, a folder, empty, not media, sound only.
    """
    if is_photo_file(path):
        return VideoProbe(path, 0, 0, None, None, "photo", "rgb24", has_sound=False, is_photo=True)
    with open_media(path) as container:
        stream = picture_stream(container, path)
        duration = None if container.duration is None else container.duration / av.time_base
        if stream.duration is not None and stream.time_base is not None:
            duration = float(stream.duration * stream.time_base)
        return VideoProbe(
            path=path,
            width=stream.width,
            height=stream.height,
            rate=stream.average_rate,
            duration=duration,
            codec=stream.codec_context.name,
            pixel_format=stream.pix_fmt or "",
            has_sound=bool(container.streams.audio),
            is_photo=is_picture_container(container) and stream.frames <= 1,
        )


def _looks_like_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")
