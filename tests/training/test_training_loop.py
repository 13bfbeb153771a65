"""Training loop: exact resume, checkpoints, logs, several processes, and errors."""

from __future__ import annotations

import copy
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.errors import RetalkitError
from retalkit_training.averaging import MovingAverage
from retalkit_training.loop.checkpoints import CheckpointFolder, read_state
from retalkit_training.loop.config import OptimizerConfig
from retalkit_training.loop.logs import read_scalars
from retalkit_training.loop.task import BestMetric
from retalkit_training.loop.trainer import Progress, Trainer, seed_all
from retalkit_training.tasks.runs import run_lock
from retalkit_training.tasks.speech_to_mouth_config import EncoderConfig, FineTuningConfig, SyntheticConfig
from torch import nn

from tests.training.states import KilledError, assert_equal, newest_state
from tests.training.toy_task import ToyTask, toy_config

REPOSITORY = Path(__file__).resolve().parents[2]


def toy_trainer(folder: Path, key: str = "toy", poison: float = 0.0, **options: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    config = toy_config(**options)
    seed_all(config.seed, -1)
    return Trainer(ToyTask(config, key=key, poison=poison), device="cpu", folder=folder)


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4, 5, 6])
def test_run_that_is_killed_at_any_step_ends_with_the_same_state(tmp_path: Path, killed_after: int) -> None:
    toy_trainer(tmp_path / "whole").run()

    def kill(progress: Progress) -> None:
        if progress.step == killed_after:
            raise KilledError

    with pytest.raises(KilledError):
        toy_trainer(tmp_path / "killed").run(kill)
    torch.manual_seed(99)
    steps: list[int] = []
    assert toy_trainer(tmp_path / "killed", workers=0).run(lambda progress: steps.append(progress.step)) == 7
    assert len(steps) < 7 or killed_after == 1
    assert_equal(newest_state(tmp_path / "whole"), newest_state(tmp_path / "killed"))
    scalars = [(tmp_path / name / "scalars.csv").read_text(encoding="utf-8") for name in ("whole", "killed")]
    assert scalars[0] == scalars[1]


def test_finished_run_does_nothing(tmp_path: Path) -> None:
    toy_trainer(tmp_path / "run").run()
    steps: list[Progress] = []
    assert toy_trainer(tmp_path / "run").run(steps.append) == 7
    assert steps == []
    assert toy_trainer(tmp_path / "run", steps=9).run(steps.append) == 9
    assert [progress.step for progress in steps] == [8, 9]


def test_newest_and_best_checkpoints_are_kept(tmp_path: Path) -> None:
    toy_trainer(tmp_path / "run").run()
    folder = CheckpointFolder(tmp_path / "run" / "checkpoints", 2)
    assert folder.newest is not None
    assert len(folder.files()) == 2
    assert read_state(folder.newest)["step"] == 7
    assert folder.best is not None
    values = {step: value for step, name, value in read_scalars(tmp_path / "run" / "scalars.csv") if "valid" in name}
    assert read_state(folder.best)["best"] == min(values.values())
    assert values[read_state(folder.best)["step"]] == min(values.values())


def test_interrupted_write_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, 2)
    folder.save({"step": 1}, 1, best=True)

    def fail(state: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", fail)
        with pytest.raises(RetalkitError, match="No space left") as error:
            folder.save({"step": 2}, 2, best=True)
    assert error.value.code == "unwritable-output"
    assert folder.newest is not None
    assert read_state(folder.newest) == {"step": 1}
    folder.save({"step": 2}, 2, best=False)
    assert not list(tmp_path.glob("*.partial"))
    assert folder.best is not None
    assert read_state(folder.best) == {"step": 1}


def test_damaged_checkpoints_are_reported(tmp_path: Path) -> None:
    toy_trainer(tmp_path / "run").run()
    newest = CheckpointFolder(tmp_path / "run" / "checkpoints", 2).newest
    assert newest is not None
    content = newest.read_bytes()
    with ZipFile(newest) as archive:
        tensor = next(each for each in archive.infolist() if "/data/" in each.filename and each.file_size > 8)
        position = content.index(archive.read(tensor), tensor.header_offset)
    changed = bytearray(content)
    changed[position] ^= 1
    for damaged in (content[:200], b"", bytes(changed)):
        newest.write_bytes(damaged)
        with pytest.raises(RetalkitError, match=newest.name) as error:
            toy_trainer(tmp_path / "run").run()
        assert error.value.code == "unreadable-file"
    torch.save([1], newest)
    with pytest.raises(RetalkitError, match="no checkpoint of a run"):
        toy_trainer(tmp_path / "run").run()


def test_weights_after_a_loss_that_is_not_finite_are_not_stored(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path / "run", checkpoint_every=1, log_every=7)
    step = trainer.step

    def diverge(number: int, loaded: list[dict[str, Any]]) -> dict[str, Any]:
        found = step(number, loaded)
        return {**found, "network/total": found["network/total"] * math.nan} if number == 2 else found

    trainer.step = diverge  # type: ignore[method-assign]
    with pytest.raises(RetalkitError, match="step 3: network/total") as error:
        trainer.run()
    assert error.value.code == "non-finite-loss"
    assert newest_state(tmp_path / "run")["step"] == 2
    assert not BestMetric("loss", "lowest").is_better(math.nan, None)


def test_two_processes_do_not_train_in_one_directory(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RetalkitError, match="another process") as error, run_lock(tmp_path):
        pass
    assert error.value.code == "run-in-use"
    with run_lock(tmp_path):
        pass


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": "another"}, "other-dataset"),
        ({"batch_size": 5}, "invalid-batch-size"),
        ({"precision": "fp16"}, "unsupported-precision"),
        ({"poison": math.nan}, "non-finite-data"),
        ({"poison": 1e30}, "non-finite-loss"),
    ],
)
def test_invalid_runs_fail_in_one_line(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    if code == "other-dataset":
        toy_trainer(tmp_path / "run").run()
    with pytest.raises(RetalkitError) as error:
        toy_trainer(tmp_path / "run", **changes).run()
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_scalars_and_images_are_logged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="training needs the extra: pip install 'retalkit[train]'")
    toy_trainer(tmp_path / "run", tensorboard=True).run()
    rows = read_scalars(tmp_path / "run" / "scalars.csv")
    assert {step for step, name, _ in rows if name == "network/error"} == {1, 3, 6, 7}
    assert {step for step, name, _ in rows if name == "validation/error"} == {2, 4, 6, 7}
    rates = {step: value for step, name, value in rows if name == "network/learning_rate"}
    assert rates == {1: 0.01, 3: 0.01, 6: 0.005, 7: 0.0025}
    assert sorted(path.name for path in (tmp_path / "run" / "images").iterdir()) == [
        f"samples-{step:09d}.png" for step in (3, 6, 7)
    ]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {event.step for event in events.Scalars("network/error")} == {1, 3, 6, 7}
    assert [event.step for event in events.Images("samples")] == [3, 6, 7]


def test_dry_run_measures_and_writes_nothing(tmp_path: Path) -> None:
    cost = toy_trainer(tmp_path / "run").dry_run()
    assert cost.steps_per_second > 0
    assert cost.memory > 2**20
    assert cost.parameters == 102
    assert list((tmp_path / "run").iterdir()) == []


def test_moving_average_follows_the_network(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path / "run", steps=1)
    before = {name: value.clone() for name, value in trainer.networks["network"].named_parameters()}
    trainer.run()
    average = dict(trainer.averages["network"].named_parameters())
    for name, value in trainer.networks["network"].named_parameters():
        torch.testing.assert_close(average[name], 0.9 * before[name] + 0.1 * value)


@pytest.mark.parametrize(
    ("machine", "capability", "precision"),
    [
        ("x86_64", "AVX512", "bf16"),
        ("x86_64", "AVX2", "fp32"),
        ("AMD64", "DEFAULT", "fp32"),
        ("arm64", "DEFAULT", "fp32"),
    ],
)
def test_automatic_precision_is_bfloat16_with_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, capability: str, precision: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert toy_trainer(tmp_path / "run", precision="auto").precision == precision
    assert toy_trainer(tmp_path / "run", precision="bf16").precision == "bf16"
    assert SyntheticConfig().precision == EncoderConfig().precision == FineTuningConfig().precision == "auto"


def test_bfloat16_keeps_float32_weights(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path / "run", precision="bf16")
    trainer.run()
    assert all(value.dtype == torch.float32 for value in trainer.networks["network"].parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["syncnet", "lnet", "dnet", "enet", "wav2lip"])
def test_two_processes_train_like_one(tmp_path: Path, shared_parity_training: Path, name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def start(target: str, **environment: str) -> subprocess.Popen[str]:
        script = [sys.executable, "-m", "tests.training.two_processes"]
        return subprocess.Popen(
            [*script, name, str(shared_parity_training), str(tmp_path / target)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **environment},
        )

    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    jobs = [start("two", RANK=str(rank), LOCAL_RANK=str(rank), **address) for rank in range(2)]
    jobs.append(start("one"))
    done = [job.communicate(timeout=600) for job in jobs]
    assert [out.split() for out, _ in done] == [["2"], ["2"], ["1"]], done
    one, two = newest_state(tmp_path / "one"), newest_state(tmp_path / "two")
    assert one["task_state"].keys() == two["task_state"].keys()
    for key, value in one["task_state"].items():
        assert two["task_state"][key] == pytest.approx(value, rel=1e-6), key
    # With batch statistics, the expert's gradients are large and amplify rounding errors.
    limit = {"syncnet": 1e-9, "wav2lip": 1e-6}.get(name, 1e-8)
    for kind in ("networks", "averages"):
        for network, state in one[kind].items():
            for key, value in state.items():
                where = f"{network} {key}"
                torch.testing.assert_close(two[kind][network][key], value, rtol=1e-6, atol=limit, msg=where)
    losses = [read_scalars(tmp_path / target / "scalars.csv") for target in ("one", "two")]
    assert [row[:2] for row in losses[0]] == [row[:2] for row in losses[1]]
    for (_, key, value), (_, _, other) in zip(*losses, strict=True):
        assert math.isclose(value, other, rel_tol=1e-5, abs_tol=1e-9), key


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_batch_norm_layers_are_replaced_without_changing_the_state(
    layer: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    from retalkit_training.networks import batch_statistics

    shape = (6, 2) if layer is nn.BatchNorm1d else (3, 2, 4, 4)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    network, plain = nn.Sequential(layer(2)), layer(2)
    before = list(network.state_dict())
    batch_statistics.synchronise_statistics(network)
    assert list(network.state_dict()) == before
    # Two processes with equal values have the statistics of one, except for the correction of the variance.
    monkeypatch.setattr(batch_statistics, "world_size", lambda: 2)
    monkeypatch.setattr(batch_statistics.dist, "all_reduce", lambda tensor: tensor.mul_(2))
    torch.testing.assert_close(network(values.bfloat16()).float(), plain(values), atol=0.02, rtol=0.02)
    torch.testing.assert_close(network(values), plain(values))


def test_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    options = OptimizerConfig(learning_rate=2.0, warm_up_steps=4, cosine=True)
    assert options.rate(0, 100) == pytest.approx(0.5)
    assert options.rate(50, 100) == pytest.approx(2.0 * 0.505)
    assert options.rate(100, 100) == pytest.approx(0.02)
    assert OptimizerConfig(learning_rate=2.0).rate(50, 100) == 2.0


def test_moving_average_of_a_batch_norm_equals_that_of_torch() -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = copy.deepcopy(network)
    other = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    moving = MovingAverage(0.9, buffers=True, from_first_step=True)
    for step in range(3):
        network(torch.randn(5, 3))
        with torch.no_grad():
            network[0].weight.add_(1.0)
        moving.update(average, network, step)
        other.update_parameters(network)
    for name, value in average.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[name]) or "num_batches" in name, name
