"""Local HTTP server with one file that can misbehave in every way a download must handle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Response = Callable[["Handler"], None]


@dataclass
class FileServer:
    """Content of the server, the responses it will give, and the requests it received."""

    content: bytes
    tag: str | None = '"first"'
    responses: list[Response] = field(default_factory=list[Response])
    """One for each of the next requests; then ``always``."""
    always: Response | None = None
    """Response to all further requests; None serves the file correctly."""
    paths: list[str] = field(default_factory=list[str])
    ranges: list[str | None] = field(default_factory=list[str | None])
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set at the end of the test to end stalled responses."""
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """Responds as ``files`` says."""

    protocol_version = "HTTP/1.1"
    files: FileServer

    def do_GET(self) -> None:
        self.close_connection = True
        self.files.paths.append(self.path)
        self.files.ranges.append(self.headers.get("Range"))
        responses = self.files.responses
        (responses.pop(0) if responses else self.files.always or serve_file)(self)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


def serve_file(handler: Handler, sent: int | None = None) -> None:
    """Serve the file, or the requested range if the file is unchanged. Close the connection after ``sent`` bytes."""
    files = handler.files
    start = 0
    requested, validator = handler.headers.get("Range"), handler.headers.get("If-Range")
    if requested and (validator is None or validator == files.tag):
        start = int(requested.removeprefix("bytes=").rstrip("-"))
    headers: dict[str, object] = {} if files.tag is None else {"ETag": files.tag}
    if start >= len(files.content) > 0:
        handler.head(416, Content_Length=0)
        return
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(files.content) - 1}/{len(files.content)}"
    handler.head(206 if start else 200, Content_Length=len(files.content) - start, **headers)
    handler.wfile.write(files.content[start:][:sent])


def cut(after: int) -> Response:
    """Close the connection after that many bytes of the body."""
    return lambda handler: serve_file(handler, after)


def stall(after: int) -> Response:
    """Send that many bytes of the body, then nothing, and keep the connection open."""

    def respond(handler: Handler) -> None:
        serve_file(handler, after)
        handler.wfile.flush()
        handler.files.stalled.wait(20)

    return respond


def ignore_range(handler: Handler) -> None:
    """Serve the whole file and ignore the requested range."""
    handler.head(200, Content_Length=len(handler.files.content))
    handler.wfile.write(handler.files.content)


def wrong_length(length: int) -> Response:
    """Serve the whole file with the wrong Content-Length."""

    def respond(handler: Handler) -> None:
        handler.head(200, Content_Length=length)
        handler.wfile.write(handler.files.content)

    return respond


def without_length(content: bytes) -> Response:
    """Serve other content without Content-Length; the end of the connection ends it."""

    def respond(handler: Handler) -> None:
        handler.head(200)
        handler.wfile.write(content)

    return respond


def serve(content: bytes) -> Response:
    """Serve other content."""

    def respond(handler: Handler) -> None:
        handler.head(200, Content_Length=len(content))
        handler.wfile.write(content)

    return respond


def wrong_range(handler: Handler) -> None:
    """Serve a range that was not requested."""
    content = handler.files.content
    handler.head(206, Content_Length=len(content) - 1, Content_Range=f"bytes 1-{len(content) - 1}/{len(content)}")
    handler.wfile.write(content[1:])


def fail(status: int, **headers: object) -> Response:
    """Respond with an error status."""
    return lambda handler: handler.head(status, Content_Length=0, **headers)


def redirect(target: str) -> Response:
    """Respond with a redirect."""
    return lambda handler: handler.head(302, Location=target, Content_Length=0)


@contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Run a server of ``content`` for the length of the block."""
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
