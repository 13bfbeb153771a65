"""Trainers: every loss and gradient on a CUDA device without one, tiny runs on drawn speakers, export, and errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
pytest.importorskip("accelerate", reason="training needs the extra: pip install 'retalkit[train]'")

from retalkit.errors import RetalkitError
from retalkit_training.loop.checkpoints import CheckpointFolder
from retalkit_training.loop.data import ArrayClip, ArrayData
from retalkit_training.loop.logs import read_scalars
from retalkit_training.loop.task import Task
from retalkit_training.loop.trainer import Progress, Trainer, run_losses
from retalkit_training.speech_to_mouth.moonshine_encoder import MoonshineEncoder
from retalkit_training.tasks.config import CONFIGS, DNetConfig, LNetConfig, SyncNetConfig
from retalkit_training.tasks.export import export_run
from retalkit_training.tasks.frozen_weights import StoredWeights, read_state_dict
from retalkit_training.tasks.generators import WindowSampler
from retalkit_training.tasks.metrics import area_under_curve
from retalkit_training.tasks.reading import read_config
from retalkit_training.tasks.runs import open_run
from retalkit_training.tasks.tasks import make_task
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.training.drawn_speakers import draw, drawn_data
from tests.training.filled_weights import RandomWeights
from tests.training.mouth_sessions import tiny_config
from tests.training.narrow_networks import narrow
from tests.training.states import KilledError, assert_equal, newest_state

VGG = {"network": "vgg16", "layers": ["relu_1_1"]}
"""Smallest perceptual loss."""


@pytest.fixture(scope="module")
def speakers(shared_parity_training: Path) -> ArrayData:
    """Two training speakers and one validation speaker of 1.2 s with 96-pixel faces."""
    return drawn_data(shared_parity_training, 2, 1, 1.2)


@pytest.fixture(scope="module")
def large_faces() -> ArrayData:
    """Random faces of all sizes with coefficients."""
    random = np.random.default_rng(0)

    def clip(name: str) -> ArrayClip:
        crops = {size: random.integers(0, 255, (20, size, size, 3), np.uint8) for size in (96, 256, 384)}
        mel = random.uniform(-4, 4, (80, 65)).astype(np.float32)
        return ArrayClip(name, name, crops, mel, random.standard_normal((20, 73)).astype(np.float32))

    return ArrayData("noise", "noise", {"train": [clip("a")], "val": [clip("b")]}, sizes=(96, 256, 384))


def task(name: str, data: ArrayData, **options: Any) -> Task:
    values = {"steps": 2, "batch_size": 2, "workers": 0, "tensorboard": False, **options}
    return make_task(CONFIGS[name].model_validate(values), data, RandomWeights())


SMALL: dict[str, dict[str, Any]] = {
    "syncnet": {"channels": 2},
    "lnet": {"expert": "expert.pth", "loss": {"perceptual": VGG}},
    "dnet": {"size": 64, "warp_steps": 1, "loss": {"warp": VGG, "final": {**VGG, "style_weight": 250}}},
    "enet": {
        "lnet": "lnet.pth",
        "loss": {"perceptual": VGG, "adversarial": {"size": 64, "narrow": 0.125, "path_length_weight": 2}},
    },
    "wav2lip": {"channels": 4, "expert": "expert.pth", "loss": {"sync_start": None}},
}


AUGMENTATION = {"flip": 0.5, "colour": 0.2, "shift": 0.05, "level": 6, "mel_mask": 0.5}
DEVICE = "cuda" if torch.backends.cuda.is_built() else "meta"
"""Device of the fake tensors. CPU builds of torch cannot differentiate fake CUDA tensors."""


ON_DEVICE: dict[str, dict[str, Any]] = {
    **SMALL,
    "syncnet": {"channels": 2, "contrastive_steps": 1},
    "wav2lip without discriminator": {"channels": 4, "loss": {"sync_weight": 0, "quality_weight": 0}},
}
"""Options of each trainer on a device, by the name of the trainer and further words."""
MOUTH_BATCHES: dict[str, dict[str, tuple[int, ...]]] = {
    "synthetic speech": {"features": (2, 160, 100), "targets": (2, 50, 6)},
    "real lips": {
        "features": (2, 3, 160, 100),
        "targets": (2, 2, 6, 50),
        "known": (2, 2, 50),
        "weights": (2, 2),
        "synthetic_targets": (2, 1, 50, 6),
    },
    "encoder": {"clean": (2, 8000), "noisy": (2, 8000)},
}
"""Shapes of the batches of each step of speech-to-mouth."""


@pytest.fixture
def device_without_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "meta":
        monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())


def check_gradients(made: Any, batch: dict[str, Any], steps: tuple[int, ...]) -> None:
    """Compute the losses and gradients of a batch on the device, and check where they are."""
    for step in steps:
        totals = run_losses(made, batch, step)
        assert {value.device.type for value in totals.values()} == {DEVICE}
        parameters = [value for network in made.networks.values() for value in network.parameters()]
        gradients = [value.grad for value in parameters if value.grad is not None]
        assert len(gradients) > 0.4 * len(parameters)
        assert {gradient.device.type for gradient in gradients} == {DEVICE}


@pytest.mark.usefixtures("device_without_autocast")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "enet" else []) for name in ON_DEVICE]
)
def test_losses_and_gradients_stay_on_the_device(
    monkeypatch: pytest.MonkeyPatch, name: str, large_faces: ArrayData
) -> None:
    # Fewer blocks take less time, and run the same functions.
    narrow(monkeypatch.setattr)
    trainer = name.split()[0]
    with FakeTensorMode(allow_non_fake_inputs=True):
        # Fake parameters cannot be moved to another device.
        with torch.device(DEVICE):
            made = task(trainer, large_faces, **ON_DEVICE[name])
        sample = made.sample(np.random.default_rng(0), 0)
        batch = {key: torch.empty((2, *value.shape), device=DEVICE) for key, value in sample.items()}
        check_gradients(made, batch, (0, 1) if trainer in ("dnet", "syncnet") else (0,))


@pytest.mark.usefixtures("device_without_autocast")
@pytest.mark.parametrize("name", MOUTH_BATCHES)
def test_losses_of_speech_to_mouth_stay_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device(DEVICE):
        made = mouth_task(name, tmp_path, monkeypatch)
        batch = {key: torch.empty(shape, device=DEVICE) for key, shape in MOUTH_BATCHES[name].items()}
    with FakeTensorMode(allow_non_fake_inputs=True):
        check_gradients(made, batch, (0,))


def mouth_task(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the task of a step of speech-to-mouth without data."""
    from retalkit_training.speech_to_mouth import encoder_task
    from retalkit_training.speech_to_mouth.fine_tuning import FineTuningTask
    from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
    from retalkit_training.speech_to_mouth.synthetic_speech import SyntheticSpeechTask

    nothing: Any = None
    config = tiny_config()
    if name == "synthetic speech":
        return SyntheticSpeechTask(config.synthetic, SpeechToMouthNetwork(8), nothing, nothing, nothing, "key")
    if name == "real lips":
        lips: Any = SimpleNamespace(clips=[SimpleNamespace(usable=True, fold=0, count=50)])
        views: Any = SimpleNamespace(synthetic_targets=np.zeros((1, 50, 6), np.float32))
        scales = dict.fromkeys(("opening", "protrusion", "jaw", "spread", "rounding"), 1.0)
        network = SpeechToMouthNetwork(8, contact=True)
        return FineTuningTask(config.fine_tuning, network, lips, views, scales, "key")
    file = folder / "encoder.safetensors"
    file.touch()
    monkeypatch.setattr(encoder_task, "load_moonshine", lambda path: MoonshineEncoder(1))
    options = config.encoder.model_copy(update={"published": str(file)})
    return encoder_task.EncoderTask(options, nothing, nothing, np.ones(288, np.float32), "key")


def test_a_tensor_on_another_device_is_detected() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        torch.empty(3, device=DEVICE) * torch.ones(3)


RESUMED: dict[str, dict[str, Any]] = {
    "syncnet": {"channels": 2, "contrastive_steps": 2, "augmentation": AUGMENTATION},
    "lnet": {**SMALL["lnet"], "augmentation": {"flip": 0.5}},
    "dnet": {**SMALL["dnet"], "warp_steps": 2, "average_decay": 0.9},
    "enet": {
        "lnet": "lnet.pth",
        "average_decay": 0.9,
        "loss": {
            "perceptual_weight": 0,
            "identity_weight": 0,
            "adversarial": {
                "size": 64,
                "narrow": 0.03,
                "r1_interval": 2,
                "path_length_weight": 2,
                "path_length_interval": 2,
            },
        },
    },
    "wav2lip": {**SMALL["wav2lip"], "augmentation": AUGMENTATION},
}
"""Options of runs that are killed, in addition to those of ``resumed_run``."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ("lnet", "enet") else []) for name in RESUMED]
)
def test_a_run_that_is_killed_after_each_step_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, speakers: ArrayData, large_faces: ArrayData
) -> None:
    narrow(monkeypatch.setattr)
    # The loss scaling of fp16, whose scale changes every two steps.
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: scaler("cpu", init_scale=256.0, growth_interval=2)
    )
    # D-Net's second stage begins with step 2.
    steps = 4 if name == "dnet" else 3
    data = large_faces if name in ("dnet", "enet") else speakers
    data = ArrayData("d", "d", {"train": data.splits["train"]}, sizes=data.sizes)

    def run(folder: str, killed_after: int | None = None) -> None:
        def kill(progress: Progress) -> None:
            if progress.step == killed_after:
                raise KilledError

        options = {**RESUMED[name], "accumulation": 2, "clip_norm": 10.0, "checkpoint_every": 1}
        # Batch normalisation at 1 x 1 pixels requires two items.
        options["batch_size"] = 4 if name == "syncnet" else 2
        (tmp_path / folder).mkdir(exist_ok=True)
        made = task(name, data, **options, steps=steps, log_every=3, workers=2)
        Trainer(made, device="cpu", folder=tmp_path / folder).run(kill)

    run("whole")
    for step in range(1, steps):
        with pytest.raises(KilledError):
            run("parts", killed_after=step)
    run("parts")
    whole, parts = newest_state(tmp_path / "whole"), newest_state(tmp_path / "parts")
    assert_equal(whole, parts)
    assert {each["scale"] for each in whole["scalers"].values()} == {1024.0 if steps == 4 else 512.0}
    assert read_scalars(tmp_path / "whole" / "scalars.csv") == read_scalars(tmp_path / "parts" / "scalars.csv")


def test_wav2lip_starts_the_sync_loss_after_an_evaluation(tmp_path: Path, speakers: ArrayData) -> None:
    options = {**SMALL["wav2lip"], "evaluate_every": 2, "log_every": 1, "loss": {"sync_start": 1e3}}
    finals: list[dict[str, Any]] = []
    for folder, limits in (("whole", [3]), ("parts", [1, 2, 3])):
        (tmp_path / folder).mkdir()
        for steps in limits:
            trainer = Trainer(task("wav2lip", speakers, **options, steps=steps), device="cpu", folder=tmp_path / folder)
            trainer.run()
        rows = read_scalars(tmp_path / folder / "scalars.csv")
        # The evaluation after the first part is not one of the periodic evaluations.
        assert [step for step, name, _ in rows if name == "generator/sync"] == [3]
        finals.append(trainer.state(3))
    assert finals[0]["task_state"] == finals[1]["task_state"] == {"sync_started": True}
    for key, value in finals[0]["networks"]["generator"].items():
        assert torch.equal(value, finals[1]["networks"]["generator"][key]), key
    never = task("wav2lip", speakers, **{**options, "loss": {"sync_start": 1e-9}})
    never.after_evaluation({"validation/sync": 0.1})  # type: ignore[attr-defined]
    assert never.task_state() == {"sync_started": False}  # type: ignore[attr-defined]
    with pytest.raises(RetalkitError, match="sync_start=null") as error:
        task("wav2lip", changed(speakers, splits={"train": speakers.splits["train"]}), **options)
    assert error.value.code == "missing-validation"


def test_wav2lip_logs_images_and_metrics(tmp_path: Path, speakers: ArrayData) -> None:
    run = task("wav2lip", speakers, **SMALL["wav2lip"])
    Trainer(run, device="cpu", folder=tmp_path).run()
    values = {name: value for _, name, value in read_scalars(tmp_path / "scalars.csv")}
    assert {"generator/sync", "generator/quality", "generator/l1", "discriminator/logistic"} <= set(values)
    assert values["validation/sound_effect"] > 0
    assert next((tmp_path / "images").iterdir()).stat().st_size > 1000


def test_samples_are_windows_with_their_sound(speakers: ArrayData) -> None:
    made = task("lnet", speakers, loss={"perceptual_weight": 0, "sync_weight": 0}, mel_alignment="wav2lip")
    for seed in range(10):
        sample = made.sample(np.random.default_rng(seed), 0)
        clip = next(
            c for c in speakers.clips("train") if (sample["target"][:, 0] == _image(c, 96)).all((1, 2, 3)).any()
        )
        start = int((sample["target"][:, 0] == _image(clip, 96)).all((1, 2, 3)).argmax())
        assert start >= 1
        np.testing.assert_array_equal(sample["mel"][0], clip.mel(int(80 * start / 25), 16))
        np.testing.assert_array_equal(sample["mels"][0, 0], clip.mel(int(80 * (start - 1) / 25), 16))


def test_references_are_edited_faces_if_the_dataset_has_them(speakers: ArrayData) -> None:
    config = LNetConfig(reference_expression="neutral_warp")
    with pytest.raises(RetalkitError, match="--references neutral_warp") as error:
        WindowSampler(config, speakers, config.reference_expression)
    assert error.value.code == "missing-references"
    edited = [replace(clip, edited=clip.crops[96] // 2) for clip in speakers.splits["train"]]
    data = ArrayData("d", "d", {"train": edited}, reference_editor="neutral_warp")
    plain, other = (
        WindowSampler(config, data, kind).sample(np.random.default_rng(3)) for kind in ("none", "neutral_warp")
    )
    np.testing.assert_array_equal(plain["target"], other["target"])
    np.testing.assert_array_equal(np.round(plain["reference"] * 255) // 2, np.round(other["reference"] * 255))


def _image(clip: Any, size: int) -> Any:
    return (clip.faces(size, range(clip.frame_count)).astype(np.float32) / 255).transpose(0, 3, 1, 2)


def test_sync_expert_samples_have_equal_labels_and_the_sound_of_the_first_window(speakers: ArrayData) -> None:
    made = task("syncnet", speakers)
    samples = [made.sample(np.random.default_rng(seed), 0) for seed in range(200)]
    assert 0.4 < np.mean([sample["label"] for sample in samples]) < 0.6
    contrastive = task("syncnet", speakers, contrastive_steps=1)
    assert all(contrastive.sample(np.random.default_rng(seed), 0)["label"] for seed in range(20))


def test_area_under_curve() -> None:
    labels = np.array([1, 1, 0, 0])
    assert area_under_curve(np.array([4, 3, 2, 1]), labels) == 1
    assert area_under_curve(np.array([1, 1, 1, 1]), labels) == 0.5
    assert area_under_curve(np.array([4, 1, 2, 3]), labels) == 0.5


def sync_expert_auc(folder: Path, data: ArrayData, **options: Any) -> float:
    values = {"channels": 8, "batch_size": 32, "optimizer": {"learning_rate": 1e-3}, "seed": 1, "workers": 1, **options}
    made = task("syncnet", data, **values)
    trainer = Trainer(made, device="cpu", folder=folder)
    trainer.run()
    trainer.networks["expert"].eval()
    with torch.no_grad():
        return made.evaluate(trainer.networks, trainer.config.steps)["validation/auc"]


def test_sync_expert_trains_for_ten_steps(tmp_path: Path, speakers: ArrayData) -> None:
    auc = sync_expert_auc(
        tmp_path, speakers, channels=2, batch_size=8, steps=10, evaluation_pairs=16, contrastive_steps=5
    )
    assert 0 <= auc <= 1


@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [False, True])
def test_sync_expert_learns_to_read_the_lips_of_other_speakers(
    tmp_path: Path, shared_parity_training: Path, shuffled: bool
) -> None:
    data = drawn_data(shared_parity_training, 24, 6)
    if shuffled:
        random = np.random.default_rng(0)
        for clip in data.splits["train"]:
            clip.spectrogram[:] = np.roll(clip.spectrogram, int(random.integers(100, 220)), 1)
    auc = sync_expert_auc(tmp_path, data, steps=100, contrastive_steps=50, evaluation_pairs=256)
    assert auc < 0.6 if shuffled else auc > 0.7


def test_fourier_units_compute_in_float32_under_autocast() -> None:
    from retalkit_renderers.lnet.fourier import FourierLayer
    from retalkit_training.networks.float32_fourier import keep_fourier_units_in_float32

    torch.manual_seed(0)
    layer = FourierLayer(8, 4).train()
    image, speech = torch.rand(2, 8, 12, 12), torch.rand(2, 4)
    expected = layer(image, speech)
    keep_fourier_units_in_float32(layer)
    assert torch.equal(layer(image, speech), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(image, speech)
        assert layer.ffc.convg2g.fu(image[:, :3].bfloat16()).dtype == torch.float32
    found.float().sum().backward()
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


def test_reproduction_of_dnet_drives_single_images_with_a_template(large_faces: ArrayData) -> None:
    def photo(clip: ArrayClip) -> ArrayClip:
        crops = {256: clip.crops[256][:1]}
        rows = clip.rows[:1] if clip.rows is not None else None
        return replace(clip, crops=crops, spectrogram=clip.spectrogram[:, :4], rows=rows)

    splits = {name: [photo(clip) for clip in clips] for name, clips in large_faces.splits.items()}
    data = ArrayData("photos", "photos", splits, sizes=(256,))
    config = read_config("dnet", None, ["size=64"], "reproduction")
    assert isinstance(config, DNetConfig)
    assert (config.steps, config.batch_size, config.loss.final.layers) == (300, 10, ("relu_5_3",))
    assert any("ignore the coefficients" in warning for warning in config.warnings())
    assert read_config("dnet").warnings() == []
    made = make_task(config, data, RandomWeights())
    sample = made.sample(np.random.default_rng(0), 0)
    np.testing.assert_array_equal(sample["source_image"], sample["target_image"])
    assert (sample["target_coefficients"][:64] == 0.25).all()
    np.testing.assert_array_equal(sample["target_coefficients"][64:], sample["source_coefficients"][64:])
    with pytest.raises(RetalkitError) as error:
        task("dnet", data)
    assert error.value.code == "clips-too-short"


def test_dnet_is_validated_with_lpips_of_the_moving_average(tmp_path: Path, large_faces: ArrayData) -> None:
    made = task("dnet", large_faces, **{**SMALL["dnet"], "lpips": True, "average_decay": 0.5, "warp_steps": 0})
    assert made.best.name == "validation/lpips"
    trainer = Trainer(made, device="cpu")
    assert trainer.evaluated_networks["dnet"] is trainer.averages["dnet"]
    with torch.no_grad():
        values = made.evaluate(trainer.evaluated_networks, 1)
    assert values["validation/lpips"] > 0


# ---------------------------------------------------------------------- fine-tuning


def test_fine_tuning_starts_from_a_file_and_keeps_frozen_parts(tmp_path: Path, speakers: ArrayData) -> None:
    options = {
        "channels": 4,
        "frozen": ["face_encoder_blocks", "audio_encoder"],
        "loss": {"sync_weight": 0, "quality_weight": 0},
    }
    first = task("wav2lip", speakers, **options, seed=1)
    file = tmp_path / "generator.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in first.networks["generator"].state_dict().items()}}, file)
    made = make_task(
        CONFIGS["wav2lip"].model_validate(
            {**options, "steps": 2, "batch_size": 2, "tensorboard": False, "initial": str(file)}
        ),
        speakers,
        StoredWeights(),
    )
    (tmp_path / "run").mkdir()
    before = {name: value.clone() for name, value in first.networks["generator"].state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in made.networks["generator"].state_dict().items())
    Trainer(made, device="cpu", folder=tmp_path / "run").run()
    after = made.networks["generator"].state_dict()
    same = {name for name in after if torch.equal(after[name], before[name])}
    assert same == {name for name in after if name.startswith(("face_encoder_blocks", "audio_encoder"))}


@pytest.mark.parametrize(
    ("options", "code", "fact"),
    [
        ({"frozen": ["encoder"]}, "unknown-name", "face_encoder, audio_encoder"),
        ({"frozen": ["face_encoder", "audio_encoder"]}, "invalid-option", "all parameters"),
        ({"initial": "published"}, "missing-weights", "lipsync_expert"),
        ({"initial": "wrong.pth"}, "weights-mismatch", "wrong.pth"),
    ],
)
def test_invalid_fine_tuning_is_refused(speakers: ArrayData, options: dict[str, Any], code: str, fact: str) -> None:
    with pytest.raises(RetalkitError, match=fact) as error:
        Trainer(task("syncnet", speakers, channels=4, **options), device="cpu")
    assert error.value.code == code


# ---------------------------------------------------------------------- export


def test_export_writes_published_names_and_a_model_card(tmp_path: Path, speakers: ArrayData) -> None:
    from retalkit_training.networks.syncnet_expert import SyncNetExpert, parameter_shapes

    made = task("syncnet", speakers, steps=1, evaluation_pairs=4)
    run = tmp_path / "run"
    open_run(run, "syncnet", made.config, speakers, {"torch": torch.__version__})
    trainer = Trainer(made, device="cpu", folder=run)
    trainer.run()
    done = export_run(run)
    assert done.file.name == "lipsync_expert.pth"
    stored = torch.load(done.file, weights_only=True)
    assert list(stored) == ["state_dict"]
    assert {name: tuple(value.shape) for name, value in stored["state_dict"].items()} == parameter_shapes()
    SyncNetExpert().load_state_dict(read_state_dict(done.file))
    card = done.card.read_text(encoding="utf-8")
    for fact in (
        "after 1 steps",
        "drawn",
        "2 clips, 2 speakers",
        "| seed | 0 |",
        "validation/auc",
        "contrastive_steps",
        "lip_syncer.chin",
    ):
        assert fact in card
    with pytest.raises(RetalkitError) as error:
        export_run(run)
    assert error.value.code == "output-exists"


def test_exported_generator_can_be_imported(tmp_path: Path, speakers: ArrayData) -> None:
    from retalkit.plugins.discovery import discover
    from retalkit.weights.store import WeightStore

    made = task("wav2lip", speakers, channels=32, loss={"sync_weight": 0, "quality_weight": 0})
    run = tmp_path / "run"
    open_run(run, "wav2lip", made.config, speakers, {})
    CheckpointFolder(run / "checkpoints", 1).save(Trainer(made, device="cpu").state(1), 1, best=False)
    done = export_run(run)
    assert done.importable == "wav2lip_gan"
    store = WeightStore(tmp_path / "store")
    path = store.add(discover().checkpoint(done.importable), done.arrays)
    assert set(torch.load(done.file, weights_only=True)) == {"state_dict"}
    from safetensors.torch import load_file

    network = made.networks["generator"]
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in load_file(path).items())


# ---------------------------------------------------------------------- errors


def changed(data: ArrayData, **changes: Any) -> ArrayData:
    values = {"name": "data", "key": "key", "splits": data.splits, "sizes": data.sizes}
    return ArrayData(**{**values, **changes})


def cut(data: ArrayData, frames: int) -> dict[str, list[ArrayClip]]:
    clip = data.splits["train"][0]
    return {"train": [ArrayClip("c", "c", {96: clip.crops[96][:frames]}, clip.spectrogram)]}


def uniform(data: ArrayData) -> dict[str, list[ArrayClip]]:
    clip = data.splits["train"][0]
    return {"train": [ArrayClip("c", "c", {96: np.full_like(clip.crops[96], 7)}, clip.spectrogram)]}


def silent(data: ArrayData) -> dict[str, list[ArrayClip]]:
    clip = data.splits["train"][0]
    return {"train": [ArrayClip("c", "c", clip.crops, np.full_like(clip.spectrogram, -4))]}


DATASETS: dict[str, tuple[Callable[[ArrayData], ArrayData], str]] = {
    "no-clips": (lambda data: changed(data, splits={}), "no training clips"),
    "frame-rate-mismatch": (lambda data: changed(data, frame_rate=30), "30 frames per second"),
    "missing-crops": (lambda data: changed(data, sizes=(256,)), "96 pixels"),
    "clips-too-short": (lambda data: changed(data, splits=cut(data, 15)), "15 frames"),
    "speakers-overlap": (
        lambda data: changed(data, splits=dict.fromkeys(("train", "val"), data.splits["train"])),
        "speaker0",
    ),
    "uniform-images": (lambda data: changed(data, splits=uniform(data)), "uniform"),
    "silent-dataset": (lambda data: changed(data, splits=silent(data)), "silent"),
}


@pytest.mark.parametrize("code", DATASETS)
def test_unsuitable_datasets_are_refused(code: str, speakers: ArrayData) -> None:
    change, fact = DATASETS[code]
    with pytest.raises(RetalkitError, match=fact) as error:
        Trainer(task("syncnet", change(speakers), channels=2), device="cpu").check_first_batch(0)
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_dnet_requires_coefficients(shared_parity_training: Path) -> None:
    clip = draw(shared_parity_training, 0, 1.0, sizes=(256,))
    data = ArrayData("d", "d", {"train": [ArrayClip("c", "c", clip.crops, clip.spectrogram)]}, sizes=(256,))
    with pytest.raises(RetalkitError, match="face3d") as error:
        task("dnet", data)
    assert error.value.code == "missing-coefficients"


@pytest.mark.parametrize(
    ("name", "options", "code", "fact"),
    [
        ("lnet", {"loss": {"perceptual_weight": 0}}, "missing-expert", "loss.sync_weight=0"),
        ("wav2lip", {"expert": "published"}, "missing-weights", "weights pull lipsync_expert"),
        ("enet", {"lnet": "published"}, "missing-weights", "weights pull lnet"),
        ("lnet", {"loss": {"sync_weight": 0}}, "missing-weights", "weights pull vgg19"),
        ("enet", {}, "missing-lnet", "LNet.pth"),
        ("lnet", {"expert": "absent.pth", "loss": {"perceptual_weight": 0}}, "file-not-found", "absent.pth"),
    ],
)
def test_missing_weights_are_reported(
    tmp_path: Path, large_faces: ArrayData, name: str, options: dict[str, Any], code: str, fact: str
) -> None:
    from retalkit.weights.store import WeightStore

    with pytest.raises(RetalkitError, match=fact) as error:
        make_task(CONFIGS[name].model_validate(options), large_faces, StoredWeights(WeightStore(tmp_path)))
    assert error.value.code == code
    assert "\n" not in str(error.value)


def test_resuming_with_other_options_is_refused(tmp_path: Path, speakers: ArrayData) -> None:
    config = SyncNetConfig(batch_size=4)
    assert not open_run(tmp_path / "run", "syncnet", config, speakers, {})
    assert open_run(tmp_path / "run", "syncnet", config.model_copy(update={"steps": 9}), speakers, {})
    for trainer, other, data, fact in (
        ("syncnet", SyncNetConfig(batch_size=8), speakers, "batch_size=4"),
        ("lnet", config, speakers, "trainer syncnet"),
        ("syncnet", config, changed(speakers), "different dataset"),
    ):
        with pytest.raises(RetalkitError, match=fact) as error:
            open_run(tmp_path / "run", trainer, other, data, {})
        assert error.value.code == "output-exists"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(RetalkitError) as error:
        open_run(tmp_path / "other", "syncnet", config, speakers, {})
    assert error.value.code == "output-exists"
