"""Validation and opening of media files, with one-line error messages for unusable files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from retalkit.errors import InputError
from retalkit.media.jpeg_stream import is_jpeg_stream
from retalkit.media.png_stream import is_png_stream
from retalkit.paths import check_encoding, missing

_TEXT_ART_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}
"""Rejected demuxers, which render arbitrary text or binary files as images."""
_IMAGE_FORMATS = {"image2", "gif", "apng", "webp"}
_PLAYLIST_FORMATS = {"hls", "dash", "concat", "imf", "sdp", "rtsp", "rtp", "sap", "vobsub", "webm_dash_manifest"}
"""Rejected demuxers, which read files or addresses that the file names."""
_MOST_UNDECLARED = 10_000
"""Maximum number of packets of undeclared streams that are skipped in one file."""


def check_file(path: Path) -> None:
    """Raise InputError if ``path`` is missing, a directory, empty or not readable, or has a name that is not text."""
    check_encoding(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(missing(path), code="file-not-found") from error
    except OSError as error:
        raise InputError(f"{path}: cannot open the file: {reason(error)}", code="unreadable-file") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: expected a media file, got a directory", code="path-is-directory")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: expected a media file, got a special file", code="not-a-regular-file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: permission denied; make the file readable", code="permission-denied")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes); copy or record the file again", code="empty-file")


def open_media(path: Path) -> InputContainer:
    """Open a local file for reading. The caller must close the returned container.

    Raises:
        InputError: the path is missing, a directory, empty or not readable, the file is not a media file, the file is
            a playlist, or the file is an mp4 file without an index.
    """
    check_file(path)
    try:
        # The protocol whitelist prevents playlists from opening network addresses, and the empty list of extensions
        # prevents HLS and DASH playlists from opening other files before the format is known.
        # FFmpeg selects a demuxer for one image if the name of a JPEG stream ends in .jpg.
        demuxer = "mjpeg" if is_jpeg_stream(path) else "png_pipe" if is_png_stream(path) else None
        options = {"protocol_whitelist": "file", "allowed_extensions": "none"}
        container = av.open(file_url(path), "r", format=demuxer, options=options, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        if _looks_like_playlist(path):
            raise _playlist(path) from error
        if _looks_like_mp4(path):
            raise InputError(
                f"{path}: the mp4 or mov file is truncated or incomplete (it has no moov index); "
                "copy or record the file again",
                code="truncated-file",
            ) from error
        raise InputError(
            f"{path}: FFmpeg cannot read the file ({reason(error)}); convert the file to mp4 or wav",
            code="unreadable-media",
        ) from error
    if container.format.name in _PLAYLIST_FORMATS:
        container.close()
        raise _playlist(path)
    if container.format.name in _TEXT_ART_FORMATS:
        container.close()
        raise InputError(
            f"{path}: not a media file (FFmpeg detected a text format); use an mp4 or wav file", code="unreadable-media"
        )
    return container


def file_url(path: Path) -> str:
    """Return the URL of a file for FFmpeg, which would take the part of a name before a colon for a protocol."""
    return f"file:{path}"


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, preferably from ``strerror``."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


def has_pictures(container: InputContainer) -> bool:
    """Return whether the file has a video stream other than cover images."""
    return bool(_pictures(container))


def _pictures(container: InputContainer) -> list[VideoStream]:
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & covers and has_decoder(stream)]


def has_decoder(stream: Stream) -> bool:
    """Return whether FFmpeg can decode a stream. PyAV creates no codec context for other streams."""
    context: Any = stream.codec_context
    return context is not None


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the default video stream, ignoring cover images.

    Raises:
        InputError: the file has no video stream.
    """
    streams = _pictures(container)
    if not streams:
        if any(not has_decoder(stream) for stream in container.streams.video):
            kind = (
                "image; save it as a PNG or JPEG file" if is_image_container(container) else "video; convert it to mp4"
            )
            raise InputError(
                f"{path}: FFmpeg cannot decode the format of the {kind}",
                code="unsupported-codec",
            )
        if container.streams.audio:
            raise InputError(
                f"{path}: the file has audio but no video stream; "
                "pass the file as SPEECH and a video or still image as VIDEO",
                code="no-video-stream",
            )
        raise InputError(f"{path}: the file has no video stream; use a video or a still image", code="no-video-stream")
    defaults = [stream for stream in streams if stream.disposition & Disposition.default]
    return (defaults or streams)[0]


def is_image_container(container: InputContainer) -> bool:
    """Return whether FFmpeg opened the file with an image demuxer instead of a video demuxer."""
    name = container.format.name
    return name.endswith("_pipe") or name in _IMAGE_FORMATS


def _playlist(path: Path) -> InputError:
    return InputError(
        f"{path}: the file is a playlist that refers to other files; join the media into one mp4 or wav file",
        code="playlist-file",
    )


def _looks_like_playlist(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(10).startswith((b"#EXTM3U", b"ffconcat", b"v=0"))


def _looks_like_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")


def demux(container: InputContainer, streams: Any) -> Iterator[av.Packet[Any]]:
    """Yield the packets of one stream or of a list of streams.

    Damaged files can contain packets of streams that they have not declared. PyAV stops at these packets with an
    IndexError, so that reading continues after them.
    """
    for _ in range(_MOST_UNDECLARED):
        try:
            yield from container.demux(streams)
            return
        except IndexError:
            continue
