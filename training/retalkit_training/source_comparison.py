"""Comparison of two source frames for D-Net: the first frame of a video against each frame (report, section 5.1).

D-Net generates all frames of a video with one expression template, once from the first frame (``first``) and once from
the frame itself (``each``). The report finds that ``each`` is sharper, but that the mouth still moves a little, so that
``first`` results in a more stable reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from retalkit.config import Choice
from retalkit.errors import InputError, OutputError
from retalkit.geometry import mesh478
from retalkit.geometry.schemes import MESH478
from retalkit.observer import SilentObserver
from retalkit.paths import missing
from retalkit.pipeline.plan import plan_stage
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, FrameBatch, ObjectPool, Runtime, SourceInfo, StageContext, StageKind
from retalkit.storage.cache import Cache, content_hash, make_key
from retalkit_renderers.dnet.coefficients import WINDOW
from retalkit_renderers.dnet.face_images import to_network, to_uint8
from retalkit_renderers.dnet.network import DNet
from retalkit_training.datasets.layouts import SourceVideo
from retalkit_training.datasets.prepare import prepare
from retalkit_training.datasets.settings import ALIGNED_SIZE, PrepareSettings, SplitSettings
from retalkit_training.loop.data import Clip
from retalkit_training.tasks.dnet import coefficient_window, expression_template
from retalkit_training.tasks.frozen_weights import FrozenWeights, load_exactly
from retalkit_training.tasks.prepared_data import PreparedData

Image = NDArray[np.uint8]
Template = Literal["neutral", "smile"]

FRAMES: Final = (1, 50, 100, 150)
"""Frames of the sheet, counted from 1, as in the report."""
SHEET: Final = "comparison.png"
NUMBERS: Final = "comparison.json"
_SOURCES: Final = {"first": "first frame as source", "each": "each frame as source"}
_MOST_FRAMES: Final = 100_000
_UNEDITED: Final = "unedited"


@dataclass(frozen=True, slots=True)
class SourceComparison:
    """Outcome of ``compare_sources``."""

    sheet: Path
    numbers: Path
    measured: Mapping[str, Mapping[str, float | None]]
    """Measurements of ``unedited``, ``first`` and ``each``."""


def compare_sources(
    video: Path,
    weights: Path,
    folder: Path,
    frozen: FrozenWeights,
    *,
    template: Template = "smile",
    frames: Sequence[int] = FRAMES,
    device: str = "cpu",
    report: Callable[[int, int], None] = lambda done, total: None,
) -> SourceComparison:
    """Write the sheet and the measurements of both sources into ``folder``. A repeated call resumes.

    ``weights``: file of a D-Net. ``frozen``: source of the expression template. ``frames``: frames of the sheet,
    counted from 1. ``report`` receives the number of generated faces and their total.

    Raises:
        RetalkitError: the video has no usable face, weights are missing, or the directory contains another comparison.
    """
    if not video.is_file():
        raise InputError(missing(video, "no such file"), code="file-not-found")
    if not weights.is_file():
        raise InputError(missing(weights, "no such file"), code="file-not-found")
    _check_folder(folder, make_key("compare-sources", content_hash(video), content_hash(weights), template))
    network = DNet()
    load_exactly(network, frozen.file(weights), str(weights))
    expression = torch.from_numpy(expression_template(template, frozen))
    clip = _longest_clip(video, folder / "data")
    shown = [number for number in frames if 1 <= number <= clip.frame_count]
    if len(shown) < 2:
        raise InputError(
            f"{video}: the longest part with a face has {clip.frame_count} frames, so that fewer than two of the "
            f"frames {', '.join(map(str, frames))} exist; choose others with --frames",
            code="clips-too-short",
        )
    faces = {
        _UNEDITED: [np.ascontiguousarray(each[..., ::-1]) for each in clip.faces(ALIGNED_SIZE, range(clip.frame_count))]
    }
    network.to(device).eval()
    total = len(_SOURCES) * clip.frame_count
    for number, name in enumerate(_SOURCES):
        faces[name] = []
        for index, face in enumerate(_generated(network, clip, name, expression, folder / name, device)):
            faces[name].append(face)
            report(number * clip.frame_count + index + 1, total)
    measured = {name: measure(images) for name, images in faces.items()}
    sheet, numbers = folder / SHEET, folder / NUMBERS
    _write_image(sheet, _sheet(faces, shown))
    content = {
        "video": str(video),
        "weights": str(weights),
        "template": template,
        "frames": clip.frame_count,
        "shown": shown,
        "measured": measured,
    }
    partial = numbers.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(numbers)
    return SourceComparison(sheet, numbers, measured)


def _longest_clip(video: Path, folder: Path) -> Clip:
    source = SourceVideo(path=video, speaker=video.stem, video=video.stem)
    settings = PrepareSettings(filter=False, shortest=5, longest=_MOST_FRAMES)
    index = prepare([source], folder, settings, SplitSettings(validation=0, test=0)).index
    if index.without_coefficients:
        raise InputError(
            f"{video}: D-Net needs 3DMM coefficients: {index.without_coefficients}", code="missing-coefficients"
        )
    return max(PreparedData(folder).clips("train"), key=lambda clip: clip.frame_count)


def _check_folder(folder: Path, key: str) -> None:
    path = folder / "key"
    if folder.is_dir() and not path.exists() and any(folder.iterdir()):
        raise OutputError(
            f"{folder}: the directory is not empty and contains no comparison; choose another directory",
            code="output-exists",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another directory",
            code="unwritable-output",
        ) from error
    if path.is_file() and path.read_text(encoding="utf-8") != key:
        raise OutputError(
            f"{folder}: contains a comparison of another video, network or template; choose another directory",
            code="output-exists",
        )
    path.write_text(key, encoding="utf-8")


@torch.inference_mode()
def _generated(
    network: DNet, clip: Clip, name: str, expression: torch.Tensor, folder: Path, device: str
) -> Iterator[Image]:
    """Yield the generated faces, RGB uint8 [256, 256, 3]. Faces that exist in ``folder`` are read."""
    folder.mkdir(exist_ok=True)
    for index in range(clip.frame_count):
        path = folder / f"{index + 1:06d}.png"
        stored: Any = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.is_file() else None
        if stored is not None:
            yield np.ascontiguousarray(stored[..., ::-1])
            continue
        source = clip.faces(ALIGNED_SIZE, [0 if name == "first" else index])[0, ..., ::-1]
        window = torch.from_numpy(coefficient_window(clip, index, WINDOW))
        window[: len(expression)] = expression[:, None]
        image = torch.from_numpy(to_network(np.ascontiguousarray(source)))
        found = network(image[None].to(device), window[None].to(device)).image
        face = to_uint8(found[0].float().cpu().numpy())
        _write_image(path, face)
        yield face


def measure(faces: Sequence[Image]) -> dict[str, float | None]:
    """Return measurements of the faces of one video, RGB uint8 [256, 256, 3] each.

    ``sharpness``: median variance of the Laplacian in grey levels squared. ``mouth_motion``: standard deviation of the
    lip opening, in percent of the distance between the outer eye corners; None if fewer than half of the faces are
    detected. ``mouth_change``: mean absolute change of the lower face between neighbouring frames, in grey levels.
    ``detected``: share of the faces in which a face is detected.
    """
    grey = [cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY) for face in faces]
    half = len(grey[0]) // 2
    lower = np.stack([image[half:] for image in grey]).astype(np.float32)
    opening = _lip_opening(faces)
    found = np.isfinite(opening)
    return {
        "sharpness": round(float(np.median([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey])), 3),
        "mouth_motion": round(100 * float(opening[found].std()), 4) if found.mean() >= 0.5 else None,
        "mouth_change": round(float(np.abs(np.diff(lower, axis=0)).mean()), 4),
        "detected": round(float(found.mean()), 4),
    }


def _lip_opening(faces: Sequence[Image]) -> NDArray[np.float64]:
    """Return the distance of the inner lips relative to the eye corner distance, float64 [T], NaN without a face."""
    planned = plan_stage(StageKind.DETECTOR, Choice(use="mediapipe"), discover(), "detector")
    assert planned.landmark_scheme == MESH478
    detector: Any = planned.found.spec.make(planned.config, Runtime(pool=ObjectPool()))
    info = SourceInfo(width=ALIGNED_SIZE, height=ALIGNED_SIZE, frame_count=len(faces), duration=len(faces) / 25)
    found = np.full(len(faces), np.nan)
    with TemporaryDirectory() as folder:
        context = StageContext(cache=Cache(Path(folder)).entry("faces"), observer=SilentObserver())
        session = detector.open(DetectionClip(source=info), context)
        try:
            for index, face in enumerate(faces):
                batch = FrameBatch(np.ascontiguousarray(face)[None], np.array([index / 25]), np.array([index]))
                detected = session.detect(batch)[0]
                if detected:
                    found[index] = _opening(np.asarray(detected[0].landmarks, np.float64))
        finally:
            session.close()
    return found


def _opening(points: NDArray[np.float64]) -> float:
    upper, lower = (points[[pair[side] for pair in mesh478.INNER_LIP_PAIRS], :2] for side in (0, 1))
    corners = points[[mesh478.LEFT_EYE_OUTER, mesh478.RIGHT_EYE_OUTER], :2]
    return float(np.linalg.norm(lower - upper, axis=1).mean() / np.linalg.norm(corners[1] - corners[0]))


def _sheet(faces: Mapping[str, Sequence[Image]], shown: Sequence[int]) -> Image:
    """Return one row for each kind of source, with one column for each shown frame, RGB."""
    label, gap = 28, 4
    titles = {_UNEDITED: "source frames", **_SOURCES}
    side = ALIGNED_SIZE
    height, width = len(titles) * (side + label) + gap, len(shown) * (side + gap) + gap
    sheet = np.full((height, width, 3), 255, np.uint8)
    for row, (name, title) in enumerate(titles.items()):
        top = row * (side + label) + label
        for column, number in enumerate(shown):
            left = gap + column * (side + gap)
            sheet[top : top + side, left : left + side] = faces[name][number - 1]
            text = f"{title}, frame {number}" if column == 0 else f"frame {number}"
            cv2.putText(sheet, text, (left + 2, top - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet


def _write_image(path: Path, image: Image) -> None:
    partial = path.with_name(f".{path.name}")
    encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1]
    partial.write_bytes(encoded.tobytes())
    partial.replace(path)
