"""The reconstructor ``deep3d``: its network compared with the published one, its files, and the stage on a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from retalkit.errors import WeightsError
from retalkit.geometry.deep3d_alignment import five_points
from retalkit.geometry.face_crop import crop_boxes
from retalkit.geometry.schemes import convert
from retalkit.media.sources import open_source
from retalkit.observer import SilentObserver
from retalkit.plugins import StageConfig
from retalkit.plugins.discovery import discover
from retalkit.stages import (
    DetectionClip,
    FaceBatch,
    FrameBatch,
    ReconstructionClip,
    Runtime,
    SourceInfo,
    StageContext,
    StageKind,
)
from retalkit.storage.cache import Folder
from retalkit.weights.load import read_checkpoint
from retalkit.weights.store import WeightStore
from retalkit_reconstructors.deep3d import standard_landmarks
from retalkit_reconstructors.deep3d.interface import CHECKPOINTS, STAGES

from tests.parity import Published
from tests.plugins.boxes import box_of

torch = pytest.importorskip("torch", reason="the published networks need torch")

Weights = Callable[[str], Path]
Opened = Callable[[Path], Any]
NETWORK, LANDMARKS = CHECKPOINTS
FRAMES = 10
FACELESS = 4


# ------------------------------------------------------------------------------ the network


@pytest.fixture(scope="module")
def published(shared_parity: Path) -> Published:
    return Published(shared_parity, "face3d")


@pytest.fixture(scope="module")
def network(pseudo_weights: Weights) -> Any:
    from retalkit.inference import empty_network, load_weights
    from retalkit_reconstructors.deep3d.network import CoefficientNetwork

    return load_weights(empty_network(CoefficientNetwork), pseudo_weights("face3d"))


def test_parameters_match_the_published_checkpoint(published: Published) -> None:
    shapes = NETWORK.expected_shapes()
    assert shapes == published.shapes
    assert list(shapes) == list(published.shapes)


def test_outputs_match_published(network: Any, published: Published) -> None:
    images = torch.from_numpy(published.inputs["x"])
    with torch.inference_mode():
        published.check(network.backbone(images).numpy(), "mid_backbone")
        published.check(network(images).numpy(), "coeffs")


# ------------------------------------------------------------------------------ its files


def published_file(path: Path, drop: str = "") -> Path:
    """A file as the published training wrote it: the network and the states of its optimiser and scheduler."""
    weights = {
        name: torch.zeros((), dtype=torch.int64 if name.endswith("tracked") else torch.float32).expand(shape)
        for name, shape in NETWORK.expected_shapes().items()
        if name != drop
    }
    layer = torch.nn.Linear(2, 1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-4)
    layer(torch.zeros(1, 2)).sum().backward()
    optimiser.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, step_size=10)
    states = {"opt_00": optimiser.state_dict(), "sched_00": schedule.state_dict()}
    torch.save({"net_recon": weights, **states}, path)
    return path


def test_published_file_with_training_states_is_read(tmp_path: Path) -> None:
    file = published_file(tmp_path / "face3d_pretrain_epoch_20.pth")
    assert set(read_checkpoint(file, NETWORK)) == set(NETWORK.expected_shapes())


def test_missing_parameter_is_reported_by_name(tmp_path: Path) -> None:
    file = published_file(tmp_path / "face3d.pth", drop="final_layers.6.bias")
    with pytest.raises(WeightsError, match=r"missing final_layers\.6\.bias"):
        read_checkpoint(file, NETWORK)


@pytest.fixture(scope="module")
def landmarks_file(shared_parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The standard landmarks in a weight store, imported from the published file."""
    store = WeightStore(tmp_path_factory.mktemp("weights"))
    return store.add(LANDMARKS, shared_parity / LANDMARKS.file)


def test_standard_landmarks_match_the_published_file(landmarks_file: Path, shared_parity: Path) -> None:
    from scipy.io import loadmat

    standard = standard_landmarks.load(landmarks_file)
    assert standard.dtype == np.float32
    assert np.array_equal(standard, loadmat(shared_parity / LANDMARKS.file)["lm"])
    left, right, nose, _, mouth = five_points(standard)
    assert left[0] < nose[0] < right[0] and left[1] > nose[1] > mouth[1]


@pytest.mark.parametrize("fault", ["empty", "truncated", "html"])
def test_other_files_are_rejected(shared_parity: Path, tmp_path: Path, fault: str) -> None:
    data = (shared_parity / LANDMARKS.file).read_bytes()
    path = tmp_path / LANDMARKS.file
    path.write_bytes({"empty": b"", "truncated": data[:500], "html": b"<html>not found</html>" * 40}[fault])
    with pytest.raises(WeightsError, match="similarity_Lm3D_all.mat"):
        read_checkpoint(path, LANDMARKS)


# ------------------------------------------------------------------------------ the stage


@dataclass
class RealClip:
    """The first frames of a clip with the landmarks of the mesh detector; one frame has no face."""

    images: NDArray[np.uint8]
    points: NDArray[np.float32]
    landmark_scheme: str = "mesh478"
    coefficient_space: str = ""

    @property
    def source(self) -> RealClip:
        return self

    @property
    def info(self) -> SourceInfo:
        high, wide = self.images.shape[1:3]
        return SourceInfo(wide, high, len(self.images), len(self.images) / 25)

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.arange(start, stop) / 25.0

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        return ((index, self.images[index]) for index in indexes)

    def landmarks(self, start: int, stop: int) -> NDArray[np.float32]:
        return self.points[start:stop]

    def coefficients(self, start: int, stop: int) -> NDArray[np.float32]:
        return np.zeros((stop - start, 0), np.float32)

    def boxes(self, start: int, stop: int) -> NDArray[np.float32]:
        return box_of(self.points[start:stop])

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        lost = np.isnan(self.points[:, 0, 0])
        return np.where(lost, -1, np.cumsum(lost)).astype(np.int32)[start:stop]

    def batch(self, indexes: Iterable[int]) -> FaceBatch:
        rows = np.array(list(indexes), np.int64)
        frames = FrameBatch(self.images[rows], rows / 25.0, rows)
        points = self.points[rows]
        return FaceBatch(frames, points, np.zeros((len(rows), 0), np.float32), box_of(points))


@pytest.fixture(scope="module")
def clip(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> RealClip:
    source = open_source(shared_media / "talk_man_700p22.mp4")
    images = np.stack([image for _, image in source.read(range(FRAMES))])
    spec = discover().find(StageKind.DETECTOR, "mediapipe").spec
    context = StageContext(Folder(tmp_path_factory.mktemp("detector")), SilentObserver())
    session = spec.make(spec.config(), Runtime()).open(DetectionClip(source=source.info), context)
    found = session.detect(FrameBatch(images, np.arange(FRAMES) / 25.0, np.arange(FRAMES)))
    session.close()
    points = np.stack([faces[0].landmarks for faces in found])
    points[FACELESS] = np.nan
    return RealClip(images, points)


@pytest.fixture(scope="module")
def opened(clip: RealClip, pseudo_weights: Weights, landmarks_file: Path) -> Opened:
    weights = {NETWORK.name: pseudo_weights("face3d"), LANDMARKS.name: landmarks_file}

    stage: Any = STAGES[0].make(StageConfig(), Runtime(inference="torch", weights=weights))

    def session(folder: Path) -> Any:
        return stage.open(ReconstructionClip(analysis=clip), StageContext(Folder(folder), SilentObserver()))

    return session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stage")


@pytest.fixture(scope="module")
def rows(opened: Opened, clip: RealClip, folder: Path) -> NDArray[np.float32]:
    """Result of the stage for the clip; its cache stays in ``folder``."""
    session = opened(folder)
    found = session.reconstruct(clip.batch(range(FRAMES)))
    session.close()
    return found


def test_every_frame_with_a_face_has_a_row(rows: NDArray[np.float32]) -> None:
    assert rows.shape == (FRAMES, 262) and rows.dtype == np.float32
    assert np.flatnonzero(np.isnan(rows).all(axis=1)).tolist() == [FACELESS]
    assert np.isfinite(np.delete(rows, FACELESS, axis=0)).all()


def test_results_do_not_depend_on_the_batch(
    opened: Opened, clip: RealClip, rows: NDArray[np.float32], tmp_path: Path
) -> None:
    session = opened(tmp_path)
    alone = np.concatenate([session.reconstruct(clip.batch([index])) for index in range(FRAMES)])
    assert np.array_equal(alone, rows, equal_nan=True)
    assert session.reconstruct(clip.batch([])).shape == (0, 262)


def test_result_matches_the_published_steps(clip: RealClip, network: Any, rows: NDArray[np.float32]) -> None:
    """Recompute one frame by the published steps, with Pillow and the network itself."""
    import cv2

    pillow = pytest.importorskip("PIL.Image")
    row = rows[7]
    left, top, right, bottom = crop_boxes(clip, 7, 8)[0].astype(int)
    crop = cv2.resize(clip.images[7, top:bottom, left:right], (256, 256))
    points = convert(clip.points[7], "mesh478", "ibug68")[:, :2].astype(float)
    points = (points + 0.5 - (left, top)) * 256 / (right - left, bottom - top) - 0.5
    points[:, 1] = 255 - points[:, 1]
    width, height, scale, x, y = row[257:].astype(float)
    assert (width, height) == (256, 256)
    assert np.abs((x, y) - points[17:].mean(axis=0)).max() < 30
    side = int(256 * scale)
    left = int(side / 2 - 112 + (x - 128) * scale)
    top = int(side / 2 - 112 + (128 - y) * scale)
    face = pillow.fromarray(crop).resize((side, side), pillow.BICUBIC).crop((left, top, left + 224, top + 224))
    pixels = torch.from_numpy(np.asarray(face).astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network(pixels)[0].numpy()
    assert np.abs(row[:257] - expected).max() <= 1e-4


def test_aligned_face_has_the_size_of_the_standard_face(
    clip: RealClip, landmarks_file: Path, rows: NDArray[np.float32]
) -> None:
    row = rows[0]
    left, top, right, bottom = crop_boxes(clip, 0, 1)[0]
    points = five_points(convert(clip.points[0], "mesh478", "ibug68")[:, :2])
    eyes = np.linalg.norm(points[1] - points[0]) * 256 / (right - left) * row[259]
    standard = five_points(standard_landmarks.load(landmarks_file))
    assert eyes == pytest.approx(102 * np.linalg.norm(standard[1] - standard[0]), rel=0.15)


def test_interrupted_run_resumes_from_the_cache(
    opened: Opened, clip: RealClip, rows: NDArray[np.float32], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = sorted(folder.iterdir())
    assert len(stored) == FRAMES - 1
    stored[-1].unlink()
    session = opened(folder)
    read: list[int] = []
    network = session._network
    monkeypatch.setattr(session, "_network", lambda x: read.append(len(x)) or network(x))
    assert np.array_equal(session.reconstruct(clip.batch(range(FRAMES))), rows, equal_nan=True)
    assert read == [1]
