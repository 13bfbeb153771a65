"""Render the images for the README and ``docs`` from the demo's portrait and speech, which are in the public domain.

All images are rendered from the results of actual runs. Two pass-through enhancers, one before and one after
``detail``, record the data that they receive.
"""

from __future__ import annotations

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
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins import StageSpec
from retalkit.plugins.registry import FoundStage, Registry
from retalkit.stages import DenoiseClip, FaceEdit, StageContext, StageKind
from retalkit.storage.cache import Cache, Folder
from retalkit.testing.fixtures.material import make_clip
from scipy.io import wavfile

REPOSITORY = Path(__file__).resolve().parent.parent.parent
IMAGES = REPOSITORY / "docs" / "images"
SPEECH = REPOSITORY / "examples" / "speech.wav"
TUTORIAL = REPOSITORY / "docs" / "tutorials" / "write-a-lip-syncer.md"
SECONDS = 3.0

# Crop regions (rows, columns) of the demo clip.
HEAD = (slice(60, 560), slice(90, 570))
FACE = (slice(110, 590), slice(130, 530))
MOUTH = (slice(275, 415), slice(220, 420))
LOWER_FACE = (slice(190, 470), slice(190, 450))
FACE_DOUBLED = (slice(220, 1180), slice(260, 1060))
"""Crop region of the face in an image that was upscaled by a factor of 2."""

Image = NDArray[np.uint8]


class Recorder:
    """Pass-through enhancer that records the frames, landmarks, coefficients, references and edits."""

    def __init__(self) -> None:
        self.frames: list[Image] = []
        self.landmarks: list[NDArray[np.float32]] = []
        self.coefficients: list[NDArray[np.float32]] = []
        self.references: list[Image] = []
        self.edits: list[Any] = []

    def open(self, clip: Any, context: Any) -> Recorder:
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

    def composited(self, index: int) -> Image:
        """Return the frame with the composited edit."""
        edit, frame = self.edits[index], self.frames[index].copy()
        if isinstance(edit, FaceEdit):
            composite(frame, edit)
        return frame


def add_recorder(registry: Registry, name: str, needs: set[str]) -> Recorder:
    """Register a recorder as the enhancer ``name``, and return the recorder."""
    recorder = Recorder()
    spec = StageSpec(
        kind=StageKind.ENHANCER,
        name=name,
        summary="Records the data that passes through.",
        build=lambda _config, _runtime: recorder,
        licence="Apache-2.0",
        needs=frozenset({"face:edit", *needs}),
        gives=frozenset({"face:edit"}),
        api=2,
    )
    registry.stages.append(FoundStage(spec, "images", "0", "images"))
    return recorder


def dub_recorded(video: Path, speech: Path, folder: Path, *overrides: str) -> tuple[Recorder, Recorder]:
    """Write the dubbed video to ``folder/out.mp4``, and return the recorders before and after ``detail``."""
    registry = retalkit.discover()
    before = add_recorder(registry, "recorder_before", {"frames", "reference:image"})
    after = add_recorder(registry, "recorder_after", set())
    enhancers = "enhancers=[recorder_before, {use: detail, on: mouth}, recorder_after]"
    config = retalkit.RunConfig.from_preset("embedded", registry=registry, overrides=[enhancers, *overrides])
    retalkit.dub(
        video, speech, folder / "out.mp4", config=config, registry=registry, cache=folder / "cache", force=True
    )
    return before, after


def save(name: str, image: Image) -> None:
    """Write an image, RGB uint8 [H, W, 3], as a JPEG file."""
    cv2.imwrite(str(IMAGES / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 84])


def row(*images: Image, height: int = 320) -> Image:
    """Return the images side by side, scaled to a common height and separated by white lines."""
    gap = np.full((height, 6, 3), 255, np.uint8)
    scaled = [
        cv2.resize(one, (round(one.shape[1] * height / one.shape[0]), height), interpolation=cv2.INTER_AREA)
        for one in images
    ]
    parts = [part for image in scaled for part in (gap, image)][1:]
    return np.concatenate(parts, 1)


def draw_landmarks(frame: Image, landmarks: NDArray[np.float32]) -> Image:
    """Return the frame, upscaled by a factor of 2, with the landmarks. Lip landmarks are red, all others are green."""
    drawn = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for number, (x, y) in enumerate(landmarks[:, :2] * 2):
        colour = (255, 80, 80) if number in mesh478.LIPS else (90, 230, 120)
        cv2.circle(drawn, (round(float(x)), round(float(y))), 3, colour, -1, cv2.LINE_AA)
    return drawn


def draw_pose(frame: Image, landmarks: NDArray[np.float32], coefficients: NDArray[np.float32]) -> Image:
    """Return the frame, upscaled by a factor of 2, with the head pose axes."""
    axes = np.array([[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0]], np.float32)
    nose = landmarks[mesh478.NOSE_TIP, :2]
    points = to_pixels(axes[None], mesh_space.unpack_pose(coefficients[None]))[0, :, :2]
    points = points - points[0] + nose
    drawn = cv2.resize(frame, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    for point, colour in zip(points[1:], ((255, 80, 80), (90, 230, 120), (80, 140, 255)), strict=True):
        start, end = (tuple(int(v) for v in np.round(2 * p)) for p in (points[0], point))
        cv2.arrowedLine(drawn, start, end, colour, 5, cv2.LINE_AA, tipLength=0.12)
    return drawn


def draw_mask(frame: Image, edit: FaceEdit) -> Image:
    """Return the edit's mask in frame coordinates as a greyscale image."""
    mask = np.zeros(frame.shape[:2], np.float32)
    left, top = (int(-v) for v in edit.matrix[:, 2])
    mask[top : top + edit.mask.shape[0], left : left + edit.mask.shape[1]] = edit.mask
    return (255 * mask).astype(np.uint8)[..., None].repeat(3, 2)


def read_speech(seconds: float) -> NDArray[np.float32]:
    """Return the first seconds of the demo speech, mono float32 at 16 kHz."""
    return np.concatenate(list(open_sound(SPEECH).chunks(16000)))[: round(seconds * 16000)]


def denoise(name: str, noisy: NDArray[np.float32], folder: Path) -> NDArray[np.float32]:
    """Return the denoised waveform."""
    found = retalkit.discover().find(StageKind.DENOISER, name)
    stage = found.spec.make(found.spec.config())
    session = stage.open(DenoiseClip(duration=len(noisy) / 16000), StageContext(Folder(folder), SilentObserver()))
    out = np.concatenate([session.denoise(noisy), session.finish()])
    session.close()
    return out


def plot_spectrograms(sounds: dict[str, NDArray[np.float32]]) -> None:
    """Write an image of vertically stacked spectrograms with a common colour scale."""
    figure = Figure(figsize=(7.4, 4.4), layout="constrained")
    for axis, (title, sound) in zip(figure.subplots(len(sounds), 1, sharex=True), sounds.items(), strict=True):
        axis.specgram(sound + 1e-5, NFFT=400, Fs=16000, noverlap=240, vmin=-130, vmax=-40, cmap="magma")
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_yticks([0, 4000, 8000], ["0", "4", "8 kHz"], fontsize=8)
    axis.tick_params(labelsize=8)
    axis.set_xlabel("seconds", fontsize=8)
    figure.savefig(IMAGES / "denoisers.jpg", dpi=90, pil_kwargs={"quality": 80})


def plot_lip_gap(sound: NDArray[np.float32], gap: NDArray[np.float32]) -> None:
    """Write a plot of the speech waveform and the lip gap in the dubbed video."""
    figure = Figure(figsize=(7.4, 2.8), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(np.arange(len(sound)) / 16000, sound, linewidth=0.4, color="#3f51b5")
    upper.set_title("speech", fontsize=9, loc="left")
    upper.set_yticks([])
    lower.plot(np.arange(len(gap)) / 25, gap, color="#c2185b", linewidth=1.4)
    lower.set_title("gap between the lips in the dubbed video, pixels", fontsize=9, loc="left")
    lower.set_ylim(0)
    lower.tick_params(labelsize=8)
    lower.set_xlabel("seconds", fontsize=8)
    figure.savefig(IMAGES / "speech_and_lips.png", dpi=90)


def measure_lip_gaps(video: Path, folder: Path) -> NDArray[np.float32]:
    """Return the gap between the inner lips in pixels in every frame of a video, float32 [T]."""
    registry = retalkit.discover()
    chosen = plan(retalkit.RunConfig.from_preset("embedded", registry=registry), registry)
    analysis = ClipSteps(chosen, Cache(folder / "cache"), SilentObserver()).analyse(video)
    landmarks = analysis.landmarks(0, analysis.source.info.frame_count)
    upper, lower = mesh478.INNER_LIP_PAIRS[0]
    return np.linalg.norm(landmarks[:, lower, :2] - landmarks[:, upper, :2], axis=1)


def render_stages(clip: Path, speech: Path, folder: Path) -> None:
    """Write the images for the stage page and the README."""
    before, after = dub_recorded(clip, speech, folder)
    gaps = measure_lip_gaps(folder / "out.mp4", folder)
    closed, widest = int(np.argmin(gaps)), int(np.argmax(gaps))
    frame, landmarks, edit = before.frames[widest], before.landmarks[widest], before.edits[widest]

    save("before_after.jpg", row(after.frames[closed][HEAD], after.composited(closed)[HEAD], height=360))
    save("detector.jpg", row(frame[FACE], draw_landmarks(frame, landmarks)[FACE_DOUBLED], height=360))
    pose = draw_pose(frame, landmarks, before.coefficients[widest])
    save("reconstructor.jpg", row(pose[FACE_DOUBLED], height=360))
    faces = (frame, before.composited(closed), before.composited(widest), draw_mask(frame, edit))
    save("lip_syncer.jpg", row(*(face[LOWER_FACE] for face in faces), height=210))
    mouths = (frame, before.composited(widest), after.composited(widest))
    save("enhancer.jpg", row(*(mouth[MOUTH] for mouth in mouths), height=170))

    order = np.argsort(gaps)[np.linspace(0, len(gaps) - 1, 10).astype(int)]
    mouths = [after.composited(int(index))[MOUTH] for index in order]
    upper, lower = row(*mouths[:5], height=104), row(*mouths[5:], height=104)
    save("mouths.jpg", np.concatenate([upper, np.full_like(upper[:6], 255), lower]))
    plot_lip_gap(read_speech(SECONDS), gaps)

    smiling, _ = dub_recorded(clip, speech, folder, "expression_editor={use: neutral_warp, template: smile}")
    references = (before.references[widest], smiling.references[widest])
    save("expression_editor.jpg", row(frame[FACE], *(reference[FACE] for reference in references)))


def render_tutorial(clip: Path, speech: Path, folder: Path) -> None:
    """Write an image of four frames that the tutorial's lip syncer has edited."""
    file, out = folder / "my_lips.py", folder / "mine.mp4"
    page = TUTORIAL.read_text(encoding="utf-8")
    file.write_text(page.split('title="my_lips.py"\n')[1].split("```")[0], encoding="utf-8")
    registry = retalkit.discover([file])
    config = retalkit.RunConfig.from_preset("embedded", registry=registry, overrides=["lip_syncer=my_lips"])
    retalkit.dub(clip, speech, out, config=config, registry=registry, cache=folder / "cache")
    faces = [image[LOWER_FACE] for _, image in open_source(out).read((2, 5, 10, 20))]
    save("my_lips.jpg", row(*faces, height=210))


def render_denoisers(folder: Path) -> None:
    """Write an image with the spectrograms of noisy speech and of the denoisers' outputs."""
    clean = read_speech(SECONDS)
    noisy = (clean + np.random.default_rng(0).normal(0, 0.03, len(clean))).astype(np.float32)
    sounds = {"speech with white noise": noisy}
    for name in ("spectral_gate", "rnnoise"):
        sounds[name] = denoise(name, noisy, folder / name)
    plot_spectrograms(sounds)


def main() -> None:
    """Write all images."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        clip, speech = folder / "clip.mp4", folder / "speech.wav"
        make_clip(clip)
        wavfile.write(speech, 16000, (np.clip(read_speech(SECONDS), -1, 1) * 32767).astype(np.int16))
        render_stages(clip, speech, folder)
        render_tutorial(clip, speech, folder)
        render_denoisers(folder)


if __name__ == "__main__":
    main()
