"""Checkpoints from a web server with every fault: what comes in, what is said, and what is left on disk."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
import urllib.request
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

from retalkit.weights import download as downloading
from retalkit.weights.download import AddressError
from retalkit.weights.locks import FolderError
from retalkit.weights.pull import pull

from tests.core.weights import file_server as web
from tests.core.weights.web_place import (
    CONTENT,
    HALF,
    HALF_KEPT,
    HURRIED,
    KEPT,
    OTHER,
    SHA256,
    Listener,
    Place,
)


def test_a_file_comes_is_checked_and_leaves_nothing_but_the_store(place: Place) -> None:
    kept = place.pull()
    assert kept == place.store.path("tiny") and place.store.verify(place.tiny) is None
    assert place.left() == KEPT
    assert place.store.stored("tiny").file_sha256 == SHA256
    assert place.listener.steps == [("download tiny", 1)]


# ---------------------------------------------------------------------- what passes


@pytest.mark.parametrize("fault", [web.cut(HALF), web.stall(HALF)], ids=["cut", "stalled"])
def test_it_goes_on_where_the_connection_ended(place: Place, fault: web.Answer) -> None:
    place.server.answers = [fault]
    place.pull()
    assert place.server.ranges == [None, f"bytes={HALF}-"]
    assert place.left() == KEPT
    assert any("tries again from" in note for note in place.listener.notes)


def test_a_later_call_goes_on_where_an_earlier_one_ended(place: Place) -> None:
    place.cut_once()
    place.pull()
    assert place.server.ranges == [f"bytes={HALF}-"]
    assert place.left() == KEPT
    assert any("goes on at" in note for note in place.listener.notes)


def test_many_cuts_are_no_reason_to_give_up_while_something_comes(place: Place) -> None:
    place.server.answers = [web.cut(len(CONTENT) // 20) for _ in range(10)]
    place.pull()
    assert len(place.server.ranges) == 11


def test_a_server_without_tags_is_gone_on_with_by_length_where_the_hash_is_known(place: Place) -> None:
    place.server.tag = None
    place.server.answers = [web.cut(HALF)]
    place.pull()
    assert place.server.ranges == [None, f"bytes={HALF}-"]


def test_two_files_of_one_length_are_not_joined_where_no_hash_is_known(place: Place) -> None:
    place.server.tag = None
    place.server.answers = [web.cut(HALF), web.fails(404)]
    place.refused(sha256=None)
    place.server.content = OTHER
    place.server.ranges.clear()
    place.pull(sha256=None)
    assert place.server.ranges == [None]
    assert place.store.pinned("tiny") == hashlib.sha256(OTHER).hexdigest()


@pytest.mark.parametrize("tag", ['"second"', None], ids=["other tag", "no tag, other length"])
def test_a_file_that_changed_meanwhile_starts_anew(place: Place, tag: str | None) -> None:
    place.server.tag = tag and '"first"'
    place.server.answers = [web.cut(HALF), web.fails(404)]
    place.refused(size=None)
    other = OTHER if tag else OTHER + b"\0" * 7
    place.server.content, place.server.tag = other, tag
    place.server.ranges.clear()
    place.pull(sha256=hashlib.sha256(other).hexdigest(), size=None)
    # The tag tells the server at once; by the length it is seen in its answer, and asked once more.
    assert place.server.ranges == ([f"bytes={HALF}-"] if tag else [f"bytes={HALF}-", None])
    assert place.store.stored("tiny").file_sha256 == hashlib.sha256(other).hexdigest()


def test_a_part_of_the_same_length_with_another_tag_is_not_patched_together(place: Place) -> None:
    def ignores_if_range(handler: web.Handler) -> None:
        length = len(OTHER)
        handler.head(
            206, Content_Length=length - HALF, Content_Range=f"bytes {HALF}-{length - 1}/{length}", ETag='"second"'
        )
        handler.wfile.write(OTHER[HALF:])

    place.cut_once()
    place.server.answers = [ignores_if_range]
    place.server.content, place.server.tag = OTHER, '"second"'
    place.pull(sha256=hashlib.sha256(OTHER).hexdigest())
    assert place.server.ranges == [f"bytes={HALF}-", None]


@pytest.mark.parametrize("answer", [web.whole, web.wrong_part], ids=["ignored", "wrong part"])
def test_a_server_that_ignores_or_mistakes_the_range(place: Place, answer: web.Answer) -> None:
    place.cut_once()
    place.server.answers = [answer]
    place.pull()
    assert place.left() == KEPT


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_errors_that_pass_are_waited_for(place: Place, status: int) -> None:
    place.server.answers = [web.fails(status), web.fails(status)]
    place.pull()
    assert len(place.server.ranges) == 3


def test_waiting_grows_and_a_server_may_say_how_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(downloading.time, "sleep", waits.append)
    place.server.answers = [web.fails(500), web.fails(500), web.fails(503, Retry_After=7)]
    pull(place.tiny, place.store, place.listener, patience=replace(HURRIED, attempts=9))
    assert waits == [0.01, 0.02, 7.0]


def test_redirects_are_followed(place: Place) -> None:
    place.server.answers = [web.redirect("/elsewhere/Tiny.pth")]
    place.pull()
    assert place.server.paths == ["/Tiny.pth", "/elsewhere/Tiny.pth"]


def test_a_file_whose_download_was_whole_when_the_program_was_killed_is_taken(place: Place) -> None:
    place.cut_once()
    part = place.home / "downloads" / "Tiny.pth.part"
    part.write_bytes(CONTENT)
    part.rename(part.with_suffix(""))
    place.pull()
    assert place.server.ranges == []
    assert place.left() == KEPT


# ---------------------------------------------------------------------- what does not pass


def test_errors_that_last_are_given_up(place: Place) -> None:
    place.server.always = web.fails(500)
    assert "answers 500 Internal Server Error, 3 times in a row" in place.refused()
    assert place.left() == set()


def test_a_missing_file_is_not_asked_for_twice(place: Place) -> None:
    place.server.always = web.fails(404)
    said = place.refused()
    assert "answers 404 Not Found" in said and "retalkit weights import Tiny.pth --as tiny" in said
    assert len(place.server.ranges) == 1
    assert place.left() == set()


@pytest.mark.parametrize(
    ("always", "said"),
    [
        (web.stall(0), "sends nothing any more, 3 times in a row"),
        (web.says_length(len(CONTENT) + 100), f"was cut at {len(CONTENT)} of {len(CONTENT) + 100} bytes, 3 times"),
    ],
    ids=["stalled", "too long a length"],
)
def test_a_file_that_never_comes_whole_leaves_its_part(place: Place, always: web.Answer, said: str) -> None:
    place.server.answers, place.server.always = [web.cut(HALF)], always
    assert said in place.refused(size=None)
    assert place.left() == HALF_KEPT


def test_a_length_that_is_not_the_published_one_is_refused_before_the_download(place: Place) -> None:
    for length in (len(CONTENT) + 100, len(CONTENT) - 100):
        place.server.always = web.says_length(length)
        assert f"has {length} bytes, the published file {len(CONTENT)}" in place.refused()
        assert place.left() == set()


def test_too_short_a_length_gives_a_file_that_is_refused(place: Place) -> None:
    place.server.always = web.says_length(len(CONTENT) - 100)
    assert "is not the published Tiny.pth" in place.refused(size=None)
    assert "cannot be read, it may be cut off" in place.refused(size=None, sha256=None)
    assert place.left() == set()
    assert place.store.pinned("tiny") is None


def test_an_answer_without_a_length_is_held_to_the_published_one(place: Place) -> None:
    place.server.always = web.without_length(CONTENT + b"more")
    assert "sends more than the" in place.refused()
    assert place.left() == set()
    place.server.always = web.without_length(CONTENT)
    place.pull()
    assert place.left() == KEPT


@pytest.mark.parametrize(
    ("content", "changes", "said"),
    [
        (OTHER, {"size": None}, "is not the published Tiny.pth: its SHA-256 is"),
        (b"<html>log in first</html>", {"size": None, "sha256": None}, "is no file of weights|cannot be read"),
        (OTHER, {"shapes": "tests.core.weights.tiny_network:normed_shapes", "sha256": None, "size": None}, ""),
    ],
    ids=["wrong hash", "a page", "fits"],
)
def test_wrong_bytes_leave_nothing(place: Place, content: bytes, changes: dict[str, Any], said: str) -> None:
    place.server.always = web.sends(content)
    if not said:
        # The control: a file of another network's shapes that fits comes in.
        place.pull(**changes)
        return
    text = place.refused(**changes)
    assert re.search(said, text)
    assert f"{place.server.address}/Tiny.pth: " in text and "what came was deleted" in text
    assert "downloads" not in text
    assert place.left() == set()


def test_code_in_a_file_does_not_run(place: Place) -> None:
    import os
    import pickle

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {place.home.parent / 'it_ran'}",)

    place.server.always = web.sends(pickle.dumps({"layer.weight": Attack()}))
    said = place.refused(size=None, sha256=None)
    assert "could run code" in said or "no file of weights" in said
    assert not (place.home.parent / "it_ran").exists()
    assert place.left() == set()


def test_two_calls_for_one_file_do_not_mix_what_they_write(place: Place) -> None:
    place.server.answers = [web.stall(HALF)]
    patient = replace(HURRIED, stall_seconds=5.0)
    first = threading.Thread(target=pull, args=(place.tiny, place.store, Listener()), kwargs={"patience": patient})
    first.start()
    while not (place.home / "downloads" / "Tiny.pth.part").exists():
        time.sleep(0.01)
    assert "Tiny.pth is being downloaded by another process" in place.refused()
    place.server.stalled.set()
    first.join()
    assert place.left() == KEPT and place.store.verify(place.tiny) is None


def test_without_the_reader_nothing_is_downloaded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retalkit.weights.store.find_spec", lambda name: None)
    assert "pip install 'retalkit[paper]' first" in place.refused()
    assert place.server.ranges == []


def test_the_beginning_of_a_hash_is_enough(place: Place) -> None:
    place.pull(sha256=SHA256[:10].upper())
    assert place.store.pinned("tiny") == SHA256


def test_redirects_never_leave_https(place: Place) -> None:
    handler = downloading._Redirects()  # pyright: ignore[reportPrivateUsage]

    def follow(source: str, target: str) -> Any:
        return handler.redirect_request(urllib.request.Request(source), io.BytesIO(), 302, "", {}, target)

    assert follow("https://a.example/f", "https://b.example/f").full_url == "https://b.example/f"
    assert follow("http://a.example/f", "http://b.example/f").full_url == "http://b.example/f"
    for source, target in (("https://a.example/f", "http://a.example/f"), ("http://a.example/f", "ftp://b.example/f")):
        with pytest.raises(AddressError, match="which is not followed"):
            follow(source, target)


def test_redirects_in_circles_end(place: Place) -> None:
    place.server.always = web.redirect("/Tiny.pth")
    assert "sends on in circles" in place.refused()


def test_a_server_that_is_not_there_and_other_addresses(place: Place) -> None:
    assert "cannot be reached" in place.refused(urls=("http://127.0.0.1:9/Tiny.pth",))
    assert "is no http address" in place.refused(urls=("file:///etc/passwd",))
    assert "no address of Tiny.pth is known" in place.refused(urls=())
    assert place.left() == set()


# ---------------------------------------------------------------------- disk


def test_a_full_disk_is_one_line_and_the_next_address_is_not_tried(place: Place) -> None:
    part = place.home / "downloads" / "Tiny.pth.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(FolderError, match=r"cannot be written \(the disk is full\): make room") as error:
        place.pull(urls=(*place.tiny.urls, *(f"{url}?again" for url in place.tiny.urls)))
    assert "\n" not in str(error.value)
    assert len(place.server.ranges) == 1


def test_too_little_room_is_said_before_the_download(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(0, 0, len(CONTENT))
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(FolderError, match="free, and .* are needed"):
        place.pull()
    assert place.left() == set()


def test_a_length_that_only_the_server_says_is_no_reason_to_give_up(place: Place) -> None:
    place.server.answers = [web.says_length(10**15)]
    place.pull(size=None, urls=(*place.tiny.urls, *(f"{url}?again" for url in place.tiny.urls)))
    assert any("says that the file has 1000000000 MB" in note for note in place.listener.notes)
    assert place.left() == KEPT


def test_a_server_that_never_ends_does_not_fill_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_LARGEST", 1000)
    place.server.always = web.without_length(CONTENT)
    assert "that is no file of weights" in place.refused(size=None)
    assert place.left() == set()


def test_a_home_that_cannot_be_written_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.home.write_text("a file", encoding="utf-8")
    with pytest.raises(FolderError, match="cannot be written"):
        place.pull()
    assert place.server.ranges == []


def test_a_disk_that_is_full_for_the_store_only_keeps_the_download(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("retalkit.weights.store.shutil.copyfile", full)
    with pytest.raises(FolderError, match="No space left"):
        place.pull(shapes="")
    assert place.left() == HALF_KEPT


def test_where_only_the_store_cannot_be_written_the_download_stays(place: Place) -> None:
    place.home.mkdir()
    (place.home / "weights").write_text("a file", encoding="utf-8")
    with pytest.raises(FolderError, match="set RETALKIT_HOME"):
        place.pull()
    assert place.left() == {"weights"} | HALF_KEPT
    (place.home / "weights").unlink()
    place.pull()
    assert len(place.server.ranges) == 1
    assert place.left() == KEPT
