"""Measures how much a restoration of single frames flickers, and what its option ``steadiness`` does about it.

    python benchmarks/restoration_flicker.py --media DIR --out DIR [--frames 60] [--enhancer gpen | gfpgan]

Each talking clip of DIR is dubbed once with the stages of the preset ``embedded``, driven by another clip's lips; what
comes after is measured on its first frames, before encoding, against the dub that was not restored. Without
``--enhancer`` the restorers are stand-ins (``stand_in_restorers.py``), with it a network of the weight store. Writes
``flicker.json`` and a picture for each clip and restorer: a face at each steadiness, and below it a row of pixels
across the cheeks through time.

The price of steadiness is printed first: what it leaves of a change that ought to stay (a region as large as the iris,
the teeth, the lips made brighter by one), and the shadow that it throws around it. ``--low-pass`` tries another spread
than the stage's.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from asked_motion import NoSpeech, WholeClip, motion_file
from exemplar_quality import DEFAULT_PAIRS, TALKING, Workshop, find_clip
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import HeadPose, person_template
from retalkit.imaging.compositing import composite
from retalkit.observer import SilentObserver
from retalkit.pipeline import detect
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.plugins.discovery import discover
from retalkit.stages import FaceEdit, FrameResult, StageContext, StageKind, SyncBatch
from retalkit.storage.cache import Folder
from retalkit.weights.store import WeightStore
from retalkit_enhancers.restoration import change
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.enhancer import RestorationEnhancer
from retalkit_metrics.meters.flicker import Flicker, FlickerMeter
from retalkit_metrics.meters.image_quality import ImageQualityMeter
from retalkit_metrics.meters.patches import Patch
from stand_in_restorers import STAND_INS, StandIn

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

STEADINESS = (0.0, 0.25, 0.5, 0.75, 1.0)
REGIONS = {"iris": (10, 10), "teeth": (45, 11), "lips": (60, 28)}
"""Half axes in pixels of 512."""
SLICE = 200
"""Pixels of the row that is shown through time."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    clip: str
    restorer: str
    steadiness: float | None
    """None: the dub itself, against the source."""
    flicker: Flicker
    sharpness: float
    """Laplacian variance of the face over the unrestored dub's."""


class Measured:
    """One output: its meters and its picture."""

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
        self.lines.append(self._slice.cut(after, self._slice.matrix(pose))[:1])
        if show:
            self.face = face_cell(after, landmarks)

    def row(self, clip: str, restorer: str, steadiness: float | None) -> Row:
        return Row(clip, restorer, steadiness, self.flicker.result(), self.quality.result().skin_sharpness)


def face_region(landmarks: Float, shape: tuple[int, ...]) -> Float:
    """float32 [H, W]: 1 inside the face's outline, shrunk by a twelfth of its width."""
    mask = np.zeros(shape[:2], np.uint8)
    oval = landmarks[list(mesh478.FACE_OVAL), :2]
    cv2.fillPoly(mask, [cv2.convexHull(np.round(oval).astype(np.int32))], [1.0])
    reach = max(1, round(float(np.ptp(oval[:, 0])) / 6)) | 1
    return cv2.erode(mask, np.ones((reach, reach), np.uint8)).astype(np.float32)


def face_cell(image: Image, landmarks: Float) -> Image:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    centre, reach = (low + high) / 2, 0.62 * float((high - low).max())
    scale = 2 * SLICE / (2 * reach)
    matrix = np.array([[scale, 0, SLICE - centre[0] * scale], [0, scale, SLICE - centre[1] * scale]], np.float32)
    flags = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.warpAffine(image, matrix, (2 * SLICE, 2 * SLICE), flags=flags), np.uint8)


@dataclass(frozen=True, slots=True)
class Dubbed:
    """A batch of frames and the edits that dub them."""

    batch: SyncBatch
    edits: list[FrameResult]
    sources: NDArray[np.uint8]


def dubbed(shop: Workshop, analysis: StoredAnalysis, motion: Path, name: str, frames: int) -> Iterator[Dubbed]:
    """The first frames with the embedded stages, driven by a motion file."""
    editor = shop.stage(StageKind.EXPRESSION_EDITOR, "neutral_warp").open(analysis, shop.context(f"{name}-editor"))
    syncer = shop.stage(StageKind.LIP_SYNCER, "exemplar", motion=motion)
    session = syncer.open(analysis, editor, WholeClip(analysis), NoSpeech(), shop.context(f"{name}-exemplar"))
    detail = shop.stage(StageKind.ENHANCER, "detail").open(analysis, shop.context(f"{name}-detail"))
    count = min(frames, analysis.source.info.frame_count)
    for batch in detect.frame_batches(analysis.source, 0, count):
        faces = analysis.faces(batch.images, batch.times, batch.indexes)
        sync = SyncBatch(batch.indexes, batch.times, faces, editor.edit(faces))
        yield Dubbed(sync, detail.enhance(sync, session.sync(sync)), batch.images)
    for each in (detail, session, editor):
        each.close()


def finished(images: NDArray[np.uint8], edits: list[FrameResult]) -> list[Image]:
    """The frames with their edits."""
    frames = [image.copy() for image in images]
    for frame, edit in zip(frames, edits, strict=True):
        if isinstance(edit, FaceEdit):
            composite(frame, edit)
    return frames


def sessions(name: str, steadiness: tuple[float, ...], analysis: StoredAnalysis, folder: Path) -> list[Any]:
    """The restoration by ``name`` at each steadiness. They share a folder, so that each face is restored once."""
    cache = Folder(folder / f"restored-{name}")
    if name in STAND_INS:
        restorer = StandIn(STAND_INS[name])
        context = StageContext(cache, SilentObserver())
        made = [RestorationEnhancer(RestorationConfig(steadiness=value), lambda _: restorer) for value in steadiness]
        return [stage.open(analysis, context) for stage in made]
    spec, store = discover().find(StageKind.ENHANCER, name).spec, WeightStore()
    weights = {needed: store.path(needed) for needed in (*spec.checkpoints, *spec.config().checkpoints())}
    for needed, path in weights.items():
        if path is None:
            sys.exit(f"the weights '{needed}' are not in the store: retalkit weights pull {needed}")
    context = StageContext(cache, SilentObserver(), weights={key: path for key, path in weights.items() if path})
    return [spec.make(spec.config(steadiness=value)).open(analysis, context) for value in steadiness]


def measure(shop: Workshop, pair: str, restorers: list[str], options: argparse.Namespace, folder: Path) -> list[Row]:
    """All rows of one clip; writes its pictures."""
    source_name, _, driver_name = pair.partition(":")
    analysis = shop.analyse(find_clip(options.media, source_name))
    driver = shop.analyse(find_clip(options.media, driver_name))
    motion = motion_file(driver, analysis.source.info.duration, folder / f"{source_name}.motion.npz")
    count = min(options.frames, analysis.source.info.frame_count)
    landmarks = analysis.landmarks(0, analysis.source.info.frame_count)
    template, landmarks = person_template(landmarks), landmarks[:count]
    pose = mesh_space.unpack_pose(analysis.coefficients(0, count))

    dub = Measured(template, mouth=False)
    opened = {name: sessions(name, STEADINESS, analysis, folder / source_name) for name in restorers}
    found = {name: [Measured(template) for _ in STEADINESS] for name in restorers}
    for part in dubbed(shop, analysis, motion, source_name, count):
        plain = finished(part.sources, part.edits)
        rows = part.batch.positions
        for row, source, frame in zip(rows, part.sources, plain, strict=True):
            dub.add(source, frame, landmarks[row], pose[row : row + 1], row == count // 2)
        for name, made in opened.items():
            for session, measured in zip(made, found[name], strict=True):
                outputs = finished(part.sources, session.enhance(part.batch, part.edits))
                for row, frame, output in zip(rows, plain, outputs, strict=True):
                    measured.add(frame, output, landmarks[row], pose[row : row + 1], row == count // 2)
    table = [dub.row(source_name, "(dub)", None)]
    for name, each in found.items():
        table += [one.row(source_name, name, value) for one, value in zip(each, STEADINESS, strict=True)]
        write_picture(options.out / f"{source_name}__{name}.png", [dub, *each])
        for session in opened[name]:
            session.close()
    return table


def write_picture(path: Path, outputs: list[Measured]) -> None:
    columns: list[Image] = []
    for label, one in zip(("dub", *(f"steadiness {value:g}" for value in STEADINESS)), outputs, strict=True):
        face = np.zeros((2 * SLICE, 2 * SLICE, 3), np.uint8) if one.face is None else one.face.copy()
        cv2.putText(face, label, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 255, 0), 1)
        time = cv2.resize(np.vstack(one.lines), (2 * SLICE, 2 * len(one.lines)), interpolation=cv2.INTER_NEAREST)
        columns.append(np.vstack([face, time]))
    ok, encoded = cv2.imencode(".png", cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR))
    if ok:
        path.write_bytes(encoded.tobytes())


def price(axes: tuple[int, int], steadiness: float) -> tuple[float, float]:
    """What is left of an ellipse that a restoration makes brighter, as a share, and what falls on the 12 pixels around
    it, in shares of the change: below 0 is a shadow."""
    inside = np.zeros((512, 512), np.uint8)
    cv2.ellipse(inside, (256, 256), axes, 0, 0, 360, [255.0], -1, cv2.LINE_AA)
    around = (cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25))) > 0) & (inside == 0)
    left = change.steadied(np.repeat(inside[..., None].astype(np.float32) / 255, 3, 2), steadiness)
    return float(left[inside == 255].mean()), float(left[around].mean())


def prices() -> str:
    """One line for each steadiness: kept share and shadow of each region."""
    lines = [f"low-pass {change.COARSE:g}: share kept / shadow around, of a region made brighter"]
    for value in STEADINESS:
        pairs = (
            f"{name} {kept:.2f} / {round(shadow, 2) + 0.0:5.2f}"
            for name, (kept, shadow) in ((name, price(axes, value)) for name, axes in REGIONS.items())
        )
        lines.append(f"steadiness {value:<5g} " + "   ".join(pairs))
    return "\n".join(lines)


HEADER = f"{'clip':14} {'restorer':10} {'steady':>6} {'total':>6} {'coarse':>6} {'fine':>6} {'added':>6} "
HEADER += f"{'coarse':>6} {'fine':>6} {'sharp':>6}"


def line(row: Row) -> str:
    flicker, steadiness = row.flicker, "" if row.steadiness is None else f"{row.steadiness:g}"
    return (
        f"{row.clip:14} {row.restorer:10} {steadiness:>6} {flicker.total:6.2f} {flicker.coarse:6.2f} "
        f"{flicker.fine:6.2f} {flicker.added:6.2f} {flicker.added_coarse:6.2f} {flicker.added_fine:6.2f} "
        f"{row.sharpness:6.2f}"
    )


def means(rows: list[Row]) -> list[Row]:
    """The mean over clips of each restorer and steadiness."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--enhancer", choices=("gpen", "gfpgan"))
    parser.add_argument("--clips", nargs="+", default=list(TALKING), metavar="SOURCE")
    parser.add_argument("--low-pass", type=float, default=change.COARSE, metavar="PIXELS")
    options = parser.parse_args()
    change.COARSE = options.low_pass
    options.out.mkdir(parents=True, exist_ok=True)
    restorers = [options.enhancer] if options.enhancer else list(STAND_INS)
    pairs = [pair for pair in DEFAULT_PAIRS if pair.partition(":")[0] in options.clips and "silence" not in pair]
    rows: list[Row] = []
    print(prices())
    print(HEADER)
    with tempfile.TemporaryDirectory(prefix="restoration-flicker-") as folder:
        shop = Workshop(Path(folder))
        for pair in pairs:
            found = measure(shop, pair, restorers, options, Path(folder))
            print("\n".join(map(line, found)), flush=True)
            rows += found
    print("\n".join(map(line, means(rows))))
    (options.out / "flicker.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
