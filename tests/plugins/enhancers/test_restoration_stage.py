"""What all restoration enhancers share, on a real face, with restorers that a few lines can say."""

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
from retalkit.stages import FaceBatch, FaceEdit, FrameBatch, PassedThrough, ReferenceBatch, StageContext, SyncBatch
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
class Known:
    """A restorer made of a function of (faces in [0, 1], index), which keeps what it was asked."""

    rule: Callable[[np.ndarray, int], np.ndarray]
    calls: list[list[int]] = field(default_factory=list)
    seen: list[np.ndarray] = field(default_factory=list)

    def restore(self, faces: np.ndarray, indexes: np.ndarray) -> np.ndarray:
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
    """Of an analysis only what the stage reads."""

    landmark_scheme: str = "mesh478"


def mouth_in_template(face: np.ndarray) -> np.ndarray:
    """The classes of a face whose mouth is where the template has it."""
    classes = np.ones((512, 512), np.uint8)
    classes[:120] = 13
    left, right = FFHQ.array()[3:]
    centre = tuple(int(value) for value in (left + right) / 2)
    cv2.ellipse(classes, centre, (62, 30), 0, 0, 360, (12,), -1)
    cv2.ellipse(classes, centre, (50, 10), 0, 0, 360, (10,), -1)
    return classes


class PaintedParser:
    """Stands for the network where a test needs a mouth: no published weights are at hand."""

    def __init__(self, *_: object) -> None: ...

    def classes(self, face: np.ndarray) -> np.ndarray:
        return mouth_in_template(face)


@pytest.fixture
def painted_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FaceParser", PaintedParser)


def opened(folder: Path, restorer: Known | None, weights: dict[str, Path] | None = None, **options: Any) -> Any:
    def load(context: StageContext) -> Known:
        assert restorer is not None, "everything is in the cache"
        return restorer

    options = {"steadiness": 0, **options}
    context = StageContext(Folder(folder), SilentObserver(), weights=weights or {"parsenet": folder})
    return RestorationEnhancer(RestorationConfig(**options), load).open(Stored(), context)  # type: ignore[arg-type]


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
    """A blurred mouth that fades in."""
    left, top, right, bottom = mouth_box(portrait)
    left, top, right, bottom = left - 15, top - 15, right + 15, bottom + 15
    image = cv2.GaussianBlur(portrait.image[top:bottom, left:right], (0, 0), 2).astype(np.uint8)
    mask = np.zeros(image.shape[:2], np.float32)
    mask[6:-6, 6:-6] = strength
    mask = cv2.GaussianBlur(mask, (7, 7), 2).astype(np.float32)
    return FaceEdit(image, mask, shift_matrix(left, top), confidence=strength, reason="turned")


def scaled_edit(portrait: Portrait) -> FaceEdit:
    """The same at 96 x 96, off the frame's pixels, as L-Net gives it."""
    edit = soft_edit(portrait)
    high, wide = edit.mask.shape
    scale = np.array([[96 / wide, 0, 0.3], [0, 96 / high, 0.2]])
    left, top = -edit.matrix[:, 2]
    matrix = scale.copy()
    matrix[:, 2] -= scale[:, :2] @ (left, top)
    image = cv2.resize(edit.image, (96, 96)).astype(np.uint8)
    mask = np.clip(cv2.resize(edit.mask, (96, 96)), 0, 1).astype(np.float32)
    return FaceEdit(image, mask, matrix.astype(np.float32), exact=image.astype(np.float32) / 255)


def shown(frame: np.ndarray, edit: Any) -> np.ndarray:
    picture = frame.copy()
    composite(picture, edit)
    return picture


def restored(folder: Path, portrait: Portrait, edit: FaceEdit, restorer: Known, **options: Any) -> np.ndarray:
    session = opened(folder, restorer, **options)
    return shown(portrait.image, session.enhance(batch_of(portrait), [edit])[0])


def changed(picture: np.ndarray, before: np.ndarray) -> np.ndarray:
    return (picture != before).any(2)


@pytest.mark.parametrize("on", ["face", "mouth"])
@pytest.mark.parametrize("make", [soft_edit, scaled_edit])
def test_what_restores_nothing_changes_no_bit(
    on: str, make: Callable[[Portrait], FaceEdit], portrait: Portrait, tmp_path: Path, painted_parser: None
) -> None:
    edit = make(portrait)
    before = shown(portrait.image, edit)
    assert changed(before, portrait.image).any()
    result = restored(tmp_path, portrait, edit, Known(identity), on=on, steadiness=0.5)
    # An edit off the pixels is resampled from the crop instead of the frame: the same up to its rounding.
    np.testing.assert_allclose(result.astype(int), before, atol=0 if make is soft_edit else 1)


def test_face_is_restored_inside_the_oval_and_nowhere_else(portrait: Portrait, tmp_path: Path) -> None:
    edit = soft_edit(portrait)
    session = opened(tmp_path, Known(constant))
    result = session.enhance(batch_of(portrait), [edit])[0]
    assert result.unrounded_image is None
    np.testing.assert_array_equal(result.matrix[:, :2], np.eye(2))
    assert result.mask.shape < portrait.image.shape[:2]
    picture, before = shown(portrait.image, result), shown(portrait.image, edit)
    points = convert(portrait.landmarks, "mesh478", "points5")[:, :2]
    for x, y in np.round(points).astype(int):
        np.testing.assert_allclose(picture[y, x].astype(int), COLOUR, atol=20)
    touched = changed(picture, before)
    rows, columns = np.nonzero(touched)
    low, high = portrait.landmarks[:, :2].min(0), portrait.landmarks[:, :2].max(0)
    size = high - low
    assert (columns.min(), rows.min()) > tuple(low - 0.4 * size)
    assert columns.max() < high[0] + 0.4 * size[0] and rows.max() < high[1] + 0.2 * size[1]
    assert 0.05 < touched.mean() < 0.3


def test_only_the_mouth_is_restored_on_mouth(portrait: Portrait, tmp_path: Path, painted_parser: None) -> None:
    edit = soft_edit(portrait)
    before = shown(portrait.image, edit)
    result = restored(tmp_path, portrait, edit, Known(constant), on="mouth")
    left, top, right, bottom = mouth_box(portrait)
    difference = np.abs(result.astype(int) - before).sum(2)
    assert difference[(top + bottom) // 2, (left + right) // 2] > 60
    width = right - left
    near = np.zeros(difference.shape, bool)
    near[top - width : bottom + width, left - width : right + width] = True
    assert not difference[~near].any()
    x, y = np.round(convert(portrait.landmarks, "mesh478", "points5")[0, :2]).astype(int)
    assert not difference[y - 5 : y + 5, x - 5 : x + 5].any()
    # No border shows: outside of the lips the change fades.
    assert np.abs(np.diff(difference, axis=0)).max() < 150


def test_detail_arrives_at_its_place(portrait: Portrait, tmp_path: Path) -> None:
    def dot(face: np.ndarray, index: int) -> np.ndarray:
        picture = face.copy()
        x, y = np.round(FFHQ.array()[1]).astype(int)
        picture[y - 9 : y + 10, x - 9 : x + 10] = (0, 1, 0)
        return picture

    edit = soft_edit(portrait)
    result = restored(tmp_path, portrait, edit, Known(dot))
    change = (result.astype(float) - shown(portrait.image, edit))[..., 1].clip(0)
    y, x = np.mgrid[: change.shape[0], : change.shape[1]]
    centre = np.array([(x * change).sum(), (y * change).sum()]) / change.sum()
    eye = convert(portrait.landmarks, "mesh478", "points5")[1, :2]
    # The five points of a real face fit the template up to a few of its pixels.
    assert np.linalg.norm(centre - eye) < 0.06 * np.ptp(portrait.landmarks[:, 0])


def test_the_edit_is_what_gets_restored(portrait: Portrait, tmp_path: Path) -> None:
    edit = replace(soft_edit(portrait), image=np.full_like(soft_edit(portrait).image, 255))
    restorer = Known(identity)
    opened(tmp_path, restorer).enhance(batch_of(portrait), [edit])
    x, y = np.round(FFHQ.array()[3:].mean(0)).astype(int)
    assert restorer.seen[0][y - 5 : y + 5, x - 5 : x + 5].min() > 250


def test_template_belongs_to_the_network(portrait: Portrait, tmp_path: Path) -> None:
    faces = []
    for template in (FFHQ, GPEN):
        restorer = Known(identity)
        context = StageContext(Folder(tmp_path / str(len(faces))), SilentObserver())
        stage = RestorationEnhancer(RestorationConfig(), lambda _, known=restorer: known, template)
        stage.open(Stored(), context).enhance(batch_of(portrait), [soft_edit(portrait)])  # type: ignore[arg-type]
        faces.append(restorer.seen[0])
    # GPEN's template shows the face smaller, with more around it.
    assert np.abs(faces[0].astype(int) - faces[1]).mean() > 5


def test_strength_and_a_faded_edit_mix(portrait: Portrait, tmp_path: Path) -> None:
    def change(name: str, edit: FaceEdit, **options: Any) -> np.ndarray:
        result = restored(tmp_path / name, portrait, edit, Known(constant), **options)
        return result.astype(np.float32) - shown(portrait.image, edit)

    strong, faded = soft_edit(portrait), soft_edit(portrait, 0.5)
    full = change("full", strong)
    half = change("half", strong, strength=0.5)
    assert np.abs(full).max() > 50
    # A few pixels are cut at white or black.
    assert (np.abs(half - full / 2) > 1).mean() < 1e-4
    # Beside the edit: there the unrestored pictures are the same.
    left, top, right, bottom = mouth_box(portrait)
    beside = slice(0, top - 25)
    assert (np.abs(change("faded", faded)[beside] - full[beside] * faded.mask.max()) > 1).mean() < 1e-4
    assert not change("none", strong, strength=0).any()


def test_a_network_is_not_loaded_at_strength_0(portrait: Portrait, tmp_path: Path) -> None:
    edit = soft_edit(portrait)
    assert opened(tmp_path, None, strength=0).enhance(batch_of(portrait), [edit])[0] is edit
    assert RestorationConfig(on="mouth", strength=0).checkpoints() == ()


def test_steadiness_takes_the_flicker_of_a_restorer_and_leaves_its_detail(portrait: Portrait, tmp_path: Path) -> None:
    def flickering(face: np.ndarray, index: int) -> np.ndarray:
        tint = np.random.default_rng(index).normal(0, 0.04, 3).astype(np.float32)
        return sharpened(face, index) + tint

    def run(steadiness: float) -> tuple[float, float]:
        session = opened(tmp_path / str(steadiness), Known(flickering), steadiness=steadiness)
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


def test_batches_and_order_make_no_difference(portrait: Portrait, tmp_path: Path) -> None:
    def noisy(face: np.ndarray, index: int) -> np.ndarray:
        return face + np.random.default_rng(index).normal(0, 0.05, face.shape).astype(np.float32)

    edits = [soft_edit(portrait)] * 5
    together = Known(noisy)
    at_once = opened(tmp_path / "a", together, batch=2).enhance(batch_of(portrait, 5), edits)
    assert together.calls == [[40, 41], [42, 43], [44]]
    session = opened(tmp_path / "b", Known(noisy))
    for row in (3, 0, 4, 1, 2):
        alone = session.enhance(batch_of(portrait, 1, FIRST + row), edits[:1])[0]
        np.testing.assert_array_equal(alone.image, at_once[row].image)
        np.testing.assert_array_equal(alone.mask, at_once[row].mask)


def test_a_killed_run_goes_on_at_the_frame(portrait: Portrait, tmp_path: Path, painted_parser: None) -> None:
    def dies(face: np.ndarray, index: int) -> np.ndarray:
        if index == FIRST + 2:
            raise KeyboardInterrupt
        return sharpened(face, index)

    edits = [soft_edit(portrait)] * 3
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, Known(dies), on="mouth").enhance(batch_of(portrait, 3), edits)
    again = Known(sharpened)
    first = opened(tmp_path, again, on="mouth").enhance(batch_of(portrait, 3), edits)
    assert again.calls == [[FIRST + 2]]
    second = opened(tmp_path, None, on="mouth").enhance(batch_of(portrait, 3), edits)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_what_cannot_be_restored_stays(portrait: Portrait, tmp_path: Path) -> None:
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
    np.testing.assert_array_equal(restored(tmp_path / "a", half, edit, Known(identity)), shown(half.image, edit))
    assert changed(restored(tmp_path / "b", half, edit, Known(constant)), shown(half.image, edit)).any()


def test_a_face_that_left_the_frame_keeps_its_edit(portrait: Portrait, tmp_path: Path) -> None:
    edit = soft_edit(portrait)
    batch = batch_of(portrait, landmarks=portrait.landmarks + np.float32([5000, 0, 0]))
    assert opened(tmp_path, None).enhance(batch, [edit])[0] is edit


def test_a_large_face_keeps_detail_that_the_network_never_saw(portrait: Portrait, tmp_path: Path) -> None:
    grain = np.random.default_rng(0).integers(-9, 10, (1280, 1360, 1))
    image = np.clip(cv2.resize(portrait.image, None, fx=4, fy=4).astype(int) + grain, 0, 255).astype(np.uint8)
    large = Portrait(image, portrait.landmarks * 4)
    darker = Known(lambda face, index: face - 0.1)
    result = restored(tmp_path, large, soft_edit(large), darker)
    x, y = large.landmarks[4, :2].astype(int)
    part = (slice(y - 60, y + 20), slice(x - 40, x + 40))
    fine = [one[part].astype(np.float32) - cv2.blur(one[part].astype(np.float32), (3, 3)) for one in (image, result)]
    assert fine[1].std() > 0.95 * fine[0].std()
    assert (image[part].astype(int) - result[part]).mean() == pytest.approx(25.5, abs=1.5)


def test_references_are_sharpened_and_kept_by_their_source_frame(portrait: Portrait, tmp_path: Path) -> None:
    batch = batch_of(portrait, 2)
    before = batch.references.images
    assert before is not None
    restorer = Known(constant)
    session = opened(tmp_path, restorer, on="reference")
    sharper = session.enhance_references(batch.faces, batch.references)
    assert restorer.calls == [[SOURCE], [SOURCE + 1]]
    assert sharper.landmarks is batch.references.landmarks
    np.testing.assert_array_equal(before, batch_of(portrait, 2).references.images)
    x, y = np.round(portrait.landmarks[4, :2]).astype(int)
    np.testing.assert_allclose(sharper.images[:, y, x].astype(int), np.stack([COLOUR] * 2), atol=12)
    np.testing.assert_array_equal(sharper.images[:, :, :40], before[:, :, :40])
    edit = soft_edit(portrait)
    assert session.enhance(batch, [edit, edit]) == [edit, edit]
    again = opened(tmp_path, None, on="reference").enhance_references(batch.faces, batch.references)
    np.testing.assert_array_equal(again.images, sharper.images)


def test_references_need_images_and_the_option(portrait: Portrait, tmp_path: Path) -> None:
    batch = batch_of(portrait)
    without = ReferenceBatch(batch.references.landmarks)
    with pytest.raises(ValueError, match="reference images"):
        opened(tmp_path, None, on="reference").enhance_references(batch.faces, without)
    assert opened(tmp_path, None, on="face").enhance_references(batch.faces, without) is without
    batch.references.landmarks[:] = np.nan
    same = opened(tmp_path, None, on="reference").enhance_references(batch.faces, batch.references)
    np.testing.assert_array_equal(same.images, batch.references.images)


def test_options_say_what_they_need() -> None:
    assert RestorationConfig().checkpoints() == ()
    assert RestorationConfig(on="mouth").checkpoints() == ("parsenet",)
    assert RestorationConfig(mask="parsing").checkpoints() == ("parsenet",)
    assert RestorationConfig(on="reference", mask="parsing").checkpoints() == ("parsenet",)
    assert RestorationConfig(on="reference").needs() == {"reference:image"}
    assert RestorationConfig(on="reference").on_reference()
    assert not RestorationConfig().needs()


def test_landmarks_without_five_points_are_refused(tmp_path: Path) -> None:
    stage = RestorationEnhancer(RestorationConfig(), lambda context: Known(identity))
    context = StageContext(Folder(tmp_path), SilentObserver())
    for scheme in ("mesh478", "ibug68", "points5"):
        stage.open(Stored(scheme), context)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="nine"):
        stage.open(Stored("nine"), context)  # type: ignore[arg-type]


def test_mask_of_a_parsed_face_lets_hair_alone(portrait: Portrait, tmp_path: Path, painted_parser: None) -> None:
    edit = soft_edit(portrait)
    before = shown(portrait.image, edit)
    oval = changed(restored(tmp_path / "a", portrait, edit, Known(constant)), before)
    parsed = changed(restored(tmp_path / "b", portrait, edit, Known(constant), mask="parsing"), before)
    # The painted face is skin from its brow down, over the whole template, up to the border that is left out.
    assert parsed.sum() > 1.2 * oval.sum()
    assert not parsed[0].any()


def test_with_the_parsing_network_itself(
    portrait: Portrait, tmp_path: Path, pseudo_weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pseudo-random weights find no mouth: the class that they find most of is taken for one."""
    parsed: list[np.ndarray] = []
    classes = FaceParser.classes

    def noted(self: FaceParser, face: np.ndarray) -> np.ndarray:
        # A quarter of the size saves time.
        found = classes(self, np.ascontiguousarray(face[::4, ::4])).repeat(4, 0).repeat(4, 1)
        counts = np.bincount(found.ravel())
        assert (counts > 0).sum() > 3
        parsed.append(np.where(found == counts.argmax(), np.uint8(11), np.uint8(1)))
        return parsed[-1]

    monkeypatch.setattr(FaceParser, "classes", noted)
    edit = soft_edit(portrait)
    weights = {"parsenet": pseudo_weights("parsenet")}
    session: RestorationSession = opened(tmp_path, Known(sharpened), weights, on="mouth")
    result = session.enhance(batch_of(portrait), [edit])[0]
    session.close()
    assert isinstance(result, FaceEdit)
    touched = changed(shown(portrait.image, result), shown(portrait.image, edit))
    assert touched.any()
    assert len(parsed) == 1
    # Again without a network: face and classes are in the cache.
    again = opened(tmp_path, None, weights, on="mouth").enhance(batch_of(portrait), [edit])[0]
    np.testing.assert_array_equal(again.image, result.image)
    assert len(parsed) == 1
