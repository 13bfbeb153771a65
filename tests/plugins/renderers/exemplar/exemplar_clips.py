"""A talking head with known landmarks: the portrait with a warped mouth and a moving head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from retalkit.geometry import mesh478, mesh_space
from retalkit.geometry.pose import person_template, rigid_fit, to_head_frame, to_pixels
from retalkit.observer import SilentObserver
from retalkit.speech.readers import ArrayReader
from retalkit.speech.speech_track import SpeechTrack
from retalkit.stages import (
    FaceBatch,
    FrameBatch,
    FrameResult,
    LipSyncClip,
    LipSyncerSession,
    ReferenceBatch,
    Runtime,
    SourceInfo,
    SpeechToMouth,
    StageContext,
    SyncBatch,
)
from retalkit.storage.cache import Folder
from retalkit_renderers.exemplar.config import ExemplarConfig
from retalkit_renderers.exemplar.mouth_model import closed_rest, generic_basis
from retalkit_renderers.exemplar.syncer import ExemplarLipSyncer
from retalkit_renderers.mesh_warp import TriangleRaster, make_topology, topology_points
from retalkit_renderers.speech_to_mouth.interface import FileDriverConfig
from retalkit_renderers.speech_to_mouth.motion_file import FileDriver

from tests.plugins.boxes import box_of

Float = NDArray[np.float32]
STABLE = list(mesh478.STABLE)


@dataclass
class TalkingClip:
    """Implements ``Analysis``, ``Source`` and ``Timeline`` over frames in memory."""

    images: list[NDArray[np.uint8]]
    points: Float
    template: Float
    numbers: NDArray[np.int32]
    landmark_scheme: str = "mesh478"
    coefficient_space: str = "mesh"
    reads: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        pose = rigid_fit(self.points[:, STABLE], self.template[STABLE])
        self.rows = mesh_space.pack(pose, mesh_space.measures(to_head_frame(self.points, pose)))

    @property
    def source(self) -> TalkingClip:
        return self

    @property
    def info(self) -> SourceInfo:
        high, wide = self.images[0].shape[:2]
        return SourceInfo(wide, high, len(self.images), len(self.images) / 25)

    @property
    def count(self) -> int:
        return len(self.images)

    @property
    def duration(self) -> float:
        return len(self.images) / 25

    def times(self, start: int, stop: int) -> NDArray[np.float64]:
        return np.arange(start, min(stop, len(self.images))) / 25.0

    def sources(self, start: int, stop: int) -> NDArray[np.int64]:
        return np.arange(start, min(stop, len(self.images)))

    def read(self, indexes: Iterable[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for index in indexes:
            self.reads.append(index)
            yield index, self.images[index]

    def landmarks(self, start: int, stop: int) -> Float:
        return self.points[start:stop]

    def boxes(self, start: int, stop: int) -> Float:
        return box_of(self.points[start:stop])

    def coefficients(self, start: int, stop: int) -> Float:
        return self.rows[start:stop]

    def tracks(self, start: int, stop: int) -> NDArray[np.int32]:
        return self.numbers[start:stop]

    def opening(self) -> Float:
        return self.rows[:, mesh_space.OPENING]

    def batch(self, start: int, stop: int) -> SyncBatch:
        """Return output frames [start, stop), which are the same source frames."""
        positions = np.arange(start, stop)
        frames = FrameBatch(np.stack(self.images[start:stop]), self.times(start, stop), positions)
        faces = FaceBatch(frames, self.points[start:stop], self.rows[start:stop], box_of(self.points[start:stop]))
        return SyncBatch(positions, self.times(start, stop), faces, ReferenceBatch(self.points[start:stop]))


class NoReferences:
    """Expression editor that returns no face, so the lip syncer computes the person's statistics."""

    def edit(self, faces: FaceBatch) -> ReferenceBatch:
        return ReferenceBatch(np.full_like(faces.landmarks, np.nan))

    def close(self) -> None: ...


class RecordingObserver(SilentObserver):
    """Records notes and artefacts."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.artefacts: dict[str, Path] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def artefact(self, name: str, path: Path) -> None:
        self.artefacts[name] = path


def motion_file(path: Path, count: int, **columns: Any) -> Path:
    """Write a motion file in which all columns except ``speech`` have the rest position by default."""
    rows = {name: np.zeros(count) for name in ("opening", "width", "protrusion", "closure")}
    rows["speech"] = np.ones(count)
    rows |= {name: np.broadcast_to(np.asarray(value, float), (count,)) for name, value in columns.items()}
    np.savez(path, times=np.arange(count) / 25.0, **rows)
    return path


@dataclass
class Opened:
    """An open session, its events and its cache folder."""

    session: LipSyncerSession
    observer: RecordingObserver
    folder: Path

    @property
    def plan(self) -> dict[str, NDArray[Any]]:
        with np.load(self.folder / "plan.npz") as stored:
            return dict(stored)

    def results(self, clip: TalkingClip, size: int = 16) -> list[FrameResult]:
        found: list[FrameResult] = []
        for start in range(0, clip.count, size):
            found += self.session.sync(clip.batch(start, min(start + size, clip.count)))
        return found


def open_exemplar(
    clip: TalkingClip, folder: Path, motion: Path, driver: SpeechToMouth | None = None, **options: Any
) -> Opened:
    """Open the lip syncer for a clip with mouth motion from a motion file or from ``driver``."""
    observer = RecordingObserver()
    config = ExemplarConfig(**options)
    runtime = Runtime(drivers={"driver": driver or FileDriver(FileDriverConfig(path=motion), Runtime())})
    context = StageContext(Folder(folder), observer)
    silence = SpeechTrack(ArrayReader(np.zeros(16000, np.float32)), ArrayReader(np.zeros(101, np.float32)))
    opened = LipSyncClip(analysis=clip, references=NoReferences(), timeline=clip, speech=silence)
    session = ExemplarLipSyncer(config, runtime).open(opened, context)
    return Opened(session, observer, folder)


def talking_clip(portrait: Any) -> TalkingClip:
    """Return 48 frames of a swaying head whose mouth opens and closes three times, between 0 and 0.15 IOD."""
    template = person_template(portrait.landmarks[None])
    pose = rigid_fit(portrait.landmarks[None, STABLE], template[STABLE])
    rest = closed_rest(to_head_frame(portrait.landmarks[None], pose)[0])
    topology = make_topology(rest)
    basis = generic_basis(rest)
    high, wide = portrait.image.shape[:2]
    images, points = [], []
    now = topology_points(portrait.landmarks[:, :2])
    for index in range(48):
        opening = 0.075 * (1 - np.cos(2 * np.pi * index / 16))
        shape = rest + np.float32(opening) * basis[0] + np.float32(0.02 * np.sin(index / 5)) * basis[1]
        goal = to_pixels(shape, pose)[0]
        still = topology.mouth_weights[:, None] <= 0
        goal = np.where(still, portrait.landmarks, goal).astype(np.float32)
        wanted = topology_points(goal[:, :2], ring_from=portrait.landmarks[:, :2])
        raster = TriangleRaster(topology, wanted, (0, 0, wide, high))
        map_x, map_y = raster.dense_map(now)
        image = cv2.remap(portrait.image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        sway = np.array([[1, 0, 3 * np.sin(index / 7)], [0, 1, 2 * np.cos(index / 9)]], np.float32)
        image = cv2.warpAffine(image, sway, (wide, high), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        noise = np.random.default_rng(index).normal(0, 2, image.shape)
        images.append(np.clip(image + noise, 0, 255).astype(np.uint8))
        points.append(goal + np.array([*sway[:, 2], 0], np.float32))
    for image in images:
        image.setflags(write=False)
    return TalkingClip(images, np.array(points, np.float32), template, np.zeros(48, np.int32))
