"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from scipy.io import wavfile

from tests.forked_workers import ForkedContext

REPOSITORY = Path(__file__).resolve().parent.parent
LONGEST = (
    "test_document_commands.py",
    "test_comparison_run.py",
    "test_loudness_package.py",
    "test_bundled_stages.py",
    "test_blind_page.py",
    "test_new_plugin.py",
    "test_paper_pipeline.py",
    "test_report_page.py",
    "test_page.py",
    "test_run.py",
    "test_resume.py",
    "test_dataset_prepare.py",
    "test_trainers.py",
    "test_dataset_check.py",
    "test_real_lips_training.py",
)
"""Files that take more than 15 seconds, and all pages in the browser. The last four use both cores, so they start after
the pages."""


def _folder_beside_checkout(name: str) -> Path:
    """``RETALKIT_SHARED``, or the folder ``shared`` beside the checkout.

    Without it a test is skipped, or fails where ``RETALKIT_REQUIRE_MEDIA`` is set.
    """
    base = Path(os.environ.get("RETALKIT_SHARED", REPOSITORY.parent / "shared"))
    folder = base / name
    if not folder.is_dir():
        text = f"no real {name} at {folder}: set RETALKIT_SHARED to the folder that holds it"
        if os.environ.get("RETALKIT_REQUIRE_MEDIA"):
            pytest.fail(text)
        pytest.skip(text)
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Give each of several pytest-xdist workers one thread: threads that compete for cores only wait for each other."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that the workers of pytest-xdist end at the same time."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(LONGEST)))


_frozen_modules = 0
"""Number of the modules at the last call of ``gc.freeze``."""


def pytest_runtest_setup() -> None:
    """Exclude imported modules from garbage collections, which would take minutes in all."""
    global _frozen_modules
    if len(sys.modules) > _frozen_modules + 100:
        _frozen_modules = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give tests an empty checkpoint store, whatever the user of this machine has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETALKIT_HOME", str(tmp_path_factory.mktemp("empty_home")))
        yield


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> Iterator[None]:
    """Fork the workers of batches, which saves their imports. Batches in subprocesses start real workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retalkit.batch.local.start_context", ForkedContext)
        yield


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """Directory with real clips; the test is skipped with a reason where it is missing."""
    return _folder_beside_checkout("media")


@pytest.fixture(scope="session")
def shared_parity() -> Path:
    """Directory with reference numbers of the published implementation; skipped likewise."""
    return _folder_beside_checkout("parity")


@pytest.fixture(scope="session")
def shared_parity_training() -> Path:
    """Directory with reference numbers of published and documented training; skipped likewise."""
    return _folder_beside_checkout("parity_training")


SharedFolder = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> SharedFolder:
    """Function that returns a directory, which the first of all pytest-xdist workers fills.

    The arguments are the name of the directory, and a function that writes files into the given empty directory. Tests
    must not change the files.
    """
    base = tmp_path_factory.getbasetemp()
    parent = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    parent.mkdir(exist_ok=True)

    def path(name: str, fill: Callable[[Path], object]) -> Path:
        folder = parent / name
        with FileLock(parent / f"{name}.lock"):
            if not folder.exists():
                partial = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
                fill(partial)
                partial.rename(folder)
        return folder

    return path


@pytest.fixture(scope="session")
def pseudo_weights(shared_parity: Path, shared_folder: SharedFolder) -> Callable[[str], Path]:
    """Network of the parity folder -> safetensors file with its pseudo-random weights."""
    pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")
    from tests.pseudo_weights import fill

    def path(network: str) -> Path:
        name = f"{network}.safetensors"
        return shared_folder(network, lambda folder: fill(shared_parity, network, folder / name)) / name

    return path


@pytest.fixture(scope="session")
def moving_head(shared_folder: SharedFolder) -> Path:
    """Three seconds of a gently moving head at 25 frames/s, made from scikit-image's public-domain portrait."""
    return (
        shared_folder("moving_head", lambda folder: _write_moving_head(folder / "moving_head.mp4")) / "moving_head.mp4"
    )


def _write_moving_head(path: Path) -> None:
    import av
    import cv2
    from retalkit.testing.fixtures.material import moving_portrait, portrait

    image, side = portrait(), 448
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "16", "preset": "veryfast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for index in range(75):
            frame = cv2.resize(moving_portrait(image, index / 25), (side, side), interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def short_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the example's synthetic speech, 16 kHz mono."""
    from retalkit.media.sound import open_sound

    found = sorted((REPOSITORY / "examples").glob("speech.*"))
    sound = next(path for path in found if path.suffix in (".wav", ".flac", ".ogg", ".opus"))
    samples = np.concatenate(list(open_sound(sound).chunks(16000)))[: 2 * 16000]
    path = tmp_path_factory.mktemp("speech") / "short.wav"
    wavfile.write(path, 16000, (samples * 32767).astype(np.int16))
    return path


@pytest.fixture(scope="session")
def talking_head(
    moving_head: Path, short_speech: Path, shared_folder: SharedFolder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two seconds of a person saying the example sentence, with sound: ``moving_head`` dubbed."""
    import retalkit

    cache = tmp_path_factory.mktemp("talking")
    folder = shared_folder(
        "talking_head", lambda folder: retalkit.dub(moving_head, short_speech, folder / "talking.mp4", cache=cache)
    )
    return folder / "talking.mp4"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of packages on ``sys.path``; modules imported from it are removed afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
