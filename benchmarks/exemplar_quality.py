"""Drives the lip syncer ``exemplar`` with lips measured in another clip and scores what comes out.

    python benchmarks/exemplar_quality.py --media DIR --out DIR [--pairs SOURCE:DRIVER ...]

DIR holds clips; SOURCE and DRIVER are the beginnings of their names, and the DRIVER ``silence`` asks for a closed
mouth. Each pair is rendered with the stages of the preset ``embedded``, encoded (x264 veryfast, crf 18) and tracked
again in that file. Mouth scores come from the encoded file; picture scores from the frames before encoding, so that
they show the edit and not the codec. Writes a video, a contact sheet (PNG) and ``scores.json`` for each pair.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from asked_motion import NoSpeech, WholeClip, motion_file
from contact_sheet import ContactSheet, chosen_frames
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import person_template
from retalkit.imaging.compositing import composite
from retalkit.media.sources import open_source
from retalkit.motion_eval.correlation import pearson
from retalkit.observer import SilentObserver
from retalkit.pipeline import detect
from retalkit.pipeline.analysis_store import StoredAnalysis
from retalkit.plugins.discovery import discover
from retalkit.stages import FaceEdit, PassedThrough, StageContext, StageKind, SyncBatch
from retalkit.storage.cache import Folder
from retalkit_metrics.meters.image_quality import ImageQuality, ImageQualityMeter
from retalkit_metrics.meters.mouth_tracking import MouthTracking, compare_mouth_motion, measure_mouth

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

SILENCE = "silence"
TALKING = ("talk_man", "talk_woman", "sitting_woman")
DEFAULT_PAIRS = (
    "talk_man:talk_woman",
    "talk_woman:talk_man",
    "sitting_woman:talk_woman",
    "silent_woman:talk_woman",
    *(f"{name}:{SILENCE}" for name in TALKING),
)
THRESHOLDS = "thresholds: r opening >= .95, r width >= .93, errors <= 1.0 %, silence <= 1.0 %, skin >= .90, "
THRESHOLDS += "ring <= 1.10, seam <= 1.05"


class Workshop:
    """Makes stages by name and analyses clips, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._registry = discover()
        self._analyses: dict[Path, StoredAnalysis] = {}

    def stage(self, kind: StageKind, name: str, **options: Any) -> Any:
        spec = self._registry.find(kind, name).spec
        return spec.make(spec.config(**options))

    def context(self, name: str) -> StageContext:
        return StageContext(Folder(self._folder / name), SilentObserver())

    def analyse(self, path: Path) -> StoredAnalysis:
        """Tracked, smoothed and fitted, as a run does it."""
        if path in self._analyses:
            return self._analyses[path]
        source = open_source(path)
        faces, fits = Folder(self._folder / f"{path.stem}-faces"), Folder(self._folder / f"{path.stem}-fits")
        detector = self.stage(StageKind.DETECTOR, "mediapipe").open(source.info, self.context(f"{path.stem}-detector"))
        detect.find_faces(source, detector, "mesh478", "largest", faces, SilentObserver())
        detector.close()
        bare = StoredAnalysis(source, faces.folder)
        session = self.stage(StageKind.RECONSTRUCTOR, "shallow").open(bare, self.context(f"{path.stem}-shallow"))
        detect.reconstruct(bare, session, False, "mesh", fits, SilentObserver())
        session.close()
        self._analyses[path] = StoredAnalysis(source, faces.folder, fits.folder, "mesh")
        return self._analyses[path]


@dataclass(frozen=True, slots=True)
class Scores:
    """One line of the table."""

    pair: str
    mouth: MouthTracking
    picture: ImageQuality
    motion_correlation: float
    """Pearson r of the shown opening with the opening of the motion itself, before it was fitted to the person."""
    open_seconds: float
    render_ms: float
    detail_ms: float
    passed: dict[str, int]


class Rendering:
    """Opened stages that render a clip frame by frame, as often as asked, and count time and what passed."""

    def __init__(self, analysis: StoredAnalysis, editor: Any, session: Any, enhancer: Any) -> None:
        self._analysis, self._editor, self._session, self._enhancer = analysis, editor, session, enhancer
        self.seconds = {"render": 0.0, "detail": 0.0}
        self.passed: Counter[str] = Counter()

    def frames(self) -> Iterator[tuple[float, Image, Image]]:
        """Yields (seconds, original, output), RGB uint8 [H, W, 3]."""
        source = self._analysis.source
        for batch in detect.frame_batches(source, 0, source.info.frame_count):
            faces = self._analysis.faces(batch.images, batch.times, batch.indexes)
            sync = SyncBatch(batch.indexes, batch.times, faces, self._editor.edit(faces))
            mark = time.perf_counter()
            edits = self._session.sync(sync)
            self.seconds["render"] += time.perf_counter() - mark
            mark = time.perf_counter()
            edits = self._enhancer.enhance(sync, edits)
            self.seconds["detail"] += time.perf_counter() - mark
            for image, edit, moment in zip(batch.images, edits, batch.times, strict=True):
                output = image.copy()
                if isinstance(edit, FaceEdit):
                    composite(output, edit)
                elif isinstance(edit, PassedThrough):
                    self.passed[edit.reason] += 1
                yield float(moment), image, output


class Encoder:
    """The codec of a run: x264 veryfast, crf 18, at the source's times."""

    def __init__(self, path: Path, width: int, height: int, rate: Fraction) -> None:
        self._file = av.open(str(path), "w")
        self._stream = self._file.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
        self._stream.width, self._stream.height = width - width % 2, height - height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, 90000)
        self._size = (self._stream.height, self._stream.width)

    def add(self, image: Image, seconds: float) -> None:
        crop = np.ascontiguousarray(image[: self._size[0], : self._size[1]])
        frame = av.VideoFrame.from_ndarray(crop, format="rgb24")
        frame.pts, frame.time_base = round(seconds * 90000), Fraction(1, 90000)
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._file.mux(self._stream.encode(None))
        self._file.close()


def run_pair(shop: Workshop, pair: str, media: Path, out: Path, detail: bool) -> Scores:
    source_name, _, driver_name = pair.partition(":")
    analysis = shop.analyse(find_clip(media, source_name))
    driver = None if driver_name == SILENCE else shop.analyse(find_clip(media, driver_name))
    name = f"{source_name}__{driver_name}"
    motion = motion_file(driver, analysis.source.info.duration, out / f"{name}.motion.npz")
    count = analysis.source.info.frame_count

    editor = shop.stage(StageKind.EXPRESSION_EDITOR, "neutral_warp").open(analysis, shop.context(f"{name}-editor"))
    started = time.perf_counter()
    syncer = shop.stage(StageKind.LIP_SYNCER, "exemplar", motion=motion)
    context = shop.context(f"{name}-exemplar")
    session = syncer.open(analysis, editor, WholeClip(analysis), NoSpeech(), context)
    open_seconds = time.perf_counter() - started
    enhancer = shop.stage(StageKind.ENHANCER, "detail" if detail else "none").open(analysis, shop.context("enhancer"))

    rendered, info = out / f"{name}.mp4", analysis.source.info
    encoder = Encoder(rendered, info.width, info.height, analysis.source.rate.limit_denominator(1000))
    work = Rendering(analysis, editor, session, enhancer)
    for moment, _, output in work.frames():
        encoder.add(output, moment)
    encoder.close()
    seconds, passed = dict(work.seconds), dict(work.passed)

    with np.load(context.cache.path("plan.npz"), allow_pickle=False) as plan:
        asked_opening, asked_width = plan["opening"], plan["width"]
    with np.load(motion) as given:
        wanted = np.interp(analysis.source.times(0, count), given["times"], given["opening"]).astype(np.float32)
    landmarks, shown_landmarks = analysis.landmarks(0, count), shop.analyse(rendered).landmarks(0, count)
    template = person_template(landmarks)
    shown = measure_mouth(shown_landmarks, template)
    height = float(np.nanmedian(analysis.coefficients(0, count)[:, mesh_space.FACE_HEIGHT]))
    mouth = compare_mouth_motion(asked_opening, asked_width, shown[:, 0], shown[:, 1], height)
    both = np.isfinite(shown[:, 0]) & np.isfinite(asked_opening)

    pose = mesh_space.unpack_pose(analysis.coefficients(0, count))
    meter, sheet = ImageQualityMeter(template), ContactSheet()
    show = set(chosen_frames(asked_opening if driver is not None else shown[:, 0]))
    # Rendered again: whole frames of a long clip fit neither memory nor disk.
    for index, (_, original, output) in enumerate(work.frames()):
        if not np.isfinite(landmarks[index]).all():
            meter.cut()
            continue
        meter.add(original, output, landmarks[index], pose[index : index + 1], shown_landmarks[index])
        if index in show:
            sheet.add(str(index), original, output, landmarks[index])
    session.close()
    sheet.write(out / f"{name}.png")
    scores = Scores(
        pair,
        mouth,
        meter.result(),
        pearson(shown[both, 0].astype(np.float64), wanted[both].astype(np.float64)),
        open_seconds,
        1000 * seconds["render"] / count,
        1000 * seconds["detail"] / count,
        passed,
    )
    (out / f"{name}.scores.json").write_text(json.dumps(asdict(scores), indent=1))
    return scores


def find_clip(media: Path, name: str) -> Path:
    """The clip whose file name begins with ``name``."""
    found = sorted(path for path in media.glob(f"{name}*") if path.suffix in {".mp4", ".mov", ".mkv", ".webm"})
    if not found:
        sys.exit(f"no clip in {media} begins with '{name}'")
    return found[0]


HEADER = f"{'source:driver':28} {'r open':>7} {'r width':>7} {'err op':>7} {'err wi':>7} {'rest98':>7} {'ring':>6} "
HEADER += f"{'seam':>6} {'skin':>6} {'r asked':>7} {'open s':>7} {'ms':>6} {'detail':>6}  passed"


def line(scores: Scores) -> str:
    mouth, picture = scores.mouth, scores.picture
    return (
        f"{scores.pair:28} {mouth.opening_correlation:7.3f} {mouth.width_correlation:7.3f} {mouth.opening_error:7.2f} "
        f"{mouth.width_error:7.2f} {mouth.shown_opening:7.2f} {picture.ring_flicker:6.2f} {picture.seam_energy:6.2f} "
        f"{picture.skin_sharpness:6.2f} {scores.motion_correlation:7.3f} {scores.open_seconds:7.1f} "
        f"{scores.render_ms:6.1f} {scores.detail_ms:6.1f}  {scores.passed or ''}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", default=list(DEFAULT_PAIRS), metavar="SOURCE:DRIVER")
    parser.add_argument("--no-detail", action="store_true", help="leave the enhancer 'detail' out")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(HEADER)
    with tempfile.TemporaryDirectory(prefix="exemplar-quality-") as folder:
        shop = Workshop(Path(folder))
        for pair in options.pairs:
            print(line(run_pair(shop, pair, options.media, options.out, not options.no_detail)), flush=True)
    print(THRESHOLDS)


if __name__ == "__main__":
    main()
