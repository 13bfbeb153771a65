"""Draws the pictures of ``docs/stages.md`` from material in the public domain: the demo's portrait and its speech.

The stages themselves make what is shown. Two enhancers that change nothing, put before and after the real one, keep
what passes by.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import retalkit
from matplotlib.figure import Figure
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import to_pixels
from retalkit.imaging.compositing import composite
from retalkit.media.sound import open_sound
from retalkit.media.sources import open_source
from retalkit.motion_eval.clips import track
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import Preparation
from retalkit.plugins import StageSpec
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.stages import FaceEdit, StageContext, StageKind
from retalkit.storage.cache import Cache, Folder
from scipy.io import wavfile

REPOSITORY = Path(__file__).resolve().parent.parent.parent
FOLDER = REPOSITORY / "docs" / "pictures"
SPEECH = REPOSITORY / "examples" / "speech.wav"
FACE = (slice(110, 590), slice(130, 530))
MOUTH = (slice(275, 415), slice(220, 420))
LOWER_FACE = (slice(190, 470), slice(190, 450))
SECONDS = 3.0

Image = NDArray[np.uint8]


class Kept:
    """An enhancer that changes nothing and remembers every frame."""

    def __init__(self) -> None:
        self.frames: list[Image] = []
        self.landmarks: list[NDArray[np.float32]] = []
        self.coefficients: list[NDArray[np.float32]] = []
        self.references: list[Image] = []
        self.edits: list[Any] = []

    def open(self, analysis: Any, context: Any) -> Kept:
        return self

    def enhance(self, batch: Any, edits: Any) -> Any:
        self.frames += list(batch.faces.frames.images.copy())
        self.landmarks += list(batch.faces.landmarks.copy())
        self.coefficients += list(batch.faces.coefficients.copy())
        if batch.references.images is not None:
            self.references += list(batch.references.images.copy())
        self.edits += list(edits)
        return edits

    def close(self) -> None: ...

    def pasted(self, index: int) -> Image:
        """The frame with its edit in it."""
        edit, frame = self.edits[index], self.frames[index].copy()
        if isinstance(edit, FaceEdit):
            composite(frame, edit)
        return frame


def added(registry: Registry, name: str, needs: set[str]) -> Kept:
    """A remembering enhancer under that name."""
    kept = Kept()
    spec = StageSpec(
        kind=StageKind.ENHANCER,
        name=name,
        summary="keeps what passes by",
        build=lambda _config: kept,
        licence="Apache-2.0",
        needs=frozenset({"face:edit", *needs}),
        gives=frozenset({"face:edit"}),
    )
    registry.stages.append(FoundStage(spec, "pictures", "0", "pictures"))
    return kept


def dubbed(video: Path, speech: Path, folder: Path, *overrides: str) -> tuple[Kept, Kept]:
    """What stood before and after ``detail`` in every frame."""
    registry = retalkit.discover()
    before, after = added(registry, "kept_before", {"frames", "reference:image"}), added(registry, "kept_after", set())
    enhancers = "enhancers=[kept_before, {use: detail, on: mouth}, kept_after]"
    config = retalkit.RunConfig.from_preset("embedded", registry=registry, overrides=[enhancers, *overrides])
    retalkit.dub(
        video, speech, folder / "out.mp4", config=config, registry=registry, cache=folder / "cache", force=True
    )
    return before, after


def save(name: str, picture: Image) -> None:
    """JPEG of RGB uint8 [H, W, 3]."""
    cv2.imwrite(str(FOLDER / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 84])


def row(*pictures: Image, height: int = 320) -> Image:
    """Pictures side by side at one height, a white line between them."""
    gap = np.full((height, 6, 3), 255, np.uint8)
    scaled = [
        cv2.resize(p, (round(p.shape[1] * height / p.shape[0]), height), interpolation=cv2.INTER_AREA) for p in pictures
    ]
    parts = [part for picture in scaled for part in (gap, picture)][1:]
    return np.concatenate(parts, 1)


def mesh(frame: Image, landmarks: NDArray[np.float32]) -> Image:
    """The frame with its landmarks; the lips in another colour."""
    drawn = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for number, (x, y) in enumerate(landmarks[:, :2] * 2):
        colour = (255, 80, 80) if number in mesh478.LIPS else (90, 230, 120)
        cv2.circle(drawn, (round(float(x)), round(float(y))), 3, colour, -1, cv2.LINE_AA)
    return drawn


def pose(frame: Image, landmarks: NDArray[np.float32], coefficients: NDArray[np.float32]) -> Image:
    """The frame with the axes of the head that the coefficients say."""
    axes = np.array([[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]], np.float32)
    nose = landmarks[mesh478.NOSE_TIP, :2]
    points = to_pixels(axes[None], mesh_space.unpack_pose(coefficients[None]))[0, :, :2]
    points = points - points[0] + nose
    drawn = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for point, colour in zip(points[1:], ((255, 80, 80), (90, 230, 120), (80, 140, 255)), strict=True):
        start, end = (tuple(int(v) for v in np.round(2 * p)) for p in (points[0], point))
        cv2.arrowedLine(drawn, start, end, colour, 5, cv2.LINE_AA, tipLength=0.12)
    return drawn


def speech(seconds: float) -> NDArray[np.float32]:
    """Mono float32 at 16 kHz: the beginning of the demo's speech."""
    return np.concatenate(list(open_sound(SPEECH).chunks(16000)))[: round(seconds * 16000)]


def write_wave(path: Path, samples: NDArray[np.float32]) -> None:
    wavfile.write(path, 16000, (np.clip(samples, -1, 1) * 32767).astype(np.int16))


def cleaned(name: str, noisy: NDArray[np.float32], folder: Path) -> NDArray[np.float32]:
    """The waveform behind a denoiser."""
    found = retalkit.discover().find(StageKind.DENOISER, name)
    session = found.spec.make(found.spec.config()).open(StageContext(Folder(folder), SilentObserver()))
    out = np.concatenate([session.denoise(noisy), session.finish()])
    session.close()
    return out


def spectrograms(sounds: dict[str, NDArray[np.float32]]) -> None:
    """One below the other, the same colours for all."""
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    for axis, (title, sound) in zip(figure.subplots(len(sounds), 1, sharex=True), sounds.items(), strict=True):
        axis.specgram(sound + 1e-5, NFFT=400, Fs=16000, noverlap=240, vmin=-130, vmax=-40, cmap="magma")
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_yticks([0, 4000, 8000], ["0", "4", "8 kHz"], fontsize=8)
    axis.tick_params(labelsize=8)
    axis.set_xlabel("seconds", fontsize=8)
    figure.savefig(FOLDER / "denoisers.jpg", dpi=90, pil_kwargs={"quality": 80})


def motion_of(sound: NDArray[np.float32], gap: NDArray[np.float32]) -> None:
    """The waveform, and how far the lips of the dubbed video stand apart."""
    figure = Figure(figsize=(7.4, 2.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(np.arange(len(sound)) / 16000, sound, linewidth=0.4, color="#3f51b5")
    upper.set_title("speech", fontsize=9, loc="left")
    upper.set_yticks([])
    lower.plot(np.arange(len(gap)) / 25, gap, color="#c2185b", linewidth=1.4)
    lower.set_title("gap of the lips in the dubbed video, pixels", fontsize=9, loc="left")
    lower.set_ylim(0)
    lower.tick_params(labelsize=8)
    lower.set_xlabel("seconds", fontsize=8)
    figure.savefig(FOLDER / "speech_and_lips.png", dpi=90)


def main() -> None:
    """Draws every picture anew."""
    sys.path.insert(0, str(REPOSITORY))
    from examples.demo import make_clip

    with TemporaryDirectory() as name:
        folder = Path(name)
        clip, said, talking = folder / "clip.mp4", folder / "said.wav", folder / "talking"
        make_clip(clip)
        write_wave(said, speech(SECONDS))
        talking.mkdir()
        before, after = dubbed(clip, said, talking)
        smiling, _ = dubbed(clip, said, folder, "expression_editor={use: neutral_warp, template: smile}")

        gaps = [gap_of(points) for points in lips_in(talking / "out.mp4", folder)]
        widest = int(np.argmax(gaps))
        frame, points = before.frames[widest], before.landmarks[widest]
        big = (slice(220, 1180), slice(260, 1060))
        save("detector.jpg", row(frame[FACE], mesh(frame, points)[big], height=360))
        save("reconstructor.jpg", row(pose(frame, points, before.coefficients[widest])[big], height=360))
        save(
            "expression_editor.jpg", row(frame[FACE], before.references[widest][FACE], smiling.references[widest][FACE])
        )

        edit = before.edits[widest]
        mask = np.zeros(frame.shape[:2], np.float32)
        left, top = (int(-v) for v in edit.matrix[:, 2])
        mask[top : top + edit.mask.shape[0], left : left + edit.mask.shape[1]] = edit.mask
        shown = (255 * mask).astype(np.uint8)[..., None].repeat(3, 2)
        closed = int(np.argmin(gaps))
        faces = (frame, before.pasted(closed), before.pasted(widest), shown)
        save("lip_syncer.jpg", row(*(face[LOWER_FACE] for face in faces), height=210))
        save("enhancer.jpg", row(frame[MOUTH], before.pasted(widest)[MOUTH], after.pasted(widest)[MOUTH], height=170))

        order = np.argsort(gaps)[np.linspace(0, len(gaps) - 1, 10).astype(int)]
        mouths = [after.pasted(int(index))[MOUTH] for index in order]
        upper, lower = row(*mouths[:5], height=104), row(*mouths[5:], height=104)
        save("mouths.jpg", np.concatenate([upper, np.full_like(upper[:6], 255), lower]))
        motion_of(speech(SECONDS), np.array(gaps, np.float32))

        tutorial(clip, said, folder)

        clean = speech(SECONDS)
        noisy = (clean + np.random.default_rng(0).normal(0, 0.03, len(clean))).astype(np.float32)
        sounds = {"speech with white noise": noisy}
        for denoiser in ("spectral_gate", "rnnoise"):
            sounds[denoiser] = cleaned(denoiser, noisy, folder / denoiser)
        spectrograms(sounds)


def tutorial(clip: Path, said: Path, folder: Path) -> None:
    """Frames of the lip syncer that the tutorial shows."""
    page = (REPOSITORY / "docs" / "tutorials" / "write-a-lip-syncer.md").read_text(encoding="utf-8")
    file, out = folder / "my_lips.py", folder / "mine.mp4"
    file.write_text(page.split('title="my_lips.py"\n')[1].split("```")[0], encoding="utf-8")
    registry = retalkit.discover([file])
    config = retalkit.RunConfig.from_preset("embedded", registry=registry, overrides=["lip_syncer=my_lips"])
    retalkit.dub(clip, said, out, config=config, registry=registry, cache=folder / "cache")
    faces = [image[LOWER_FACE] for _, image in open_source(out).read((2, 5, 10, 20))]
    save("my_lips.jpg", row(*faces, height=210))


def lips_in(video: Path, folder: Path) -> NDArray[np.float32]:
    """float32 [T, 478, 3]: the landmarks of a video, found anew."""
    registry = retalkit.discover()
    chosen = plan(retalkit.RunConfig.from_preset("embedded", registry=registry), registry)
    analysis = track(video, Preparation(chosen, Cache(folder / "cache"), SilentObserver()))
    return analysis.landmarks(0, analysis.source.info.frame_count)


def gap_of(landmarks: NDArray[np.float32]) -> float:
    """Pixels between the inner lips."""
    upper, lower = mesh478.INNER_LIP_PAIRS[0]
    return float(np.linalg.norm(landmarks[lower, :2] - landmarks[upper, :2]))


if __name__ == "__main__":
    main()
