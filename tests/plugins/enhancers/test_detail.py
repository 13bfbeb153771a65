"""The enhancer ``detail`` on a textured image with a softened edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from retalkit.geometry import mesh478
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import (
    EnhancementClip,
    FaceBatch,
    FaceEdit,
    FrameBatch,
    PassedThrough,
    ReferenceBatch,
    Runtime,
    StageContext,
    StageKind,
    SyncBatch,
)
from retalkit.storage.cache import Folder
from retalkit_enhancers.config import DetailConfig, NoneConfig
from retalkit_enhancers.detail import DetailEnhancer
from retalkit_enhancers.none import NoneEnhancer

from tests.plugins.boxes import box_of

SIZE = 200
LEFT, TOP = 40, 40

NO_ANALYSIS: Any = EnhancementClip(analysis=None)  # type: ignore[arg-type]
"""Neither enhancer reads the analysis."""


def skin(seed: int = 0) -> np.ndarray:
    """Return RGB uint8 [SIZE, SIZE, 3] with grain of about two grey levels."""
    grain = np.random.default_rng(seed).normal(0, 2.5, (SIZE, SIZE, 1))
    slope = np.linspace(120, 160, SIZE)[:, None, None]
    return np.clip(slope + grain + [20, 0, -20], 0, 255).astype(np.uint8)


def face() -> np.ndarray:
    """Return landmarks float32 [478, 3] with lips in the middle of the image."""
    points = np.full((478, 3), 100, np.float32)
    around = np.linspace(0, 2 * np.pi, len(mesh478.OUTER_LIPS), endpoint=False)
    points[list(mesh478.OUTER_LIPS), 0] = 100 + 26 * np.cos(around)
    points[list(mesh478.OUTER_LIPS), 1] = 100 + 10 * np.sin(around)
    return points


def batch_of(images: list[np.ndarray], indexes: list[int]) -> SyncBatch:
    count = len(images)
    rows = np.array(indexes, np.int64)
    landmarks = np.repeat(face()[None], count, 0)
    faces = FaceBatch(
        FrameBatch(np.stack(images), rows / 25, rows), landmarks, np.zeros((count, 13), np.float32), box_of(landmarks)
    )
    return SyncBatch(np.arange(count), rows / 25, faces, ReferenceBatch(landmarks))


def edit_of(image: np.ndarray, soft: float = 0.0) -> FaceEdit:
    """Return an edit of the middle of the image, softened, with a feathered mask."""
    crop = np.ascontiguousarray(image[TOP : TOP + 120, LEFT : LEFT + 120])
    mask = np.zeros((120, 120), np.float32)
    cv2.circle(mask, (60, 60), 48, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 3)
    mask[mask < 0.01] = 0
    soft_crop = cv2.GaussianBlur(crop, (0, 0), soft) if soft else crop
    return FaceEdit(soft_crop, mask, np.array([[1, 0, -LEFT], [0, 1, -TOP]], np.float32), 0.7, "large yaw")


def session(folder: Path, seed: int = 0, **options: Any) -> Any:
    context = StageContext(Folder(folder), SilentObserver(), seed=seed)
    return DetailEnhancer(DetailConfig(**options), Runtime()).open(NO_ANALYSIS, context)


def sharpness(image: np.ndarray, region: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F)[region].var())


RING = np.zeros((120, 120), np.uint8)
cv2.circle(RING, (60, 60), 42, 1, -1)
cv2.ellipse(RING, (60, 60), (34, 18), 0, 0, 360, 0, -1)


@pytest.mark.parametrize("soft", [0.5, 0.7])
def test_softened_skin_is_sharpened(tmp_path: Path, soft: float) -> None:
    image = skin()
    edit = edit_of(image, soft)
    given = session(tmp_path).enhance(batch_of([image], [3]), [edit])[0]
    region = RING > 0
    before = sharpness(edit_of(image).image, region)
    assert sharpness(edit.image, region) < 0.65 * before
    assert 0.85 * before < sharpness(given.image, region) < 1.1 * before
    np.testing.assert_array_equal(given.mask, edit.mask)
    np.testing.assert_array_equal(given.matrix, edit.matrix)
    assert given.confidence == 0.7
    assert given.reason == "large yaw"
    assert np.abs(given.image.astype(int) - edit.image).max() < 12


def test_sharp_edit_is_unchanged(tmp_path: Path) -> None:
    image = skin()
    for edit in (edit_of(image), edit_of(skin(seed=5))):
        given = session(tmp_path).enhance(batch_of([image], [0]), [edit])[0]
        np.testing.assert_array_equal(given.image, edit.image)


def test_strength_scales_the_change(tmp_path: Path) -> None:
    image, region = skin(), RING > 0
    edit = edit_of(image, 0.7)
    batch = batch_of([image], [0])
    levels = [
        sharpness(session(tmp_path, strength=strength).enhance(batch, [edit])[0].image, region)
        for strength in (0.0, 0.5, 1.0)
    ]
    assert levels[0] == sharpness(edit.image, region)
    assert levels[0] < levels[1] < levels[2]


def test_edges_get_no_halo(tmp_path: Path) -> None:
    image = skin()
    image[:, 100:] = np.clip(image[:, 100:].astype(int) - 90, 0, 255)
    edit = edit_of(image, 0.8)
    given = session(tmp_path).enhance(batch_of([image], [0]), [edit])[0]
    added = (given.image.astype(float) - edit.image).mean(-1)
    rows = np.r_[24:38, 82:96]
    # Grain averages out down a column; an overshoot along the edge would not.
    assert np.abs(added[rows][:, 50:70].mean(0)).max() < 2.0
    assert np.abs(added[rows]).mean() > 0.5


def test_original_lips_do_not_show_through(tmp_path: Path) -> None:
    plain = skin()
    image = plain.copy()
    stripes = (np.arange(SIZE) // 2 % 2 * 120).astype(np.uint8)
    image[92:109, 76:125] = stripes[76:125, None]
    edit = edit_of(plain, 0.7)
    given = session(tmp_path).enhance(batch_of([image], [0]), [edit])[0]
    added = (given.image.astype(int) - edit.image)[55:66, 40:80, 0].astype(np.float64)
    copied = stripes[80:120].astype(np.float64)
    assert abs(np.corrcoef(added.mean(0), copied)[0, 1]) < 0.5
    assert np.abs(added).max() < 12


def test_grain_depends_on_the_source_frame_only(tmp_path: Path) -> None:
    images = [skin(seed) for seed in (1, 2, 3)]
    edits = [edit_of(image, 0.6) for image in images]
    together = session(tmp_path).enhance(batch_of(images, [7, 8, 9]), edits)
    for row in range(3):
        alone = session(tmp_path).enhance(batch_of([images[row]], [7 + row]), [edits[row]])[0]
        np.testing.assert_array_equal(alone.image, together[row].image)


def test_frames_without_edit_or_face_are_unchanged(tmp_path: Path) -> None:
    image = skin()
    batch = batch_of([image, image], [0, 1])
    batch.faces.landmarks[1] = np.nan
    edits = [PassedThrough("no face"), edit_of(image, 0.6)]
    assert session(tmp_path).enhance(batch, edits) == edits
    empty = batch_of([image], [0])
    assert session(tmp_path).enhance(empty, []) == []


def test_edit_at_another_resolution(tmp_path: Path) -> None:
    image = skin()
    half = np.array([[0.5, 0, -LEFT / 2], [0, 0.5, -TOP / 2]], np.float32)
    crop = cv2.warpAffine(image, half, (60, 60), flags=cv2.INTER_LINEAR)
    edit = FaceEdit(cv2.GaussianBlur(crop, (0, 0), 0.7), np.ones((60, 60), np.float32), half)
    given = session(tmp_path, on="face").enhance(batch_of([image], [0]), [edit])[0]
    whole = np.ones((60, 60), bool)
    assert given.image.shape == (60, 60, 3)
    assert sharpness(given.image, whole) > 1.3 * sharpness(edit.image, whole)


def test_on_mouth_changes_the_mouth_only(tmp_path: Path) -> None:
    image = skin()
    edit = FaceEdit(
        cv2.GaussianBlur(image, (0, 0), 0.7), np.ones((SIZE, SIZE), np.float32), np.eye(2, 3, dtype=np.float32)
    )
    batch = batch_of([image], [0])
    mouth = session(tmp_path, on="mouth").enhance(batch, [edit])[0]
    face = session(tmp_path, on="face").enhance(batch, [edit])[0]
    np.testing.assert_array_equal(mouth.image[:30], edit.image[:30])
    assert (face.image[:30] != edit.image[:30]).any()
    assert (mouth.image[80:120, 60:140] != edit.image[80:120, 60:140]).any()


def test_none_returns_the_same_edits(tmp_path: Path) -> None:
    image = skin()
    edits = [edit_of(image, 0.6), PassedThrough("no face")]
    context = StageContext(Folder(tmp_path), SilentObserver())
    given = (
        NoneEnhancer(NoneConfig(), Runtime())
        .open(NO_ANALYSIS, context)
        .enhance(batch_of([image, image], [0, 1]), edits)
    )
    assert given[0] is edits[0]
    assert given[1] is edits[1]


def test_both_are_registered() -> None:
    registry = discover()
    for name in ("detail", "none"):
        spec = registry.find(StageKind.ENHANCER, name).spec
        assert spec.needs == spec.gives == {"face:edit"}
        assert hasattr(spec.make(spec.config()), "open")
