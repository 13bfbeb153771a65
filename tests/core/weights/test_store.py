"""The store of checkpoints: accepted files, rejected files, and no files left after an error."""

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
from retalkit.weights.describe import missing_weights
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
    strip_from_names="module.",
    ignore_names=("^low_res",),
)


def parameters() -> dict[str, Any]:
    return {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([7.0, 8.0])}


@pytest.fixture
def store(tmp_path: Path) -> WeightStore:
    return WeightStore(tmp_path / "store")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "Tiny.pth"


def is_empty(store: WeightStore) -> bool:
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
def test_wrappers_of_published_files_are_removed(wrapped: Any, store: WeightStore, file: Path) -> None:
    torch.save(wrapped(parameters()), file)
    stored = store.add(TINY, file)
    for name, value in load_file(stored).items():
        assert torch.equal(value, parameters()[name])
    assert store.path("tiny") == stored
    assert store.record("tiny").file_sha256 == file_hash(file)
    assert store.verify(TINY) is None


def test_tensors_that_share_memory_are_stored(store: WeightStore, file: Path) -> None:
    whole = torch.arange(6.0)
    torch.save({"params": {"layer.weight": whole.reshape(2, 3), "layer.bias": whole[:2]}}, file)
    assert load_file(store.add(TINY, file))["layer.bias"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda given: given.pop("layer.bias"), "missing layer.bias"),
        (lambda given: given.update({"other.weight": torch.zeros(1)}), "unexpected other.weight"),
        (lambda given: given.update({"layer.bias": torch.zeros(3)}), r"layer.bias \[3\], expected \[2\]"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_weights_of_another_network_are_rejected(change: Any, fact: str, store: WeightStore, file: Path) -> None:
    given = parameters()
    change(given)
    torch.save({"params": given}, file)
    with pytest.raises(WeightsError, match=fact) as error:
        store.add(TINY, file)
    assert error.value.code == "weights-mismatch"
    assert "\n" not in str(error.value)
    assert is_empty(store)


def test_batch_counts_missing_in_old_files_are_added(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    stored = store.add(replace(TINY, shapes="tests.core.weights.tiny_network:normed_shapes"), file)
    assert load_file(stored)["norm.num_batches_tracked"].item() == 0


class Attack:
    """Content of a malicious checkpoint: unpickling it runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_checkpoint_that_would_run_code_is_rejected(how: str, tmp_path: Path, store: WeightStore, file: Path) -> None:
    proof = tmp_path / "it_ran"
    content = {"params": {**parameters(), "extra": Attack(f"touch {proof}")}}
    if how == "torch":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps({"params": Attack(f"touch {proof}")}))
    with pytest.raises(WeightsError) as error:
        store.add(TINY, file)
    # torch.load rejects a plain pickle for its format, before it looks at the content.
    assert error.value.code == ("unsafe-checkpoint" if how == "torch" else "unreadable-file")
    assert ("could run code" in str(error.value)) == (how == "torch")
    assert not proof.exists()
    assert is_empty(store)


def test_truncated_and_unrelated_files_are_rejected(store: WeightStore, file: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"params": parameters()}, buffer)
    for content in (buffer.getvalue()[: len(buffer.getvalue()) // 2], b"<html>not found</html>", b""):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"Tiny\.pth") as error:
            store.add(TINY, file)
        assert error.value.code == "unreadable-file" and "\n" not in str(error.value)
    bad = tmp_path / "tiny.safetensors"
    bad.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        store.add(TINY, bad)
    with pytest.raises(WeightsError, match="cannot be read"):
        store.add(TINY, tmp_path / "absent.pth")
    torch.save([1, 2], file)
    with pytest.raises(WeightsError, match="got list"):
        store.add(TINY, file)
    assert is_empty(store)


def test_file_with_another_hash_than_the_published_is_rejected(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(replace(TINY, sha256=file_hash(file)[:8]), file)
    with pytest.raises(WeightsError, match="not the published Tiny.pth") as error:
        store.add(replace(TINY, sha256="0" * 64), file)
    assert error.value.code == "hash-mismatch"
    assert store.verify(TINY) is None


def test_safetensors_files_and_files_with_a_reader_are_imported(store: WeightStore, tmp_path: Path) -> None:
    ready = tmp_path / "mine.safetensors"
    save_file(parameters(), ready)
    store.add(replace(TINY, sha256="0" * 64), ready)
    text = tmp_path / "tiny.txt"
    text.write_text("0 1 2 3 4 5 7 8", encoding="utf-8")
    reader = replace(TINY, name="custom", reader="tests.core.weights.tiny_network:read_text")
    stored = load_file(store.add(reader, text))
    assert stored["layer.bias"].tolist() == [7.0, 8.0]
    text.write_text("no numbers", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"tiny\.txt: not a valid Tiny\.pth"):
        read_checkpoint(text, reader)


def test_modified_file_in_the_store_is_detected(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    stored = store.add(TINY, file)
    save_file({**parameters(), "layer.bias": torch.zeros(2)}, stored)
    assert "modified since it was imported" in (store.verify(TINY) or "")
    assert store.verify(replace(TINY, name="absent")) == "not in the store"


def test_message_for_missing_weights_names_file_and_commands() -> None:
    text = missing_weights(["tiny"], [TINY])
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


def test_message_for_several_missing_weights_has_one_command() -> None:
    text = missing_weights(["tiny", "second", "undeclared"], [TINY, replace(TINY, name="second")], Path("/store"))
    assert "retalkit weights pull tiny second undeclared" in text and "/store" in text
    assert text.count("123 MB") == 2
    names = ["tiny", "second", "third", "fourth"]
    text = missing_weights(names, [replace(TINY, name=name) for name in names])
    assert "4 checkpoints" in text and "492 MB" in text and "licence:" not in text
    text = missing_weights(["undeclared"])
    assert "undeclared" in text and "`retalkit weights pull undeclared`" in text


def test_message_for_missing_weights_without_url_does_not_suggest_pull() -> None:
    text = missing_weights(["tiny"], [replace(TINY, urls=())])
    assert "publisher" in text and "weights import Tiny.pth --as tiny" in text and "weights pull" not in text


def test_verify_compares_with_published_and_pinned_hashes(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(TINY, file)
    assert store.verify(TINY) is None
    assert "not the published Tiny.pth" in (store.verify(replace(TINY, sha256="0" * 64)) or "")
    store.pin_file.write_text(json.dumps({"tiny": "0" * 64}), encoding="utf-8")
    assert "not the Tiny.pth that was imported first" in (store.verify(TINY) or "")


def test_damaged_record_is_reported_and_fixed_by_a_new_import(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(TINY, file)
    (store.folder / "tiny.json").write_text("{", encoding="utf-8")
    assert "pull or import the weights 'tiny' again with --force" in (store.verify(TINY) or "")
    store.add(TINY, file)
    assert store.verify(TINY) is None


def test_hash_of_a_modified_file_is_an_error(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    stored = store.add(TINY, file)
    assert store.sha256("tiny") == file_hash(stored)
    stored.touch()
    assert store.sha256("tiny") == file_hash(stored)
    save_file({**parameters(), "layer.bias": torch.zeros(2)}, stored)
    with pytest.raises(WeightsError, match="modified since it was imported") as error:
        store.sha256("tiny")
    assert error.value.code == "modified-weights"


def test_full_disk_leaves_the_store_unchanged(store: WeightStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_leftovers_of_a_killed_import_are_deleted(store: WeightStore, file: Path) -> None:
    torch.save({"params": parameters()}, file)
    store.add(TINY, file)
    (store.folder / ".tiny.safetensors.0123abcd").write_bytes(bytes(9))
    store.add(TINY, file)
    assert not list(store.folder.glob(".tiny*"))


def test_stored_files_have_default_permissions(store: WeightStore, file: Path, tmp_path: Path) -> None:
    torch.save({"params": parameters()}, file)
    plain = tmp_path / "plain"
    plain.touch()
    assert store.add(TINY, file).stat().st_mode == plain.stat().st_mode


def test_parameter_names_must_stay_unique(store: WeightStore, file: Path) -> None:
    torch.save({"params": {**parameters(), "module.layer.bias": torch.zeros(2)}}, file)
    with pytest.raises(WeightsError, match=r"layer\.bias occurs twice"):
        store.add(TINY, file)


def test_concurrent_imports_keep_all_pins(store: WeightStore, file: Path, tmp_path: Path) -> None:
    torch.save({"params": parameters()}, file)
    names = [f"tiny{number}" for number in range(12)]

    def add(name: str) -> None:
        WeightStore(store.folder).add(replace(TINY, name=name), file)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, names))
    assert [store.pinned_hash(name) for name in names] == [file_hash(file)] * len(names)


def test_every_published_file_has_a_size_or_lower_bound() -> None:
    for checkpoint in discover().checkpoints:
        if not checkpoint.shapes:
            continue
        parameters = sum(4 * prod(shape) for shape in checkpoint.expected_shapes().values())
        assert (checkpoint.size is None) != (checkpoint.min_size is None), checkpoint.name
        # Some files also contain a second network or a classifier.
        assert (checkpoint.size or checkpoint.min_size or 0) >= parameters, checkpoint.name
