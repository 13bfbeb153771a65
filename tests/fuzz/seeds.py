"""Small valid files that the fuzz targets alter."""

from __future__ import annotations

import io
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from PIL import Image
from retalkit.media.motion_files import MotionTable, write_motion
from retalkit.stages import MouthMotion

_SIZE = (48, 32)
_FRAMES = 6
_RATE = 8000
_SUFFIXES = {"matroska": "mkv", "mpegts": "ts", "yuv4mpegpipe": "y4m"}


def videos() -> dict[str, bytes]:
    """Return a small video in several containers, as a mapping from file name to content."""
    codecs = {
        "mp4": "libx264",
        "mov": "prores_ks",
        "matroska": "ffv1",
        "webm": "libvpx",
        "avi": "mpeg4",
        "mpegts": "mpeg2video",
        "gif": "gif",
        "ivf": "libvpx",
        "flv": "flv",
        "yuv4mpegpipe": "rawvideo",
    }
    found: dict[str, bytes] = {}
    for container, codec in codecs.items():
        with_sound = container in ("mp4", "matroska", "mpegts")
        found[_name("video", container)] = _video(container, codec, with_sound=with_sound)
    image = _jpeg()
    found["stream.mjpeg"] = image * 3
    return found


def images() -> dict[str, bytes]:
    """Return a small image in several formats, also with several frames."""
    frames = [Image.fromarray(_picture(number)) for number in range(3)]
    found: dict[str, bytes] = {}
    for name in ("png", "jpeg", "webp", "tiff", "bmp", "avif", "ppm"):
        found[f"image.{name}"] = _encoded(frames[0], name)
    for name in ("png", "webp", "gif", "avif"):
        found[f"animated.{name}"] = _encoded(frames[0], name, save_all=True, append_images=frames[1:], duration=100)
    exif = Image.Exif()
    exif[0x0112] = 6
    found["rotated.jpeg"] = _encoded(frames[0], "jpeg", exif=exif)
    found["alpha.png"] = _encoded(frames[0].convert("RGBA"), "png")
    return found


def sounds() -> dict[str, bytes]:
    """Return a short tone in several formats."""
    formats = {
        "wav": "pcm_s16le",
        "aiff": "pcm_s16be",
        "flac": "flac",
        "ogg": "libopus",
        "mp3": "libmp3lame",
        "mp4": "aac",
        "w64": "pcm_f32le",
        "matroska": "flac",
    }
    return {_name("sound", container): _sound(container, codec) for container, codec in formats.items()}


def _name(stem: str, container: str) -> str:
    return f"{stem}.{_SUFFIXES.get(container, container)}"


def _picture(number: int) -> np.ndarray:
    rows, columns = np.mgrid[0 : _SIZE[1], 0 : _SIZE[0]]
    return np.stack([columns * 5 % 256, rows * 8 % 256, np.full_like(rows, 40 * number)], -1).astype(np.uint8)


def _encoded(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def _jpeg() -> bytes:
    return _encoded(Image.fromarray(_picture(0)), "jpeg")


def _video(container: str, codec: str, *, with_sound: bool) -> bytes:
    file = io.BytesIO()
    formats = {"prores_ks": "yuv422p10le", "gif": "rgb8"}
    with av.open(file, "w", format=container) as target:
        stream = target.add_stream(codec, rate=25)
        stream.width, stream.height = _SIZE
        stream.pix_fmt = formats.get(codec, "yuv420p")
        sound = target.add_stream("aac" if container != "mpegts" else "mp2", rate=_RATE * 2) if with_sound else None
        for number in range(_FRAMES):
            frame = av.VideoFrame.from_ndarray(_picture(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(stream.encode(frame))
        if sound is not None:
            layout = sound.codec_context.layout.name
            channels = sound.codec_context.layout.nb_channels
            kind = sound.codec_context.format.name
            shape = (channels, 4096) if kind.endswith("p") else (1, 4096 * channels)
            samples = np.zeros(shape, np.float32 if kind.startswith("flt") else np.int16)
            block = av.AudioFrame.from_ndarray(samples, format=kind, layout=layout)
            block.sample_rate, block.pts, block.time_base = _RATE * 2, 0, Fraction(1, _RATE * 2)
            target.mux(sound.encode(block))
            target.mux(sound.encode(None))
        target.mux(stream.encode(None))
    return file.getvalue()


def _sound(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    rate = 48000 if codec == "libopus" else 44100 if codec == "libmp3lame" else _RATE
    tone = (0.3 * np.sin(np.arange(rate // 8) / 7)).astype(np.float32)
    with av.open(file, "w", format=container) as target:
        stream = target.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or None)
        for converted in (*resampler.resample(frame), *resampler.resample(None)):
            target.mux(stream.encode(converted))
        target.mux(stream.encode(None))
    return file.getvalue()


CUES = {
    "cues.yaml": b"persons:\n  anna: left\nlisteners: rest\nspeech: s.wav\ncues:\n"
    b"  - {from: 1, to: 2.5, person: anna, speech: s.wav, gain: -3}\n  - {from: '0:03', to: '0:04', person: anna}\n",
    "cues.csv": b"from,to,person,speech,offset,gain\n1,2.5,left,s.wav,0,-3\n0:03,0:04,left,,,\n",
    "cues.srt": b"1\n00:00:01,000 --> 00:00:02,500\nANNA: hello\n\n2\n00:00:03,000 --> 00:00:04,000\nBEN: yes\n",
    "cues.vtt": b"WEBVTT\n\n00:01.000 --> 00:02.500 align:left\n<v Anna>hello\n\n00:03.000 --> 00:04.000\n<v Ben>yes\n",
    "cues.rttm": b"SPEAKER talk 1 1.0 1.5 <NA> <NA> anna <NA> <NA>\nSPEAKER talk 1 3.0 1 <NA> <NA> ben <NA> <NA>\n",
}
RUNS = {
    "run.yaml": b"preset: embedded\nface: largest\nlip_syncer: {use: exemplar, strength: 0.9, driver: model}\n"
    b"enhancers:\n  - detail\n  - {use: detail, strength: 0.5}\noutput: {codec: hevc, crf: 20}\n"
    b"sound: {original: {gain: -6, ducking: auto}, loudness: -16}\nlabel: AI dubbed\nseed: 3\n",
}
JOBS = {
    "jobs.yaml": b"defaults: {speech: s.wav, output: 'out/{video.stem}.mp4'}\ngates: {silence: 0.1}\n"
    b"jobs:\n  - video: '*.mp4'\n  - {video: a.mp4, output: b.mp4, preset: embedded}\n",
    "jobs.csv": b"video,speech,output,language\na.mp4,s.wav,out/a.mp4,de\n*.mp4,s.wav,out/{video.stem}.mp4,\n",
}


def motions() -> dict[str, bytes]:
    """Return motion files in all text formats."""
    values = np.linspace(0, 0.3, 5, dtype=np.float32)
    motion = MouthMotion(**{field.name: values for field in fields(MouthMotion)})
    found: dict[str, bytes] = {}
    with TemporaryDirectory() as folder:
        for name in ("motion.csv", "motion.json"):
            path = Path(folder, name)
            write_motion(path, MotionTable(np.arange(5) / 25, motion))
            found[name] = path.read_bytes()
    return found
