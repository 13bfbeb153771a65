"""Sources of checkpoints: pins, mirrors, proxies, offline mode, zip archives, and files that no network loads."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

from retalkit.errors import WeightsError
from retalkit.weights.pull import pull
from retalkit.weights.sources import addresses, extract_member

from tests.core.weights import file_server as web
from tests.core.weights.pull_setup import (
    CONTENT,
    FAST_RETRY,
    HALF,
    INSTALLED,
    OTHER,
    SHA256,
    PullSetup,
)

# ---------------------------------------------------------------------- pins


def test_first_file_is_pinned_if_no_hash_was_published(remote: PullSetup) -> None:
    remote.pull(sha256=None)
    assert json.loads(remote.store.pin_file.read_text(encoding="utf-8")) == {"tiny": SHA256}
    remote.server.content = OTHER
    other = hashlib.sha256(OTHER).hexdigest()
    before = remote.files()
    message = remote.pull_error("pin-mismatch", sha256=None)
    assert SHA256 in message and other in message and "--accept-new" in message
    assert remote.files() == before and remote.store.record("tiny").file_sha256 == SHA256
    remote.pull(sha256=None, accept=True)
    assert remote.store.pinned_hash("tiny") == other and remote.store.record("tiny").file_sha256 == other


def test_imported_file_must_match_the_pin(remote: PullSetup, tmp_path: Path) -> None:
    remote.pull(sha256=None)
    file = tmp_path / "Tiny.pth"
    file.write_bytes(OTHER)
    with pytest.raises(WeightsError, match="not the Tiny.pth that was imported first") as error:
        remote.store.add(replace(remote.tiny, sha256=None), file)
    assert error.value.code == "pin-mismatch"


def test_published_hash_is_not_pinned_and_cannot_be_overridden(remote: PullSetup) -> None:
    remote.pull()
    assert not remote.store.pin_file.exists()
    remote.server.content = OTHER
    remote.pull_error("hash-mismatch", accept=True)


# ---------------------------------------------------------------------- mirrors, proxies, offline


def test_mirrors_are_tried_first_and_failures_skip_to_the_next(
    remote: PullSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETALKIT_MIRRORS", f"{remote.server.address}/bad/, {remote.server.address}/empty")
    remote.home.mkdir()
    (remote.home / "mirrors.txt").write_text(f"# ours\n{remote.server.address}/file\n\n", encoding="utf-8")
    remote.server.responses = [web.serve(OTHER), web.fail(404), web.fail(404)]
    remote.pull()
    assert remote.server.paths == ["/bad/Tiny.pth", "/empty/Tiny.pth", "/file/Tiny.pth", "/Tiny.pth"]
    assert remote.files() == INSTALLED | {"mirrors.txt"}


def test_invalid_mirror_is_reported_with_its_source(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETALKIT_MIRRORS", "mirror.example")
    assert "RETALKIT_MIRRORS: invalid mirror 'mirror.example'" in remote.pull_error("invalid-mirror")


def test_failed_mirror_keeps_the_partial_file_of_another_url(
    remote: PullSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.interrupt_pull()
    monkeypatch.setenv("RETALKIT_MIRRORS", f"{remote.server.address}/empty")
    remote.server.responses = [web.fail(404)]
    remote.pull()
    assert remote.server.ranges == [None, f"bytes={HALF}-"]


def test_unusable_proxy_is_one_error(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://proxy.example")
    assert "gopher" in remote.pull_error("invalid-proxy")
    assert remote.server.paths == []


def test_proxy_of_the_environment_is_used(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", remote.server.address)
    remote.pull(urls=("http://weights.example/Tiny.pth",))
    assert remote.server.paths == ["http://weights.example/Tiny.pth"]


@pytest.mark.parametrize("value", ["1", "yes"])
def test_offline_mode_opens_no_connection(remote: PullSetup, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RETALKIT_OFFLINE", value)
    message = remote.pull_error("offline")
    assert "RETALKIT_OFFLINE is set" in message and "retalkit weights import Tiny.pth --as tiny" in message
    assert remote.server.paths == []


# ---------------------------------------------------------------------- zip archives, and files stored as published


def zipped(*names: str, content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("inside", ["Tiny.pth", "some/folder/Tiny.pth", "../../Tiny.pth", "/etc/Tiny.pth"])
def test_archive_member_is_never_extracted_to_its_path_in_the_archive(remote: PullSetup, inside: str) -> None:
    remote.server.content = zipped("readme.txt", inside)
    remote.pull(urls=(f"{remote.server.address}/All.zip#Tiny.pth",))
    assert remote.server.paths == ["/All.zip"]
    assert remote.files() == INSTALLED
    assert remote.store.record("tiny").file == "Tiny.pth"
    assert {path.name for path in remote.home.parent.iterdir()} == {"home"}


@pytest.mark.parametrize(
    ("content", "code", "fact"),
    [
        (zipped("readme.txt"), "missing-member", "does not contain Tiny.pth"),
        (zipped("a/Tiny.pth", "b/Tiny.pth"), "ambiguous-member", "more than one Tiny.pth"),
        (b"no zip", "unreadable-file", "not a zip archive"),
        (zipped("Tiny.pth", content=OTHER + b"\0"), "size-mismatch", f"got {len(OTHER) + 1}"),
        (zipped("Tiny.pth", content=OTHER), "hash-mismatch", "not the published Tiny.pth"),
    ],
    ids=["missing", "two", "no zip", "length", "hash"],
)
def test_invalid_archive_leaves_no_files(remote: PullSetup, content: bytes, code: str, fact: str) -> None:
    remote.server.content = content
    assert fact in remote.pull_error(code, urls=(f"{remote.server.address}/All.zip#Tiny.pth",))
    assert remote.files() == set()


def test_mirror_may_have_the_file_or_the_archive(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETALKIT_MIRRORS", "https://mirror.example/w")
    found = addresses(replace(remote.tiny, urls=("https://a.example/Tiny.pth", "https://a.example/All.zip#Tiny.pth")))
    assert [(address.url, address.member) for address in found] == [
        ("https://mirror.example/w/Tiny.pth", ""),
        ("https://mirror.example/w/All.zip", "Tiny.pth"),
        ("https://a.example/Tiny.pth", ""),
        ("https://a.example/All.zip", "Tiny.pth"),
    ]


def test_damaged_archive_member_is_detected(remote: PullSetup, tmp_path: Path) -> None:
    content = bytearray(zipped("Tiny.pth"))
    content[60:80] = bytes(20)
    archive = tmp_path / "All.zip"
    archive.write_bytes(bytes(content))
    with (
        pytest.raises(WeightsError, match="damaged"),
        extract_member(archive, "Tiny.pth", remote.tiny, tmp_path / "out"),
    ):
        pass
    assert not list((tmp_path / "out").iterdir())


def test_file_that_no_network_loads_is_stored_as_published(remote: PullSetup) -> None:
    remote.server.content = b"only bytes"
    other = replace(remote.tiny, file="other.dat", shapes="", size=10, sha256=None)
    file = pull(other, remote.store, remote.observer, retry=FAST_RETRY)
    assert file == remote.home / "weights" / "tiny.dat" and file.read_bytes() == b"only bytes"
    assert remote.store.has(other) and remote.store.path("tiny") == file
    assert remote.store.verify(other) is None
    file.write_bytes(b"other bytes")
    assert "modified since it was imported" in (remote.store.verify(other) or "")
