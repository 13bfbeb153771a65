"""The metric ``syncnet`` from frames and audio to scores, with a network of known behaviour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="this metric needs the extra: pip install 'retalkit[paper]'")

import retalkit_metrics.syncnet.metric as metric
from retalkit.metrics import Scores
from retalkit.metrics.scene import Scene
from retalkit_metrics.syncnet.network import SyncNet

from tests.plugins.metrics.network_weights import save
from tests.plugins.metrics.scenes import Frames, score
from tests.plugins.metrics.test_syncnet_parts import Head

SIZE = 300
SECONDS = 4


class Brightness(torch.nn.Module):
    """Replaces SyncNet: embeds the brightness of the lips and the loudness of the audio on one scale."""

    def lips(self, crops: torch.Tensor) -> torch.Tensor:
        levels = crops.mean((0, 2, 3)) / 20
        return torch.stack([levels[index : len(levels) - 4 + index] for index in range(5)], 1)

    def sound(self, mfcc: torch.Tensor) -> torch.Tensor:
        # The first coefficient is the log energy; four steps correspond to one frame.
        return mfcc[:, 0].reshape(-1, 5, 4).mean(2)


@pytest.fixture(autouse=True)
def known_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "load_weights", lambda network, path, device: Brightness())


def levels(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(200, 240, count)


def loudness(level: np.ndarray) -> np.ndarray:
    """Return noise whose log energy is ``level / 20`` in each 1/25 s."""
    noise = np.random.default_rng(1).standard_normal(len(level) * 640)
    amplitude = np.exp((level / 20 - LOG_ENERGY_OF_NOISE) / 2)
    return (noise * np.repeat(amplitude, 640) / 32768).astype(np.float32)


# Noise of unit variance after pre-emphasis of 0.97: 257 of 512 bins of a window of 400 samples.
LOG_ENERGY_OF_NOISE = float(np.log(400 * (1 + 0.97**2) / 2))


def flashing(
    moment: Scene, *, late: int = 0, rate: float = 25.0, seconds: float = SECONDS, shots=None, by_number: bool = False
) -> Scene:
    """Return a video that gets bright ``late`` frames after the audio gets loud."""
    level = levels(SECONDS * 25)
    count = int(seconds * rate)
    steps = np.arange(count) if by_number else np.rint(np.arange(count) / rate * 25).astype(int)
    shown = level[np.clip(steps - late, 0, len(level) - 1)]
    frames = Frames([np.full((SIZE, SIZE, 3), round(value), np.uint8) for value in shown], rate)
    head = Head(count, shots=shots)
    head.source = frames
    return replace(
        moment,
        source=frames,
        output=head,
        original_analysis=None,
        original=None,
        sound=loudness(level),
        weights={"syncnet": Path("unread.safetensors")},
    )


def scored(moment: Scene, **changes) -> Scores:
    return score("syncnet", flashing(moment, **changes))


def test_synchronous_lips_have_no_offset_and_high_confidence(moment: Scene) -> None:
    found = scored(moment)
    assert found["av_offset"] == 0
    assert found["lse_d"] < 0.5
    assert found["lse_c"] > 1


@pytest.mark.parametrize("late", [4, -6])
def test_known_delay_is_found(moment: Scene, late: int) -> None:
    found = scored(moment, late=late)
    assert found["av_offset"] == late
    assert found["lse_d"] == pytest.approx(scored(moment)["lse_d"], abs=0.05)


@pytest.mark.parametrize("rate", [30000 / 1001, 50.0])
def test_other_frame_rates_are_resampled_by_time(moment: Scene, rate: float) -> None:
    at_25, other = scored(moment), scored(moment, rate=rate)
    assert other["av_offset"] == 0
    assert other["lse_d"] == pytest.approx(at_25["lse_d"], abs=0.05)
    assert other["lse_c"] == pytest.approx(at_25["lse_c"], abs=0.1)


def test_wrong_playback_speed_scores_low(moment: Scene) -> None:
    """30 frames a second that show the content of 25 frames a second."""
    wrong = scored(moment, rate=30.0, by_number=True)
    assert wrong["lse_c"] < 0.4 * scored(moment)["lse_c"]


def test_unrelated_audio_scores_low(moment: Scene) -> None:
    scene = flashing(moment)
    assert scene.sound is not None
    unrelated = score("syncnet", replace(scene, sound=scene.sound[::-1].copy()))
    synchronous = score("syncnet", scene)
    assert unrelated["lse_c"] < 0.4 * synchronous["lse_c"]
    assert unrelated["lse_d"] > synchronous["lse_d"] + 0.5


def test_result_is_independent_of_batch_size(moment: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored(moment)
    monkeypatch.setattr(metric, "_LIP_BATCH", 7)
    monkeypatch.setattr(metric, "_SOUND_BATCH", 11)
    assert scored(moment) == pytest.approx(whole, abs=1e-5)


def test_scores_are_accumulated_over_shots(moment: Scene) -> None:
    split = scored(moment, late=2, shots=np.repeat([0, 1], 50))
    assert split["av_offset"] == 2
    # A shot of less than two seconds is ignored; the rest keeps its time.
    rest = scored(moment, late=2, shots=np.repeat([0, -1, 1], [20, 10, 70]))
    assert rest["av_offset"] == 2
    assert rest["lse_c"] > 0.5


def test_less_than_two_seconds_give_nan(moment: Scene) -> None:
    assert np.isnan(list(scored(moment, seconds=1.9).values())).all()
    assert not np.isnan(list(scored(moment, seconds=2.0).values())).any()
    scene = flashing(moment)
    assert scene.sound is not None
    assert np.isnan(score("syncnet", replace(scene, sound=scene.sound[:16000]))["lse_c"])
    assert np.isnan(scored(moment, shots=np.full(SECONDS * 25, -1))["lse_c"])


def test_network_input_is_bgr_and_unscaled(moment: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    class Recorder(Brightness):
        def lips(self, crops):
            seen.append(crops[:, :, 0, 0])
            return super().lips(crops)

    monkeypatch.setattr(metric, "load_weights", lambda network, path, device: Recorder())
    scene = flashing(moment)
    images = [np.full((SIZE, SIZE, 3), (10, 20, 30), np.uint8) for _ in range(scene.source.info.frame_count)]
    score("syncnet", replace(scene, source=Frames(images)))
    assert seen[0][:, 0].tolist() == [30, 20, 10]


def test_session_runs_the_network(moment: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(metric, "MIN_WINDOWS", 1)
    file = save(SyncNet(), tmp_path / "syncnet.safetensors")
    scene = replace(flashing(moment, seconds=0.9), weights={"syncnet": file})
    found = score("syncnet", scene)
    assert np.isfinite(list(found.values())).all()
