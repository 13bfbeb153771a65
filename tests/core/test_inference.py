"""What every stage with a network does alike."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="networks need the extra: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.inference import full_batches, load_weights, noise_generator, slices
from safetensors.torch import save_file


def test_weights_that_are_damaged_missing_or_others_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tiny.safetensors"
    save_file({"weight": torch.zeros(2, 3), "bias": torch.ones(2)}, file)
    assert load_weights(torch.nn.Linear(3, 2), file).bias.tolist() == [1.0, 1.0]
    content = file.read_bytes()
    for damaged in (content[:40], b"", b"no weights"):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"tiny\.safetensors: cannot be read .*'tiny' again") as error:
            load_weights(torch.nn.Linear(3, 2), file)
        assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(torch.nn.Linear(3, 2), file)
    save_file({"weight": torch.zeros(2, 3)}, file)
    with pytest.raises(WeightsError, match="does not fit the network: .*bias") as error:
        load_weights(torch.nn.Linear(3, 2), file)
    assert "\n" not in str(error.value)


def test_noise_belongs_to_seed_and_frame() -> None:
    def drawn(seed: int, index: int) -> torch.Tensor:
        return torch.randn(4, generator=noise_generator(seed, index))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert torch.equal(drawn(1, 2), drawn(1, 2))
    assert not torch.equal(drawn(1, 2), drawn(1, 3)) and not torch.equal(drawn(1, 2), drawn(2, 2))
    assert torch.equal(torch.get_rng_state(), before)


def test_slices_cover_everything_once() -> None:
    assert [list(range(7))[part] for part in slices(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(slices(0, 3)) == []


def test_calls_are_always_full_and_a_processor_takes_one_row() -> None:
    on_card = [(rows.tolist(), wanted) for rows, wanted in full_batches(5, 2, "cuda:1")]
    assert on_card == [([0, 1], 2), ([2, 3], 2), ([4, 4], 1)]
    assert [(rows.tolist(), wanted) for rows, wanted in full_batches(3, 2, "cpu")] == [([0], 1), ([1], 1), ([2], 1)]
    assert list(full_batches(0, 2, "cuda")) == []
