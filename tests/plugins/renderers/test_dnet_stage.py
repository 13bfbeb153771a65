"""The expression editor ``dnet`` on a real clip, with pseudo-random weights and synthetic coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.geometry.face_crop import crop_boxes
from retalkit.geometry.schemes import convert
from retalkit.observer import SilentObserver
from retalkit.stages import ExpressionEditClip, ObjectPool, ReferenceBatch, Runtime, StageContext
from retalkit.storage.cache import Folder
from retalkit.weights.store import WeightStore
from retalkit_renderers.dnet.face_images import to_network, to_uint8
from retalkit_renderers.dnet.interface import CHECKPOINTS, STAGES, DNetConfig
from scipy.io import loadmat

from tests.plugins.renderers.dnet_clips import RealClip, real_clip
from tests.pseudo_weights import load_module

torch = pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

FRAMES = 6
IMAGE = frozenset({"reference:image", "reference:landmarks"})
Weights = Callable[[str], Path]


@pytest.fixture(scope="module")
def footage(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> RealClip:
    return real_clip(shared_media / "talk_man_700p22.mp4", FRAMES, tmp_path_factory.mktemp("detector"))


@pytest.fixture
def clip(footage: RealClip) -> RealClip:
    """A copy of the clip that a test may change."""
    arrays = {name: getattr(footage, name).copy() for name in ("images", "points", "rows", "numbers")}
    return replace(footage, reads=[], **arrays)


@pytest.fixture(scope="module")
def weights(pseudo_weights: Weights, shared_parity: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    store = WeightStore(tmp_path_factory.mktemp("store"))
    templates = store.add(CHECKPOINTS[1], shared_parity / CHECKPOINTS[1].file)
    return {"dnet": pseudo_weights("dnet"), "expression_templates": templates}


Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def opened(weights: dict[str, Path]) -> Opened:
    pool = ObjectPool()

    def session(clip: RealClip, folder: Path, ports: frozenset[str] = IMAGE, **options: Any) -> Any:
        runtime = Runtime(inference="torch", weights=weights, pool=pool)
        stage: Any = STAGES[0].make(DNetConfig.model_validate(options), runtime)
        context = StageContext(Folder(folder), SilentObserver(), requested_ports=ports)
        return stage.open(ExpressionEditClip(analysis=clip), context)

    return session


@pytest.fixture
def negative(monkeypatch: pytest.MonkeyPatch) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Replace the network with one that returns the negative of its source; returns its recorded inputs."""
    from retalkit_renderers.dnet.network import DNet, DNetOutput

    given: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def forward(self: DNet, image: Any, coefficients: Any) -> DNetOutput:
        given.extend(zip(image.numpy().copy(), coefficients.numpy().copy(), strict=True))
        return DNetOutput(-image, image, image)

    monkeypatch.setattr(DNet, "forward", forward)
    return given


def outside(clip: RealClip, index: int) -> NDArray[np.bool_]:
    left, top, right, bottom = crop_boxes(clip, index, index + 1)[0].astype(int)
    mask = np.ones(clip.images.shape[1:3], bool)
    mask[top:bottom, left:right] = False
    return mask


def test_image_conversion_matches_published(shared_parity: Path) -> None:
    make = load_module(shared_parity / "inputs.py").img
    pixels = make(np.random.default_rng(0), 1, 3, 256, 256)[0].transpose(1, 2, 0)
    image = np.round(pixels * 255).astype(np.uint8)
    with np.load(shared_parity / "pure_geometry.npz") as known:
        assert np.abs(to_network(image)[:, ::4, ::4] - known["trans_image_a"]).max() <= 1e-6
    halves = np.array([-1.2, -1.0, 0.999 / 127.5 - 1, 1.001 / 127.5 - 1, 0.0, 0.9999, 1.0, 1.2], np.float32)
    levels = to_uint8(np.broadcast_to(halves, (3, 1, 8)))
    assert levels[0, :, 0].tolist() == [0, 0, 0, 1, 127, 254, 255, 255]


def test_result_matches_the_published_steps(
    opened: Opened, clip: RealClip, weights: dict[str, Path], shared_parity: Path, tmp_path: Path
) -> None:
    """Recompute one frame by the published steps, with Pillow and the network itself."""
    image_module = pytest.importorskip("PIL.Image")
    from retalkit.geometry.face_quad import face_quad, perspective_to_square
    from retalkit.inference import empty_network, load_weights
    from retalkit_renderers.dnet.network import DNet

    index = 4
    session = opened(clip, tmp_path)
    given: ReferenceBatch = session.edit(clip.batch(index))
    session.close()
    assert given.images is not None
    assert np.array_equal(given.landmarks, clip.points[[index]])

    left, top, right, bottom = crop_boxes(clip, index, index + 1)[0].astype(int)
    crop = cv2.resize(clip.images[index, top:bottom, left:right], (256, 256))
    source = (torch.from_numpy(crop.transpose(2, 0, 1).astype(np.float32) / 255) - 0.5) / 0.5
    around = clip.rows[np.clip(np.arange(index - 13, index + 13), 0, FRAMES - 1)]
    driving = np.concatenate([around[:, 80:144], around[:, 224:227], around[:, 254:257], around[:, 259:262]], 1).T
    driving[:64] = loadmat(shared_parity / "expression.mat")["expression_center"].T
    network = load_weights(empty_network(DNet), weights["dnet"])
    with torch.inference_mode():
        drawn = network(source[None], torch.from_numpy(driving)[None]).image[0].permute(1, 2, 0).clamp(-1, 1).numpy()
    drawn = image_module.fromarray(np.uint8((drawn + 1) / 2.0 * 255))

    points = convert(clip.points[index], "mesh478", "ibug68")[:, :2].astype(float)
    points = (points + 0.5 - (left, top)) * 256 / (right - left, bottom - top) - 0.5
    quad = face_quad(points)
    square = drawn.transform((256, 256), image_module.QUAD, (quad + 0.5).flatten(), image_module.BILINEAR)
    back = square.convert("RGBA").transform(
        (256, 256), image_module.PERSPECTIVE, perspective_to_square(quad, 256), image_module.BILINEAR
    )
    pasted = image_module.fromarray(crop).convert("RGBA")
    pasted.paste(back, (0, 0), mask=back)
    wanted = clip.images[index].copy()
    wanted[top:bottom, left:right] = cv2.resize(np.array(pasted.convert("RGB")), (right - left, bottom - top))
    # Rounding in the network may change a level by one; pasting twice by two.
    assert np.abs(given.images[0].astype(int) - wanted).max() <= 2
    assert np.array_equal(given.images[0][outside(clip, index)], clip.images[index][outside(clip, index)])
    assert np.abs(given.images[0].astype(int) - clip.images[index])[~outside(clip, index)].mean() > 20


def test_results_do_not_depend_on_the_batch(opened: Opened, clip: RealClip, tmp_path: Path) -> None:
    together = opened(clip, tmp_path / "together", batch=2).edit(clip.batch(1, 3)).images
    alone = opened(clip, tmp_path / "alone", batch=2).edit(clip.batch(3)).images
    assert np.array_equal(together[1], alone[0])


def test_stored_faces_are_not_generated_again(
    opened: Opened, clip: RealClip, tmp_path: Path, negative: list[Any]
) -> None:
    first = opened(clip, tmp_path).edit(clip.batch(0, 1, 0))
    assert len(negative) == 2
    again = opened(clip, tmp_path).edit(clip.batch(1, 2, 0))
    assert len(negative) == 3
    assert np.array_equal(first.images[[1, 0]], again.images[[0, 2]])


def test_each_face_is_generated_from_its_own_frame(
    opened: Opened, clip: RealClip, tmp_path: Path, negative: list[Any], shared_parity: Path
) -> None:
    images = opened(clip, tmp_path, template="smile").edit(clip.batch(2, 5)).images
    smile = loadmat(shared_parity / "expression.mat")["expression_mouth"][0]
    for place, index in enumerate((2, 5)):
        source, driving = negative[place]
        left, top, right, bottom = crop_boxes(clip, index, index + 1)[0].astype(int)
        crop = cv2.resize(clip.images[index, top:bottom, left:right], (256, 256))
        assert np.abs((source.transpose(1, 2, 0) + 1) * 127.5 - crop).max() < 1e-3
        assert (driving[:64] == smile[:, None]).all()
        assert np.array_equal(driving[64:67, 13], clip.rows[index, 224:227])
        # The negative of the face replaces the face.
        high, wide = (bottom - top) // 4, (right - left) // 4
        middle = np.s_[top + high : bottom - high, left + wide : right - wide]
        assert np.abs(images[place][middle].astype(int) + clip.images[index][middle] - 255).mean() < 4


def test_one_shot_uses_the_first_frame_of_the_shot(
    opened: Opened, clip: RealClip, tmp_path: Path, negative: list[Any]
) -> None:
    clip.numbers[:] = [0, 0, -1, 1, 1, 1]
    clip.points[2] = clip.rows[2] = np.nan
    opened(clip, tmp_path, one_shot=True).edit(clip.batch(1, 4, 5))
    assert clip.reads == [0, 3]
    firsts = []
    for first in (0, 3, 3):
        left, top, right, bottom = crop_boxes(clip, first, first + 1)[0].astype(int)
        firsts.append(cv2.resize(clip.images[first, top:bottom, left:right], (256, 256)))
    for (source, driving), first, index in zip(negative, firsts, (1, 4, 5), strict=True):
        assert np.abs((source.transpose(1, 2, 0) + 1) * 127.5 - first).max() < 1e-3
        assert np.array_equal(driving[64:67, 13], clip.rows[index, 224:227])


def test_frames_without_face_or_fit_stay_unchanged(
    opened: Opened, clip: RealClip, tmp_path: Path, negative: list[Any]
) -> None:
    clip.numbers[:] = [0, 0, -1, 1, 1, 1]
    clip.points[2] = clip.rows[2] = clip.rows[4] = np.nan
    given = opened(clip, tmp_path).edit(clip.batch(2, 4, 5))
    assert len(negative) == 1
    assert np.array_equal(given.images[:2], clip.images[[2, 4]])
    assert not np.array_equal(given.images[2], clip.images[5])
    assert np.array_equal(np.isnan(given.landmarks).all(axis=(1, 2)), [True, False, False])


def test_images_are_generated_only_when_requested(
    opened: Opened, clip: RealClip, tmp_path: Path, negative: list[Any]
) -> None:
    given = opened(clip, tmp_path, frozenset({"reference:landmarks"})).edit(clip.batch(0, 1))
    assert given.images is None and not negative
    assert np.array_equal(given.landmarks, clip.points[:2])


def test_empty_batch_gives_empty_references(opened: Opened, clip: RealClip, tmp_path: Path) -> None:
    given = opened(clip, tmp_path).edit(clip.batch())
    assert given.landmarks.shape == (0, 478, 3) and given.images.shape == (0, *clip.images.shape[1:])


def test_expression_can_come_from_a_file(opened: Opened, clip: RealClip, tmp_path: Path, negative: list[Any]) -> None:
    grin = np.linspace(-1, 1, 64, dtype=np.float32)
    np.save(tmp_path / "grin.npy", grin)
    opened(clip, tmp_path, template=tmp_path / "grin.npy").edit(clip.batch(1))
    assert (negative[0][1][:64] == grin[:, None]).all()
