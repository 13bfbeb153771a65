"""Conversion of media that browsers cannot play, such as HEVC and ProRes, to H.264 and JPEG."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Final

_LONGEST: Final = 960
_BROWSER_VIDEO: Final = {"h264": ("yuv420p", "yuvj420p")}


def browsers_play(path: Path) -> bool:
    """Return whether all browsers can play the video."""
    import av
    from retalkit.media.containers import file_url

    if path.suffix.lower() not in (".mp4", ".m4v"):
        return False
    with av.open(file_url(path)) as container:
        context = container.streams.video[0].codec_context
        return context.pix_fmt in _BROWSER_VIDEO.get(context.name, ())


def convert(source: Path, target: Path, cancellation: threading.Event) -> None:
    """Write a copy with at most 960 pixels per side: H.264 with AAC for a video, JPEG for a photo.

    Raises RunCancelledError if ``cancellation`` is set.
    """
    import cv2
    from retalkit.media.sources import open_source

    opened = open_source(source)
    if opened.info.is_photo:
        _, image = next(iter(opened.read([0])))
        scale = min(_LONGEST / max(image.shape[:2]), 1.0)
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        partial = target.with_name(f".{target.name}")
        small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        partial.write_bytes(cv2.imencode(".jpg", small)[1].tobytes())
        partial.replace(target)
        return
    _convert_video(source, target, cancellation)


def _convert_video(source: Path, target: Path, cancellation: threading.Event) -> None:
    import av
    from retalkit.errors import RunCancelledError
    from retalkit.media.containers import file_url, open_media
    from retalkit.media.sound import has_sound
    from retalkit.media.sources import VideoSource, open_source

    opened = open_source(source)
    assert isinstance(opened, VideoSource)
    width, height = opened.size
    scale = min(_LONGEST / max(width, height), 1.0)
    count = opened.info.frame_count
    times = opened.times(0, count)
    partial = target.with_name(f".{target.name}.mp4")
    clock = Fraction(1, 90000)
    try:
        with av.open(file_url(partial), "w", format="mp4", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "23"})
            stream.width, stream.height = 2 * round(width * scale / 2), 2 * round(height * scale / 2)
            stream.pix_fmt = "yuv420p"
            stream.time_base = stream.codec_context.time_base = clock
            sound = container.add_stream("aac") if has_sound(source) else None
            for number, frame in opened.read_video_frames(range(count)):
                if cancellation.is_set():
                    raise RunCancelledError("the conversion was cancelled")
                small = frame.reformat(stream.width, stream.height, "yuv420p")
                small.pts, small.time_base = round(float(times[number]) / clock), clock
                container.mux(stream.encode(small))
            container.mux(stream.encode())
            if sound is not None:
                with open_media(source) as given:
                    for heard in given.decode(audio=0):
                        if cancellation.is_set():
                            raise RunCancelledError("the conversion was cancelled")
                        container.mux(sound.encode(heard))
                container.mux(sound.encode())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
        opened.close()
