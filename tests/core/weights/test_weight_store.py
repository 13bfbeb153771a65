"""The store of checkpoints: what comes in, what is refused, and that nothing bad is left behind."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.plugins.discovery import discover
from retalkit.weights.checkpoint import Checkpoint
from retalkit.weights.describe import how_to_get
from retalkit.weights.load import read_checkpoint
from retalkit.weights.locks import FolderError
from retalkit.weights.store import WeightStore, file_hash
from safetensors.torch import load_file, save_file

TINY = Checkpoint(
    name="tiny",
    summary="for a test",
    file="Tiny.pth",
    urls=("https://example.org/Tiny.pth",),
    licence="Apache-2.0",
    commercial_use=True,
    shapes="tests.core.weights.tiny_network:shapes",
    size=123_000_000,
    entries=("params_ema", "params"),
    removed="module.",
    dropped=("^low_res",),
)


def parameters() -> dict[str, Any]:
    return {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([7.0, 8.0])}


@pytest.fixture
def store(tmp_path: Path) -> WeightStore:
    return WeightStore(tmp_path / "store")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "Tiny.pth"


def nothing_left(store: WeightStore) -> bool:
    return not store.folder.exists() or not list(store.folder.iterdir())


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda given: given,
        lambda given: {"params": given, "epoch": 3},
        lambda given: {"params": {"layer.weight": torch.zeros(1)}, "params_ema": given},
        lambda given: {"params": {f"module.{name}": value for name, value in given.items()}},
        lambda given: {"params": {**given, "low_res.module.first": torch.zeros(5)}, "optimizer": {"lr": 0.1}},
    ],
    ids=["bare", "entry", "first-entry", "prefix", "dropped"],
)
def test_published_wrappers_are_taken_off(wrapped: Any, store: WeightStore, file: Path) -> None:
    torch.save(wrapped(parameters()), file)
    kept = store.add(TINY, file)
    for name, value in load_file(kept).items():
        assert torch.equal(value, parameters()[name])
    assert store.path("tiny") == kept
    assert store.stored("tiny").file_sha256 == file_hash(file)
    assert store.verify(TINY) is None


def test_tensors_that_share_memory_are_kept(store: WeightStore, file: Path) -> None:
    whole = torch.arange(6.0)
    torch.save({"params": {"layer.weight": whole.reshape(2, 3), "layer.bias": whole[:2]}}, file)
    assert load_file(store.add(TINY, file))["layer.bias"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda given: given.pop("layer.bias"), "lacks layer.bias"),
        (lambda given: given.update({"other.weight": torch.zeros(1)}), "has besides other.weight"),
        (lambda given: given.update({"layer.bias": torch.zeros(3)}), r"layer.bias \[3\] for \[2\]"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_a_network_takes_its_own_weights_only(change: Any, said: str, store: WeightStore, file: Path) -> None:
    given = parameters()
    change(given)
    torch.save({"params": given}, file)
    with pytest.raises(WeightsError, match=said) as error:
        store.add(TINY, file)
    assert "\n" not in str(error.value)
    assert nothing_left(store)


def test_old_files_without_counts_of_batches_fit(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    kept = store.add(replace(TINY, shapes="tests.core.weights.tiny_network:normed_shapes"), file)
    assert load_file(kept)["norm.num_batches_tracked"].item() == 0


class Attack:
    """What a hostile checkpoint holds: unpickling it would run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_checkpoint_that_would_run_code_is_refused(how: str, tmp_path: Path, store: WeightStore, file: Path) -> None:
    proof = tmp_path / "it_ran"
    content = {"params": {**parameters(), "extra": Attack(f"touch {proof}")}}
    if how == "torch":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps({"params": Attack(f"touch {proof}")}))
    with pytest.raises(WeightsError, match="could run code|no file of weights"):
        store.add(TINY, file)
    assert not proof.exists()
    assert nothing_left(store)


def test_cut_off_and_foreign_files_are_named(store: WeightStore, file: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"params": parameters()}, buffer)
    for content in (buffer.getvalue()[: len(buffer.getvalue()) // 2], b"<html>not found</html>", b""):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"Tiny\.pth") as error:
            store.add(TINY, file)
        assert "\n" not in str(error.value)
    bad = tmp_path / "tiny.safetensors"
    bad.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no safetensors file"):
        store.add(TINY, bad)
    with pytest.raises(WeightsError, match="cannot be read"):
        store.add(TINY, tmp_path / "absent.pth")
    torch.save([1, 2], file)
    with pytest.raises(WeightsError, match="holds list"):
        store.add(TINY, file)
    assert nothing_left(store)


def test_another_file_than_the_published_one_is_refused(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(replace(TINY, sha256=file_hash(file)[:8]), file)
    with pytest.raises(WeightsError, match="not the published Tiny.pth"):
        store.add(replace(TINY, sha256="0" * 64), file)
    assert store.verify(TINY) is None


def test_safetensors_and_other_files_come_in_too(store: WeightStore, tmp_path: Path) -> None:
    ready = tmp_path / "mine.safetensors"
    save_file(parameters(), ready)
    store.add(replace(TINY, sha256="0" * 64), ready)
    text = tmp_path / "tiny.txt"
    text.write_text("0 1 2 3 4 5 7 8", encoding="utf-8")
    reader = replace(TINY, name="told", reader="tests.core.weights.tiny_network:read_text")
    kept = load_file(store.add(reader, text))
    assert kept["layer.bias"].tolist() == [7.0, 8.0]
    text.write_text("no numbers", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"tiny\.txt: is no Tiny\.pth"):
        read_checkpoint(text, reader)


def test_a_changed_file_in_the_store_is_found(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    kept = store.add(TINY, file)
    save_file({**parameters(), "layer.bias": torch.zeros(2)}, kept)
    assert "not what was put in" in (store.verify(TINY) or "")
    assert store.verify(replace(TINY, name="absent")) == "is not there"


def test_what_is_missing_is_said_with_the_way_to_get_it() -> None:
    text = how_to_get(TINY)
    for part in (
        "Tiny.pth",
        "123 MB",
        "Apache-2.0",
        "commercial use: allowed",
        "retalkit weights pull tiny",
        "weights import",
        "https://example.org",
    ):
        assert part in text


def test_what_is_kept_is_held_to_the_hashes_that_are_known(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(TINY, file)
    assert store.verify(TINY) is None
    assert "not the published Tiny.pth" in (store.verify(replace(TINY, sha256="0" * 64)) or "")
    store.lock_file.write_text(json.dumps({"tiny": "0" * 64}), encoding="utf-8")
    assert "another Tiny.pth than the one that came first" in (store.verify(TINY) or "")


def test_a_damaged_note_makes_its_own_weights_bad_and_can_be_mended(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(TINY, file)
    (store.folder / "tiny.json").write_text("{", encoding="utf-8")
    assert "pull or import the weights 'tiny' again with --force" in (store.verify(TINY) or "")
    store.add(TINY, file)
    assert store.verify(TINY) is None


def test_a_run_is_not_told_the_old_hash_of_a_changed_file(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    kept = store.add(TINY, file)
    assert store.content("tiny") == file_hash(kept)
    kept.touch()
    assert store.content("tiny") == file_hash(kept)
    save_file({**parameters(), "layer.bias": torch.zeros(2)}, kept)
    with pytest.raises(WeightsError, match="is not what was put in"):
        store.content("tiny")


def test_a_disk_that_is_full_leaves_what_was_there(
    store: WeightStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"params": parameters()}, file)
    store.add(TINY, file)
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    torch.save({"params": {**parameters(), "layer.bias": torch.zeros(2)}}, file)
    real = Path.write_text

    def full(path: Path, *args: Any, **options: Any) -> int:
        if path.name.startswith(".tiny.json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FolderError, match="No space left"):
        store.add(TINY, file, accept=True)
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before


def test_what_a_killed_call_left_goes_with_the_next_one(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(TINY, file)
    (store.folder / ".tiny.safetensors.0123abcd").write_bytes(bytes(9))
    store.add(TINY, file)
    assert not list(store.folder.glob(".tiny*"))


def test_others_may_read_what_is_kept(store: WeightStore, file: Path, tmp_path: Path) -> None:
    torch.save({"params": parameters()}, file)
    plain = tmp_path / "plain"
    plain.touch()
    assert store.add(TINY, file).stat().st_mode == plain.stat().st_mode


def test_names_that_become_one_are_refused(store: WeightStore, file: Path) -> None:
    torch.save({"params": {**parameters(), "module.layer.bias": torch.zeros(2)}}, file)
    with pytest.raises(WeightsError, match=r"has layer\.bias twice"):
        store.add(TINY, file)


def test_pins_of_two_processes_are_all_kept(store: WeightStore, file: Path, tmp_path: Path) -> None:
    torch.save({"params": parameters()}, file)
    names = [f"tiny{number}" for number in range(12)]

    def add(name: str) -> None:
        WeightStore(store.folder).add(replace(TINY, name=name), file)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, names))
    assert [store.pinned(name) for name in names] == [file_hash(file)] * len(names)


def test_every_published_file_has_a_size_that_can_be_told() -> None:
    """Exactly, or by the parameters that are known to be in it."""
    for checkpoint in discover().checkpoints:
        if not checkpoint.shapes:
            continue
        parameters = sum(4 * prod(shape) for shape in checkpoint.expected_shapes().values())
        assert (checkpoint.size is None) != (checkpoint.least_size is None), checkpoint.name
        # Files that hold a second network, or a classifier, beside ours are larger than what we read of them.
        assert (checkpoint.size or checkpoint.least_size or 0) >= parameters, checkpoint.name
