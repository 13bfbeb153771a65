"""Tests for fine-tuning on real lips with a small generated corpus."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("espeakng_loader", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("faker", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.config import yaml_io
from retalkit.errors import RetalkitError, WeightsError
from retalkit.motion_eval.lips_corpus import LipsCorpus
from retalkit.speech.loudness import REFERENCE, integrated_loudness
from retalkit_renderers.speech_to_mouth.decoding import CONTACT, Calibration, closure_evidence
from retalkit_renderers.speech_to_mouth.interface import ENCODER
from retalkit_renderers.speech_to_mouth.model import ModelDriver
from retalkit_renderers.speech_to_mouth.moonshine import load_encoder
from retalkit_renderers.speech_to_mouth.visemes import BILABIAL
from retalkit_training.loop.batches import load_batches
from retalkit_training.loop.logs import read_scalars
from retalkit_training.speech_to_mouth.augmentation import companded
from retalkit_training.speech_to_mouth.export import export, load_exported
from retalkit_training.speech_to_mouth.fine_tuning import FineTuningTask
from retalkit_training.speech_to_mouth.initial_network import initial_network, scaled_targets
from retalkit_training.speech_to_mouth.losses import real_loss
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.speech_to_mouth.pipeline import find_lips, run_steps
from retalkit_training.speech_to_mouth.real_lips import COLUMNS, contact_labels, prepare
from retalkit_training.speech_to_mouth.real_steps import RealData, fine_tuning_task, prepare_real_lips
from retalkit_training.speech_to_mouth.session import REAL, SYNTHETIC, Session
from retalkit_training.speech_to_mouth.synthetic_steps import make_corpus
from retalkit_training.speech_to_mouth.views import EncoderExtractor
from retalkit_training.tasks.speech_to_mouth_config import (
    CorpusConfig,
    FineTuningConfig,
    SpeechToMouthConfig,
    SyntheticConfig,
    ViewConfig,
)
from safetensors.torch import load_file

from tests.core.motion_eval.lips_folder import write_corpus
from tests.training.mouth_sessions import WITHOUT_TENSORBOARD, KilledError, kill_after, session_with, tiny_config
from tests.training.train_command import train

SCALES = {"opening": 0.7, "protrusion": 0.6, "jaw": 0.8, "spread": 0.5, "rounding": 0.9}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Run with a corpus and weights for synthetic speech."""
    session = Session(tiny_config(), tmp_path_factory.mktemp("lips-training") / "run", "cpu")
    make_corpus(session)
    export(_synthetic_network(), session.weights / SYNTHETIC, SCALES, {"closure_threshold": 0.3}, {})
    return session


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "lips", clips=10, seconds=3.0, offset_ms=40)


@pytest.fixture(scope="module")
def data(work: Session, corpus_folder: Path) -> RealData:
    return prepare_real_lips(work, LipsCorpus(corpus_folder), ("encoder", "log_mel"))


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
        assert contact.max() > 0.9 and contact[targets[:, 0].argmax()] < 0.1
    assert [clip.weight for clip in lips.clips][:2] == [1.0, 0.5]


def test_views_of_a_clip_start_unchanged(data: RealData) -> None:
    clip = data.lips.clips[0]
    for features, frames, channels in (("log_mel", 2, 80), ("encoder", 1, 288)):
        views = data.views[features]
        first, second = (views.real(view, clip.first, clip.count) for view in (0, 1))
        assert first.shape == (frames * 150, channels) and not np.array_equal(first, second)
        assert views.synthetic(3).shape == (frames * 250, channels)
        assert views.synthetic_targets[3, :, 0].max() == 0.0


def test_encoder_features_of_a_resampled_clip_stay_aligned(data: RealData) -> None:
    clip = data.lips.clips[0]
    extract = EncoderExtractor()
    sound = data.lips.waveform(clip)
    unchanged, faster = extract(sound), extract(sound, 1.1)
    assert unchanged.shape == faster.shape == (150, 288)

    def agreement(shift: int) -> float:
        return float(np.corrcoef(unchanged[20:130].ravel(), faster[20 + shift : 130 + shift].ravel())[0, 1])

    assert max(range(-10, 11), key=agreement) in (-1, 0, 1)


def test_encoder_is_trained_for_noisy_speech(work: Session, corpus_folder: Path, tmp_path: Path) -> None:
    session = session_with(work.folder, tmp_path / "run", f"encoder.published={ENCODER}")
    assert session.encoder == ENCODER
    run_steps(session, ("encoder",), LipsCorpus(corpus_folder))
    assert session.encoder.parent == session.weights
    before, after = (load_file(path) for path in (ENCODER, session.encoder))
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    assert load_encoder(session.encoder).channels == 288

    without = session_with(work.folder, tmp_path / "other")
    with pytest.raises(WeightsError, match="convert_moonshine") as error:
        run_steps(without, ("encoder",), LipsCorpus(corpus_folder))
    assert error.value.code == "missing-weights"


def test_contact_labels_mark_closures_only() -> None:
    gap = np.full(200, 0.1, np.float32)
    gap[100:104] = 0.0
    gap[150:] = 0.0
    labels = contact_labels(gap)
    assert labels[98:106].max() > 0.95 and labels[:90].max() < 0.01 and labels[140:].max() < 0.01
    assert contact_labels(np.full(50, 0.1, np.float32)).max() == 0.0


def test_initial_network_gives_outputs_in_units_of_the_motion() -> None:
    source = _synthetic_network()
    network = initial_network(source, SCALES, FineTuningConfig()).eval()
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
    first, second = (real_loss(outputs, each, known, weights).total for each in (targets, changed))
    assert torch.allclose(first, second)


def test_better_outputs_have_a_lower_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    targets = torch.rand(2, 6, 50, generator=generator)
    outputs = torch.zeros(2, 21, 50)
    outputs[:, :4] = targets[:, :4]
    known, weights = torch.ones(2, 50), torch.ones(2)
    good, bad = (real_loss(each, targets, known, weights) for each in (outputs, outputs.flip(2)))
    assert float(good.terms["r_opening"]) == pytest.approx(1.0, abs=0.01) and good.total < bad.total


def test_interrupted_fine_tuning_ends_with_the_same_weights(data: RealData, work: Session, tmp_path: Path) -> None:
    (tmp_path / "corpus").symlink_to(work.corpus)
    config = tiny_config(
        "fine_tuning.steps=12", "fine_tuning.checkpoint_every=5", "fine_tuning.average_decay=0.8"
    ).fine_tuning

    def run(name: str, **options: Any) -> SpeechToMouthNetwork:
        session = Session(tiny_config(), tmp_path, "cpu", **options)
        return session.train(fine_tuning_task(session, config, data, 0), name)

    whole = run("whole")
    with pytest.raises(KilledError):
        run("cut", report=kill_after(8))
    resumed = run("cut").state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.state_dict().items())
    assert not torch.equal(resumed["head.weight"][:20], _synthetic_network().state_dict()["head.weight"])
    names = {name for _, name, _ in read_scalars(tmp_path / "whole" / "scalars.csv")}
    assert {"network/total", "network/contact", "network/synthetic", "validation/opening_r"} <= names


def test_loss_is_the_mean_over_groups(data: RealData) -> None:
    config = tiny_config("fine_tuning.batch_size=2", "fine_tuning.features=log_mel").fine_tuning
    views = data.views["log_mel"]
    task = FineTuningTask(config, initial_network(_synthetic_network(), SCALES, config), data.lips, views, SCALES, "")
    task.network.eval()
    (batch,) = load_batches(task, 0, 0, 1)
    assert batch["features"].shape == (2, 4, 160, 500)
    (update,) = task.updates()
    both = update.loss(batch, {}, 0).total
    parts = [update.loss({name: value[row : row + 1] for name, value in batch.items()}, {}, 0).total for row in (0, 1)]
    torch.testing.assert_close(both, (parts[0] + parts[1]) / 2)


def test_command_exports_calibrated_weights(
    data: RealData, work: Session, corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("preset: tiny\ncorpus: {hours: 0.015}\nvalidation_crops: 1\n", encoding="utf-8")
    call = ("speech-to-mouth", "--config", path, "--data", corpus_folder, "-o", work.folder, "--device", "cpu")
    options = (*(word for option in WITHOUT_TENSORBOARD for word in ("--set", option)), "--only", "real")
    record = work.folder / "run.json"
    record.write_text(
        json.dumps(
            {
                "trainer": "speech-to-mouth",
                "data": {"name": "", "key": ""},
                "config": work.config.model_dump(mode="json"),
                "retalkit": "0",
            }
        ),
        encoding="utf-8",
    )
    train(*call, *options)
    out = capsys.readouterr().out
    assert "real/fold-4: step 2/2" in out and "real/all: step 2/2" in out
    real = work.weights / REAL
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
    report = json.loads((work.folder / "real" / "cross_validation.json").read_text(encoding="utf-8"))
    assert [fold["clips"] for fold in report["folds"]] == [2] * 5
    assert "| real lips: speakers | 5 |" in real.with_suffix(".md").read_text(encoding="utf-8")

    for changed in ("fine_tuning.steps=3", "views.seed=6"):
        with pytest.raises(RetalkitError, match=changed.partition("=")[0]) as error:
            train(*call, *options, "--set", changed)
        assert error.value.code == "output-exists"
    train("export", work.folder, "-o", tmp_path / "exported")
    assert load_exported(tmp_path / "exported" / REAL)[0].channels == 16
    with pytest.raises(RetalkitError, match="--force") as error:
        train("export", work.folder, "-o", tmp_path / "exported")
    assert error.value.code == "output-exists"


@pytest.mark.slow
def test_dry_run_measures_both_trainings(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train("speech-to-mouth", "--preset", "tiny", "--data", corpus_folder, "--dry-run", "--device", "cpu")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["synthetic", "real"]
    assert all("steps/s" in line or "s/step" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_missing_corpus_is_reported_and_skipped(
    work: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert find_lips(None, ()) is None
    assert "../shared/lips" in caplog.text and "--data" in caplog.text
    for folder, names in ((Path("absent"), ()), (None, ("real",))):
        with pytest.raises(RetalkitError) as error:
            find_lips(folder, names)
        assert error.value.code == "file-not-found"


@pytest.mark.parametrize(
    ("arguments", "code", "fact"),
    [
        (("--only", "lips"), "unknown-step", "lips"),
        (("--only", "synthetic"), "missing-corpus", "step `corpus`"),
        (("--from", "absent.safetensors"), "missing-weights", "absent"),
        (
            ("--set", "synthetic.seconds=6", "--set", "corpus.non_speech_seconds=5"),
            "invalid-option",
            "non_speech_seconds",
        ),
    ],
)
def test_user_errors(corpus_folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: str, fact: str) -> None:
    with pytest.raises(RetalkitError, match=fact) as error:
        train(
            "speech-to-mouth",
            "--data",
            corpus_folder,
            "-o",
            tmp_path / "run",
            "--preset",
            "tiny",
            "--device",
            "cpu",
            *arguments,
        )
    assert error.value.code == code
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_options_are_described_and_have_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema

    for model in (SpeechToMouthConfig, CorpusConfig, SyntheticConfig, ViewConfig, FineTuningConfig):
        assert all(field.description for field in model.model_fields.values()), model
    train("schema", "speech-to-mouth")
    schema = json.loads(capsys.readouterr().out)
    for preset in ((), ("--preset", "tiny")):
        train("config", "speech-to-mouth", *preset)
        jsonschema.validate(yaml_io.read_value(capsys.readouterr().out, "config"), schema)


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
