"""The lip syncer ``exemplar`` on real clips: landmarks detected in the output match the requested mouth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from exemplar_clips import TalkingClip, motion_file, open_exemplar
from retalkit.geometry import mesh_space
from retalkit.geometry.pose import person_template
from retalkit.imaging.compositing import composite
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import DetectionClip, FaceEdit, FrameBatch, SourceInfo, StageContext, StageKind
from retalkit.storage.cache import Folder
from retalkit_metrics.meters.image_quality import ImageQualityMeter
from retalkit_metrics.meters.mouth_tracking import compare_mouth_motion, measure_mouth

FRAMES = 60


def track(images: list[np.ndarray], folder: Path) -> np.ndarray:
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    info = SourceInfo(images[0].shape[1], images[0].shape[0], len(images), len(images) / 25)
    session = spec.make(spec.config()).open(DetectionClip(source=info), StageContext(Folder(folder), SilentObserver()))
    found = [
        session.detect(FrameBatch(image[None], np.zeros(1), np.array([index])))[0][0].landmarks
        for index, image in enumerate(images)
    ]
    session.close()
    return np.stack(found)


@pytest.fixture(scope="module")
def man(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> TalkingClip:
    images = [image for _, image in open_source(shared_media / "talk_man_700p22.mp4").read(range(FRAMES))]
    points = track(images, tmp_path_factory.mktemp("source"))
    return TalkingClip(images, points, person_template(points), np.zeros(FRAMES, np.int32))


def rendered(clip: TalkingClip, motion: Path, folder: Path) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    opened = open_exemplar(clip, folder / "cache", motion)
    frames = []
    for image, edit in zip(clip.images, opened.results(clip), strict=True):
        assert isinstance(edit, FaceEdit)
        frame = image.copy()
        composite(frame, edit)
        frames.append(frame)
    return frames, opened.plan


def test_mouth_follows_the_motion_and_skin_is_preserved(man: TalkingClip, tmp_path: Path) -> None:
    wave = 0.5 - 0.5 * np.cos(np.arange(FRAMES) * 0.4)
    frames, plan = rendered(man, motion_file(tmp_path / "motion.npz", FRAMES, opening=wave), tmp_path)
    found = track(frames, tmp_path)
    shown = measure_mouth(found, man.template)
    height = float(plan["face_height"].mean())
    scores = compare_mouth_motion(plan["opening"], plan["width"], shown[:, 0], shown[:, 1], height)
    assert scores.opening_correlation > 0.93
    assert scores.opening_error < 1.2
    meter = ImageQualityMeter(man.template)
    pose = mesh_space.unpack_pose(man.rows)
    for index, frame in enumerate(frames):
        meter.add(man.images[index], frame, man.points[index], pose[index : index + 1], found[index])
    quality = meter.result()
    assert quality.skin_sharpness > 0.85
    assert quality.seam_energy < 1.1
    assert quality.ring_flicker < 1.2


def test_silence_closes_the_mouth(man: TalkingClip, tmp_path: Path) -> None:
    frames, plan = rendered(man, motion_file(tmp_path / "motion.npz", FRAMES, speech=0.0), tmp_path)
    shown = measure_mouth(track(frames, tmp_path), man.template)
    assert np.percentile(man.opening(), 98) / plan["face_height"].mean() > 0.05
    assert np.percentile(shown[:, 0], 98) / plan["face_height"].mean() < 0.012
