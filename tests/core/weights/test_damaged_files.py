"""Damaged or unusual checkpoint files are rejected with one line and deleted."""

from __future__ import annotations

import io
import random

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError

from tests.core.weights import file_server as web
from tests.core.weights.pull_setup import CONTENT, INSTALLED, PullSetup


def invalid_state_dict(kind: str) -> object:
    """Return a state dict that torch can save and no network can load."""
    plain = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)}
    if kind == "quantised":
        return {**plain, "layer.bias": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)}
    weight: object = {
        "list": [1.0, 2.0],
        "sparse": torch.zeros(2, 3).to_sparse(),
        "complex": torch.zeros(2, 3, dtype=torch.complex64),
        "meta": torch.zeros(2, 3, device="meta"),
    }[kind]
    return {**plain, "layer.weight": weight}


@pytest.mark.parametrize("kind", ["list", "sparse", "complex", "meta", "quantised"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_value_that_is_not_a_plain_tensor_is_rejected(remote: PullSetup, kind: str) -> None:
    buffer = io.BytesIO()
    torch.save(invalid_state_dict(kind), buffer)
    remote.server.responses = [web.serve(buffer.getvalue())]
    with pytest.raises(WeightsError) as error:
        remote.pull(size=None, sha256=None)
    assert error.value.code in ("weights-mismatch", "unsafe-checkpoint")
    assert remote.files() == set()
    remote.pull()
    assert remote.files() == INSTALLED


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore")
def test_random_damage_is_a_user_error_and_leaves_no_files(remote: PullSetup, new_format: bool) -> None:
    buffer = io.BytesIO()
    content = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)}
    torch.save(content, buffer, _use_new_zipfile_serialization=new_format)
    generator = random.Random(0)
    rejected = 0
    for _ in range(60):
        damaged = bytearray(buffer.getvalue())
        start = generator.randrange(len(damaged))
        damaged[start : start + generator.randrange(1, 9)] = generator.randbytes(4)
        remote.server.responses = [web.serve(bytes(damaged))]
        try:
            remote.pull(size=None, sha256=None, accept=True)
        except WeightsError as error:
            rejected += 1
            assert "\n" not in str(error)
        assert not {name for name in remote.files() if name.startswith("downloads")}
    assert rejected > 20


def test_damaged_tensor_data_is_detected_without_a_hash(remote: PullSetup) -> None:
    numbers = torch.arange(6.0).numpy().tobytes()
    damaged = CONTENT.replace(numbers, numbers[:8] + bytes(8) + numbers[16:])
    assert damaged != CONTENT and len(damaged) == len(CONTENT)
    remote.server.always = web.serve(damaged)
    assert "is damaged" in remote.pull_error("unreadable-file", sha256=None)
    assert remote.files() == set()
    assert remote.store.pinned_hash("tiny") is None
