"""The cache: keys, atomic writes and pruning."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from retalkit.errors import OutputError
from retalkit.storage.cache import Cache, CacheEntry, Folder, content_hash, make_key


def test_key_depends_on_all_parts() -> None:
    base = make_key("faces", "abc", {"use": "mediapipe", "max_faces": 4})
    assert base == make_key("faces", "abc", {"max_faces": 4, "use": "mediapipe"})
    assert base != make_key("faces", "abd", {"use": "mediapipe", "max_faces": 4})
    assert base != make_key("faces", "abc", {"use": "mediapipe", "max_faces": 5})
    assert base != make_key("lips", "abc", {"use": "mediapipe", "max_faces": 4})


def test_hash_depends_on_content_and_not_on_name(tmp_path: Path) -> None:
    for name, content in (("a", b"same"), ("b", b"same"), ("c", b"other")):
        (tmp_path / name).write_bytes(content)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b") != content_hash(tmp_path / "c")


def test_writes_are_atomic(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "entry")
    with pytest.raises(RuntimeError, match="killed"), folder.write("rows.npy") as path:
        path.write_bytes(b"partial")
        raise RuntimeError("killed")
    assert folder.path("rows.npy") is None
    assert list(folder.folder.iterdir()) == []
    with folder.write("rows.npy") as path:
        path.write_bytes(b"complete")
        assert folder.path("rows.npy") is None
    found = folder.path("rows.npy")
    assert found is not None and found.read_bytes() == b"complete"


def test_failed_rewrite_keeps_the_old_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with folder.write("x") as path:
        path.write_text("old")
    with pytest.raises(RuntimeError), folder.write("x") as path:
        path.write_text("incomplete")
        raise RuntimeError
    assert (tmp_path / "x").read_text() == "old"


def test_pruning_removes_least_recently_used_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for age, name in enumerate(("new", "middle", "old", "needed")):
        with cache.entry(name).write("data") as path:
            path.write_bytes(b"x" * 1000)
        os.utime(tmp_path / name, (1e9 - age * 1000, 1e9 - age * 1000))
    cache.prune(2500, keep={"needed"})
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["needed", "new"]


def test_unwritable_cache_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(OutputError, match="--cache") as error:
        Cache(tmp_path / "file" / "cache")
    assert error.value.code == "unwritable-cache"
    assert "\n" not in str(error.value)


def _as_directory(path: Path) -> None:
    path.unlink()
    (path / "inner").mkdir(parents=True)


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-3] + b"~" + path.read_bytes()[-2:]),
    "empty": lambda path: path.write_bytes(b""),
    "directory": _as_directory,
    "foreign": lambda path: path.write_bytes(b"other content"),
}


@pytest.mark.parametrize("name", ["rows.f32", "checksums.txt"])
@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damaged_file_is_absent_and_written_again(tmp_path: Path, damage: str, name: str) -> None:
    folder = tmp_path / "entry"
    for content in (b"first", b"second"):
        with CacheEntry(folder).write("rows.f32") as path:
            path.write_bytes(content)
        found = CacheEntry(folder).path("rows.f32")
        assert found is not None and found.read_bytes() == content
        DAMAGE[damage](folder / name)
        assert CacheEntry(folder).path("rows.f32") is None


def test_full_disk_is_reported_with_the_cache_directory(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="--cache") as error, Cache(tmp_path).entry("key").write("x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.code == "unwritable-cache" and str(tmp_path) in str(error.value)
