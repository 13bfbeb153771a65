"""Measure the flicker of frame-by-frame face restoration, and the effect of the option ``steadiness``.

    python benchmarks/restoration_flicker.py --media DIR --out DIR [--frames 60] [--enhancer gpen | gfpgan]

The script dubs each talking clip in the ``--media`` directory once with the default preset's stages, driven by a
different clip's lip motion. The script compares the restored frames with the dub before restoration. The frames are not
encoded before the comparison. By default, the restorers are simulated (``simulated_restorers.py``). With
``--enhancer``, the script uses a network from the weight store. The script writes ``flicker.json`` and an image for
each clip and restorer. The image shows a face for each steadiness value, and below each face a row of pixels across the
cheeks over time.

The script prints the side effects of steadiness first. The side effects are the remaining share of an intended change
(a brightened region with the size of the iris, the teeth or the lips) and the shadow around this change. ``--low-pass``
overrides the standard deviation of the stage's low-pass filter.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from default_stages import DEFAULT_PAIRS, SILENCE, TALKING, DefaultStages, apply, dub, find_clip
from mouth_motion import write_motion
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, person_template
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.plugins.discovery import discover
from retalkit.stages import EnhancementClip, Runtime, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit.weights.store import WeightStore
from retalkit_enhancers.restoration import difference
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_metrics.meters.flicker import Flicker, FlickerMeter
from retalkit_metrics.meters.image_quality import ImageQualityMeter
from retalkit_metrics.meters.patches import Patch
from simulated_restorers import SIMULATED, SimulatedRestorer

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

TALKING_PAIRS = [pair for pair in DEFAULT_PAIRS if pair.startswith(TALKING) and not pair.endswith(SILENCE)]
STEADINESS = (0.0, 0.25, 0.5, 0.75, 1.0)
REGIONS = {"iris": (10, 10), "teeth": (45, 11), "lips": (60, 28)}
"""Semi-axes of each region in pixels of the 512-pixel template."""
SLICE = 200
"""Length, in pixels, of the image row that is shown over time."""


@dataclass(frozen=True, slots=True)
class Row:
    """Scores of one restorer and steadiness value, which form one table row."""

    clip: str
    restorer: str
    steadiness: float | None
    """Steadiness value, or None for the dub before restoration, which is compared with the source."""
    flicker: Flicker
    sharpness: float
    """Variance of the Laplacian on the face, relative to the dub before restoration."""


class Output:
    """Flicker metrics and image of one output."""

    def __init__(self, template: Float, mouth: bool = True) -> None:
        self.flicker = FlickerMeter(template, mouth)
        self.quality = ImageQualityMeter(template)
        self.lines: list[Image] = []
        self.face: Image | None = None
        cheek = template[[50, 280]].mean(0)
        self._slice = Patch.upright(-0.75, cheek[1] - 0.01, 0.75, cheek[1] + 0.01, cheek[2], (SLICE, 2))

    def add(self, before: Image, after: Image, landmarks: Float, pose: HeadPose, show: bool) -> None:
        if not np.isfinite(landmarks).all():
            self.flicker.cut()
            return
        self.flicker.add(before, after, pose)
        self.quality.add(before, after, landmarks, pose, region=face_region(landmarks, before.shape))
        self.lines.append(self._slice.warp(after, self._slice.matrix(pose))[:1])
        if show:
            self.face = face_cell(after, landmarks)

    def row(self, clip: str, restorer: str, steadiness: float | None) -> Row:
        return Row(clip, restorer, steadiness, self.flicker.result(), self.quality.result().skin_sharpness)


def face_region(landmarks: Float, shape: tuple[int, ...]) -> Float:
    """Return the face outline's mask, float32 [H, W], eroded by a twelfth of the face width."""
    mask = np.zeros(shape[:2], np.uint8)
    oval = landmarks[list(mesh478.FACE_OVAL), :2]
    cv2.fillPoly(mask, [cv2.convexHull(np.round(oval).astype(np.int32))], [1.0])
    size = max(1, round(float(np.ptp(oval[:, 0])) / 6)) | 1
    return cv2.erode(mask, np.ones((size, size), np.uint8)).astype(np.float32)


def face_cell(image: Image, landmarks: Float) -> Image:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    centre, reach = (low + high) / 2, 0.62 * float((high - low).max())
    scale = 2 * SLICE / (2 * reach)
    matrix = np.array([[scale, 0, SLICE - centre[0] * scale], [0, scale, SLICE - centre[1] * scale]], np.float32)
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.warpAffine(image, matrix, (2 * SLICE, 2 * SLICE), flags=flags), np.uint8)


def open_restorers(name: str, analysis: StoredAnalysis, folder: Path) -> list[Any]:
    """Open one session of the restorer ``name`` for each steadiness value.

    All sessions share a cache, so that each face is restored once.
    """
    context = StageContext(cache=Folder(folder / f"restored-{name}"), observer=SilentObserver())
    clip = EnhancementClip(analysis=analysis)
    if name in SIMULATED:
        restorer = SimulatedRestorer(SIMULATED[name])
        configs = [RestorationConfig(steadiness=value) for value in STEADINESS]
        return [RestorationEnhancer(config, Runtime(), restorer).open(clip, context) for config in configs]
    spec, store = discover().find(StageKind.ENHANCER, name).spec, WeightStore()
    weights: dict[str, Path] = {}
    for checkpoint in (*spec.checkpoints, *spec.config().checkpoints()):
        if (path := store.path(checkpoint)) is None:
            sys.exit(f"the weights '{checkpoint}' are not installed; run `retalkit weights pull {checkpoint}`")
        weights[checkpoint] = path
    runtime = Runtime(weights=weights)
    return [spec.make(spec.config(steadiness=value), runtime).open(clip, context) for value in STEADINESS]


def measure(
    stages: DefaultStages, pair: str, restorers: list[str], options: argparse.Namespace, folder: Path
) -> list[Row]:
    """Compute the scores of all restorers for one clip, and write the restorers' images."""
    source_name, _, driver_name = pair.partition(":")
    source = find_clip(options.media, source_name)
    analysis = stages.analyse(source)
    driver = stages.analyse(find_clip(options.media, driver_name))
    motion = write_motion(driver, analysis.source.info.duration, folder / f"{source_name}.motion.npz")
    count = min(options.frames, analysis.source.info.frame_count)
    landmarks = analysis.landmarks(0, analysis.source.info.frame_count)
    template, landmarks = person_template(landmarks), landmarks[:count]
    pose = mesh_space.unpack_pose(analysis.coefficients(0, count))

    dubbed = Output(template, mouth=False)
    sessions = {name: open_restorers(name, analysis, folder / source_name) for name in restorers}
    outputs = {name: [Output(template) for _ in STEADINESS] for name in restorers}
    with stages.open(source, motion) as opened:
        for part in dub(opened.job, count):
            frames = apply(part.images, part.edits)
            for row, image, frame in zip(part.indexes, part.images, frames, strict=True):
                dubbed.add(image, frame, landmarks[row], pose[row : row + 1], row == count // 2)
            for name in restorers:
                for session, output in zip(sessions[name], outputs[name], strict=True):
                    edits = part.edits if part.synced is None else session.enhance(part.synced.batch, part.edits)
                    restored = apply(part.images, edits)
                    for row, frame, image in zip(part.indexes, frames, restored, strict=True):
                        output.add(frame, image, landmarks[row], pose[row : row + 1], row == count // 2)
    table = [dubbed.row(source_name, "(dub)", None)]
    for name in restorers:
        table += [output.row(source_name, name, value) for output, value in zip(outputs[name], STEADINESS, strict=True)]
        write_image(options.out / f"{source_name}__{name}.png", [dubbed, *outputs[name]])
        for session in sessions[name]:
            session.close()
    return table


def write_image(path: Path, outputs: list[Output]) -> None:
    """Write an image with one column per output, which shows the face and a row of pixels over time."""
    columns: list[Image] = []
    for label, output in zip(("dub", *(f"steadiness {value:g}" for value in STEADINESS)), outputs, strict=True):
        face = np.zeros((2 * SLICE, 2 * SLICE, 3), np.uint8) if output.face is None else output.face.copy()
        cv2.putText(face, label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 1)
        lines = np.vstack(output.lines)
        over_time = cv2.resize(lines, (2 * SLICE, 2 * len(lines)), interpolation=cv2.INTER_NEAREST)
        columns.append(np.vstack([face, over_time]))
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR))
    if ok:
        path.write_bytes(encoded.tobytes())


def side_effects(axes: tuple[int, int], steadiness: float) -> tuple[float, float]:
    """Return the remaining share of a brightened ellipse, and the mean change within 12 pixels around the ellipse.

    Both values are relative to the intended change. A negative change around the ellipse is a shadow.
    """
    inside = np.zeros((512, 512), np.uint8)
    cv2.ellipse(inside, (256, 256), axes, 0, 0, 360, [255.0], -1, cv2.LINE_AA)
    around = (cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))) > 0) & (inside == 0)
    remaining = difference.reduce_flicker(np.repeat(inside[..., None].astype(np.float32) / 255, 3, 2), steadiness)
    return float(remaining[inside == 255].mean()), float(remaining[around].mean())


def side_effect_table() -> str:
    """Return one table line per steadiness value, with the remaining share and the shadow of each region."""
    lines = [f"low-pass {difference.COARSE:g}: remaining share / shadow of a brightened region"]
    for value in STEADINESS:
        pairs = (
            f"{name} {kept:.2f} / {round(shadow, 2) + 0.0:5.2f}"
            for name, (kept, shadow) in ((name, side_effects(axes, value)) for name, axes in REGIONS.items())
        )
        lines.append(f"steadiness {value:<5g} " + "   ".join(pairs))
    return "\n".join(lines)


HEADER = f"{'clip':14} {'restorer':10} {'steady':>6} {'total':>6} {'coarse':>6} {'fine':>6} {'added':>6} "
HEADER += f"{'coarse':>6} {'fine':>6} {'sharp':>6}"


def line(row: Row) -> str:
    """Return a formatted table row."""
    flicker, steadiness = row.flicker, "" if row.steadiness is None else f"{row.steadiness:g}"
    return (
        f"{row.clip:14} {row.restorer:10} {steadiness:>6} {flicker.total:6.2f} {flicker.coarse:6.2f} "
        f"{flicker.fine:6.2f} {flicker.added:6.2f} {flicker.added_coarse:6.2f} {flicker.added_fine:6.2f} "
        f"{row.sharpness:6.2f}"
    )


def means(rows: list[Row]) -> list[Row]:
    """Return the mean scores over all clips for each restorer and steadiness value."""
    kinds = dict.fromkeys((row.restorer, row.steadiness) for row in rows)
    result: list[Row] = []
    for restorer, steadiness in kinds:
        same = [row for row in rows if (row.restorer, row.steadiness) == (restorer, steadiness)]
        flickers = [asdict(row.flicker) for row in same]
        mean = {name: float(np.mean([each[name] for each in flickers])) for name in flickers[0]}
        frames = sum(row.flicker.frames for row in same)
        sharpness = float(np.mean([row.sharpness for row in same]))
        result.append(Row("mean", restorer, steadiness, Flicker(**{**mean, "frames": frames}), sharpness))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--enhancer", choices=("gpen", "gfpgan"))
    parser.add_argument("--restorers", nargs="+", choices=tuple(SIMULATED), default=list(SIMULATED))
    parser.add_argument("--pairs", nargs="+", default=TALKING_PAIRS, metavar="SOURCE:DRIVER")
    parser.add_argument("--low-pass", type=float, default=difference.COARSE, metavar="PIXELS")
    options = parser.parse_args(arguments)
    difference.COARSE = options.low_pass
    options.out.mkdir(parents=True, exist_ok=True)
    restorers = [options.enhancer] if options.enhancer else options.restorers
    rows: list[Row] = []
    print(side_effect_table())
    print(HEADER)
    with tempfile.TemporaryDirectory(prefix="restoration-flicker-") as folder:
        stages = DefaultStages(Path(folder))
        for pair in options.pairs:
            found = measure(stages, pair, restorers, options, Path(folder))
            print("\n".join(map(line, found)), flush=True)
            rows += found
    print("\n".join(map(line, means(rows))))
    (options.out / "flicker.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
