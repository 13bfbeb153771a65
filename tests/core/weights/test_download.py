"""Downloads from a server with every kind of fault: result, error message and files left on disk."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

from retalkit.weights import download as download_module
from retalkit.weights.locks import FolderError
from retalkit.weights.pull import pull

from tests.core.weights import file_server as web
from tests.core.weights.pull_setup import (
    CONTENT,
    FAST_RETRY,
    HALF,
    INSTALLED,
    OTHER,
    PARTIAL,
    SHA256,
    PullSetup,
    RecordingObserver,
)


def test_pulled_file_is_verified_and_only_the_store_remains(remote: PullSetup) -> None:
    file = remote.pull()
    assert file == remote.store.path("tiny") and remote.store.verify(remote.tiny) is None
    assert remote.files() == INSTALLED
    assert remote.store.record("tiny").file_sha256 == SHA256
    assert remote.observer.steps == [("download tiny", 1)]


# ---------------------------------------------------------------------- resume and retry


@pytest.mark.parametrize("fault", [web.cut(HALF), web.stall(HALF)], ids=["cut", "stalled"])
def test_download_resumes_where_the_connection_ended(remote: PullSetup, fault: web.Response) -> None:
    remote.server.responses = [fault]
    remote.pull()
    assert remote.server.ranges == [None, f"bytes={HALF}-"]
    assert remote.files() == INSTALLED
    assert any("retrying" in note and "resuming at" in note for note in remote.observer.notes)


def test_next_pull_resumes_an_interrupted_download(remote: PullSetup) -> None:
    remote.interrupt_pull()
    remote.pull()
    assert remote.server.ranges == [f"bytes={HALF}-"]
    assert remote.files() == INSTALLED
    assert any(note.startswith("tiny: resuming at") for note in remote.observer.notes)


def test_attempts_that_receive_data_do_not_count_as_failed(remote: PullSetup) -> None:
    remote.server.responses = [web.cut(len(CONTENT) // 20) for _ in range(10)]
    remote.pull()
    assert len(remote.server.ranges) == 11


def test_server_without_etag_is_resumed_if_the_hash_is_known(remote: PullSetup) -> None:
    remote.server.tag = None
    remote.server.responses = [web.cut(HALF)]
    remote.pull()
    assert remote.server.ranges == [None, f"bytes={HALF}-"]


def test_files_of_equal_size_are_not_joined_if_the_hash_is_unknown(remote: PullSetup) -> None:
    remote.server.tag = None
    remote.server.responses = [web.cut(HALF), web.fail(404)]
    remote.pull_error("http-error", sha256=None)
    remote.server.content = OTHER
    remote.server.ranges.clear()
    remote.pull(sha256=None)
    assert remote.server.ranges == [None]
    assert remote.store.pinned_hash("tiny") == hashlib.sha256(OTHER).hexdigest()


@pytest.mark.parametrize("tag", ['"second"', None], ids=["new ETag", "no ETag, new length"])
def test_download_restarts_if_the_file_on_the_server_changed(remote: PullSetup, tag: str | None) -> None:
    remote.server.tag = tag and '"first"'
    remote.server.responses = [web.cut(HALF), web.fail(404)]
    remote.pull_error("http-error", size=None)
    other = OTHER if tag else OTHER + b"\0" * 7
    remote.server.content, remote.server.tag = other, tag
    remote.server.ranges.clear()
    remote.pull(sha256=hashlib.sha256(other).hexdigest(), size=None)
    # With an ETag the server sends the whole new file. Without, the client sees the new length and asks again.
    assert remote.server.ranges == ([f"bytes={HALF}-"] if tag else [f"bytes={HALF}-", None])
    assert remote.store.record("tiny").file_sha256 == hashlib.sha256(other).hexdigest()


def test_range_of_equal_length_with_a_new_etag_is_rejected(remote: PullSetup) -> None:
    def ignore_if_range(handler: web.Handler) -> None:
        length = len(OTHER)
        handler.head(
            206, Content_Length=length - HALF, Content_Range=f"bytes {HALF}-{length - 1}/{length}", ETag='"second"'
        )
        handler.wfile.write(OTHER[HALF:])

    remote.interrupt_pull()
    remote.server.responses = [ignore_if_range]
    remote.server.content, remote.server.tag = OTHER, '"second"'
    remote.pull(sha256=hashlib.sha256(OTHER).hexdigest())
    assert remote.server.ranges == [f"bytes={HALF}-", None]


@pytest.mark.parametrize("response", [web.ignore_range, web.wrong_range], ids=["ignored", "wrong range"])
def test_server_ignores_the_range_or_sends_the_wrong_one(remote: PullSetup, response: web.Response) -> None:
    remote.interrupt_pull()
    remote.server.responses = [response]
    remote.pull()
    assert remote.files() == INSTALLED


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_transient_status_codes_are_retried(remote: PullSetup, status: int) -> None:
    remote.server.responses = [web.fail(status), web.fail(status)]
    remote.pull()
    assert len(remote.server.ranges) == 3


def test_wait_doubles_and_retry_after_is_respected(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download_module.time, "sleep", waits.append)
    remote.server.responses = [web.fail(500), web.fail(500), web.fail(503, Retry_After=7)]
    pull(remote.tiny, remote.store, remote.observer, retry=replace(FAST_RETRY, attempts=9))
    assert waits == [0.01, 0.02, 7.0]


def test_redirects_are_followed(remote: PullSetup) -> None:
    remote.server.responses = [web.redirect("/elsewhere/Tiny.pth")]
    remote.pull()
    assert remote.server.paths == ["/Tiny.pth", "/elsewhere/Tiny.pth"]


def test_redirected_request_keeps_the_range(remote: PullSetup) -> None:
    remote.interrupt_pull()
    remote.server.responses = [web.redirect("/elsewhere/Tiny.pth")]
    remote.pull()
    assert remote.server.ranges == [f"bytes={HALF}-"] * 2
    assert remote.files() == INSTALLED


def test_complete_download_of_a_killed_process_is_used(remote: PullSetup) -> None:
    remote.interrupt_pull()
    part = remote.home / "downloads" / "Tiny.pth.part"
    part.write_bytes(CONTENT)
    part.rename(part.with_suffix(""))
    remote.pull()
    assert remote.server.ranges == []
    assert remote.files() == INSTALLED


# ---------------------------------------------------------------------- permanent failures


def test_persistent_server_error_ends_the_retries(remote: PullSetup) -> None:
    remote.server.always = web.fail(500)
    assert "HTTP 500 Internal Server Error (3 consecutive attempts)" in remote.pull_error("download-failed")
    assert remote.files() == set()


def test_missing_file_is_not_retried(remote: PullSetup) -> None:
    remote.server.always = web.fail(404)
    message = remote.pull_error("http-error")
    assert "HTTP 404 Not Found" in message and "retalkit weights import Tiny.pth --as tiny" in message
    assert len(remote.server.ranges) == 1
    assert remote.files() == set()


@pytest.mark.parametrize(
    ("always", "reason"),
    [
        (web.stall(0), "no data received for 0.3 s (3 consecutive attempts)"),
        (
            web.wrong_length(len(CONTENT) + 100),
            f"after {len(CONTENT)} of {len(CONTENT) + 100} bytes (3 consecutive attempts",
        ),
    ],
    ids=["stalled", "length too large"],
)
def test_partial_file_remains_if_the_download_never_completes(
    remote: PullSetup, always: web.Response, reason: str
) -> None:
    remote.server.responses, remote.server.always = [web.cut(HALF)], always
    assert reason in remote.pull_error("download-failed", size=None)
    assert remote.files() == PARTIAL


def test_size_mismatch_is_detected_before_the_download(remote: PullSetup) -> None:
    for length in (len(CONTENT) + 100, len(CONTENT) - 100):
        remote.server.always = web.wrong_length(length)
        assert f"expected {len(CONTENT)} bytes, got {length}" in remote.pull_error("size-mismatch")
        assert remote.files() == set()


def test_truncated_file_is_rejected(remote: PullSetup) -> None:
    remote.server.always = web.wrong_length(len(CONTENT) - 100)
    assert "not the published Tiny.pth" in remote.pull_error("hash-mismatch", size=None)
    assert "may be truncated" in remote.pull_error("unreadable-file", size=None, sha256=None)
    assert remote.files() == set()
    assert remote.store.pinned_hash("tiny") is None


def test_response_without_length_must_have_the_published_size(remote: PullSetup) -> None:
    remote.server.always = web.without_length(CONTENT + b"more")
    assert f"expected {len(CONTENT)} bytes" in remote.pull_error("size-mismatch")
    assert remote.files() == set()
    remote.server.always = web.without_length(CONTENT)
    remote.pull()
    assert remote.files() == INSTALLED


@pytest.mark.parametrize(
    ("content", "changes", "code"),
    [
        (OTHER, {"size": None}, "hash-mismatch"),
        (b"<html>log in first</html>", {"size": None, "sha256": None}, "unreadable-file"),
        (
            OTHER,
            {"shapes": "tests.core.weights.tiny_network:larger_shapes", "sha256": None, "size": None},
            "weights-mismatch",
        ),
    ],
    ids=["wrong hash", "web page", "other network"],
)
def test_wrong_content_leaves_no_files(remote: PullSetup, content: bytes, changes: dict[str, Any], code: str) -> None:
    remote.server.always = web.serve(content)
    message = remote.pull_error(code, **changes)
    assert f"{remote.server.address}/Tiny.pth: " in message and "download removed" in message
    assert "downloads" not in message
    assert remote.files() == set()


def test_unpinned_file_with_the_right_shapes_is_accepted(remote: PullSetup) -> None:
    remote.server.always = web.serve(OTHER)
    remote.pull(shapes="tests.core.weights.tiny_network:normed_shapes", sha256=None, size=None)


def test_code_in_a_file_does_not_run(remote: PullSetup) -> None:
    import os
    import pickle

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {remote.home.parent / 'it_ran'}",)

    remote.server.always = web.serve(pickle.dumps({"layer.weight": Attack()}))
    # torch.load rejects a plain pickle for its format, before it looks at the content.
    remote.pull_error("unreadable-file", size=None, sha256=None)
    assert not (remote.home.parent / "it_ran").exists()
    assert remote.files() == set()


def test_concurrent_pulls_of_one_file_are_rejected(remote: PullSetup) -> None:
    remote.server.responses = [web.stall(HALF)]
    patient = replace(FAST_RETRY, stall_seconds=5.0)
    first = threading.Thread(
        target=pull, args=(remote.tiny, remote.store, RecordingObserver()), kwargs={"retry": patient}
    )
    first.start()
    while not (remote.home / "downloads" / "Tiny.pth.part").exists():
        time.sleep(0.01)
    assert "Tiny.pth is being downloaded by another process" in remote.pull_error("busy")
    remote.server.stalled.set()
    first.join()
    assert remote.files() == INSTALLED and remote.store.verify(remote.tiny) is None


def test_nothing_is_downloaded_without_torch(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retalkit.weights.store.find_spec", lambda name: None)
    assert "pip install 'retalkit[paper]'" in remote.pull_error("missing-package")
    assert remote.server.ranges == []


def test_first_digits_of_a_hash_are_compared(remote: PullSetup) -> None:
    remote.pull(sha256=SHA256[:10].upper())
    assert remote.store.pinned_hash("tiny") == SHA256


@pytest.mark.parametrize(
    ("url", "target", "followed"),
    [
        ("https://a.example/Tiny.pth", "https://b.example/f", True),
        ("http://a.example/Tiny.pth", "http://b.example/f", True),
        ("https://a.example/Tiny.pth", "http://b.example/f", False),
        ("http://a.example/Tiny.pth", "ftp://b.example/f", False),
    ],
)
def test_redirects_never_leave_https(
    remote: PullSetup, monkeypatch: pytest.MonkeyPatch, url: str, target: str, followed: bool
) -> None:
    requests: list[str] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(str(request.url))
        if len(requests) == 1:
            return httpx.Response(302, headers={"Location": target})
        return httpx.Response(200, stream=httpx.ByteStream(CONTENT))

    monkeypatch.setattr(download_module.httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(respond)))
    if followed:
        remote.pull(urls=(url,))
        assert requests == [url, target]
    else:
        assert f"redirect to {target}" in remote.pull_error("insecure-redirect", urls=(url,))
        assert requests == [url]


def test_endless_redirects_are_an_error(remote: PullSetup) -> None:
    remote.server.always = web.redirect("/Tiny.pth")
    remote.pull_error("too-many-redirects")


def test_server_that_cannot_be_reached_and_invalid_urls(remote: PullSetup) -> None:
    assert "cannot connect (Connection refused)" in remote.pull_error(
        "download-failed", urls=("http://127.0.0.1:9/Tiny.pth",)
    )
    for url in ("file:///etc/passwd", "http://[half/Tiny.pth"):
        assert "not an HTTP(S) URL" in remote.pull_error("invalid-url", urls=(url,))
    assert "Tiny.pth" in remote.pull_error("no-download-url", urls=())
    assert remote.files() == set()


def test_unknown_host_name_is_named(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolvable(*args: Any, **options: Any) -> Any:
        raise download_module.socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(download_module.socket, "create_connection", unresolvable)
    waits: list[float] = []
    monkeypatch.setattr(download_module.time, "sleep", waits.append)
    message = remote.pull_error("download-failed", urls=("http://absent.example/Tiny.pth",))
    assert "unknown host name (Name or service not known)" in message
    assert not waits, "without a network, a retry is useless"


def test_invalid_certificate_is_not_retried(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        attempts.append(1)
        cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
        cause.verify_message = "self-signed certificate"
        raise httpx.ConnectError("certificate verify failed") from cause

    monkeypatch.setattr(download_module.httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(refuse)))
    assert "invalid certificate (self-signed certificate)" in remote.pull_error("invalid-certificate")
    assert len(attempts) == 1


# ---------------------------------------------------------------------- disk


def test_full_disk_does_not_try_the_next_url(remote: PullSetup) -> None:
    part = remote.home / "downloads" / "Tiny.pth.part"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(FolderError, match=r"Tiny\.pth\.part: .*not writable \(the disk is full\)") as error:
        remote.pull(urls=(*remote.tiny.urls, *(f"{url}?again" for url in remote.tiny.urls)))
    assert error.value.code == "disk-full" and "\n" not in str(error.value)
    assert len(remote.server.ranges) == 1


def test_too_little_disk_space_is_reported_before_the_download(
    remote: PullSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(0, 0, len(CONTENT))
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(FolderError, match="required .* free") as error:
        remote.pull()
    assert error.value.code == "not-enough-space"
    assert remote.files() == set()


def test_implausible_length_from_the_server_tries_the_next_url(remote: PullSetup) -> None:
    remote.server.responses = [web.wrong_length(10**15)]
    remote.pull(size=None, urls=(*remote.tiny.urls, *(f"{url}?again" for url in remote.tiny.urls)))
    assert any("the server reports a size of 1000000000 MB" in note for note in remote.observer.notes)
    assert remote.files() == INSTALLED


def test_endless_response_does_not_fill_the_disk(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "_MAX_BYTES", 1000)
    remote.server.always = web.without_length(CONTENT)
    remote.pull_error("download-too-large", size=None)
    assert remote.files() == set()


def test_unwritable_home_is_reported_before_the_download(remote: PullSetup) -> None:
    remote.home.write_text("a file", encoding="utf-8")
    with pytest.raises(FolderError, match="not writable") as error:
        remote.pull()
    assert error.value.code == "folder-not-writable"
    assert remote.server.ranges == []


def test_download_is_kept_if_the_disk_is_full_for_the_store(remote: PullSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("retalkit.weights.store.shutil.copyfile", full)
    with pytest.raises(FolderError, match="No space left"):
        remote.pull(shapes="")
    assert remote.files() == PARTIAL


def test_download_is_kept_if_the_store_is_not_writable(remote: PullSetup) -> None:
    remote.home.mkdir()
    (remote.home / "weights").write_text("a file", encoding="utf-8")
    with pytest.raises(FolderError, match="set RETALKIT_HOME"):
        remote.pull()
    assert remote.files() == {"weights"} | PARTIAL
    (remote.home / "weights").unlink()
    remote.pull()
    assert len(remote.server.ranges) == 1
    assert remote.files() == INSTALLED
