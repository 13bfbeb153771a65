"""The presets ``paper`` and ``fast`` end to end with pseudo-random weights: noise in the mouth, all real stages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.imaging.compositing import composite
from retalkit.media.sources import open_source
from retalkit.pipeline.record import RunRecord
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.stages import FaceBatch, FaceEdit, FrameResult, ReferenceBatch, SyncBatch
from retalkit.weights.store import WeightStore
from scipy.io import wavfile

pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

from retalkit_enhancers.enet.enhancer import EnetSession
from retalkit_enhancers.restoration.enhancer import RestorationSession
from safetensors.numpy import load_file, save_file

from tests.packets import packets

FRAMES = 2
UNRESTORED = ("enhancers=[enet]", "reference_enhancers=[]")
"""Without the restoration networks, which take most of the time."""
NETWORKS = ("dnet", "lnet", "enet", "face3d", "ganimation")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture(scope="module")
def weights(
    registry: Registry,
    pseudo_weights: Callable[[str], Path],
    shared_parity: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """A RETALKIT_HOME with the checkpoints of the two presets without restoration and ``mediapipe`` as detector."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETALKIT_HOME", str(home))
        store = WeightStore()
        for name in NETWORKS:
            store.add(registry.checkpoint(name), pseudo_weights(name))
        store.add(registry.checkpoint("bfm_landmarks"), shared_parity / "similarity_Lm3D_all.mat")
        store.add(registry.checkpoint("expression_templates"), shared_parity / "expression.mat")
        yield home


@pytest.fixture(scope="module")
def all_weights(weights: Path, registry: Registry, pseudo_weights: Callable[[str], Path]) -> Path:
    """The same RETALKIT_HOME with the checkpoints of the restoration networks."""
    store = WeightStore()
    for name in ("gpen", "gfpgan"):
        store.add(registry.checkpoint(name), pseudo_weights(name))
    parsenet = pseudo_weights("parsenet")
    store.add(registry.checkpoint("parsenet"), all_mouth(parsenet, weights / parsenet.name))
    return weights


def all_mouth(parsenet: Path, path: Path) -> Path:
    """Write weights that segment a mouth everywhere; unmodified they find none, and nothing would be restored."""
    arrays = load_file(parsenet)
    arrays["out_mask_conv.conv2d.bias"][10] = 1e3
    save_file(arrays, path)
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, shared_media: Path) -> Path:
    """Speech of the duration of the output at 25 frames/s."""
    return speech_of(FRAMES, shared_media, tmp_path_factory.mktemp("words") / "words.wav")


def speech_of(frames: int, shared_media: Path, path: Path) -> Path:
    from retalkit.media.sound import open_sound

    samples = np.concatenate(list(open_sound(shared_media / "speech_16k_mono.wav").chunks(16000)))
    start = 2 * 16000
    part = samples[start : start + frames * 640]
    wavfile.write(path, 16000, (part * 32767).astype(np.int16))
    return path


def run(
    preset: str, registry: Registry, clip: Path, words: Path, folder: Path, *overrides: str, name: str = "out.mp4"
) -> RunRecord:
    # PyTorch: converting every network for OpenVINO takes minutes.
    given = ["detector.use=mediapipe", "analysis_seconds=0.02", "inference=torch", *overrides]
    config = RunConfig.from_preset(preset, registry=registry, overrides=given)
    return retalkit.dub(
        clip, words, folder / name, config=config, registry=registry, cache=folder / "cache", force=True
    )


def frames(path: Path, count: int) -> np.ndarray:
    return np.stack([image for _, image in open_source(path).read(range(count))]).astype(int)


@pytest.fixture(scope="module")
def published(
    weights: Path, registry: Registry, shared_media: Path, words: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunRecord, Path]:
    folder = tmp_path_factory.mktemp("paper")
    return run("paper", registry, shared_media / "talk_woman_590p25.mp4", words, folder, *UNRESTORED), folder


def test_published_networks_edit_every_frame(published: tuple[RunRecord, Path], shared_media: Path) -> None:
    record, _ = published
    assert record.frames_edited == FRAMES and not record.frames_passed
    source = frames(shared_media / "talk_woman_590p25.mp4", FRAMES)
    result = frames(record.output, FRAMES)
    changed = np.abs(source - result).mean(axis=(0, 3))
    height, width = changed.shape
    # Pseudo-random networks draw noise into the face; only the codec changes the corners of the image.
    assert changed[height // 2 : 3 * height // 4, width // 3 : 2 * width // 3].mean() > 15
    for rows in (slice(0, 60), slice(-60, None)):
        for columns in (slice(0, 60), slice(-60, None)):
            assert changed[rows, columns].mean() < 3


def test_record_names_every_weight_file(published: tuple[RunRecord, Path]) -> None:
    record, _ = published
    stored = json.loads(record.record.read_text(encoding="utf-8"))["weights"]
    for name in ("expression_editor.dnet", "lip_syncer.lnet", "enhancers.0.enet", "reconstructor.face3d"):
        assert len(stored[name]) == 64


def test_other_enhancer_runs_no_earlier_network_again(
    published: tuple[RunRecord, Path],
    registry: Registry,
    shared_media: Path,
    words: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, folder = published

    def must_not_run(*_: object) -> None:
        raise AssertionError("a network ran whose result was stored")

    # Every network's result is stored: those of deep3d, D-Net and L-Net must be reused.
    monkeypatch.setattr("retalkit.storage.frame_store.FrameStore.put", must_not_run)
    record = run(
        "paper",
        registry,
        shared_media / "talk_woman_590p25.mp4",
        words,
        folder,
        "enhancers=[none]",
        "reference_enhancers=[]",
        name="lips.mp4",
    )
    assert record.frames_edited == FRAMES


@pytest.mark.slow
def test_interrupted_run_resumes_at_the_frame_with_the_same_result(
    published: tuple[RunRecord, Path],
    registry: Registry,
    shared_media: Path,
    words: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, _ = published
    from retalkit.storage.frame_store import FrameStore

    clip = shared_media / "talk_woman_590p25.mp4"
    put, done = FrameStore.put, []

    def count(self: FrameStore, index: int, **arrays: np.ndarray) -> None:
        put(self, index, **arrays)
        done.append(index)
        if len(done) == 3 * FRAMES:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FrameStore, "put", count)
        with pytest.raises(KeyboardInterrupt):
            run("paper", registry, clip, words, tmp_path, *UNRESTORED)
    assert not (tmp_path / "out.mp4").exists()
    before = len(done)
    done.clear()

    def count_only(self: FrameStore, index: int, **arrays: np.ndarray) -> None:
        put(self, index, **arrays)
        done.append(index)

    monkeypatch.setattr(FrameStore, "put", count_only)
    again = run("paper", registry, clip, words, tmp_path, *UNRESTORED)
    # Four networks store one result per frame: nothing that was stored is computed again.
    assert before + len(done) == 4 * FRAMES
    assert packets(again.output) == packets(record.output)


@pytest.mark.slow
def test_fast_preset_runs_without_dnet_and_3dmm(
    weights: Path, registry: Registry, shared_media: Path, words: Path, tmp_path: Path
) -> None:
    for name in ("dnet", "face3d", "bfm_landmarks", "expression_templates"):
        (weights / "weights" / f"{name}.json").rename(weights / "weights" / f"{name}.hidden")
    try:
        clip = shared_media / "talk_man_700p22.mp4"
        record = run("fast", registry, clip, words, tmp_path, "enhancers=[{use: enet, upper_face: surprise}]")
    finally:
        for name in ("dnet", "face3d", "bfm_landmarks", "expression_templates"):
            (weights / "weights" / f"{name}.hidden").rename(weights / "weights" / f"{name}.json")
    assert record.frames_edited > 0 and not record.frames_passed
    stored = json.loads(record.record.read_text(encoding="utf-8"))["weights"]
    assert "enhancers.0.ganimation" in stored and "expression_editor.dnet" not in stored


@pytest.mark.slow
def test_full_published_chain_restores_reference_mouth_and_face(
    all_weights: Path, registry: Registry, shared_media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, float]] = []
    restore, draw, sharpen = RestorationSession.enhance, EnetSession.enhance, RestorationSession.enhance_references

    def shown(batch: SyncBatch, edits: Sequence[FrameResult]) -> np.ndarray:
        images = batch.faces.frames.images.copy()
        for image, edit in zip(images, edits, strict=True):
            assert isinstance(edit, FaceEdit)
            composite(image, edit)
        return images.astype(float)

    def watched(name: str, enhance: Any) -> Any:
        def enhanced(session: Any, batch: SyncBatch, edits: Sequence[FrameResult]) -> list[FrameResult]:
            results = enhance(session, batch, edits)
            seen.append((name, float(np.abs(shown(batch, results) - shown(batch, edits)).mean())))
            return results

        return enhanced

    def sharpened(session: Any, faces: FaceBatch, references: ReferenceBatch) -> ReferenceBatch:
        results = sharpen(session, faces, references)
        assert references.images is not None and results.images is not None
        seen.append(("reference", float(np.abs(results.images.astype(float) - references.images).mean())))
        return results

    monkeypatch.setattr(RestorationSession, "enhance", watched("restored", restore))
    monkeypatch.setattr(EnetSession, "enhance", watched("enet", draw))
    monkeypatch.setattr(RestorationSession, "enhance_references", sharpened)
    words = speech_of(1, shared_media, tmp_path / "word.wav")
    clip = shared_media / "talk_woman_590p25.mp4"
    record = run("paper", registry, clip, words, tmp_path)
    assert record.frames_edited == 1
    stored = json.loads(record.record.read_text(encoding="utf-8"))["weights"]
    for name in ("reference_enhancers.0.gpen", "enhancers.0.enet", "enhancers.1.gfpgan", "enhancers.1.parsenet"):
        assert len(stored[name]) == 64
    caches = {folder.name.partition("-")[0] for folder in (tmp_path / "cache").iterdir()}
    assert {"reference_enhancer", "enhancer"} <= caches
    assert sum(folder.name.startswith("enhancer-") for folder in (tmp_path / "cache").iterdir()) == 3
    # Each of the four changed its input image, in the published order.
    assert [name for name, _ in seen] == ["reference", "enet", "restored", "restored"]
    assert all(change > 1 for _, change in seen), seen
