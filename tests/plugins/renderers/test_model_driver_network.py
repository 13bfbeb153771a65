"""The NumPy network matches the PyTorch network, at once and in chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from retalkit.speech.readers import ArrayReader
from retalkit.speech.speech_track import SpeechTrack
from retalkit_renderers.speech_to_mouth.chunked_inference import CHUNK, NOISE_FLOOR, ChunkedInference
from retalkit_renderers.speech_to_mouth.features import INPUT_CONTEXT, log_mel, network_input
from retalkit_renderers.speech_to_mouth.network import load_network, make_network
from retalkit_training.speech_to_mouth.export import export
from retalkit_training.speech_to_mouth.network import SpeechToMouthNetwork
from retalkit_training.tasks.speech_to_mouth_config import Features

RATE = 16000


def random_network(lookahead: float | None = None, features: Features = "log_mel") -> SpeechToMouthNetwork:
    torch.manual_seed(3)
    network = SpeechToMouthNetwork(channels=24, lookahead_seconds=lookahead, features=features).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0.0, 0.2)
    return network


def sound(seconds: float = 13.0) -> np.ndarray:
    generator = np.random.default_rng(1)
    loudness = np.repeat(generator.uniform(0.0, 0.2, int(seconds * 10)), RATE // 10)
    return (loudness * generator.standard_normal(len(loudness))).astype(np.float32)


def as_speech(waveform: np.ndarray) -> SpeechTrack:
    return SpeechTrack(ArrayReader(waveform), ArrayReader(np.ones(len(waveform) // 160 + 1, np.float32)))


@pytest.mark.parametrize("lookahead", [None, 0.2])
def test_numpy_matches_torch(tmp_path: Path, lookahead: float | None) -> None:
    network = random_network(lookahead)
    path = tmp_path / "network.safetensors"
    export(network, path, {"opening": 1.0}, 0.4, {})
    network = network.half().float()  # the file holds float16
    waveform = sound()
    with torch.no_grad():
        features = network_input(
            np.logaddexp(log_mel(waveform), NOISE_FLOOR), INPUT_CONTEXT if lookahead is None else 0
        )
        expected = network(torch.from_numpy(features.T[None].copy()))[0].T.numpy()
    ours = ChunkedInference(load_network(path), as_speech(waveform))
    assert ours.count == len(expected) > CHUNK
    assert np.abs(expected).max() > 0.3
    np.testing.assert_allclose(ours.read(0, ours.count), expected, atol=1e-4)


def test_numpy_matches_torch_for_encoder_features(tmp_path: Path) -> None:
    network = random_network(features="encoder")
    network.features.mean.normal_(0.0, 2.0)
    network.features.deviation.uniform_(0.2, 3.0)
    rows = np.random.default_rng(5).normal(0.0, 4.0, (200, 288)).astype(np.float32)
    path = tmp_path / "network.safetensors"
    export(network, path, {}, {}, {})
    loaded = load_network(path)
    assert loaded.on_encoder and loaded.inputs == 288
    with torch.no_grad():
        expected = network.half().float()(torch.from_numpy(rows.T[None].copy()))[0].T.numpy()
    low, high = loaded.feature_rows(0, 200)
    padded = np.pad(rows, ((-low, high - 200), (0, 0)))
    assert np.abs(expected).max() > 0.3
    np.testing.assert_allclose(loaded.forward(padded, 0, 200), expected, atol=1e-4)


def test_networks_on_encoder_features_require_an_encoder(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    export(random_network(features="encoder"), path, {}, {}, {})
    with pytest.raises(ValueError, match="encoder"):
        ChunkedInference(load_network(path), as_speech(sound(1.0)))


def test_row_has_the_same_bits_in_every_request() -> None:
    network = make_random()
    waveform = sound()
    whole = ChunkedInference(network, as_speech(waveform)).read(0, 600)
    reader = ChunkedInference(network, as_speech(waveform))
    for start, stop in ((590, 600), (250, 262), (3, 4), (0, 300)):
        assert np.array_equal(reader.read(start, stop), whole[start:stop])


def test_rows_outside_the_speech_are_nan() -> None:
    reader = ChunkedInference(make_random(), as_speech(sound(1.0)))
    rows = reader.read(-3, 55)
    assert np.isnan(rows[:3]).all() and np.isnan(rows[53:]).all() and np.isfinite(rows[3:53]).all()
    assert ChunkedInference(make_random(), as_speech(sound(1.0)[:100])).read(0, 2).shape == (2, 20)


def test_look_ahead_is_bounded() -> None:
    network = make_random(0.2)
    waveform = sound()
    before = ChunkedInference(network, as_speech(waveform)).read(0, 600)
    waveform[5 * RATE :] *= 3.0
    changed = np.flatnonzero((ChunkedInference(network, as_speech(waveform)).read(0, 600) != before).any(axis=1))
    assert (2 * changed[0] + 1) * 0.01 >= 5.0 - 0.2 - 1e-9


def test_wrong_number_of_blocks_is_rejected() -> None:
    with pytest.raises(ValueError, match="6 blocks, but 2 dilations"):
        make_network(tensors(random_network()), {"dilations": "[1, 2]"})


def tensors(network: SpeechToMouthNetwork) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in network.state_dict().items() if value.ndim}


def make_random(lookahead: float | None = None):
    network = random_network(lookahead)
    metadata = {"after": str(list(network.after)), "lookahead": "" if lookahead is None else str(lookahead)}
    return make_network(tensors(network), metadata)
