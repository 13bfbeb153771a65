"""A web server on this machine that has one file and every fault that a download can meet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


@dataclass
class FileServer:
    """What it has, what it is told to do next, and what it was asked."""

    content: bytes
    tag: str | None = '"first"'
    answers: list[Answer] = field(default_factory=list[Answer])
    """One for each request that comes; when they are used up it behaves."""
    always: Answer | None = None
    """For every request, when ``answers`` are used up."""
    paths: list[str] = field(default_factory=list[str])
    ranges: list[str | None] = field(default_factory=list[str | None])
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set at the end, so that no stalled answer outlives the test."""
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """Answers as the server is told."""

    protocol_version = "HTTP/1.1"
    files: FileServer

    def do_GET(self) -> None:
        self.close_connection = True
        self.files.paths.append(self.path)
        self.files.ranges.append(self.headers.get("Range"))
        answers = self.files.answers
        (answers.pop(0) if answers else self.files.always or behave)(self)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


def behave(handler: Handler, sent: int | None = None) -> None:
    """The file, or the rest of it that is asked for and still the same; ``sent``: the connection ends after so many
    bytes."""
    files = handler.files
    start = 0
    asked, same = handler.headers.get("Range"), handler.headers.get("If-Range")
    if asked and (same is None or same == files.tag):
        start = int(asked.removeprefix("bytes=").rstrip("-"))
    headers: dict[str, object] = {} if files.tag is None else {"ETag": files.tag}
    if start >= len(files.content) > 0:
        handler.head(416, Content_Length=0)
        return
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(files.content) - 1}/{len(files.content)}"
    handler.head(206 if start else 200, Content_Length=len(files.content) - start, **headers)
    handler.wfile.write(files.content[start:][:sent])


def cut(after: int) -> Answer:
    """The connection ends after so many bytes of the answer."""
    return lambda handler: behave(handler, after)


def stall(after: int) -> Answer:
    """Sends so many bytes and then nothing, with the connection open."""

    def answer(handler: Handler) -> None:
        behave(handler, after)
        handler.wfile.flush()
        handler.files.stalled.wait(20)

    return answer


def whole(handler: Handler) -> None:
    """The whole file, whatever part is asked for."""
    handler.head(200, Content_Length=len(handler.files.content))
    handler.wfile.write(handler.files.content)


def says_length(length: int) -> Answer:
    """The whole file, with another length in front of it."""

    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=length)
        handler.wfile.write(handler.files.content)

    return answer


def without_length(content: bytes) -> Answer:
    """Other content, and no length: it ends where the connection ends."""

    def answer(handler: Handler) -> None:
        handler.head(200)
        handler.wfile.write(content)

    return answer


def sends(content: bytes) -> Answer:
    """Other content."""

    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=len(content))
        handler.wfile.write(content)

    return answer


def wrong_part(handler: Handler) -> None:
    """Says that it sends the rest, and sends from elsewhere."""
    content = handler.files.content
    handler.head(206, Content_Length=len(content) - 1, Content_Range=f"bytes 1-{len(content) - 1}/{len(content)}")
    handler.wfile.write(content[1:])


def fails(status: int, **headers: object) -> Answer:
    """An error."""
    return lambda handler: handler.head(status, Content_Length=0, **headers)


def redirect(target: str) -> Answer:
    """Sends on."""
    return lambda handler: handler.head(302, Location=target, Content_Length=0)


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """A server of ``content``, until the end of the block."""
    files = FileServer(content)
    handler = type("OwnHandler", (Handler,), {"files": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    files.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        files.stalled.set()
        server.shutdown()
        server.server_close()
        thread.join()
