"""The metric ``syncnet`` from frames and sound to numbers, with a network whose answers are known."""

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
    """Stands in for SyncNet: lips are as bright as the sound is loud, on one scale."""

    def lips(self, crops: torch.Tensor) -> torch.Tensor:
        levels = crops.mean((0, 2, 3)) / 20
        return torch.stack([levels[index : len(levels) - 4 + index] for index in range(5)], 1)

    def sound(self, cepstra: torch.Tensor) -> torch.Tensor:
        # The first coefficient is the logarithm of the energy; four steps belong to one frame.
        return cepstra[:, 0].reshape(-1, 5, 4).mean(2)


@pytest.fixture(autouse=True)
def known_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "load_weights", lambda network, path, device: Brightness())


def levels(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(200, 240, count)


def loudness(level: np.ndarray) -> np.ndarray:
    """Noise whose energy, as the first coefficient tells it, is the level over 20 in each 1/25 s."""
    noise = np.random.default_rng(1).standard_normal(len(level) * 640)
    amplitude = np.exp((level / 20 - LOG_ENERGY_OF_NOISE) / 2)
    return (noise * np.repeat(amplitude, 640) / 32768).astype(np.float32)


# Of noise with deviation 1 after pre-emphasis of 0.97: 257 of 512 bins of a window of 400.
LOG_ENERGY_OF_NOISE = float(np.log(400 * (1 + 0.97**2) / 2))


def flashing(
    moment: Scene, *, late: int = 0, rate: float = 25.0, seconds: float = SECONDS, shots=None, by_number: bool = False
) -> Scene:
    """A video that gets bright ``late`` frames after the sound gets loud."""
    level = levels(SECONDS * 25)
    count = int(seconds * rate)
    moments = np.arange(count) if by_number else np.rint(np.arange(count) / rate * 25).astype(int)
    shown = level[np.clip(moments - late, 0, len(level) - 1)]
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


def test_lips_on_time_have_no_offset_and_much_confidence(moment: Scene) -> None:
    found = scored(moment)
    assert found["av_offset"] == 0
    assert found["lse_d"] < 0.5
    assert found["lse_c"] > 1


@pytest.mark.parametrize("late", [4, -6])
def test_a_known_delay_is_found(moment: Scene, late: int) -> None:
    found = scored(moment, late=late)
    assert found["av_offset"] == late
    assert found["lse_d"] == pytest.approx(scored(moment)["lse_d"], abs=0.05)


@pytest.mark.parametrize("rate", [30000 / 1001, 50.0])
def test_other_rates_are_scored_by_time(moment: Scene, rate: float) -> None:
    at_25, other = scored(moment), scored(moment, rate=rate)
    assert other["av_offset"] == 0
    assert other["lse_d"] == pytest.approx(at_25["lse_d"], abs=0.05)
    assert other["lse_c"] == pytest.approx(at_25["lse_c"], abs=0.1)


def test_frames_shown_by_their_numbers_are_flagged(moment: Scene) -> None:
    """A known wrong case: 30 frames a second that show what belongs to 25."""
    wrong = scored(moment, rate=30.0, by_number=True)
    assert wrong["lse_c"] < 0.4 * scored(moment)["lse_c"]


def test_the_sound_of_somebody_else_is_flagged(moment: Scene) -> None:
    scene = flashing(moment)
    assert scene.sound is not None
    turned = score("syncnet", replace(scene, sound=scene.sound[::-1].copy()))
    right = score("syncnet", scene)
    assert turned["lse_c"] < 0.4 * right["lse_c"]
    assert turned["lse_d"] > right["lse_d"] + 0.5


def test_batches_change_nothing(moment: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored(moment)
    monkeypatch.setattr(metric, "_LIP_BATCH", 7)
    monkeypatch.setattr(metric, "_SOUND_BATCH", 11)
    assert scored(moment) == pytest.approx(whole, abs=1e-5)


def test_two_shots_make_one_score(moment: Scene) -> None:
    parted = scored(moment, late=2, shots=np.repeat([0, 1], 50))
    assert parted["av_offset"] == 2
    # A shot of less than two seconds is left out: the rest is scored at its own time.
    rest = scored(moment, late=2, shots=np.repeat([0, -1, 1], [20, 10, 70]))
    assert rest["av_offset"] == 2
    assert rest["lse_c"] > 0.5


def test_less_than_two_seconds_have_no_value(moment: Scene) -> None:
    assert np.isnan(list(scored(moment, seconds=1.9).values())).all()
    assert not np.isnan(list(scored(moment, seconds=2.0).values())).any()
    scene = flashing(moment)
    assert scene.sound is not None
    assert np.isnan(score("syncnet", replace(scene, sound=scene.sound[:16000]))["lse_c"])
    assert np.isnan(scored(moment, shots=np.full(SECONDS * 25, -1))["lse_c"])


def test_colours_come_blue_first_and_unscaled(moment: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    class Watching(Brightness):
        def lips(self, crops):
            seen.append(crops[:, :, 0, 0])
            return super().lips(crops)

    monkeypatch.setattr(metric, "load_weights", lambda network, path, device: Watching())
    scene = flashing(moment)
    images = [np.full((SIZE, SIZE, 3), (10, 20, 30), np.uint8) for _ in range(scene.source.info.frame_count)]
    score("syncnet", replace(scene, source=Frames(images)))
    assert seen[0][:, 0].tolist() == [30, 20, 10]


def test_the_session_feeds_the_real_network(moment: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(metric, "SHORTEST", 1)
    file = save(SyncNet(), tmp_path / "syncnet.safetensors")
    scene = replace(flashing(moment, seconds=0.9), weights={"syncnet": file})
    found = score("syncnet", scene)
    assert np.isfinite(list(found.values())).all()
