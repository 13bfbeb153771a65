"""What SyncNet's metric is made of: cepstra, the search for the offset, frames and squares, the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="this metric needs the extra: pip install 'retalkit[paper]'")

import retalkit_metrics.syncnet.offsets as offsets
from retalkit.geometry import mesh478
from retalkit.metrics.scene import Scene
from retalkit_metrics.syncnet.cepstra import as_pcm, cepstra
from retalkit_metrics.syncnet.crops import cut_square, find_stretches, nearest_frames
from retalkit_metrics.syncnet.network import empty_network
from retalkit_metrics.syncnet.offsets import summed_distances, synchrony

from tests.plugins.metrics.network_weights import made_input, made_state
from tests.plugins.metrics.scenes import Frames


def chirp() -> np.ndarray:
    time = np.arange(1700) / 16000
    swept = 8000 * np.sin(2 * np.pi * (200 * time + 900 * time * time))
    return np.rint(swept + 3000 * np.sin(2 * np.pi * 1700 * time))


def test_cepstra_are_those_of_python_speech_features() -> None:
    found = cepstra(chirp())
    assert found.shape == (13, 10)
    # Its version 0.6, of the same sound as int16.
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


def test_the_scale_of_the_sound_matters() -> None:
    """A known wrong case: sound in [-1, 1] gives other energies, which the network never saw."""
    wrong = cepstra(chirp() / 32768)
    assert np.abs(cepstra(chirp())[0] - wrong[0]).min() > 20
    np.testing.assert_array_equal(as_pcm((chirp() / 32768).astype(np.float32)), chirp())
    assert as_pcm(np.array([1.0, -1.5], np.float32)).tolist() == [32767, -32768]


@pytest.mark.parametrize(("samples", "steps"), [(0, 1), (399, 1), (400, 1), (401, 2), (16000, 99), (40 * 16000, 3999)])
def test_there_are_100_steps_a_second(samples: int, steps: int) -> None:
    found = cepstra(np.zeros(samples))
    assert found.shape == (13, steps)
    assert np.isfinite(found).all()


def embeddings(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 64)).astype(np.float32)


@pytest.mark.parametrize("late", [-15, -4, 0, 3, 15])
def test_a_known_shift_is_found(late: int) -> None:
    both = embeddings(400, 0)
    sound = both[100:300]
    # What is heard at a moment is seen ``late`` frames after it.
    lips = both[100 - late : 300 - late] + 0.1 * embeddings(200, 1)
    sums, pairs = summed_distances(lips, sound)
    found = synchrony(sums / pairs)
    assert found.offset == late
    assert found.distance == pytest.approx(0.1 * 8, rel=0.05)
    assert found.confidence == pytest.approx(np.sqrt(2 * 64) - 0.1 * 8, rel=0.05)


def test_lips_that_have_nothing_to_do_with_the_sound_have_no_confidence() -> None:
    sums, pairs = summed_distances(embeddings(300, 0), embeddings(300, 1))
    found = synchrony(sums / pairs)
    assert found.confidence < 0.3
    assert found.distance == pytest.approx(np.sqrt(2 * 64), rel=0.05)


def test_every_offset_is_the_mean_of_the_pairs_that_exist() -> None:
    lips, sound = (np.arange(12, dtype=np.float32).reshape(4, 3) ** power for power in (1, 0.5))
    sums, pairs = summed_distances(lips, sound, reach=5)
    assert pairs.tolist() == [0, 0, 1, 2, 3, 4, 3, 2, 1, 0, 0]
    # The last lips with the first sound, two frames less than the whole way, and so on.
    expected = sum(np.linalg.norm(lips[t] - sound[t - 2] + 1e-6) for t in (2, 3))
    assert sums[3] == pytest.approx(expected)
    assert sums[7] == pytest.approx(sum(np.linalg.norm(lips[t] - sound[t + 2] + 1e-6) for t in (0, 1)))


def test_long_clips_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pairs = summed_distances(embeddings(100, 0), embeddings(100, 1))
    monkeypatch.setattr(offsets, "_ROWS", 7)
    parts, same = summed_distances(embeddings(100, 0), embeddings(100, 1))
    np.testing.assert_allclose(parts, whole)
    np.testing.assert_array_equal(same, pairs)


def test_what_lies_beyond_a_short_clip_counts_nothing() -> None:
    """A known wrong case: with embeddings of 0 there, as published, the far offsets look bad for no reason. An offset
    is overlooked, and lips that have nothing to do with the sound get confidence."""

    def published(lips: np.ndarray, sound: np.ndarray) -> np.ndarray:
        padded = np.pad(sound, ((15, 15), (0, 0)))
        return np.array([np.linalg.norm(lips - padded[k : k + len(lips)], axis=1).mean() for k in range(31)])

    def ours(lips: np.ndarray, sound: np.ndarray) -> np.ndarray:
        sums, pairs = summed_distances(lips, sound)
        return sums / pairs

    both, others = embeddings(80, 0) + 10, embeddings(50, 1) + 10
    lips, sound = both[10:60], both[18:68]
    assert synchrony(ours(lips, sound)).offset == 8
    assert synchrony(published(lips, sound)).offset != 8
    assert synchrony(ours(others, sound)).confidence < 0.5
    assert synchrony(published(others, sound)).confidence > 5


def test_the_offset_is_counted_from_the_middle() -> None:
    curve = np.array([9.0, 5.0, 5.0, 5.0, 4.0, 1.0, 5.0])
    found = synchrony(curve)
    assert (found.confidence, found.distance, found.offset) == (4.0, 1.0, -2)


def test_frames_are_taken_by_their_times() -> None:
    same = np.arange(50) / 25
    assert nearest_frames(same).tolist() == list(range(50))
    ntsc = np.arange(60) * 1001 / 30000
    taken = nearest_frames(ntsc)
    assert len(taken) == 50
    assert np.abs(ntsc[taken] - np.arange(50) / 25).max() <= 0.5 * 1001 / 30000 + 1e-9
    # By their numbers they would be a third of a second off in the end.
    assert abs(ntsc[49] - 49 / 25) > 0.3
    uneven = np.array([0.0, 0.04, 0.3, 0.32])
    assert nearest_frames(uneven).tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 3]
    assert nearest_frames(np.zeros(1)).tolist() == [0]


class Head:
    """A tracked face whose mesh is a circle of 60 pixels; the chin, index 152, moves with ``jaw``."""

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


def a_scene(moment: Scene, head: Head, original: Head | None = None, **changes) -> Scene:
    return replace(moment, source=head.source, output=head, original_analysis=original, **changes)


def test_a_mouth_that_opens_does_not_move_the_square(moment: Scene) -> None:
    jaw = 20 * np.abs(np.sin(np.arange(100)))
    (stretch,) = find_stretches(a_scene(moment, Head(100, jaw=jaw)))
    assert np.ptp(stretch.centres, axis=0).max() < 1e-4
    assert len(stretch.frames) == 100
    # The wrong way: a box of the whole face would breathe.
    assert np.ptp(jaw) / 2 > 9


def test_the_square_goes_with_the_head(moment: Scene) -> None:
    (stretch,) = find_stretches(a_scene(moment, Head(100, across=np.arange(100.0))))
    np.testing.assert_allclose(np.diff(stretch.centres[10:90, 0]), 1, atol=1e-3)


def test_all_variants_are_seen_through_the_squares_of_the_unedited_clip(moment: Scene) -> None:
    original = Head(100, across=np.arange(100.0))
    order = np.arange(99, -1, -1)
    (first,) = find_stretches(a_scene(moment, Head(100, jaw=5.0), original))
    (second,) = find_stretches(a_scene(moment, Head(100, jaw=25.0), original))
    np.testing.assert_array_equal(first.centres, second.centres)
    assert first.half == second.half == pytest.approx(60, abs=0.5)
    (turned,) = find_stretches(a_scene(moment, Head(100), original, sources=order))
    np.testing.assert_allclose(turned.centres, first.centres[::-1], atol=1e-3)


def test_cuts_gaps_and_small_faces_part_the_video(moment: Scene) -> None:
    shots = np.array([0] * 30 + [1] * 40 + [-1] * 5 + [2] * 25)
    found = find_stretches(a_scene(moment, Head(100, shots=shots)))
    assert [(stretch.start, len(stretch.frames)) for stretch in found] == [(0, 30), (30, 40), (75, 25)]
    assert find_stretches(a_scene(moment, Head(100, radius=23))) == []
    assert find_stretches(a_scene(moment, Head(100, shots=np.full(100, -1)))) == []


def test_the_square_is_the_published_one() -> None:
    """From the box's upper border to 1.8 half sides below its middle, 1.4 to both sides, grey outside."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[100:380, 60:340] = (250, 0, 0)
    cut = cut_square(image, np.array([200.0, 200.0]), 100.0)
    assert cut.shape == (224, 224, 3)
    assert (cut == (250, 0, 0)).all()
    image[90:100] = image[:, 340:350] = 99
    assert (cut_square(image, np.array([200.0, 200.0]), 100.0) == cut).all()
    image[100:104] = image[:, 336:340] = (0, 250, 0)
    marked = cut_square(image, np.array([200.0, 200.0]), 100.0)
    assert (marked[:2] == (0, 250, 0)).all() and (marked[:, -2:] == (0, 250, 0)).all()
    assert (marked[5:, :-5] == (250, 0, 0)).all()
    corner = cut_square(image, np.array([0.0, 0.0]), 100.0)
    assert (corner[:, :100] == 110).all() and (corner[:70] == 110).all()
    assert (corner[200:, 200:] != 110).any()
    assert (cut_square(image, np.array([-900.0, 0.0]), 100.0) == 110).all()


def test_embeddings_are_those_of_the_published_code() -> None:
    network = empty_network().eval()
    network.load_state_dict(made_state(network))
    crops = (made_input(6, 224, 224, 3) * 255).permute(3, 0, 1, 2)
    with torch.inference_mode():
        lips, sound = network.lips(crops), network.sound(made_input(2, 13, 20) * 20 - 10)
    assert lips.shape == sound.shape == (2, 1024)
    # With the same weights.
    near = {"rel": 1e-4, "abs": 0.01}
    assert lips[0, :3].tolist() == pytest.approx([-348.03693, -187.95232, -495.95715], **near)
    assert lips[1, :3].tolist() == pytest.approx([-387.62839, -177.04582, -485.84235], **near)
    assert sound[0, :3].tolist() == pytest.approx([15.88885, 10.09526, -10.82903], abs=1e-3)
