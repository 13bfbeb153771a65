"""``retalkit train``: a run from files, dry run, configuration errors, schema, and export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.config import yaml_io
from retalkit.errors import RetalkitError
from retalkit_training.commands import SUMMARIES
from retalkit_training.datasets.writer import NewClip, build_clip, write_dataset
from retalkit_training.losses.config import LossConfig
from retalkit_training.tasks.config import CONFIGS, PRESETS
from retalkit_training.tasks.export import PUBLISHED, Exported
from retalkit_training.tasks.reading import read_config

from tests.pseudo_weights import load_module
from tests.training.train_command import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_parity_training: Path) -> Path:
    """Directory with clips of three drawn speakers."""
    path = tmp_path_factory.mktemp("data")
    rules: Any = load_module(shared_parity_training / "inputs_training.py")
    clips: list[NewClip] = []
    for seed, split in ((0, "train"), (1, "train"), (2, "val")):
        drawn = rules.talking(seed, 1.2)
        clip = build_clip(f"clip{seed}", {96: drawn["frames"][..., ::-1]}, drawn["wave"], meta={"speech": 0.9})
        clips.append(NewClip(clip=clip, speaker=f"s{seed}", video="drawn", split=split))
    write_dataset(path, clips)
    return path


TINY = ("--set", "channels=2", "--set", "batch_size=2", "--set", "evaluation_pairs=4", "--set", "workers=0")


def test_train_resume_and_export(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, options = tmp_path / "run", (*TINY, "--set", "tensorboard=false")
    train("syncnet", "--data", folder, "-o", run, *options, "--set", "steps=2", "--device", "cpu")
    assert "step 2/2" in capsys.readouterr().out
    train("syncnet", "--data", folder, "-o", run, *options, "--set", "steps=3", "--device", "cpu")
    out = capsys.readouterr().out
    assert "resuming" in out
    assert "step 3/3" in out
    assert "step 1/" not in out
    with pytest.raises(RetalkitError, match="batch_size=2, not 4") as error:
        train("syncnet", "--data", folder, "-o", run, *options, "--set", "batch_size=4", "--device", "cpu")
    assert error.value.code == "output-exists"
    (tmp_path / "file").touch()
    for arguments in (
        ("syncnet", "--data", folder, "-o", tmp_path / "file", *options, "--device", "cpu"),
        ("export", run, "-o", tmp_path / "file" / "expert.pth"),
        ("export", run, "-o", tmp_path / "expert.safetensors"),
    ):
        with pytest.raises(RetalkitError, match=str(arguments[-1] if "export" in arguments else "file")) as error:
            train(*arguments)
        assert error.value.code in ("unwritable-output", "invalid-output")
    train("export", run)
    record = run / "run.json"
    content = record.read_text(encoding="utf-8")
    for damaged in ("[]", "{}", '{"trainer": "unknown", "config": {}, "data": {}}'):
        record.write_text(damaged, encoding="utf-8")
        with pytest.raises(RetalkitError, match=r"run\.json") as error:
            train("export", run)
        assert error.value.code == "unreadable-file"
    record.write_text(content, encoding="utf-8")
    assert {"lipsync_expert.pth", "lipsync_expert.safetensors", "lipsync_expert.md"} <= {
        path.name for path in run.iterdir()
    }
    assert {path.name for path in (run / "images").iterdir()} >= {"samples-000000003.png"}
    out = capsys.readouterr().out
    assert "channels=2 instead of channels=32" in out  # No stage loads this width.
    assert "--as" not in out
    modes = {path.stat().st_mode for path in run.glob("lipsync_expert.*")}
    assert modes == {record.stat().st_mode}


@pytest.mark.parametrize(("trainer", "boxed"), [("syncnet", False), ("lnet", True), ("wav2lip", True), ("enet", True)])
def test_export_names_its_files_and_the_face_box(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trainer: str,
    boxed: bool,
) -> None:
    files = (tmp_path / "mouth.pth", tmp_path / "mouth.safetensors", tmp_path / "mouth.md")
    done = Exported(*files, step=3, importable="", difference="channels=8 instead of channels=32", chin=0.08)
    monkeypatch.setattr("retalkit_training.tasks.export.export_run", lambda *a, **k: done)
    monkeypatch.setattr("retalkit_training.tasks.runs.read_record", lambda run: {"trainer": trainer})
    train("export", tmp_path)
    out = capsys.readouterr().out
    assert str(files[1]) in out
    assert "channels=8 instead of channels=32" in out
    assert ("lip_syncer.chin=0.08" in out) == boxed


def test_dry_run_reports_memory_and_speed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("syncnet", "--data", folder, "--dry-run", *TINY, "--device", "cpu", "-o", tmp_path / "run")
    out, progress = capsys.readouterr()
    assert "step 4 of 4" in progress
    assert "steps/s" in out or "s/step" in out
    assert "GiB on cpu" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "fact"),
    [
        (("syncnet", "--data", "absent", "-o", "run"), "file-not-found", "absent"),
        (("syncnet", "--data", ".", "-o", "run"), "not-a-dataset", "retalkit dataset prepare"),
        (("syncnet", "--data", "."), "missing-option", "--output"),
        (("syncnet", "--data", ".", "-o", "run", "--device", "tpu"), "unknown-device", "tpu"),
        (("syncnet", "--data", ".", "-o", "run", "--preset", "publishd"), "unknown-preset", "'published'"),
        (("syncnet", "--data", ".", "-o", "run", "--config", "no.yaml"), "file-not-found", "no.yaml"),
        (("export", "."), "not-a-run", "run.json"),
        (("schema", "lipnet"), "unknown-trainer", "lipnet"),
    ],
)
def test_user_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], code: str, fact: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RetalkitError, match=fact) as error:
        train(*arguments)
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_damaged_index_is_reported(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("not JSON", encoding="utf-8")
    with pytest.raises(RetalkitError, match=r"dataset\.json") as error:
        train("syncnet", "--data", tmp_path, "-o", tmp_path / "run")
    assert error.value.code == "unreadable-file"


BAD: dict[str, tuple[str, str, str]] = {
    # Trainer, YAML, and a fact of the message.
    "unknown key": ("syncnet", "lerning_rate: 1", "train.yaml:1: lerning_rate: unknown key"),
    "unknown nested key": ("syncnet", "optimizer: {lr: 1}", "optimizer.lr: unknown key"),
    "key of a nested mapping": ("syncnet", "learning_rate: 1", "did you mean 'optimizer.learning_rate'"),
    "misspelt key": ("lnet", "los: {}", "did you mean 'loss'"),
    "zero steps": ("syncnet", "steps: 0", "steps: must be greater than or equal to 1"),
    "negative rate": ("syncnet", "optimizer:\n  learning_rate: -1", "train.yaml:2: optimizer.learning_rate"),
    "string number": ("syncnet", "batch_size: many", "batch_size"),
    "batch of one": ("syncnet", "batch_size: 1", "greater than or equal to 2"),
    "precision": ("syncnet", "precision: bf32", "precision: must be 'auto', 'fp32', 'bf16' or 'fp16'"),
    "not a mapping": ("syncnet", "- steps", "mapping"),
    "invalid YAML": ("syncnet", "steps: [", "invalid YAML"),
    "duplicate key": ("syncnet", "steps: 1\nsteps: 2", "duplicate key"),
    "unknown preset": ("syncnet", "preset: papers", "unknown preset 'papers'"),
    "loss weight": ("lnet", "loss: {sync_weight: -0.3}", "loss.sync_weight"),
    "weights above one": ("wav2lip", "loss: {sync_weight: 0.6, quality_weight: 0.6}", "at most 1"),
    "discriminator size": ("enet", "loss: {adversarial: {size: 384}}", "384 is not a power of two"),
    "perceptual layers": ("dnet", "loss: {warp: {layers: []}}", "layers"),
    "face size": ("dnet", "size: 96", "must be 64 or 256"),
    "betas": ("syncnet", "optimizer: {betas: [0.9]}", "betas"),
    "clip norm": ("syncnet", "clip_norm: 0", "clip_norm"),
    "reference kind": ("lnet", "references: first", "references"),
}


@pytest.mark.parametrize("kind", BAD)
def test_invalid_training_files_are_reported_in_one_line(tmp_path: Path, kind: str) -> None:
    trainer, text, fact = BAD[kind]
    path = tmp_path / "train.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RetalkitError) as error:
        read_config(trainer, path)
    assert fact in str(error.value)
    assert "train.yaml" in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.code not in ("error", "")


@pytest.mark.parametrize(("override", "fact"), [("steps", "KEY=VALUE"), ("steps=x", "--set steps=x: steps")])
def test_invalid_overrides_are_reported(override: str, fact: str) -> None:
    with pytest.raises(RetalkitError, match=fact):
        read_config("syncnet", None, [override])


def test_preset_file_and_overrides_are_merged_in_this_order(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("preset: published\noptimizer: {learning_rate: 0.1}\nsteps: 5\n", encoding="utf-8")
    config = read_config("lnet", path, ["steps=6"])
    assert config.steps == 6
    assert config.optimizer.learning_rate == 0.1  # type: ignore[attr-defined]
    assert config.optimizer.betas == (0.5, 0.999)  # type: ignore[attr-defined]


@pytest.mark.parametrize("trainer", CONFIGS)
def test_presets_schema_and_listed_options_are_valid(trainer: str, capsys: pytest.CaptureFixture[str]) -> None:
    import jsonschema

    train("schema", trainer)
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    for name in (None, *PRESETS[trainer]):
        config = read_config(trainer, preset=name)
        assert CONFIGS[trainer].model_validate(config.model_dump(mode="json")) == config
        jsonschema.validate(json.loads(config.model_dump_json()), schema)
    train("config", trainer)
    assert yaml_io.read_value(capsys.readouterr().out, "config") == read_config(trainer).model_dump(mode="json")


def options_of(model: type[LossConfig]) -> list[tuple[str, str | None]]:
    return [(f"{model.__name__}.{name}", field.description) for name, field in model.model_fields.items()]


def test_every_option_is_described() -> None:
    for model in CONFIGS.values():
        for name, text in options_of(model):
            assert text, name


def test_every_trainer_has_a_command_presets_and_a_published_file() -> None:
    assert set(SUMMARIES) == set(CONFIGS) == set(PRESETS) == set(PUBLISHED)
    assert all({"seed", "published"} <= set(presets) for presets in PRESETS.values())


def test_published_names_are_those_of_declared_checkpoints() -> None:
    from retalkit.plugins.discovery import discover
    from retalkit.plugins.specs import resolve

    registry = discover()
    for trainer, published in PUBLISHED.items():
        checkpoint = registry.checkpoint(published.checkpoint)
        assert checkpoint.file == published.file, trainer
        assert checkpoint.entries == (published.wrapper,)
        assert checkpoint.strip_from_names == published.prefix
        assert resolve(checkpoint.shapes)() == resolve(published.shapes)()
