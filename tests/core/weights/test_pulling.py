"""Where checkpoints come from: pins, mirrors, proxies, no network, zip files, and files that no network loads."""

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
from retalkit.weights.sources import addresses, taken_out

from tests.core.weights import file_server as web
from tests.core.weights.web_place import (
    CONTENT,
    HALF,
    HURRIED,
    KEPT,
    OTHER,
    SHA256,
    Place,
)

# ---------------------------------------------------------------------- pins


def test_where_no_hash_was_published_the_first_file_counts(place: Place) -> None:
    place.pull(sha256=None)
    assert json.loads(place.store.lock_file.read_text(encoding="utf-8")) == {"tiny": SHA256}
    place.server.content = OTHER
    other = hashlib.sha256(OTHER).hexdigest()
    before = place.left()
    said = place.refused(sha256=None)
    assert SHA256 in said and other in said and "--accept-new" in said
    assert place.left() == before and place.store.stored("tiny").file_sha256 == SHA256
    place.pull(sha256=None, accept=True)
    assert place.store.pinned("tiny") == other and place.store.stored("tiny").file_sha256 == other


def test_imports_are_held_to_the_pin_too(place: Place, tmp_path: Path) -> None:
    place.pull(sha256=None)
    file = tmp_path / "Tiny.pth"
    file.write_bytes(OTHER)
    with pytest.raises(WeightsError, match="is another Tiny.pth than the one that came first"):
        place.store.add(replace(place.tiny, sha256=None), file)


def test_a_published_hash_is_not_pinned_and_not_forced(place: Place) -> None:
    place.pull()
    assert not place.store.lock_file.exists()
    place.server.content = OTHER
    with pytest.raises(WeightsError, match="is not the published"):
        place.pull(accept=True)


# ---------------------------------------------------------------------- mirrors, proxies, offline


def test_mirrors_come_first_and_a_bad_one_does_not_stop_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETALKIT_MIRRORS", f"{place.server.address}/bad/, {place.server.address}/empty")
    place.home.mkdir()
    (place.home / "mirrors.txt").write_text(f"# ours\n{place.server.address}/file\n\n", encoding="utf-8")
    place.server.answers = [web.sends(OTHER), web.fails(404), web.fails(404)]
    place.pull()
    assert place.server.paths == ["/bad/Tiny.pth", "/empty/Tiny.pth", "/file/Tiny.pth", "/Tiny.pth"]
    assert place.left() == KEPT | {"mirrors.txt"}


def test_a_wrong_mirror_is_named_with_where_it_stands(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETALKIT_MIRRORS", "mirror.example")
    assert "RETALKIT_MIRRORS: 'mirror.example' is no address of a mirror" in place.refused()


def test_a_mirror_that_failed_does_not_cost_what_another_address_gave(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.cut_once()
    monkeypatch.setenv("RETALKIT_MIRRORS", f"{place.server.address}/empty")
    place.server.answers = [web.fails(404)]
    place.pull()
    assert place.server.ranges == [None, f"bytes={HALF}-"]


def test_the_proxy_of_the_environment_is_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", place.server.address)
    place.pull(urls=("http://weights.example/Tiny.pth",))
    assert place.server.paths == ["http://weights.example/Tiny.pth"]


@pytest.mark.parametrize("value", ["1", "yes"])
def test_offline_means_no_connection(place: Place, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RETALKIT_OFFLINE", value)
    said = place.refused()
    assert "RETALKIT_OFFLINE is set" in said and "retalkit weights import Tiny.pth --as tiny" in said
    assert place.server.paths == []


# ---------------------------------------------------------------------- zip files, and files that are only kept


def zipped(*names: str, content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("inside", ["Tiny.pth", "some/folder/Tiny.pth", "../../Tiny.pth", "/etc/Tiny.pth"])
def test_a_member_of_a_zip_is_read_and_never_put_where_the_zip_says(place: Place, inside: str) -> None:
    place.server.content = zipped("readme.txt", inside)
    place.pull(urls=(f"{place.server.address}/All.zip#Tiny.pth",))
    assert place.server.paths == ["/All.zip"]
    assert place.left() == KEPT
    assert place.store.stored("tiny").file == "Tiny.pth"
    assert {path.name for path in place.home.parent.iterdir()} == {"home"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped("readme.txt"), "holds no Tiny.pth"),
        (zipped("a/Tiny.pth", "b/Tiny.pth"), "holds more than one Tiny.pth"),
        (b"no zip", "is no zip file"),
        (zipped("Tiny.pth", content=OTHER + b"\0"), "the published one"),
        (zipped("Tiny.pth", content=OTHER), "is not the published Tiny.pth"),
    ],
    ids=["absent", "two", "no zip", "length", "hash"],
)
def test_a_zip_with_something_else_leaves_nothing(place: Place, content: bytes, said: str) -> None:
    place.server.content = content
    assert said in place.refused(urls=(f"{place.server.address}/All.zip#Tiny.pth",))
    assert place.left() == set()


def test_a_mirror_may_have_the_file_or_the_zip(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETALKIT_MIRRORS", "https://mirror.example/w")
    found = addresses(replace(place.tiny, urls=("https://a.example/Tiny.pth", "https://a.example/All.zip#Tiny.pth")))
    assert [(address.url, address.member) for address in found] == [
        ("https://mirror.example/w/Tiny.pth", ""),
        ("https://mirror.example/w/All.zip", "Tiny.pth"),
        ("https://a.example/Tiny.pth", ""),
        ("https://a.example/All.zip", "Tiny.pth"),
    ]


def test_a_damaged_member_is_found(place: Place, tmp_path: Path) -> None:
    content = bytearray(zipped("Tiny.pth"))
    content[60:80] = bytes(20)
    archive = tmp_path / "All.zip"
    archive.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="damaged"), taken_out(archive, "Tiny.pth", place.tiny, tmp_path / "out"):
        pass
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_no_network_loads_is_kept_as_it_is(place: Place) -> None:
    place.server.content = b"only bytes"
    other = replace(place.tiny, file="other.dat", shapes="", size=10, sha256=None)
    kept = pull(other, place.store, place.listener, patience=HURRIED)
    assert kept == place.home / "weights" / "tiny.dat" and kept.read_bytes() == b"only bytes"
    assert place.store.has(other) and place.store.path("tiny") == kept
    assert place.store.verify(other) is None
    kept.write_bytes(b"other bytes")
    assert "not what was put in" in (place.store.verify(other) or "")
