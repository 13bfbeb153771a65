"""The enhancer ``enet`` on a still reference, with pseudo-random weights that draw noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit.geometry.face_crop import crop_face, crop_matrix
from retalkit.imaging.compositing import composite
from retalkit.inference import load_weights, noise_generator
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import (
    FaceBatch,
    FaceEdit,
    FrameBatch,
    PassedThrough,
    ReferenceBatch,
    StageContext,
    StageKind,
    SyncBatch,
)
from retalkit.storage.cache import Folder
from retalkit_enhancers.enet.interface import EnetConfig
from retalkit_enhancers.enet.network import NOISE_SIZES, ENet
from retalkit_enhancers.ganimation.upper_face import EmotionalFace
from safetensors.numpy import load_file, save_file

from tests.plugins.boxes import box_of

HEIGHT, WIDTH = 240, 320
BOX = (70, 30, 250, 226)
FIRST = 5
"""Position of the first frame in the output."""
SEED = 3


def picture(seed: int) -> np.ndarray:
    rough = np.random.default_rng(seed).uniform(30, 225, (16, 20, 3)).astype(np.float32)
    return cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).clip(1, 255).astype(np.uint8)


def lnet_edit(seed: int, box: tuple[int, ...] = BOX, strength: float = 1.0) -> FaceEdit:
    rough = np.random.default_rng(seed).random((8, 8, 3), np.float32)
    exact = cv2.resize(rough, (96, 96)).astype(np.float32)
    mask = np.full((96, 96), strength, np.float32)
    matrix = crop_matrix(np.array(box, np.float32), 96)
    return FaceEdit(np.uint8(exact * 255), mask, matrix, confidence=strength, reason="turned", unrounded_image=exact)


def batch_of(count: int, first: int = FIRST, reference: int = 100) -> SyncBatch:
    """Frames ``first``, ``first`` + 1 ... whose reference is a still picture."""
    rows = np.arange(first, first + count)
    images = np.stack([picture(row) for row in rows])
    landmarks = np.tile(np.array([[70, 30, 0], [250, 211.5, 0]], np.float32), (count, 1, 1))
    faces = FaceBatch(
        FrameBatch(images, rows / 25, rows), landmarks, np.zeros((count, 0), np.float32), box_of(landmarks)
    )
    references = ReferenceBatch(landmarks, np.repeat(picture(reference)[None], count, 0))
    return SyncBatch(rows, rows / 25, faces, references)


@pytest.fixture(scope="module")
def weights(pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    arrays = load_file(pseudo_weights("enet"))
    noisy = {name: np.full_like(array, 0.1) if array.shape == (1,) else array for name, array in arrays.items()}
    file = tmp_path_factory.mktemp("noisy") / "enet.safetensors"
    save_file(noisy, file)
    return {"enet": file, "ganimation": pseudo_weights("ganimation")}


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[list[bytes]]:
    """Reads equal references once for all tests here, to save time; gives the references that sessions asked for."""
    encode, known, asked = ENet.encode, {}, []

    def remembered(self: ENet, reference: Any) -> Any:
        key = reference.numpy().tobytes()
        asked.append(key)
        if key not in known:
            known[key] = encode(self, reference)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ENet, "encode", remembered)
        yield asked


def open_stage(
    folder: Path, weights: dict[str, Path], seed: int = SEED, precision: str = "float32", **options: Any
) -> Any:
    stage = discover().find(StageKind.ENHANCER, "enet").spec.make(EnetConfig(**options))
    context = StageContext(Folder(folder), SilentObserver(), seed=seed, precision=precision, weights=weights)
    return stage.open(None, context)


@pytest.fixture
def opened(weights: dict[str, Path], tmp_path: Path) -> Callable[..., Any]:
    """Opens a session; ``folder`` names its cache."""

    def open_here(folder: str = "cache", **options: Any) -> Any:
        return open_stage(tmp_path / folder, weights, **options)

    return open_here


@dataclass(frozen=True)
class First:
    """A session's result for three frames."""

    cache: Path
    batch: SyncBatch
    edits: list[FaceEdit | PassedThrough]
    results: list[Any]


@pytest.fixture(scope="module")
def first(weights: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> First:
    cache = tmp_path_factory.mktemp("first")
    batch = batch_of(3)
    edits: list[FaceEdit | PassedThrough] = [lnet_edit(0, strength=0.5), PassedThrough("no face"), lnet_edit(1)]
    return First(cache, batch, edits, open_stage(cache, weights).enhance(batch, edits))


@pytest.fixture(scope="module")
def drawn(weights: dict[str, Path]) -> np.ndarray:
    """Float32 [384, 384, 3], RGB: what the network draws at position FIRST, straight from its arithmetic."""
    network = load_weights(ENet(), weights["enet"])
    generator = noise_generator(SEED, FIRST)
    noise = [torch.randn(1, 1, size, size, generator=generator) for size in NOISE_SIZES]
    edit = lnet_edit(0)
    assert edit.unrounded_image is not None
    low = torch.from_numpy(edit.unrounded_image[..., ::-1].transpose(2, 0, 1).copy())[None]
    crop = cv2.resize(picture(100)[BOX[1] : BOX[3], BOX[0] : BOX[2]], (384, 384))
    reference = torch.from_numpy((crop[..., ::-1].transpose(2, 0, 1) / 255).astype(np.float32))[None]
    with torch.inference_mode():
        face = network(low, reference, noise)[0].clamp(0, 1)
    return face.numpy().transpose(1, 2, 0)[..., ::-1]


def test_a_face_is_what_the_network_draws(first: First, drawn: np.ndarray) -> None:
    assert first.results[1] is first.edits[1]
    face = first.results[0]
    assert drawn.std() > 0.05 and (drawn < 1).mean() > 0.1
    np.testing.assert_allclose(face.unrounded_image, drawn, rtol=0, atol=1e-4)
    # Truncated, not rounded; only a value on the border of two levels may fall either way.
    levels = (drawn * 255).astype(np.uint8)
    assert face.image.dtype == np.uint8 and face.mask.dtype == np.float32
    assert (face.image != levels).mean() < 1e-2 and np.abs(face.image.astype(int) - levels).max() <= 1
    np.testing.assert_array_equal(face.image, np.floor(face.unrounded_image * 255 + 1e-3))
    np.testing.assert_array_equal(face.matrix, crop_matrix(np.array(BOX, np.float32), 384))
    assert face.mask.max() == 0.5 and face.confidence == 0.5 and face.reason == "turned"


def test_it_lands_in_the_box_and_nowhere_else(first: First) -> None:
    face = first.results[2]
    before = first.batch.faces.frames.images[2]
    after = before.copy()
    composite(after, face)
    left, top, right, bottom = BOX
    outside = np.ones(before.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert np.abs(after.astype(int) - before)[outside].max() <= 1
    inside = (slice(top + 20, bottom - 20), slice(left + 20, right - 20))
    expected = cv2.resize(face.image, (right - left, bottom - top))[20:-20, 20:-20].astype(int)
    assert np.abs(before[inside] - expected).mean() > 20
    # Two ways to resize, which round positions differently.
    assert np.abs(after[inside] - expected).mean() < 1


def test_a_still_reference_is_read_once(
    opened: Callable[..., Any], read_once: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def decode(self: ENet, low: Any, identity: Any, noise: Any) -> Any:
        given.append((len(low), identity.styled[1].weight))
        return torch.zeros(len(low), 3, 384, 384)

    monkeypatch.setattr(ENet, "decode", decode)
    read_once.clear()
    session = opened(batch=4)
    references = (100, 100, 101)
    batch = batch_of(3)
    assert batch.references.images is not None
    for row, reference in enumerate(references):
        batch.references.images[row] = picture(reference)
    session.enhance(batch, [lnet_edit(row) for row in range(3)])
    # Two references, each read for the first frame that has it. A processor draws one face after the other.
    assert len(read_once) == 2
    assert [count for count, _ in given] == [1, 1, 1]
    assert torch.equal(given[0][1], given[1][1]) and not torch.equal(given[1][1], given[2][1])
    # Shown forth and back: the first reference again.
    session.enhance(batch_of(1, first=FIRST + 3), [lnet_edit(2)])
    assert len(read_once) == 2
    assert torch.equal(given[3][1], given[0][1])


def test_a_killed_run_goes_on_without_drawing_again(
    first: First, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ENet, "decode", must_not_run)
    again = open_stage(first.cache, weights).enhance(first.batch, first.edits)
    for row in (0, 2):
        for name in ("image", "mask", "matrix", "exact"):
            np.testing.assert_array_equal(getattr(again[row], name), getattr(first.results[row], name))


def must_not_run(*_: object) -> None:
    raise AssertionError("a face was drawn for nothing")


def test_neither_batches_nor_order_change_a_face(first: First, opened: Callable[..., Any]) -> None:
    alone = opened("alone").enhance(batch_of(1, first=FIRST + 2), [lnet_edit(1)])[0]
    np.testing.assert_array_equal(alone.exact, first.results[2].exact)
    at_once = opened("at once", batch=4).enhance(first.batch, first.edits)
    for row in (0, 2):
        np.testing.assert_allclose(at_once[row].exact, first.results[row].exact, rtol=0, atol=1e-4)


def test_the_seed_and_the_position_make_the_noise(first: First, opened: Callable[..., Any]) -> None:
    other_seed = opened("seed", seed=SEED + 1).enhance(batch_of(1), [lnet_edit(0)])[0]
    elsewhere = opened("place").enhance(batch_of(1, first=FIRST + 9), [lnet_edit(0)])[0]
    for other in (other_seed, elsewhere):
        assert 0 < np.abs(other.exact - first.results[0].exact).mean() < 0.2


def test_an_edit_of_any_other_lip_syncer_can_be_followed(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []

    def decode(self: ENet, low: Any, *_: object) -> Any:
        seen.append(low[0].numpy().transpose(1, 2, 0)[..., ::-1])
        return torch.zeros(1, 3, 384, 384)

    monkeypatch.setattr(ENet, "decode", decode)
    batch = batch_of(1)
    colour = (200, 30, 90)
    foreign = FaceEdit(
        np.full((60, 80, 3), colour, np.uint8),
        np.full((60, 80), 0.75, np.float32),
        np.array([[1, 0, -120], [0, 1, -130]], np.float32),
    )
    face = opened().enhance(batch, [foreign])[0]
    assert face.image.shape == (384, 384, 3) and face.mask.max() == 0.75
    # The detected box and the chin make the box of the published pipeline.
    np.testing.assert_array_equal(face.matrix, crop_matrix(np.array(BOX, np.float32), 384))
    frame = batch.faces.frames.images[0][160, 160]
    expected = (0.75 * np.array(colour) + 0.25 * frame) / 255
    row, column = (160 - BOX[1]) * 96 // (BOX[3] - BOX[1]), (160 - BOX[0]) * 96 // (BOX[2] - BOX[0])
    np.testing.assert_allclose(seen[0][row, column], expected, atol=0.02)
    nowhere = replace(batch, faces=replace(batch.faces, boxes=np.full((1, 4), np.nan, np.float32)))
    assert opened("nowhere").enhance(nowhere, [foreign]) == [foreign]


def test_what_shows_nothing_costs_nothing(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENet, "decode", must_not_run)
    hidden = lnet_edit(0, strength=0.0)
    assert opened().enhance(batch_of(1), [hidden])[0] is hidden
    assert opened().enhance(batch_of(1), []) == []


@pytest.fixture
def face_at_hand(drawn: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network draws of ``lnet_edit(0)`` at FIRST need not be computed again."""
    face = torch.from_numpy(drawn[..., ::-1].transpose(2, 0, 1).copy())[None]
    monkeypatch.setattr(ENet, "decode", lambda *_: face.clone())


@pytest.mark.usefixtures("face_at_hand")
def test_an_emotion_comes_into_the_upper_half(
    opened: Callable[..., Any], weights: dict[str, Path], drawn: np.ndarray
) -> None:
    batch = batch_of(1)
    face = opened(upper_face="surprise").enhance(batch, [lnet_edit(0)])[0]
    crop = crop_face(batch.faces.frames.images[0], np.array(BOX, np.float32), 384)
    with torch.inference_mode():
        source = torch.from_numpy((crop[..., ::-1] / np.float32(255)).transpose(2, 0, 1).copy())[None]
        expected = EmotionalFace(weights["ganimation"], "surprise", "cpu")(source)[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(face.unrounded_image[:192], expected[:192, :, ::-1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(face.unrounded_image[192:], drawn[192:], rtol=0, atol=1e-4)
    assert face.mask[100, 200] == 1


@pytest.mark.usefixtures("face_at_hand")
def test_the_upper_half_may_stay_as_it_is(opened: Callable[..., Any], drawn: np.ndarray) -> None:
    batch = batch_of(1)
    frame = batch.faces.frames.images[0]
    face = opened(keep_upper=True).enhance(batch, [lnet_edit(0)])[0]
    np.testing.assert_allclose(
        face.unrounded_image[:192], crop_face(frame, np.array(BOX, np.float32), 384)[:192] / 255, rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(face.unrounded_image[192:], drawn[192:], rtol=0, atol=1e-4)
    after = frame.copy()
    composite(after, face)
    middle = (BOX[1] + BOX[3]) // 2
    np.testing.assert_array_equal(after[: middle - 1], frame[: middle - 1])
    mouth = (slice(middle + 20, BOX[3] - 20), slice(100, 220))
    assert (after[mouth] != frame[mouth]).mean() > 0.8


def test_half_precision_stays_near(opened: Callable[..., Any], drawn: np.ndarray) -> None:
    face = opened(precision="bfloat16").enhance(batch_of(1), [lnet_edit(0)])[0]
    assert np.abs(face.unrounded_image - drawn).mean() < 0.02


def test_options_name_the_weights() -> None:
    spec = discover().find(StageKind.ENHANCER, "enet").spec
    assert spec.checkpoints == ("enet",) and spec.optional_checkpoints == ("ganimation",)
    assert EnetConfig().checkpoints() == ()
    assert EnetConfig(upper_face="angry").checkpoints() == ("ganimation",)
    assert {"frames", "reference:image", "face:edit"} == spec.needs
    assert {"face:edit"} == spec.gives
