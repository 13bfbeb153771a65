"""Small versions of the files that the pages name: clips of 2.2 seconds and speech of one second."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import retalkit
from retalkit.media.sound import open_sound
from scipy.io import wavfile

from tests.core.motion_eval.lips_folder import write_corpus

SIDE = 320
SECONDS = 2.2
VIDEOS = (
    "talk.mp4",
    "other.mp4",
    "me.mp4",
    "clip.mp4",
    "speaker.mp4",
    "talk_man.mp4",
    "talk_woman.mp4",
    "interview.mp4",
)
SOUNDS = ("speech.wav", "words.wav", "sentence.wav", "anna.wav", "ben.wav")


def write_sample_files(folder: Path, moving_head: Path, speech: Path, cache: Path) -> None:
    """Fill ``folder``. Every video shows the same person, who says the example's speech."""
    silent = folder / "silent.mp4"
    first = _shorten(moving_head, silent)
    cv2.imwrite(str(folder / "portrait.jpg"), first[..., ::-1])
    retalkit.dub(silent, speech, folder / VIDEOS[0], cache=cache)
    (folder / f"{VIDEOS[0]}.json").unlink()
    for name in VIDEOS[1:]:
        shutil.copy(folder / VIDEOS[0], folder / name)
    samples = np.concatenate(list(open_sound(speech).chunks(16000)))[3200:19200]
    for name in SOUNDS:
        wavfile.write(folder / name, 16000, (samples * 32767).astype(np.int16))
    music = 0.1 * np.sin(np.arange(2 * 48000) / 20)
    for name in ("music.wav", "final_mix.wav"):
        wavfile.write(folder / name, 48000, (np.stack([music, -music], axis=1) * 32767).astype(np.int16))
    (folder / "words.txt").write_text("Hello. My lips", encoding="utf-8")
    write_corpus(folder / "lips", 5)
    side_by_side(silent, folder / "panel.mp4")
    silent.unlink()


def side_by_side(source: Path, target: Path) -> None:
    """Write a clip that shows a person and the person's mirror image."""
    with av.open(source) as container, av.open(target, "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        shown = container.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = 2 * shown.width, shown.height, "yuv420p"
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            both = np.ascontiguousarray(np.hstack([image, image[:, ::-1]]))
            output.mux(stream.encode(av.VideoFrame.from_ndarray(both, format="rgb24")))
        output.mux(stream.encode())


def _shorten(source: Path, target: Path) -> np.ndarray:
    """Write a shorter and smaller copy. Return its first frame in RGB."""
    with av.open(source) as container, av.open(target, "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        images: list[np.ndarray] = []
        for frame, _ in zip(container.decode(video=0), range(round(SECONDS * 25)), strict=False):
            images.append(frame.reformat(SIDE, SIDE, format="rgb24").to_ndarray())
            output.mux(stream.encode(av.VideoFrame.from_ndarray(images[-1], format="rgb24")))
        output.mux(stream.encode())
    return images[0]
