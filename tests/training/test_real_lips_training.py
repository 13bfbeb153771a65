"""Tests for fine-tuning on real lips with a small generated corpus."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("espeakng_loader", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("faker", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.motion_eval.lips_corpus import LipsCorpus
from retalkit.speech.loudness import REFERENCE, integrated_loudness
from retalkit_renderers.speech_to_mouth.decoding import CONTACT, Calibration, closure_evidence
from retalkit_renderers.speech_to_mouth.model import ModelDriver
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL
from retalkit_training.speech_to_mouth.augmentation import companded
from retalkit_training.speech_to_mouth.export import export, load_exported
from retalkit_training.speech_to_mouth.fine_tuning import fine_tune, initial_network, scaled_targets
from retalkit_training.speech_to_mouth.losses import real_loss
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.pipeline import (
    PipelineConfig,
    RealData,
    fine_tune_and_export,
    make_corpus,
    prepare_real_lips,
    tiny_config,
)
from retalkit_training.speech_to_mouth.real_lips import COLUMNS, prepare

from tests.core.motion_eval.lips_folder import write_corpus

SCALES = {"opening": 0.7, "protrusion": 0.6, "jaw": 0.8, "spread": 0.5, "rounding": 0.9}


def _config() -> PipelineConfig:
    return replace(tiny_config(), hours=0.015)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lips-training")
    make_corpus(_config(), folder)
    return folder


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "lips", clips=10, seconds=3.0, offset_ms=40)


@pytest.fixture(scope="module")
def data(work: Path, corpus_folder: Path) -> RealData:
    found = prepare_real_lips(_config(), work, corpus_folder)
    assert found is not None
    return found


def _synthetic_network(seed: int = 0, channels: int = 16) -> SpeechToMouthNetwork:
    torch.manual_seed(seed)
    return SpeechToMouthNetwork(channels).eval()


def test_prepared_clips_have_one_loudness_and_scaled_targets(corpus_folder: Path, tmp_path: Path) -> None:
    lips = prepare(LipsCorpus(corpus_folder), tmp_path)
    assert lips.facts == {"minutes": 0.5, "clips": 10, "speakers": 5}
    assert {clip.fold for clip in lips.clips} == set(range(5))
    for clip in lips.clips:
        assert integrated_loudness(lips.waveform(clip)) == pytest.approx(REFERENCE, abs=0.5)
        targets = lips.targets(clip)
        assert targets.shape == (150, len(COLUMNS)) and clip.shift == 2
        assert 0.6 < np.percentile(targets[:, 0], 95) < 1.4
        contact = targets[:, COLUMNS.index("contact")]
        assert contact[targets[:, 0].argmin()] > 0.9 and contact[targets[:, 0].argmax()] < 0.1
    assert [clip.weight for clip in lips.clips][:2] == [1.0, 0.5]


def test_views_of_a_clip_start_unchanged(data: RealData) -> None:
    clip = data.lips.clips[0]
    first, second = (data.views.real(view, clip.first, clip.count) for view in (0, 1))
    assert first.shape == (300, 80) and not np.array_equal(first, second)
    assert data.views.synthetic(3).shape == (500, 80)
    assert data.views.synthetic_targets[3, :, 0].max() == 0.0


def test_initial_network_gives_outputs_in_units_of_the_motion() -> None:
    source = _synthetic_network()
    network = initial_network(source, SCALES, _config().fine_tuning).eval()
    features = torch.randn(1, 160, 80)
    with torch.inference_mode():
        before, after = source(features)[0], network(features)[0]
    assert after.shape[0] == before.shape[0] + 1
    assert torch.allclose(after[0], before[0] / SCALES["opening"], atol=1e-5)
    assert torch.allclose(after[4:20], before[4:20], atol=1e-6)


def test_synthetic_targets_are_scaled_by_side() -> None:
    targets = np.zeros((2, 6), np.float32)
    targets[:, 0], targets[:, 1] = 0.7, [0.5, -0.9]
    assert scaled_targets(targets, SCALES)[:, :2] == pytest.approx(np.array([[1.0, 1.0], [1.0, -1.0]]))


def test_loss_of_real_lips_ignores_unknown_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(2, 21, 50, generator=generator), torch.rand(2, 6, 50, generator=generator)
    known = torch.ones(2, 50)
    known[:, 40:] = 0.0
    changed = targets.clone()
    changed[:, :, 40:] = 7.0
    weights = torch.tensor([1.0, 0.5])
    first, second = (real_loss(outputs, each, known, weights)[0] for each in (targets, changed))
    assert torch.allclose(first, second)


def test_better_outputs_have_a_lower_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.rand(2, 6, 50, generator=generator)
    outputs = torch.zeros(2, 21, 50)
    outputs[:, :4] = targets[:, :4]
    known, weights = torch.ones(2, 50), torch.ones(2)
    good, parts = real_loss(outputs, targets, known, weights)
    bad, _ = real_loss(outputs.flip(2), targets, known, weights)
    assert parts["r_opening"] == pytest.approx(1.0, abs=0.01) and good < bad


def test_fine_tuning_is_reproducible_and_learns(data: RealData) -> None:
    config = replace(_config().fine_tuning, steps=25, learning_rate=3e-3, averaging=0.8)
    networks = [
        fine_tune(initial_network(_synthetic_network(), SCALES, config), data.lips, data.views, SCALES, config, 0)
        for _ in range(2)
    ]
    first, second = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"][:20], _synthetic_network().state_dict()["head.weight"])


def test_pipeline_exports_calibrated_weights(data: RealData, work: Path, tmp_path: Path) -> None:
    synthetic, real = tmp_path / "synthetic.safetensors", tmp_path / "real.safetensors"
    export(_synthetic_network(), synthetic, SCALES, {"closure_threshold": 0.3}, {})
    fine_tune_and_export(_config(), work, data, synthetic, real, "test")
    driver = ModelDriver(real)
    network, scales = load_exported(real)
    assert scales == {} and network.head.out_channels == CONTACT + 1
    assert 0.0 < driver.calibration.closure_threshold < 1.0
    assert set(driver.calibration.gains) == {"opening", "spread", "rounding"}
    from safetensors import safe_open

    with safe_open(str(real), framework="numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["real_lips"])["clips"] == 10
    assert json.loads(metadata["scores"])["clips"] == 10


def test_missing_corpus_is_reported_and_skipped(work: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert prepare_real_lips(_config(), work, tmp_path / "absent") is None
    assert "absent" in caplog.text and "--lips" in caplog.text


def test_contact_output_and_labials_are_combined() -> None:
    raw = np.zeros((1, 21), np.float32)
    raw[0, 5 + BILABIAL] = 30.0
    raw[0, CONTACT] = -30.0
    assert closure_evidence(raw, Calibration(contact_share=0.25)) == pytest.approx(0.75)
    assert closure_evidence(raw[:, :CONTACT], Calibration(contact_share=0.25)) == pytest.approx(1.0)


def test_companding_keeps_level_and_timing() -> None:
    sound = (0.3 * np.sin(np.arange(8000) / 5.0)).astype(np.float32)
    coded = companded(sound)
    assert np.abs(coded - sound).max() < 0.02 and not np.array_equal(coded, sound)
