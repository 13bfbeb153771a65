"""``--person``: fine-tuning for the person in one clip, with splits by time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("webdataset", reason="datasets need the extra: pip install 'retalkit[train]'")

from retalkit.errors import RetalkitError
from retalkit_renderers.wav2lip.network import Wav2LipGenerator
from retalkit_training.datasets.writer import NewClip, build_clip, write_dataset
from retalkit_training.loop.data import check_data, usable_clips
from retalkit_training.tasks.person_data import PersonData
from retalkit_training.tasks.prepared_data import PreparedData
from retalkit_training.tasks.reading import read_config
from retalkit_training.tasks.runs import read_record

from tests.training.test_dataset_prepare import WOMAN, cut
from tests.training.test_train_command import train


def write(folder: Path, lengths: list[int]) -> None:
    """Write clips of one person, whose faces have the frame number as grey level."""
    random = np.random.default_rng(0)
    clips: list[NewClip] = []
    for number, length in enumerate(lengths):
        faces = {
            side: np.broadcast_to(np.arange(length, dtype=np.uint8)[:, None, None, None], (length, side, side, 3))
            for side in (96, 256, 384)
        }
        wave = random.uniform(-0.3, 0.3, length * 640).astype(np.float32)
        # The key order differs from the order in time.
        meta: dict[str, Any] = {"speech": 0.9, "first_seconds": float(sum(lengths[:number])) / 25}
        clips.append(
            NewClip(clip=build_clip(f"clip{9 - number}", faces, wave, meta=meta), speaker="anna", video="anna")
        )
    write_dataset(folder, clips)


def test_last_part_is_used_for_validation(tmp_path: Path) -> None:
    write(tmp_path, [60, 80])
    whole = {clip.name: clip for clip in PreparedData(tmp_path).clips("train")}
    data = PersonData(tmp_path)
    check_data(data, 96)
    assert [(clip.name, clip.frame_count) for clip in data.clips("train")] == [("clip9-0", 60), ("clip8-0", 50)]
    (last,) = data.clips("val")
    assert (last.name, last.frame_count) == ("clip8-55", 25)
    assert usable_clips([last])
    assert abs(int(last.faces(96, [3]).mean()) - 58) <= 1
    np.testing.assert_array_equal(last.mel(2, 16), whole["clip8"].mel(178, 16))
    assert last.step_count == 81
    assert data.key != PreparedData(tmp_path).key
    with pytest.raises(RetalkitError, match="too few") as error:
        write(tmp_path / "short", [60])
        PersonData(tmp_path / "short")
    assert error.value.code == "clips-too-short"


@pytest.mark.slow
def test_fine_tuning_for_one_clip_is_one_command(
    shared_media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, run, file = cut(shared_media / WOMAN, tmp_path / "anna.mkv", 100), tmp_path / "run", tmp_path / "start.pth"
    torch.manual_seed(0)
    torch.save({"state_dict": Wav2LipGenerator(2).state_dict()}, file)
    options = ["steps=1", "channels=4", "batch_size=1", "loss.sync_weight=0", "loss.quality_weight=0"]
    sets = [word for option in [*options, "tensorboard=false", "workers=0"] for word in ("--set", option)]
    arguments = ("wav2lip", "--person", clip, "-o", run, "--device", "cpu", *sets)
    with pytest.raises(RetalkitError, match="--from") as error:
        train(*arguments)
    assert error.value.code == "missing-option"
    assert not run.exists()
    train(*arguments, "--from", file)
    train(*arguments, "--from", file, "--set", "steps=2")
    out = capsys.readouterr().out
    assert "resuming" in out
    assert "step 2/2" in out
    record = read_record(run)
    assert record["data"]["split_by"] == "time"
    assert record["data"]["val"]["frames"] >= 16
    assert record["config"]["optimizer"]["learning_rate"] == 1e-5
    assert (run / "data" / "dataset.json").is_file()


def test_invalid_combinations_are_refused(tmp_path: Path) -> None:
    for arguments, fact in (
        (("lnet", "-o", tmp_path / "run"), "either --data DATA or --person"),
        (("lnet", "-o", tmp_path / "run", "--data", tmp_path, "--person", "a.mp4"), "either --data DATA or --person"),
        (("syncnet", "-o", tmp_path / "run", "--person", "a.mp4"), "cannot learn from one person"),
        (
            ("lnet", "-o", tmp_path / "run", "--person", "a.mp4", "--from", "published", "--set", "expert=e.pth"),
            "a.mp4: no such file",
        ),
        (("lnet", "--person", "a.mp4", "--from", "published"), "--output RUN"),
    ):
        with pytest.raises(RetalkitError, match=fact):
            train(*arguments)
    clip = tmp_path / "clip.mp4"
    clip.touch()
    with pytest.raises(RetalkitError) as error:
        train("lnet", "-o", tmp_path / "run", "--person", clip, "--from", "published")
    assert error.value.code == "missing-expert"
    # The weights are required before the clip is prepared.
    weights = (
        ("--from", "published"),
        ("--from", tmp_path / "absent.pth"),
        ("--from", clip, "--set", "expert=absent.pth"),
    )
    for arguments, code in zip(weights, ("missing-weights", "file-not-found", "file-not-found"), strict=True):
        options = ("--set", "expert=published") if len(arguments) == 2 else ()
        with pytest.raises(RetalkitError) as error:
            train("lnet", "-o", tmp_path / "run", "--person", clip, *arguments, *options)
        assert error.value.code == code
    # One error names all missing weights.
    with pytest.raises(RetalkitError, match="'vgg19'.*pull lnet lipsync_expert vgg19") as error:
        train("lnet", "-o", tmp_path / "run", "--person", clip, "--from", "published", "--set", "expert=published")
    assert error.value.code == "missing-weights"
    assert not (tmp_path / "run").exists()
    file = tmp_path / "train.yaml"
    file.write_text("optimizer: {learning_rate: 0.001}\n", encoding="utf-8")
    config = read_config("lnet", file, [], None, {"steps": 7, "optimizer": {"learning_rate": 1e-5}})
    assert (config.steps, config.optimizer.learning_rate) == (7, 0.001)  # type: ignore[attr-defined]
