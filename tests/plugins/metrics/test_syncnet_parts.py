"""Parts of the metric ``syncnet``: MFCCs, offset search, frame selection, square crops, network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="this metric needs the extra: pip install 'retalkit[paper]'")

import retalkit_metrics.syncnet.offsets as offsets
from retalkit.geometry import mesh478
from retalkit.metrics.scene import Scene
from retalkit_metrics.syncnet.crops import crop_square, find_segments, nearest_frames
from retalkit_metrics.syncnet.mfcc import mfcc, to_int16_scale
from retalkit_metrics.syncnet.network import empty_network
from retalkit_metrics.syncnet.offsets import distance_sums, synchrony

from tests.plugins.metrics.network_weights import random_input, random_state
from tests.plugins.metrics.scenes import Frames


def chirp() -> np.ndarray:
    time = np.arange(1700) / 16000
    swept = 8000 * np.sin(2 * np.pi * (200 * time + 900 * time * time))
    return np.rint(swept + 3000 * np.sin(2 * np.pi * 1700 * time))


def test_mfcc_matches_python_speech_features() -> None:
    found = mfcc(chirp())
    assert found.shape == (13, 10)
    # Output of version 0.6 for the same audio as int16.
    known = {
        0: "19.87010 6.16018 -14.50693 15.29797 36.89240 -6.09940 -50.03368 -28.32533 4.89807 -17.65723 -47.01262 "
        "-27.09072 1.95162",
        4: "19.95535 17.98419 -19.23065 3.71603 28.09550 -10.71307 -53.04206 -31.12434 1.92940 -18.32367 -41.96022 "
        "-15.92842 15.05843",
        9: "19.63584 12.45212 -13.87932 4.92782 18.80610 -21.81961 -57.28975 -28.55200 11.64104 0.83265 -17.75684 "
        "4.14834 28.98162",
    }
    for step, numbers in known.items():
        np.testing.assert_allclose(found[:, step], [float(number) for number in numbers.split()], atol=1e-4)


def test_mfcc_depends_on_the_scale_of_the_audio() -> None:
    """Audio in [-1, 1] gives energies outside the network's training range."""
    wrong = mfcc(chirp() / 32768)
    assert np.abs(mfcc(chirp())[0] - wrong[0]).min() > 20
    np.testing.assert_array_equal(to_int16_scale((chirp() / 32768).astype(np.float32)), chirp())
    assert to_int16_scale(np.array([1.0, -1.5], np.float32)).tolist() == [32767, -32768]


@pytest.mark.parametrize(("samples", "steps"), [(0, 1), (399, 1), (400, 1), (401, 2), (16000, 99), (40 * 16000, 3999)])
def test_mfcc_has_100_steps_per_second(samples: int, steps: int) -> None:
    found = mfcc(np.zeros(samples))
    assert found.shape == (13, steps)
    assert np.isfinite(found).all()


def embeddings(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 64)).astype(np.float32)


@pytest.mark.parametrize("late", [-15, -4, 0, 3, 15])
def test_known_shift_is_found(late: int) -> None:
    both = embeddings(400, 0)
    sound = both[100:300]
    # Lips show the audio ``late`` frames later.
    lips = both[100 - late : 300 - late] + 0.1 * embeddings(200, 1)
    sums, pairs = distance_sums(lips, sound)
    found = synchrony(sums / pairs)
    assert found.offset == late
    assert found.distance == pytest.approx(0.1 * 8, rel=0.05)
    assert found.confidence == pytest.approx(np.sqrt(2 * 64) - 0.1 * 8, rel=0.05)


def test_unrelated_lips_have_low_confidence() -> None:
    sums, pairs = distance_sums(embeddings(300, 0), embeddings(300, 1))
    found = synchrony(sums / pairs)
    assert found.confidence < 0.3
    assert found.distance == pytest.approx(np.sqrt(2 * 64), rel=0.05)


def test_offsets_use_only_existing_pairs() -> None:
    lips, sound = (np.arange(12, dtype=np.float32).reshape(4, 3) ** power for power in (1, 0.5))
    sums, pairs = distance_sums(lips, sound, reach=5)
    assert pairs.tolist() == [0, 0, 1, 2, 3, 4, 3, 2, 1, 0, 0]
    # Offset -2: the last lips with the first audio.
    expected = sum(np.linalg.norm(lips[t] - sound[t - 2] + 1e-6) for t in (2, 3))
    assert sums[3] == pytest.approx(expected)
    assert sums[7] == pytest.approx(sum(np.linalg.norm(lips[t] - sound[t + 2] + 1e-6) for t in (0, 1)))


def test_long_clips_are_processed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pairs = distance_sums(embeddings(100, 0), embeddings(100, 1))
    monkeypatch.setattr(offsets, "_ROWS", 7)
    chunked, same = distance_sums(embeddings(100, 0), embeddings(100, 1))
    np.testing.assert_allclose(chunked, whole)
    np.testing.assert_array_equal(same, pairs)


def test_short_clips_are_not_zero_padded() -> None:
    """With the published zero embeddings, large offsets score badly: the true offset is missed, and unrelated lips get
    a high confidence."""

    def published(lips: np.ndarray, sound: np.ndarray) -> np.ndarray:
        padded = np.pad(sound, ((15, 15), (0, 0)))
        return np.array([np.linalg.norm(lips - padded[k : k + len(lips)], axis=1).mean() for k in range(31)])

    def ours(lips: np.ndarray, sound: np.ndarray) -> np.ndarray:
        sums, pairs = distance_sums(lips, sound)
        return sums / pairs

    both, others = embeddings(80, 0) + 10, embeddings(50, 1) + 10
    lips, sound = both[10:60], both[18:68]
    assert synchrony(ours(lips, sound)).offset == 8
    assert synchrony(published(lips, sound)).offset != 8
    assert synchrony(ours(others, sound)).confidence < 0.5
    assert synchrony(published(others, sound)).confidence > 5


def test_offset_is_relative_to_the_centre_of_the_curve() -> None:
    curve = np.array([9.0, 5.0, 5.0, 5.0, 4.0, 1.0, 5.0])
    found = synchrony(curve)
    assert (found.confidence, found.distance, found.offset) == (4.0, 1.0, -2)


def test_frames_are_selected_by_timestamp() -> None:
    same = np.arange(50) / 25
    assert nearest_frames(same).tolist() == list(range(50))
    ntsc = np.arange(60) * 1001 / 30000
    selected = nearest_frames(ntsc)
    assert len(selected) == 50
    assert np.abs(ntsc[selected] - np.arange(50) / 25).max() <= 0.5 * 1001 / 30000 + 1e-9
    # Selected by index, they would be off by a third of a second at the end.
    assert abs(ntsc[49] - 49 / 25) > 0.3
    uneven = np.array([0.0, 0.04, 0.3, 0.32])
    assert nearest_frames(uneven).tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 3]
    assert nearest_frames(np.zeros(1)).tolist() == [0]


class Head:
    """Tracked face whose mesh is a circle of 60 pixels; the chin, landmark 152, moves with ``jaw``."""

    landmark_scheme = "mesh478"

    def __init__(self, count: int, *, jaw=0.0, across=0.0, radius: float = 60.0, shots=None) -> None:
        self.source = Frames([np.zeros((4, 4, 3), np.uint8)] * count)
        angles = np.linspace(0, 2 * np.pi, 478, endpoint=False)
        circle = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1) * radius + (150, 150, 0)
        circle[mesh478.CHIN] = (150, 150 + radius, 0)
        self._points = np.repeat(circle[None], count, 0).astype(np.float32)
        self._points[:, mesh478.CHIN, 1] += jaw
        self._points[:, :, 0] += np.reshape(across, (-1, 1))
        self._shots = np.zeros(count, np.int32) if shots is None else np.asarray(shots, np.int32)

    def landmarks(self, start: int, stop: int) -> np.ndarray:
        return self._points[start:stop]

    def tracks(self, start: int, stop: int) -> np.ndarray:
        return self._shots[start:stop]


def scene_with(moment: Scene, head: Head, original: Head | None = None, **changes) -> Scene:
    return replace(moment, source=head.source, output=head, original_analysis=original, **changes)


def test_opening_mouth_does_not_move_the_square(moment: Scene) -> None:
    jaw = 20 * np.abs(np.sin(np.arange(100)))
    (segment,) = find_segments(scene_with(moment, Head(100, jaw=jaw)))
    assert np.ptp(segment.centres, axis=0).max() < 1e-4
    assert len(segment.frames) == 100
    # A bounding box of the whole face would move.
    assert np.ptp(jaw) / 2 > 9


def test_square_follows_the_head(moment: Scene) -> None:
    (segment,) = find_segments(scene_with(moment, Head(100, across=np.arange(100.0))))
    np.testing.assert_allclose(np.diff(segment.centres[10:90, 0]), 1, atol=1e-3)


def test_all_variants_use_the_squares_of_the_unedited_clip(moment: Scene) -> None:
    original = Head(100, across=np.arange(100.0))
    order = np.arange(99, -1, -1)
    (first,) = find_segments(scene_with(moment, Head(100, jaw=5.0), original))
    (second,) = find_segments(scene_with(moment, Head(100, jaw=25.0), original))
    np.testing.assert_array_equal(first.centres, second.centres)
    assert first.half == second.half == pytest.approx(60, abs=0.5)
    (backwards,) = find_segments(scene_with(moment, Head(100), original, sources=order))
    np.testing.assert_allclose(backwards.centres, first.centres[::-1], atol=1e-3)


def test_cuts_and_missing_faces_split_the_video(moment: Scene) -> None:
    shots = np.array([0] * 30 + [1] * 40 + [-1] * 5 + [2] * 25)
    found = find_segments(scene_with(moment, Head(100, shots=shots)))
    assert [(segment.start, len(segment.frames)) for segment in found] == [(0, 30), (30, 40), (75, 25)]
    assert find_segments(scene_with(moment, Head(100, radius=23))) == []
    assert find_segments(scene_with(moment, Head(100, shots=np.full(100, -1)))) == []


def test_square_matches_the_published_one() -> None:
    """From the box's upper border to 1.8 half sides below its centre, 1.4 to both sides, grey outside."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[100:380, 60:340] = (250, 0, 0)
    crop = crop_square(image, np.array([200.0, 200.0]), 100.0)
    assert crop.shape == (224, 224, 3)
    assert (crop == (250, 0, 0)).all()
    image[90:100] = image[:, 340:350] = 99
    assert (crop_square(image, np.array([200.0, 200.0]), 100.0) == crop).all()
    image[100:104] = image[:, 336:340] = (0, 250, 0)
    marked = crop_square(image, np.array([200.0, 200.0]), 100.0)
    assert (marked[:2] == (0, 250, 0)).all() and (marked[:, -2:] == (0, 250, 0)).all()
    assert (marked[5:, :-5] == (250, 0, 0)).all()
    corner = crop_square(image, np.array([0.0, 0.0]), 100.0)
    assert (corner[:, :100] == 110).all() and (corner[:70] == 110).all()
    assert (corner[200:, 200:] != 110).any()
    assert (crop_square(image, np.array([-900.0, 0.0]), 100.0) == 110).all()


def test_embeddings_match_the_published_code() -> None:
    network = empty_network().eval()
    network.load_state_dict(random_state(network))
    crops = (random_input(6, 224, 224, 3) * 255).permute(3, 0, 1, 2)
    with torch.inference_mode():
        lips, sound = network.lips(crops), network.sound(random_input(2, 13, 20) * 20 - 10)
    assert lips.shape == sound.shape == (2, 1024)
    # Output of the published code with the same weights.
    near = {"rel": 1e-4, "abs": 0.01}
    assert lips[0, :3].tolist() == pytest.approx([-348.03693, -187.95232, -495.95715], **near)
    assert lips[1, :3].tolist() == pytest.approx([-387.62839, -177.04582, -485.84235], **near)
    assert sound[0, :3].tolist() == pytest.approx([15.88885, 10.09526, -10.82903], abs=1e-3)
