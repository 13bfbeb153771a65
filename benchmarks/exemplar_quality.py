"""Drive the default lip syncer with lip motion tracked in a different clip, and compute scores for the result.

    python benchmarks/exemplar_quality.py --media DIR --out DIR [--pairs SOURCE:DRIVER ...]

``--media`` is the directory with the clips. SOURCE and DRIVER are prefixes of clip names. The DRIVER ``silence``
requests a closed mouth. Each pair is rendered with the default preset's stages, encoded with the
default settings and tracked again. Mouth scores are computed from the encoded file. Image scores are computed from the
frames before encoding, so that they measure the edit without the effect of the codec. The script writes a video, a
contact sheet (PNG) and ``scores.json`` for each pair.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from contact_sheet import ContactSheet, select_frames
from default_stages import DEFAULT_PAIRS, SILENCE, DefaultStages, OpenedClip, apply, dub, find_clip
from mouth_motion import write_motion
from numpy.typing import NDArray
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import person_template
from retalkit.media.sources import open_source
from retalkit.media.video_codec import DEFAULT_ENCODING
from retalkit.motion_eval.correlation import pearson
from retalkit.stages import PassedThrough
from retalkit_metrics.meters.image_quality import ImageQuality, ImageQualityMeter
from retalkit_metrics.meters.mouth_tracking import MouthTracking, compare_mouth_motion, measure_mouth

Image = NDArray[np.uint8]

THRESHOLDS = "thresholds: r opening >= .95, r width >= .93, errors <= 1.0 %, silence <= 1.0 %, skin >= .90, "
THRESHOLDS += "ring <= 1.10, seam <= 1.05"


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one pair, which form one table row."""

    pair: str
    mouth: MouthTracking
    image: ImageQuality
    motion_correlation: float
    """Pearson correlation between the tracked opening and the requested opening before its adaptation to the person's
    range.
    """
    open_seconds: float
    sync_ms: float
    """Lip syncer time in milliseconds per frame."""
    enhance_ms: float
    """Enhancer time in milliseconds per frame."""
    passed: dict[str, int]


class Encoder:
    """Video encoder with the settings of a run: the default settings, source timestamps."""

    def __init__(self, path: Path, width: int, height: int, rate: Fraction) -> None:
        self._file = av.open(str(path), "w")
        self._stream = self._file.add_stream("libx264", rate=rate, options=DEFAULT_ENCODING.options())
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


def frames_of(opened: OpenedClip, passed: Counter[str]) -> Iterator[tuple[int, float, Image, Image]]:
    """Yield each frame's index, timestamp in seconds, original and output, and count the passed-through frames."""
    for part in dub(opened.job, opened.job.analysis.source.info.frame_count):
        passed.update(edit.reason for edit in part.edits if isinstance(edit, PassedThrough))
        outputs = apply(part.images, part.edits)
        for index, seconds, image, output in zip(part.indexes, part.times, part.images, outputs, strict=True):
            yield int(index), float(seconds), image, output


def run_pair(stages: DefaultStages, pair: str, media: Path, out: Path, enhance: bool) -> Scores:
    """Render, encode and score one pair."""
    source_name, _, driver_name = pair.partition(":")
    clip = find_clip(media, source_name)
    analysis = stages.analyse(clip)
    driver = None if driver_name == SILENCE else stages.analyse(find_clip(media, driver_name))
    name = f"{source_name}__{driver_name}"
    motion = write_motion(driver, analysis.source.info.duration, out / f"{name}.motion.npz")
    count, info = analysis.source.info.frame_count, analysis.source.info
    started = time.perf_counter()
    with stages.open(clip, motion, enhance=enhance) as opened:
        open_seconds = time.perf_counter() - started
        rendered = out / f"{name}.mp4"
        encoder = Encoder(rendered, info.width, info.height, open_source(clip).rate.limit_denominator(1000))
        passed: Counter[str] = Counter()
        for _, seconds, _, output in frames_of(opened, passed):
            encoder.add(output, seconds)
        encoder.close()
        spent = dict(opened.job.watch.seconds)

        plan_file = opened.lip_syncer_cache.path("plan.npz")
        assert plan_file is not None
        with np.load(plan_file, allow_pickle=False) as plan:
            requested_opening, requested_width = plan["opening"], plan["width"]
        with np.load(motion) as arrays:
            times = analysis.source.times(0, count)
            motion_opening = np.interp(times, arrays["times"], arrays["opening"]).astype(np.float32)
        landmarks, output_landmarks = analysis.landmarks(0, count), stages.analyse(rendered).landmarks(0, count)
        template = person_template(landmarks)
        tracked = measure_mouth(output_landmarks, template)
        height = float(np.nanmedian(analysis.coefficients(0, count)[:, mesh_space.FACE_HEIGHT]))
        mouth = compare_mouth_motion(requested_opening, requested_width, tracked[:, 0], tracked[:, 1], height)
        both = np.isfinite(tracked[:, 0]) & np.isfinite(requested_opening)

        pose = mesh_space.unpack_pose(analysis.coefficients(0, count))
        meter, sheet = ImageQualityMeter(template), ContactSheet()
        selected = set(select_frames(requested_opening if driver is not None else tracked[:, 0]))
        # Render the frames a second time, because the frames of a long clip do not fit into memory.
        for index, _, original, output in frames_of(opened, Counter()):
            if not np.isfinite(landmarks[index]).all():
                meter.cut()
                continue
            meter.add(original, output, landmarks[index], pose[index : index + 1], output_landmarks[index])
            if index in selected:
                sheet.add(str(index), original, output, landmarks[index])
    sheet.write(out / f"{name}.png")
    enhance_seconds = sum(value for path, value in spent.items() if path.startswith("enhancers."))
    scores = Scores(
        pair,
        mouth,
        meter.result(),
        pearson(tracked[both, 0].astype(np.float64), motion_opening[both].astype(np.float64)),
        open_seconds,
        1000 * spent["lip_syncer"] / count,
        1000 * enhance_seconds / count,
        dict(passed),
    )
    (out / f"{name}.scores.json").write_text(json.dumps(asdict(scores), indent=1))
    return scores


HEADER = f"{'source:driver':28} {'r open':>7} {'r width':>7} {'err op':>7} {'err wi':>7} {'rest98':>7} {'ring':>6} "
HEADER += f"{'seam':>6} {'skin':>6} {'r mot.':>7} {'open s':>7} {'ms':>6} {'enh ms':>6}  passed"


def line(scores: Scores) -> str:
    """Return a formatted table row."""
    mouth, image = scores.mouth, scores.image
    return (
        f"{scores.pair:28} {mouth.opening_correlation:7.3f} {mouth.width_correlation:7.3f} {mouth.opening_error:7.2f} "
        f"{mouth.width_error:7.2f} {mouth.tracked_opening:7.2f} {image.ring_flicker:6.2f} {image.seam_energy:6.2f} "
        f"{image.skin_sharpness:6.2f} {scores.motion_correlation:7.3f} {scores.open_seconds:7.1f} "
        f"{scores.sync_ms:6.1f} {scores.enhance_ms:6.1f}  {scores.passed or ''}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", nargs="+", default=list(DEFAULT_PAIRS), metavar="SOURCE:DRIVER")
    parser.add_argument("--no-enhancers", action="store_true", help="skip the preset's enhancers")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    print(HEADER)
    with tempfile.TemporaryDirectory(prefix="exemplar-quality-") as folder:
        stages = DefaultStages(Path(folder))
        for pair in options.pairs:
            print(line(run_pair(stages, pair, options.media, options.out, not options.no_enhancers)), flush=True)
    print(THRESHOLDS)


if __name__ == "__main__":
    main()
