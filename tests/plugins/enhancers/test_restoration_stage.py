"""The restoration enhancer on a real face, with simple functions as restorers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="restoration enhancers need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import PlanError
from retalkit.geometry.schemes import convert
from retalkit.imaging.compositing import composite, shift_matrix
from retalkit.observer import SilentObserver
from retalkit.stages import (
    EnhancementClip,
    FaceBatch,
    FaceEdit,
    FrameBatch,
    PassedThrough,
    ReferenceBatch,
    Runtime,
    StageContext,
    SyncBatch,
)
from retalkit.storage.cache import Folder
from retalkit_enhancers.parsing.parser import FaceParser
from retalkit_enhancers.restoration import enhancer as module
from retalkit_enhancers.restoration.config import RestorationConfig
from retalkit_enhancers.restoration.enhancer import RestorationEnhancer, RestorationSession
from retalkit_enhancers.restoration.template import FFHQ, GPEN

from tests.plugins.conftest import Portrait

FIRST = 40
"""Position of the first frame in the output."""
SOURCE = 7
"""Source index of the first frame."""
COLOUR = np.array([30, 200, 90], np.uint8)


@dataclass
class RecordedRestorer:
    """A restorer that applies a function of (face in [0, 1], index) and records its inputs."""

    rule: Callable[[np.ndarray, int], np.ndarray]
    calls: list[list[int]] = field(default_factory=list)
    seen: list[np.ndarray] = field(default_factory=list)

    def restore(self, faces: np.ndarray, indexes: np.ndarray, seed: int) -> np.ndarray:
        assert faces.dtype == np.uint8 and faces.shape[1:] == (512, 512, 3)
        self.calls.append([int(index) for index in indexes])
        self.seen.extend(faces)
        pairs = zip(faces, indexes, strict=True)
        return np.stack([self.rule(face.astype(np.float32) / 255, int(index)) for face, index in pairs])


def identity(face: np.ndarray, index: int) -> np.ndarray:
    return face


def constant(face: np.ndarray, index: int) -> np.ndarray:
    return np.broadcast_to(COLOUR.astype(np.float32) / 255, face.shape)


def sharpened(face: np.ndarray, index: int) -> np.ndarray:
    return np.asarray(face + 0.8 * (face - cv2.GaussianBlur(face, (0, 0), 3)), np.float32)


@dataclass(frozen=True)
class Stored:
    """The part of an analysis that the stage reads."""

    landmark_scheme: str = "mesh478"


def mouth_in_template(face: np.ndarray) -> np.ndarray:
    """Return the classes of a face whose mouth is at its position in the template."""
    classes = np.ones((512, 512), np.uint8)
    classes[:120] = 13
    left, right = FFHQ.array()[3:]
    centre = tuple(int(value) for value in (left + right) / 2)
    cv2.ellipse(classes, centre, (62, 30), 0, 0, 360, (12,), -1)
    cv2.ellipse(classes, centre, (50, 10), 0, 0, 360, (10,), -1)
    return classes


class SyntheticParser:
    """Replaces the parsing network where a test needs a mouth: published weights are not available."""

    def __init__(self, *_: object) -> None: ...

    def classes(self, face: np.ndarray) -> np.ndarray:
        return mouth_in_template(face)


@pytest.fixture
def synthetic_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FaceParser", SyntheticParser)


class UnusedRestorer:
    """Fails when it is called."""

    def restore(self, faces: np.ndarray, indexes: np.ndarray, seed: int) -> np.ndarray:
        raise AssertionError("everything is in the cache")


def clip_of(scheme: str = "mesh478") -> EnhancementClip:
    return EnhancementClip(analysis=Stored(scheme))  # type: ignore[arg-type]


def opened(
    folder: Path,
    restorer: RecordedRestorer | None,
    weights: dict[str, Path] | None = None,
    *,
    references: bool = False,
    **options: Any,
) -> Any:
    """Open a session; without a restorer all faces must be in the cache."""
    options = {"steadiness": 0, **options}
    runtime = Runtime(inference="torch", weights=weights or {"parsenet": folder})
    stage = RestorationEnhancer(RestorationConfig(**options), runtime, restorer or UnusedRestorer())
    context = StageContext(Folder(folder), SilentObserver())
    return stage.open_references(clip_of(), context) if references else stage.open(clip_of(), context)


def batch_of(portrait: Portrait, count: int = 1, first: int = FIRST, landmarks: np.ndarray | None = None) -> SyncBatch:
    rows = np.arange(first, first + count)
    points = np.repeat((portrait.landmarks if landmarks is None else landmarks)[None], count, 0)
    images = np.repeat(portrait.image[None], count, 0)
    frames = FrameBatch(images, rows / 25, rows - FIRST + SOURCE)
    faces = FaceBatch(frames, points, np.zeros((count, 0), np.float32), np.zeros((count, 4), np.float32))
    return SyncBatch(rows, rows / 25, faces, ReferenceBatch(points, images.copy()))


def mouth_box(portrait: Portrait) -> tuple[int, int, int, int]:
    lips = convert(portrait.landmarks, "mesh478", "ibug68")[48:, :2]
    left, top = np.floor(lips.min(0)).astype(int)
    right, bottom = np.ceil(lips.max(0)).astype(int)
    return int(left), int(top), int(right), int(bottom)


def soft_edit(portrait: Portrait, strength: float = 1.0) -> FaceEdit:
    """Return a blurred mouth with soft edges."""
    left, top, right, bottom = mouth_box(portrait)
    left, top, right, bottom = left - 15, top - 15, right + 15, bottom + 15
    image = cv2.GaussianBlur(portrait.image[top:bottom, left:right], (0, 0), 2).astype(np.uint8)
    mask = np.zeros(image.shape[:2], np.float32)
    mask[6:-6, 6:-6] = strength
    mask = cv2.GaussianBlur(mask, (7, 7), 2).astype(np.float32)
    return FaceEdit(image, mask, shift_matrix(left, top), confidence=strength, reason="turned")


def scaled_edit(portrait: Portrait) -> FaceEdit:
    """Return the same edit at 96 x 96 and with resampling, like an edit of L-Net."""
    edit = soft_edit(portrait)
    high, wide = edit.mask.shape
    scale = np.array([[96 / wide, 0, 0.3], [0, 96 / high, 0.2]])
    left, top = -edit.matrix[:, 2]
    matrix = scale.copy()
    matrix[:, 2] -= scale[:, :2] @ (left, top)
    image = cv2.resize(edit.image, (96, 96)).astype(np.uint8)
    mask = np.clip(cv2.resize(edit.mask, (96, 96)), 0, 1).astype(np.float32)
    return FaceEdit(image, mask, matrix.astype(np.float32), unrounded_image=image.astype(np.float32) / 255)


def shown(frame: np.ndarray, edit: Any) -> np.ndarray:
    image = frame.copy()
    composite(image, edit)
    return image


def restored(
    folder: Path, portrait: Portrait, edit: FaceEdit, restorer: RecordedRestorer, **options: Any
) -> np.ndarray:
    session = opened(folder, restorer, **options)
    return shown(portrait.image, session.enhance(batch_of(portrait), [edit])[0])


def changed(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    return (image != before).any(2)


@pytest.mark.parametrize("on", ["face", "mouth"])
@pytest.mark.parametrize("make", [soft_edit, scaled_edit])
def test_identity_restorer_changes_no_pixel(
    on: str, make: Callable[[Portrait], FaceEdit], portrait: Portrait, tmp_path: Path, synthetic_parser: None
) -> None:
    edit = make(portrait)
    before = shown(portrait.image, edit)
    assert changed(before, portrait.image).any()
    result = restored(tmp_path, portrait, edit, RecordedRestorer(identity), on=on, steadiness=0.5)
    # An edit with resampling is composited into the crop instead of the frame: equal up to rounding.
    np.testing.assert_allclose(result.astype(int), before, atol=0 if make is soft_edit else 1)


def test_face_is_restored_inside_the_oval_only(portrait: Portrait, tmp_path: Path) -> None:
    edit = soft_edit(portrait)
    session = opened(tmp_path, RecordedRestorer(constant))
    result = session.enhance(batch_of(portrait), [edit])[0]
    assert result.unrounded_image is None
    np.testing.assert_array_equal(result.matrix[:, :2], np.eye(2))
    assert result.mask.shape < portrait.image.shape[:2]
    image, before = shown(portrait.image, result), shown(portrait.image, edit)
    points = convert(portrait.landmarks, "mesh478", "points5")[:, :2]
    for x, y in np.round(points).astype(int):
        np.testing.assert_allclose(image[y, x].astype(int), COLOUR, atol=20)
    touched = changed(image, before)
    rows, columns = np.nonzero(touched)
    low, high = portrait.landmarks[:, :2].min(0), portrait.landmarks[:, :2].max(0)
    size = high - low
    assert (columns.min(), rows.min()) > tuple(low - 0.4 * size)
    assert columns.max() < high[0] + 0.4 * size[0] and rows.max() < high[1] + 0.2 * size[1]
    assert 0.05 < touched.mean() < 0.3


def test_on_mouth_restores_only_the_mouth(portrait: Portrait, tmp_path: Path, synthetic_parser: None) -> None:
    edit = soft_edit(portrait)
    before = shown(portrait.image, edit)
    result = restored(tmp_path, portrait, edit, RecordedRestorer(constant), on="mouth")
    left, top, right, bottom = mouth_box(portrait)
    difference = np.abs(result.astype(int) - before).sum(2)
    assert difference[(top + bottom) // 2, (left + right) // 2] > 60
    width = right - left
    near = np.zeros(difference.shape, bool)
    near[top - width : bottom + width, left - width : right + width] = True
    assert not difference[~near].any()
    x, y = np.round(convert(portrait.landmarks, "mesh478", "points5")[0, :2]).astype(int)
    assert not difference[y - 5 : y + 5, x - 5 : x + 5].any()
    # No visible border: the change fades outside the lips.
    assert np.abs(np.diff(difference, axis=0)).max() < 150


def test_detail_is_warped_back_to_its_position(portrait: Portrait, tmp_path: Path) -> None:
    def dot(face: np.ndarray, index: int) -> np.ndarray:
        image = face.copy()
        x, y = np.round(FFHQ.array()[1]).astype(int)
        image[y - 9 : y + 10, x - 9 : x + 10] = (0, 1, 0)
        return image

    edit = soft_edit(portrait)
    result = restored(tmp_path, portrait, edit, RecordedRestorer(dot))
    change = (result.astype(float) - shown(portrait.image, edit))[..., 1].clip(0)
    y, x = np.mgrid[: change.shape[0], : change.shape[1]]
    centre = np.array([(x * change).sum(), (y * change).sum()]) / change.sum()
    eye = convert(portrait.landmarks, "mesh478", "points5")[1, :2]
    # The five points of a real face fit the template up to a few of its pixels.
    assert np.linalg.norm(centre - eye) < 0.06 * np.ptp(portrait.landmarks[:, 0])


def test_restorer_input_contains_the_edit(portrait: Portrait, tmp_path: Path) -> None:
    edit = replace(soft_edit(portrait), image=np.full_like(soft_edit(portrait).image, 255))
    restorer = RecordedRestorer(identity)
    opened(tmp_path, restorer).enhance(batch_of(portrait), [edit])
    x, y = np.round(FFHQ.array()[3:].mean(0)).astype(int)
    assert restorer.seen[0][y - 5 : y + 5, x - 5 : x + 5].min() > 250


def test_template_is_that_of_the_network(portrait: Portrait, tmp_path: Path) -> None:
    faces = []
    for template in (FFHQ, GPEN):
        restorer = RecordedRestorer(identity)
        context = StageContext(Folder(tmp_path / str(len(faces))), SilentObserver())
        stage = RestorationEnhancer(RestorationConfig(), Runtime(), restorer, template)
        stage.open(clip_of(), context).enhance(batch_of(portrait), [soft_edit(portrait)])
        faces.append(restorer.seen[0])
    # The face is smaller in GPEN's template.
    assert np.abs(faces[0].astype(int) - faces[1]).mean() > 5


def test_strength_and_faded_mask_scale_the_restoration(portrait: Portrait, tmp_path: Path) -> None:
    def change(name: str, edit: FaceEdit, **options: Any) -> np.ndarray:
        result = restored(tmp_path / name, portrait, edit, RecordedRestorer(constant), **options)
        return result.astype(np.float32) - shown(portrait.image, edit)

    strong, faded = soft_edit(portrait), soft_edit(portrait, 0.5)
    full = change("full", strong)
    half = change("half", strong, strength=0.5)
    assert np.abs(full).max() > 50
    # A few pixels are clipped at white or black.
    assert (np.abs(half - full / 2) > 1).mean() < 1e-4
    # Outside the edit, where the unrestored images are equal.
    left, top, right, bottom = mouth_box(portrait)
    beside = slice(0, top - 25)
    assert (np.abs(change("faded", faded)[beside] - full[beside] * faded.mask.max()) > 1).mean() < 1e-4
    assert not change("none", strong, strength=0).any()


def test_strength_0_returns_the_edit(portrait: Portrait, tmp_path: Path) -> None:
    edit = soft_edit(portrait)
    assert opened(tmp_path, None, strength=0).enhance(batch_of(portrait), [edit])[0] is edit
    assert RestorationConfig(on="mouth", strength=0).checkpoints() == ()


def test_steadiness_reduces_flicker_and_keeps_detail(portrait: Portrait, tmp_path: Path) -> None:
    def flickering(face: np.ndarray, index: int) -> np.ndarray:
        tint = np.random.default_rng(index).normal(0, 0.04, 3).astype(np.float32)
        return sharpened(face, index) + tint

    def run(steadiness: float) -> tuple[float, float]:
        session = opened(tmp_path / str(steadiness), RecordedRestorer(flickering), steadiness=steadiness)
        edits = [soft_edit(portrait)] * 6
        frames = np.stack([shown(portrait.image, one) for one in session.enhance(batch_of(portrait, 6), edits)])
        flicker = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean()
        x, y = portrait.landmarks[4, :2].astype(int)
        face = frames[0, y - 40 : y + 30, x - 40 : x + 40].astype(np.float32)
        return float(flicker), float(np.abs(face - cv2.GaussianBlur(face, (0, 0), 1)).mean())

    loose, half, locked = (run(steadiness) for steadiness in (0.0, 0.5, 1.0))
    assert half[0] < 0.65 * loose[0]
    assert locked[0] < 0.1 * loose[0]
    assert locked[1] > 0.9 * loose[1]


def test_results_do_not_depend_on_batch_or_order(portrait: Portrait, tmp_path: Path) -> None:
    def noisy(face: np.ndarray, index: int) -> np.ndarray:
        return face + np.random.default_rng(index).normal(0, 0.05, face.shape).astype(np.float32)

    edits = [soft_edit(portrait)] * 5
    together = RecordedRestorer(noisy)
    at_once = opened(tmp_path / "a", together, batch=2).enhance(batch_of(portrait, 5), edits)
    assert together.calls == [[40, 41], [42, 43], [44]]
    session = opened(tmp_path / "b", RecordedRestorer(noisy))
    for row in (3, 0, 4, 1, 2):
        alone = session.enhance(batch_of(portrait, 1, FIRST + row), edits[:1])[0]
        np.testing.assert_array_equal(alone.image, at_once[row].image)
        np.testing.assert_array_equal(alone.mask, at_once[row].mask)


def test_interrupted_run_resumes_from_the_cache(portrait: Portrait, tmp_path: Path, synthetic_parser: None) -> None:
    def dies(face: np.ndarray, index: int) -> np.ndarray:
        if index == FIRST + 2:
            raise KeyboardInterrupt
        return sharpened(face, index)

    edits = [soft_edit(portrait)] * 3
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, RecordedRestorer(dies), on="mouth").enhance(batch_of(portrait, 3), edits)
    again = RecordedRestorer(sharpened)
    first = opened(tmp_path, again, on="mouth").enhance(batch_of(portrait, 3), edits)
    assert again.calls == [[FIRST + 2]]
    second = opened(tmp_path, None, on="mouth").enhance(batch_of(portrait, 3), edits)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_edits_that_cannot_be_restored_stay(portrait: Portrait, tmp_path: Path) -> None:
    edit = soft_edit(portrait)
    gone, empty = PassedThrough("no face"), replace(edit, mask=np.zeros_like(edit.mask))
    batch = batch_of(portrait, 3)
    batch.faces.landmarks[2] = np.nan
    results = opened(tmp_path, None).enhance(batch, [gone, empty, edit])
    assert results == [gone, empty, edit]


def test_face_at_the_border_of_the_frame(portrait: Portrait, tmp_path: Path) -> None:
    cut = int(portrait.landmarks[4, 0])  # Through the nose.
    half = Portrait(np.ascontiguousarray(portrait.image[:, cut:]), portrait.landmarks - np.float32([cut, 0, 0]))
    left, top, right, bottom = mouth_box(half)
    image = np.full((bottom - top, right - left, 3), 80, np.uint8)
    edit = FaceEdit(image, np.ones(image.shape[:2], np.float32), shift_matrix(left, top))
    assert left < 0
    np.testing.assert_array_equal(
        restored(tmp_path / "a", half, edit, RecordedRestorer(identity)), shown(half.image, edit)
    )
    assert changed(restored(tmp_path / "b", half, edit, RecordedRestorer(constant)), shown(half.image, edit)).any()


def test_edit_outside_the_frame_stays(portrait: Portrait, tmp_path: Path) -> None:
    edit = soft_edit(portrait)
    batch = batch_of(portrait, landmarks=portrait.landmarks + np.float32([5000, 0, 0]))
    assert opened(tmp_path, None).enhance(batch, [edit])[0] is edit


def test_large_face_keeps_its_fine_detail(portrait: Portrait, tmp_path: Path) -> None:
    grain = np.random.default_rng(0).integers(-9, 10, (1280, 1360, 1))
    image = np.clip(cv2.resize(portrait.image, None, fx=4, fy=4).astype(int) + grain, 0, 255).astype(np.uint8)
    large = Portrait(image, portrait.landmarks * 4)
    darker = RecordedRestorer(lambda face, index: face - 0.1)
    result = restored(tmp_path, large, soft_edit(large), darker)
    x, y = large.landmarks[4, :2].astype(int)
    part = (slice(y - 60, y + 20), slice(x - 40, x + 40))
    fine = [one[part].astype(np.float32) - cv2.blur(one[part].astype(np.float32), (3, 3)) for one in (image, result)]
    assert fine[1].std() > 0.95 * fine[0].std()
    assert (image[part].astype(int) - result[part]).mean() == pytest.approx(25.5, abs=1.5)


def test_references_are_restored_and_stored_by_source_frame(portrait: Portrait, tmp_path: Path) -> None:
    batch = batch_of(portrait, 2)
    before = batch.references.images
    assert before is not None
    restorer = RecordedRestorer(constant)
    session = opened(tmp_path, restorer, references=True)
    sharper = session.enhance_references(batch.faces, batch.references)
    assert restorer.calls == [[SOURCE], [SOURCE + 1]]
    assert sharper.landmarks is batch.references.landmarks
    np.testing.assert_array_equal(before, batch_of(portrait, 2).references.images)
    x, y = np.round(portrait.landmarks[4, :2]).astype(int)
    np.testing.assert_allclose(sharper.images[:, y, x].astype(int), np.stack([COLOUR] * 2), atol=12)
    np.testing.assert_array_equal(sharper.images[:, :, :40], before[:, :, :40])
    again = opened(tmp_path, None, references=True).enhance_references(batch.faces, batch.references)
    np.testing.assert_array_equal(again.images, sharper.images)


def test_reference_enhancement_requires_images(portrait: Portrait, tmp_path: Path) -> None:
    batch = batch_of(portrait)
    without = ReferenceBatch(batch.references.landmarks)
    with pytest.raises(ValueError, match="reference images"):
        opened(tmp_path, None, references=True).enhance_references(batch.faces, without)
    unchanged = opened(tmp_path, None, references=True, strength=0).enhance_references(batch.faces, without)
    assert unchanged is without
    batch.references.landmarks[:] = np.nan
    same = opened(tmp_path, None, references=True).enhance_references(batch.faces, batch.references)
    np.testing.assert_array_equal(same.images, batch.references.images)


def test_options_declare_checkpoints() -> None:
    assert RestorationConfig().checkpoints() == ()
    assert RestorationConfig(on="mouth").checkpoints() == ("parsenet",)
    assert RestorationConfig(mask="parsing").checkpoints() == ("parsenet",)


def test_landmarks_without_five_points_are_rejected(tmp_path: Path) -> None:
    stage = RestorationEnhancer(RestorationConfig(), Runtime(), RecordedRestorer(identity))
    context = StageContext(Folder(tmp_path), SilentObserver())
    for scheme in ("mesh478", "ibug68", "points5"):
        stage.open(clip_of(scheme), context)
    with pytest.raises(PlanError, match="nine"):
        stage.open(clip_of("nine"), context)


def test_parsed_mask_excludes_hair(portrait: Portrait, tmp_path: Path, synthetic_parser: None) -> None:
    edit = soft_edit(portrait)
    before = shown(portrait.image, edit)
    oval = changed(restored(tmp_path / "a", portrait, edit, RecordedRestorer(constant)), before)
    parsed = changed(restored(tmp_path / "b", portrait, edit, RecordedRestorer(constant), mask="parsing"), before)
    # The synthetic face is skin from its brow down, over the whole template, except for its border.
    assert parsed.sum() > 1.2 * oval.sum()
    assert not parsed[0].any()


def test_with_the_parsing_network(
    portrait: Portrait, tmp_path: Path, pseudo_weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With pseudo-random weights there is no mouth: the most frequent class replaces it."""
    parsed: list[np.ndarray] = []
    classes = FaceParser.classes

    def recorded(self: FaceParser, face: np.ndarray) -> np.ndarray:
        # A quarter of the size saves time.
        found = classes(self, np.ascontiguousarray(face[::4, ::4])).repeat(4, 0).repeat(4, 1)
        counts = np.bincount(found.ravel())
        assert (counts > 0).sum() > 3
        parsed.append(np.where(found == counts.argmax(), np.uint8(11), np.uint8(1)))
        return parsed[-1]

    monkeypatch.setattr(FaceParser, "classes", recorded)
    edit = soft_edit(portrait)
    weights = {"parsenet": pseudo_weights("parsenet")}
    session: RestorationSession = opened(tmp_path, RecordedRestorer(sharpened), weights, on="mouth")
    result = session.enhance(batch_of(portrait), [edit])[0]
    session.close()
    assert isinstance(result, FaceEdit)
    touched = changed(shown(portrait.image, result), shown(portrait.image, edit))
    assert touched.any()
    assert len(parsed) == 1
    # Again, with face and classes from the cache.
    again = opened(tmp_path, None, weights, on="mouth").enhance(batch_of(portrait), [edit])[0]
    np.testing.assert_array_equal(again.image, result.image)
    assert len(parsed) == 1
