"""Files that are damaged or hold something odd: refused in one line, and never met again by the next call."""

from __future__ import annotations

import io
import random
import re

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError

from tests.core.weights import file_server as web
from tests.core.weights.web_place import CONTENT, KEPT, Place


def odd(kind: str) -> object:
    """Something that torch saves and no network of ours can take."""
    plain = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)}
    if kind == "quantised":
        return {**plain, "layer.bias": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)}
    weight: object = {
        "list": [1.0, 2.0],
        "sparse": torch.zeros(2, 3).to_sparse(),
        "complex": torch.zeros(2, 3, dtype=torch.complex64),
        "no memory": torch.zeros(2, 3, device="meta"),
    }[kind]
    return {**plain, "layer.weight": weight}


@pytest.mark.parametrize("kind", ["list", "sparse", "complex", "no memory", "quantised"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_is_no_array_of_numbers_leaves_nothing_and_the_next_call_comes_through(place: Place, kind: str) -> None:
    buffer = io.BytesIO()
    torch.save(odd(kind), buffer)
    place.server.answers = [web.sends(buffer.getvalue())]
    assert re.search("is no plain array of numbers|holds more than weights", place.refused(size=None, sha256=None))
    assert place.left() == set()
    place.pull()
    assert place.left() == KEPT


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore")
def test_no_damage_is_a_fault_of_the_program_or_stays(place: Place, new_format: bool) -> None:
    buffer = io.BytesIO()
    content = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)}
    torch.save(content, buffer, _use_new_zipfile_serialization=new_format)
    generator = random.Random(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(buffer.getvalue())
        start = generator.randrange(len(damaged))
        damaged[start : start + generator.randrange(1, 9)] = generator.randbytes(4)
        place.server.answers = [web.sends(bytes(damaged))]
        try:
            place.pull(size=None, sha256=None, accept=True)
        except WeightsError as error:
            refused += 1
            assert "\n" not in str(error)
        assert not {name for name in place.left() if name.startswith("downloads")}
    assert refused > 20


def test_a_zip_with_damaged_numbers_is_refused_where_no_hash_tells(place: Place) -> None:
    numbers = torch.arange(6.0).numpy().tobytes()
    damaged = CONTENT.replace(numbers, numbers[:8] + bytes(8) + numbers[16:])
    assert damaged != CONTENT and len(damaged) == len(CONTENT)
    place.server.always = web.sends(damaged)
    assert "is damaged" in place.refused(sha256=None)
    assert place.left() == set()
    assert place.store.pinned("tiny") is None
