"""Layer file that contains only the edit, with transparency, for compositing in editing software.

While frames are rendered, the layer is stored in lossless segments. The finished layer is a ProRes 4444 file or a
directory of PNG images. Its colours are straight (not premultiplied by alpha).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy.typing import NDArray

from retalkit.errors import OutputError
from retalkit.media.colour import RANGE_LIMITED, Colour, rgb_to_yuv_planes
from retalkit.media.containers import file_url
from retalkit.media.encoding import SEGMENT_LEAD, write_error
from retalkit.media.muxing import check_output_path
from retalkit.media.pixel_format import PixelFormat, format_named
from retalkit.media.video_codec import Encoding
from retalkit.media.yuv_frames import planes_of
from retalkit.paths import check_encoding, check_name_length, link_target, missing, partial_path

LAYER_ENCODING = Encoding(codec="ffv1", pixel_format=PixelFormat("bgra", 8, 1, 1))
"""Lossless encoding of layer segments."""
_MOVIE = ".mov"
_IMAGE_NAME = "frame_{:06d}.png"
_SIGNATURE: Final = frozenset({"SHA256SUMS", "SHA256SUMS.c2pa"})
"""Files that ``provenance.sequences`` adds to the directory of a signed layer."""


def check_layer(path: Path, force: bool = False, inputs: Sequence[Path] = ()) -> None:
    """Check that a layer can be written before processing starts.

    Raises:
        OutputError: ``path`` is neither a .mov file nor a directory, cannot be written, or exists and ``force`` is
            False. A directory that contains other files than a layer's images is never replaced.
    """
    if path.suffix.lower() == _MOVIE:
        check_output_path(path, force, inputs)
        return
    check_encoding(path, OutputError)
    if path.suffix or (path.exists() and not path.is_dir()):
        raise OutputError(
            f"--layer {path}: expected a .mov file (ProRes 4444) or a directory for PNG images",
            code="unsupported-layer-format",
        )
    if not path.parent.is_dir():
        problem = f"directory {path.parent} does not exist; create the directory or choose another path"
        raise OutputError(missing(path, problem), code="directory-not-found")
    check_name_length(path)
    present = sorted(path.iterdir()) if path.is_dir() else []
    foreign = next((each for each in present if not _is_layer_file(each.name)), None)
    if foreign is not None:
        raise OutputError(
            f"{path}: the directory contains other files, such as {foreign.name}; choose an empty directory",
            code="output-exists",
        )
    if present and not force:
        raise OutputError(
            f"{path}: the directory already contains images; use --force to replace them, or choose another directory",
            code="output-exists",
        )


def _is_layer_file(name: str) -> bool:
    return name in _SIGNATURE or (name.startswith("frame_") and name.endswith(".png"))


def layer_frame(image: NDArray[np.uint8]) -> av.VideoFrame:
    """Return the frame of a layer segment for an RGBA image, uint8 [H, W, 4]."""
    stored = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA), dtype=np.uint8)
    return av.VideoFrame.from_ndarray(stored, format="bgra")


def add_to_layer(
    layer: NDArray[np.uint8], image: NDArray[np.uint8], mask: NDArray[np.float32], left: int, top: int
) -> None:
    """Place an edit over the layer in place.

    ``layer``: RGBA uint8 [H, W, 4] with straight alpha. ``image``: RGB uint8 [h, w, 3]. ``mask``: float32 [h, w] in
    [0, 1].
    """
    target = layer[top : top + mask.shape[0], left : left + mask.shape[1]]
    below = target[..., 3].astype(np.float32) / 255.0
    above = mask[..., None]
    alpha = mask + below * (1.0 - mask)
    weight = (below * (1.0 - mask))[..., None]
    colours = image * above + target[..., :3] * weight
    colours = np.where(alpha[..., None] > 0, colours / np.maximum(alpha[..., None], 1e-6), image)
    target[..., :3] = np.rint(colours)
    target[..., 3] = np.rint(alpha * 255.0)


def write_layer(
    segments: Sequence[Path],
    path: Path,
    colour: Colour,
    time_base: Fraction,
    rate: Fraction,
    on_frame: Callable[[int], None] = lambda done: None,
    finish: Callable[[Path], None] = lambda path: None,
) -> None:
    """Convert layer segments to a ProRes 4444 file or a directory of PNG images. The result is written atomically.

    ``colour``: colour description of the video, which the ProRes file also has. ``on_frame``: receives the number of
    written frames. ``finish``: changes the complete file or directory before it is renamed to ``path``.

    Raises:
        OutputError: the file or the directory cannot be written.
    """
    partial, target = partial_path(path), link_target(path)
    try:
        if path.suffix.lower() == _MOVIE:
            _write_movie(segments, partial, colour, time_base, rate, on_frame)
        else:
            partial.mkdir()
            for number, (frame, _) in enumerate(_frames(segments, time_base)):
                # OpenCV reports neither a full disk nor a name that it cannot encode.
                image = cv2.imencode(".png", frame.to_ndarray(format="bgra"))[1]
                (partial / _IMAGE_NAME.format(number)).write_bytes(image.tobytes())
                on_frame(number + 1)
        finish(partial)
        if target.is_dir():
            shutil.rmtree(target)
        partial.replace(target)
    except (FFmpegError, OSError, cv2.error) as error:
        raise write_error(path, error) from error
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def _frames(segments: Sequence[Path], time_base: Fraction) -> Iterator[tuple[av.VideoFrame, int]]:
    """Yield every frame with its presentation time in ticks."""
    for segment in segments:
        with av.open(file_url(segment)) as container:
            for frame in container.decode(video=0):
                assert frame.pts is not None and frame.time_base is not None
                yield frame, round((frame.pts * frame.time_base - SEGMENT_LEAD) / time_base)


def _write_movie(
    segments: Sequence[Path],
    path: Path,
    colour: Colour,
    time_base: Fraction,
    rate: Fraction,
    on_frame: Callable[[int], None],
) -> None:
    with av.open(file_url(path), "w", format="mov", options={"movflags": "faststart"}) as target:
        stream: VideoStream | None = None
        for number, (frame, ticks) in enumerate(_frames(segments, time_base)):
            if stream is None:
                added = target.add_stream(
                    "prores_ks",
                    rate=rate.limit_denominator(1000),
                    options={"profile": "4", "alpha_bits": "16", "vendor": "apl0"},
                    width=frame.width,
                    height=frame.height,
                    time_base=time_base,
                )
                assert isinstance(added, VideoStream)
                stream = added
                context = stream.codec_context
                context.pix_fmt, context.thread_count = "yuva444p10le", 2
                context.colorspace, context.color_range = colour.working_matrix, RANGE_LIMITED
                context.color_primaries, context.color_trc = colour.primaries, colour.transfer
            converted = _with_alpha(frame, colour)
            converted.pts, converted.time_base = ticks, time_base
            target.mux(stream.encode(converted))
            on_frame(number + 1)
        if stream is not None:
            target.mux(stream.encode(None))


def _with_alpha(frame: av.VideoFrame, colour: Colour) -> av.VideoFrame:
    """Convert a ``bgra`` frame to ``yuva444p10le`` with the matrix of the video."""
    image = frame.to_ndarray(format="rgba")
    converted = av.VideoFrame(frame.width, frame.height, "yuva444p10le")
    targets = planes_of(converted)
    for target, black in zip(targets, (64, 512, 512, 0), strict=True):
        target[:] = black
    # Most pixels are black and transparent.
    left, top, width, height = cv2.boundingRect(image.max(axis=2))
    if width and height:
        part = np.s_[top : top + height, left : left + width]
        colours = image[part][..., :3].astype(np.float32)
        planes = rgb_to_yuv_planes(colours, format_named("444", 10), colour.working_matrix)
        planes.append(np.rint(image[part][..., 3].astype(np.float32) * np.float32(1023 / 255)).astype(np.uint16))
        for target, source in zip(targets, planes, strict=True):
            target[part] = source
    converted.colorspace, converted.color_range = colour.working_matrix, RANGE_LIMITED
    return converted
