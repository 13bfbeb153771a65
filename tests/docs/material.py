"""The files that the pages name, small: a clip of two seconds and speech of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import retalkit
from retalkit.media.sound import open_sound
from scipy.io import wavfile

SIDE = 320
SECONDS = 2.2
VIDEOS = ("talk.mp4", "other.mp4", "me.mp4", "clip.mp4", "speaker.mp4", "talk_man.mp4", "talk_woman.mp4")
SOUNDS = ("speech.wav", "words.wav")


def make(folder: Path, moving_head: Path, speech: Path, cache: Path) -> None:
    """Fills ``folder``. Every video shows the same head, which says the example's words."""
    silent = folder / "silent.mp4"
    first = _smaller(moving_head, silent)
    cv2.imwrite(str(folder / "portrait.jpg"), first[..., ::-1])
    retalkit.dub(silent, speech, folder / VIDEOS[0], cache=cache)
    (folder / f"{VIDEOS[0]}.json").unlink()
    for name in VIDEOS[1:]:
        shutil.copy(folder / VIDEOS[0], folder / name)
    samples = np.concatenate(list(open_sound(speech).chunks(16000)))[3200:19200]
    for name in SOUNDS:
        wavfile.write(folder / name, 16000, (samples * 32767).astype(np.int16))
    silent.unlink()


def _smaller(source: Path, target: Path) -> np.ndarray:
    """A shorter and smaller copy, and its first frame in RGB."""
    with av.open(source) as read, av.open(target, "w") as written:
        stream = written.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        images: list[np.ndarray] = []
        for frame, _ in zip(read.decode(video=0), range(round(SECONDS * 25)), strict=False):
            images.append(frame.reformat(SIDE, SIDE, format="rgb24").to_ndarray())
            written.mux(stream.encode(av.VideoFrame.from_ndarray(images[-1], format="rgb24")))
        written.mux(stream.encode())
    return images[0]
