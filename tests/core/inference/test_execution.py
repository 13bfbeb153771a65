"""Loading weights and running networks."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import (
    empty_network,
    frame_noise,
    full_batches,
    load_weights,
    noise_generator,
    slices,
    state_shapes,
)
from safetensors.torch import save_file
from torch import nn


def linear() -> nn.Linear:
    return nn.Linear(3, 2)


def test_unusable_weight_files_are_reported_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tiny.safetensors"
    save_file({"weight": torch.zeros(2, 3), "bias": torch.ones(2)}, file)
    assert load_weights(empty_network(linear), file).bias.tolist() == [1.0, 1.0]
    content = file.read_bytes()
    for damaged in (content[:40], b"", b"no weights"):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"tiny\.safetensors") as error:
            load_weights(linear(), file)
        assert error.value.code == "unreadable-file"
        assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(WeightsError) as error:
        load_weights(linear(), file)
    assert error.value.code == "unreadable-file"
    save_file({"weight": torch.zeros(2, 3)}, file)
    with pytest.raises(WeightsError, match="bias") as error:
        load_weights(linear(), file)
    assert error.value.code == "weights-mismatch"
    assert "\n" not in str(error.value)


def test_state_shapes_lists_parameters_and_buffers() -> None:
    assert state_shapes(linear) == {"weight": (2, 3), "bias": (2,)}


def test_noise_depends_on_seed_and_frame_only() -> None:
    def noise(seed: int, index: int) -> torch.Tensor:
        return torch.randn(4, generator=noise_generator(seed, index))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(noise(1, 2), noise(1, 2))
    assert not torch.equal(noise(1, 2), noise(1, 3)) and not torch.equal(noise(1, 2), noise(2, 2))
    first, second = frame_noise(1, [7, 9], (2, 3))
    assert first.shape == (2, 1, 2, 2) and second.shape == (2, 1, 3, 3)
    assert torch.equal(frame_noise(1, [9], (2, 3))[1][0], second[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_slices_cover_everything_once() -> None:
    assert [list(range(7))[part] for part in slices(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(slices(0, 3)) == []


def test_batches_are_full_on_a_gpu_and_single_rows_on_the_cpu() -> None:
    on_gpu = [(rows.tolist(), wanted) for rows, wanted in full_batches(5, 2, "cuda:1")]
    assert on_gpu == [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]
    assert [(rows.tolist(), wanted) for rows, wanted in full_batches(3, 2, "cpu")] == [([0], 1), ([1], 1), ([2], 1)]
    assert list(full_batches(0, 2, "cuda")) == []
