"""The enhancer ``enet`` with a still reference and pseudo-random weights with noise."""

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
from retalkit.inference import empty_network, frame_noise, load_weights
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.stages import (
    FaceBatch,
    FaceEdit,
    FrameBatch,
    ObjectPool,
    PassedThrough,
    ReferenceBatch,
    Runtime,
    StageContext,
    StageKind,
    SyncBatch,
)
from retalkit.storage.cache import Folder
from retalkit_enhancers.enet.interface import EnetConfig
from retalkit_enhancers.enet.network import NOISE_SIZES, ENet
from retalkit_enhancers.ganimation.emotional_face import EmotionalFace
from safetensors.numpy import load_file, save_file

from tests.plugins.boxes import box_of

HEIGHT, WIDTH = 240, 320
BOX = (70, 30, 250, 226)
FIRST = 5
"""Position of the first frame in the output."""
SEED = 3


def make_image(seed: int) -> np.ndarray:
    rough = np.random.default_rng(seed).uniform(30, 225, (16, 20, 3)).astype(np.float32)
    return cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).clip(1, 255).astype(np.uint8)


def lnet_edit(seed: int, box: tuple[int, ...] = BOX, strength: float = 1.0) -> FaceEdit:
    rough = np.random.default_rng(seed).random((8, 8, 3), np.float32)
    unrounded = cv2.resize(rough, (96, 96)).astype(np.float32)
    mask = np.full((96, 96), strength, np.float32)
    matrix = crop_matrix(np.array(box, np.float32), 96)
    return FaceEdit(
        np.uint8(unrounded * 255), mask, matrix, confidence=strength, reason="turned", unrounded_image=unrounded
    )


def batch_of(count: int, first: int = FIRST, reference: int = 100) -> SyncBatch:
    """Frames ``first``, ``first`` + 1 ... with a still reference."""
    rows = np.arange(first, first + count)
    images = np.stack([make_image(row) for row in rows])
    landmarks = np.tile(np.array([[70, 30, 0], [250, 211.5, 0]], np.float32), (count, 1, 1))
    faces = FaceBatch(
        FrameBatch(images, rows / 25, rows), landmarks, np.zeros((count, 0), np.float32), box_of(landmarks)
    )
    references = ReferenceBatch(landmarks, np.repeat(make_image(reference)[None], count, 0))
    return SyncBatch(rows, rows / 25, faces, references)


@pytest.fixture(scope="module")
def weights(pseudo_weights: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    arrays = load_file(pseudo_weights("enet"))
    noisy = {name: np.full_like(array, 0.1) if array.shape == (1,) else array for name, array in arrays.items()}
    file = tmp_path_factory.mktemp("noisy") / "enet.safetensors"
    save_file(noisy, file)
    return {"enet": file, "ganimation": pseudo_weights("ganimation")}


@pytest.fixture(scope="module", autouse=True)
def encoded() -> Iterator[list[bytes]]:
    """Encode equal references once for all tests, to save time; returns the references that sessions encoded."""
    encode, known, requested = ENet.encode, {}, []

    def cached(self: ENet, reference: Any) -> Any:
        key = reference.numpy().tobytes()
        requested.append(key)
        if key not in known:
            known[key] = encode(self, reference)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ENet, "encode", cached)
        yield requested


POOL = ObjectPool()
"""Networks are loaded once for all tests of this file."""


def open_stage(
    folder: Path, weights: dict[str, Path], seed: int = SEED, precision: str = "float32", **options: Any
) -> Any:
    runtime = Runtime(precision=precision, inference="torch", weights=weights, pool=POOL)
    stage: Any = discover().find(StageKind.ENHANCER, "enet").spec.make(EnetConfig(**options), runtime)
    return stage.open(None, StageContext(Folder(folder), SilentObserver(), seed=seed))


@pytest.fixture
def opened(weights: dict[str, Path], tmp_path: Path) -> Callable[..., Any]:
    """Open a session; ``folder``: name of its cache."""

    def open_here(folder: str = "cache", **options: Any) -> Any:
        return open_stage(tmp_path / folder, weights, **options)

    return open_here


@dataclass(frozen=True)
class First:
    """Result of a session for three frames."""

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
def expected(weights: dict[str, Path]) -> np.ndarray:
    """float32 [384, 384, 3], RGB: the output of the network itself at position FIRST."""
    network = load_weights(empty_network(ENet), weights["enet"])
    noise = frame_noise(SEED, [FIRST], NOISE_SIZES)
    edit = lnet_edit(0)
    assert edit.unrounded_image is not None
    low = torch.from_numpy(edit.unrounded_image[..., ::-1].transpose(2, 0, 1).copy())[None]
    crop = cv2.resize(make_image(100)[BOX[1] : BOX[3], BOX[0] : BOX[2]], (384, 384))
    reference = torch.from_numpy((crop[..., ::-1].transpose(2, 0, 1) / 255).astype(np.float32))[None]
    with torch.inference_mode():
        face = network(low, reference, noise)[0].clamp(0, 1)
    return face.numpy().transpose(1, 2, 0)[..., ::-1]


def test_a_face_is_the_output_of_the_network(first: First, expected: np.ndarray) -> None:
    assert first.results[1] is first.edits[1]
    face = first.results[0]
    assert expected.std() > 0.05 and (expected < 1).mean() > 0.1
    np.testing.assert_allclose(face.unrounded_image, expected, rtol=0, atol=1e-4)
    # Truncated, not rounded; only a value close to the next level may differ.
    levels = (expected * 255).astype(np.uint8)
    assert face.image.dtype == np.uint8 and face.mask.dtype == np.float32
    assert (face.image != levels).mean() < 1e-2 and np.abs(face.image.astype(int) - levels).max() <= 1
    np.testing.assert_array_equal(face.image, np.floor(face.unrounded_image * 255 + 1e-3))
    np.testing.assert_array_equal(face.matrix, crop_matrix(np.array(BOX, np.float32), 384))
    assert face.mask.max() == 0.5 and face.confidence == 0.5 and face.reason == "turned"


def test_edit_changes_only_its_box(first: First) -> None:
    face = first.results[2]
    before = first.batch.faces.frames.images[2]
    after = before.copy()
    composite(after, face)
    left, top, right, bottom = BOX
    outside = np.ones(before.shape[:2], bool)
    outside[top:bottom, left:right] = False
    assert np.abs(after.astype(int) - before)[outside].max() <= 1
    inside = (slice(top + 20, bottom - 20), slice(left + 20, right - 20))
    resized = cv2.resize(face.image, (right - left, bottom - top))[20:-20, 20:-20].astype(int)
    assert np.abs(before[inside] - resized).mean() > 20
    # The two resize functions round positions differently.
    assert np.abs(after[inside] - resized).mean() < 1


def test_a_still_reference_is_encoded(
    opened: Callable[..., Any], encoded: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def decode(self: ENet, low: Any, code: Any, noise: Any) -> Any:
        given.append((len(low), code))
        return torch.zeros(len(low), 3, 384, 384)

    monkeypatch.setattr(ENet, "decode", decode)
    encoded.clear()
    session = opened(batch=4)
    references = (100, 100, 101)
    batch = batch_of(3)
    assert batch.references.images is not None
    for row, reference in enumerate(references):
        batch.references.images[row] = make_image(reference)
    session.enhance(batch, [lnet_edit(row) for row in range(3)])
    # Two references, each encoded at the first frame that has it. On the CPU each call has one face.
    assert len(encoded) == 2
    assert [count for count, _ in given] == [1, 1, 1]
    assert torch.equal(given[0][1], given[1][1]) and not torch.equal(given[1][1], given[2][1])
    # Played backwards: the first reference occurs again.
    session.enhance(batch_of(1, first=FIRST + 3), [lnet_edit(2)])
    assert len(encoded) == 2
    assert torch.equal(given[3][1], given[0][1])


def test_interrupted_run_resumes_from_the_cache(
    first: First, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ENet, "decode", must_not_run)
    again = open_stage(first.cache, weights).enhance(first.batch, first.edits)
    for row in (0, 2):
        for name in ("image", "mask", "matrix", "unrounded_image"):
            np.testing.assert_array_equal(getattr(again[row], name), getattr(first.results[row], name))


def must_not_run(*_: object) -> None:
    raise AssertionError("an unnecessary call of the network")


@pytest.mark.slow
def test_results_do_not_depend_on_batch_or_order(first: First, opened: Callable[..., Any]) -> None:
    alone = opened("alone").enhance(batch_of(1, first=FIRST + 2), [lnet_edit(1)])[0]
    np.testing.assert_array_equal(alone.unrounded_image, first.results[2].unrounded_image)
    at_once = opened("at once", batch=4).enhance(first.batch, first.edits)
    for row in (0, 2):
        np.testing.assert_allclose(at_once[row].unrounded_image, first.results[row].unrounded_image, rtol=0, atol=1e-4)


def test_noise_depends_on_seed_and_position(first: First, opened: Callable[..., Any]) -> None:
    other_seed = opened("seed", seed=SEED + 1).enhance(batch_of(1), [lnet_edit(0)])[0]
    elsewhere = opened("place").enhance(batch_of(1, first=FIRST + 9), [lnet_edit(0)])[0]
    for other in (other_seed, elsewhere):
        assert 0 < np.abs(other.unrounded_image - first.results[0].unrounded_image).mean() < 0.2


def test_edits_of_other_lip_syncers_are_enhanced(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
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
    blended = (0.75 * np.array(colour) + 0.25 * frame) / 255
    row, column = (160 - BOX[1]) * 96 // (BOX[3] - BOX[1]), (160 - BOX[0]) * 96 // (BOX[2] - BOX[0])
    np.testing.assert_allclose(seen[0][row, column], blended, atol=0.02)
    nowhere = replace(batch, faces=replace(batch.faces, boxes=np.full((1, 4), np.nan, np.float32)))
    assert opened("nowhere").enhance(nowhere, [foreign]) == [foreign]


def test_hidden_edits_are_not_processed(opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENet, "decode", must_not_run)
    hidden = lnet_edit(0, strength=0.0)
    assert opened().enhance(batch_of(1), [hidden])[0] is hidden
    assert opened().enhance(batch_of(1), []) == []


@pytest.fixture
def stored_face(expected: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the decoder with its known output for ``lnet_edit(0)`` at FIRST."""
    face = torch.from_numpy(expected[..., ::-1].transpose(2, 0, 1).copy())[None]
    monkeypatch.setattr(ENet, "decode", lambda *_: face.clone())


@pytest.mark.usefixtures("stored_face")
def test_emotion_changes_the_upper_half(
    opened: Callable[..., Any], weights: dict[str, Path], expected: np.ndarray
) -> None:
    batch = batch_of(1)
    face = opened(upper_face="surprise").enhance(batch, [lnet_edit(0)])[0]
    crop = crop_face(batch.faces.frames.images[0], np.array(BOX, np.float32), 384)
    source = torch.from_numpy((crop[..., ::-1] / np.float32(255)).transpose(2, 0, 1).copy())[None]
    runtime = Runtime(inference="torch", weights=weights, pool=POOL)
    emotional = EmotionalFace(runtime, "surprise")(source)[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(face.unrounded_image[:192], emotional[:192, :, ::-1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(face.unrounded_image[192:], expected[192:], rtol=0, atol=1e-4)
    assert face.mask[100, 200] == 1


@pytest.mark.usefixtures("stored_face")
def test_upper_half_of_the_frame_can_be_kept(opened: Callable[..., Any], expected: np.ndarray) -> None:
    batch = batch_of(1)
    frame = batch.faces.frames.images[0]
    face = opened(keep_upper=True).enhance(batch, [lnet_edit(0)])[0]
    np.testing.assert_allclose(
        face.unrounded_image[:192], crop_face(frame, np.array(BOX, np.float32), 384)[:192] / 255, rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(face.unrounded_image[192:], expected[192:], rtol=0, atol=1e-4)
    after = frame.copy()
    composite(after, face)
    middle = (BOX[1] + BOX[3]) // 2
    np.testing.assert_array_equal(after[: middle - 1], frame[: middle - 1])
    mouth = (slice(middle + 20, BOX[3] - 20), slice(100, 220))
    assert (after[mouth] != frame[mouth]).mean() > 0.8


@pytest.mark.usefixtures("bfloat16_instructions")
def test_bfloat16_is_close(opened: Callable[..., Any], expected: np.ndarray) -> None:
    face = opened(precision="bfloat16").enhance(batch_of(1), [lnet_edit(0)])[0]
    assert np.abs(face.unrounded_image - expected).mean() < 0.02


def test_options_declare_checkpoints() -> None:
    spec = discover().find(StageKind.ENHANCER, "enet").spec
    assert spec.checkpoints == ("enet",) and spec.optional_checkpoints == ("ganimation",)
    assert EnetConfig().checkpoints() == ()
    assert EnetConfig(upper_face="angry").checkpoints() == ("ganimation",)
    assert {"frames", "reference:image", "face:edit"} == spec.needs
    assert {"face:edit"} == spec.gives
