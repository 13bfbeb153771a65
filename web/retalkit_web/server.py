"""Web server: Gradio in server mode with the routes of the page."""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import mimetypes
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import wraps
from html import escape
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any, Final
from urllib.parse import quote

from retalkit.errors import RetalkitError
from retalkit.plugins.discovery import discover

from retalkit_web.downloads import RECORD, job_file, record_of
from retalkit_web.guard import LOGIN_COOKIE, Guard, Logins, client_address, cookie_of
from retalkit_web.job_kinds import PLAYABLE
from retalkit_web.scrub import scrub, valid_json
from retalkit_web.service import Service
from retalkit_web.sessions import Session, safe_name
from retalkit_web.settings import ServerSettings, WebError
from retalkit_web.texts import TEXTS
from retalkit_web.uploads import Uploads, storage_error

# Gradio reads these variables when it is imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio as gr
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from filelock import FileLock, Timeout
from starlette.requests import ClientDisconnect

SESSION_COOKIE: Final = "retalkit_session"
_STATUS: Final = {
    "file-too-large": 413,
    "file-too-long": 413,
    "queue-full": 503,
    "too-many-sessions": 503,
    "session-full": 507,
    "disk-full": 507,
    "storage-failed": 507,
    "too-many-logins": 429,
    "internal-error": 500,
    "unknown-file": 404,
    "unknown-job": 404,
    "no-session": 401,
}
_TYPES: Final = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
}
"""Media types that are sent for uploaded files. Other files are sent as binary data, never as a page."""
_COMPARISON_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: 'self'; "
    "media-src data: blob: 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FAILED_LOGIN_SECONDS: Final = 1.0
_MOST_DRAINED: Final = 3_000_000_000
_DRAIN_SECONDS: Final = 120.0
_LOG: Final = logging.getLogger(__name__)
_INTERNAL: Final = "the server failed to answer; its log contains the reason"


class Server:
    """Running web server."""

    def __init__(self, settings: ServerSettings) -> None:
        try:
            settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise WebError(
                f"--folder {settings.folder}: {error.strerror or error}; choose another directory",
                code="folder-not-writable",
            ) from error
        # Two servers would run each other's jobs and delete each other's sessions.
        self._lock = FileLock(settings.folder / "server.lock")
        os.environ["GRADIO_TEMP_DIR"] = str(settings.folder / "gradio")
        self.settings = settings
        self.service = Service(settings, discover(list(settings.plugins)))
        self.logins = Logins(settings.account)
        self.app = gr.Server(title="Retalkit", docs_url=None, redoc_url=None, openapi_url=None)
        self.app.add_middleware(Guard, settings=settings, logins=self.logins)
        self.uploads = Uploads(settings)
        add_routes(self)
        add_api(self)
        self.url = ""

    def start(self) -> str:
        """Start the server and its worker processes. Return the URL of the page.

        Raises WebError if the address, the port or the directory cannot be used.
        """
        host = self.settings.host
        port = _check_address(host, self.settings.port)
        self.service.page()
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise WebError(
                f"--folder {self.settings.folder}: a running server uses this directory; choose another directory",
                code="folder-in-use",
            ) from error
        self.service.queue.start()
        try:
            _, self.url, _ = self.app.launch(
                server_name=f"[{host}]" if ":" in host else host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                # Only the messages of gr.Error are sent.
                show_error=False,
                ssr_mode=False,
                enable_monitoring=False,
                pwa=False,
                mcp_server=False,
                run_history=False,
                footer_links=[],
                allowed_paths=[],
                blocked_paths=["/"],
                strict_cors=True,
                max_threads=40,
                _frontend=False,
            )
        except OSError as error:
            self.service.queue.stop()
            self._lock.release()
            raise _address_error(host, port, error) from error
        return self.url

    def stop(self) -> None:
        """Stop the server and its worker processes."""
        self.service.queue.stop()
        self.app.get_blocks().close(verbose=False)
        self._lock.release()

    def session_of(self, request: Request | gr.Request, token: str = "") -> Session:
        """Return the session of a request. Raises WebError if there is none."""
        given = token or request.headers.get("x-session", "")
        if not given:
            given = cookie_of(request.headers.get("cookie", ""), SESSION_COOKIE)
        found = self.service.store.find(given)
        if found is None:
            raise WebError("there is no session, or it has expired; reload the page", code="no-session")
        return found


def serve(settings: ServerSettings, announce: Callable[[str], None], open_browser: bool = False) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    server = Server(settings)
    url = server.start()
    announce(url)
    if open_browser:
        webbrowser.open(url)
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    stopped.wait()
    server.stop()


def add_routes(server: Server) -> None:
    """Add the routes of the page: the page itself, uploads and media."""
    app, service = server.app, server.service

    @app.exception_handler(RetalkitError)
    async def failed(request: Request, error: RetalkitError) -> JSONResponse:
        return _problem(error.code, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _problem("invalid-request", f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def disconnected(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)

    @app.exception_handler(OSError)
    async def unstored(request: Request, error: OSError) -> JSONResponse:
        _LOG.error("%s failed", request.url.path, exc_info=error)
        found = storage_error(error)
        return _problem(found.code, str(found))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return _problem("internal-error", _INTERNAL)

    @app.get("/", response_class=HTMLResponse)
    def page(request: Request) -> Response:
        response = HTMLResponse(_page("index.html"), headers={"cache-control": "no-store"})
        token = cookie_of(request.headers.get("cookie", ""), SESSION_COOKIE)
        if service.store.find(token) is None:
            token, _ = service.store.create()
            # A strict cookie is not sent if the user follows a link to the page, and would be replaced. Requests that
            # change something are protected by the guard.
            age = round(server.settings.keep_hours * 3600)
            response.set_cookie(SESSION_COOKIE, token, httponly=True, samesite="lax", max_age=max(age, 3600))
        return response

    @app.get("/login", response_class=HTMLResponse)
    def login_page() -> Response:
        return HTMLResponse(_page("login.html"), headers={"cache-control": "no-store"})

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = await request.form()
        address = client_address(request.scope)
        token = server.logins.open(str(form.get("username", "")).strip(), str(form.get("password", "")), address)
        if server.logins.blocked(address):
            return _problem("too-many-logins", TEXTS["too_many_logins"])
        if token is None:
            # Slows down guessing.
            await asyncio.sleep(_FAILED_LOGIN_SECONDS)
            return JSONResponse({"code": "wrong-login", "message": TEXTS["wrong_login"]}, 400)
        response = JSONResponse({"success": True})
        response.set_cookie(LOGIN_COOKIE, token, httponly=True, samesite="lax")
        return response

    @app.post("/logout")
    def logout(request: Request) -> Response:
        server.logins.close(cookie_of(request.headers.get("cookie", ""), LOGIN_COOKIE))
        response = RedirectResponse("/", 303)
        response.delete_cookie(LOGIN_COOKIE)
        return response

    @app.get("/assets/{name}")
    def asset(name: str) -> Response:
        path = _PAGE / name
        if name not in _ASSETS:
            raise WebError("there is no such file", code="unknown-file")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return FileResponse(path, media_type=kind, headers={"cache-control": "no-cache"})

    @app.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(_PAGE / "icon.svg", media_type="image/svg+xml")

    @app.get("/api/page")
    def page_data() -> JSONResponse:
        return JSONResponse(valid_json(service.page()))

    @app.get("/api/state")
    def state(request: Request, known: str = "") -> JSONResponse:
        found = service.state(server.session_of(request), frozenset(known.split(",")))
        return JSONResponse(valid_json(found), headers={"cache-control": "no-store"})

    @app.post("/api/files")
    async def upload(request: Request, kind: str, name: str = "") -> JSONResponse:
        length = request.headers.get("content-length", "")
        body = request.stream()
        try:
            session = server.session_of(request)
            stored = await server.uploads.receive(
                session, kind, name, int(length[:20]) if length.isdecimal() else None, body
            )
        except RetalkitError:
            # A browser reports a lost connection instead of the message if it is still sending.
            await _drain(body)
            raise
        return JSONResponse(asdict(stored))

    @app.get("/media/files/{id}/{name}")
    def uploaded(request: Request, id: str, name: str) -> Response:
        session = server.session_of(request)
        file = session.file(id)
        path = session.path(file)
        if name == "playable" and name != file.name:
            path = path.parent / PLAYABLE / ("photo.jpg" if file.kind == "photo" else "video.mp4")
        if not path.is_file():
            raise WebError("there is no such file, or it has not been converted yet", code="unknown-file")
        return _send(path)

    @app.get("/media/jobs/{id}/{name:path}")
    def result(request: Request, id: str, name: str, download: str = "") -> Response:
        session = server.session_of(request)
        job = service.queue.get(session, id)
        if name == RECORD:
            return JSONResponse(record_of(session, job), headers=_disposition(download or name, inline=not download))
        return _send(job_file(session, job, name), download, page=name.endswith(".html"))


def add_api(server: Server) -> None:
    """Add the functions of the HTTP API, which the page also uses."""
    service = server.service

    def open_session() -> str:
        """Create a session and return its token, which all other functions and the header X-Session accept."""
        return service.store.create()[0]

    def state(request: gr.Request, session: str = "") -> dict[str, Any]:
        """Return the files and jobs of the session."""
        return service.state(server.session_of(request, session))

    def start(request: gr.Request, kind: str, run: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Queue a job (inspect, preview, render, motion or compare) and return it."""
        return service.start(server.session_of(request, session), kind, run)

    async def follow(request: gr.Request, job: str, session: str = "") -> AsyncGenerator[dict[str, Any], None]:
        """Yield the job whenever it changes, until it ends."""
        with _api_errors():
            _check_arguments({"job": (job, "str"), "session": (session, "str")})
            owner = server.session_of(request, session)
        last: dict[str, Any] = {}
        while True:
            with _api_errors():
                current = service.job(service.queue.get(owner, job))
            if current != last:
                yield valid_json(current)
            if current["status"] not in ("queued", "running"):
                return
            last = current
            # A waiting coroutine occupies no thread, so that many followers do not delay other functions.
            await asyncio.sleep(0.25)

    def cancel(request: gr.Request, job: str, session: str = "") -> dict[str, Any]:
        """Cancel a job. The result so far is kept, so that the job can be resumed."""
        return service.cancel(server.session_of(request, session), job)

    def resume(request: gr.Request, job: str, session: str = "") -> dict[str, Any]:
        """Queue a cancelled or failed job again."""
        return service.resume(server.session_of(request, session), job)

    def delete(request: gr.Request, id: str, session: str = "") -> bool:
        """Delete a finished job or an uploaded file."""
        owner = server.session_of(request, session)
        if id.startswith("f"):
            service.delete_file(owner, id)
        else:
            service.queue.delete(owner, id)
        return True

    def clear(request: gr.Request, session: str = "") -> bool:
        """Delete everything that belongs to the session."""
        service.clear(server.session_of(request, session))
        return True

    def run_file(request: gr.Request, run: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Return the run file and the command for a run, and the error if the run is invalid."""
        return service.run_file(server.session_of(request, session), run)

    def load_run_file(request: gr.Request, text: str) -> dict[str, Any]:
        """Return the content of a run file (YAML)."""
        return service.load_run_file(text)

    def save_motion(request: gr.Request, job: str, curves: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Store the motion of a finished motion job with changed curves as a file of the session."""
        return service.save_motion(server.session_of(request, session), job, curves)

    quick = (open_session, state, start, cancel, resume, delete, clear, run_file, load_run_file, save_motion)
    for function in quick:
        server.app.api(_api_function(function), name=function.__name__, concurrency_limit=8)
    server.app.api(follow, name="follow", concurrency_limit=None)


def _api_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with checked types of the arguments, valid JSON as the result and errors for users."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*values: Any) -> Any:
        with _api_errors():
            given = signature.bind(*values)
            _check_arguments(
                {name: (value, str(signature.parameters[name].annotation)) for name, value in given.arguments.items()}
            )
            return valid_json(function(*values))

    return call


_ARGUMENTS: Final = {"str": (str, "a string"), "dict[str, Any]": (dict, "a mapping")}


def _check_arguments(given: dict[str, tuple[Any, str]]) -> None:
    for name, (value, annotation) in given.items():
        kind, text = _ARGUMENTS.get(annotation, (object, ""))
        if not isinstance(value, kind):
            raise WebError(f"{name}: expected {text}", code="invalid-request")


@contextmanager
def _api_errors() -> Generator[None]:
    """Convert errors into errors of Gradio with a code and without paths of the server."""
    try:
        yield
    except RetalkitError as error:
        raise gr.Error(f"{_one_line(error)} [{error.code}]", print_exception=False) from error
    except OSError as error:
        _LOG.exception("a function of the API failed")
        found = storage_error(error)
        raise gr.Error(f"{found} [{found.code}]", print_exception=False) from error
    except Exception as error:
        _LOG.exception("a function of the API failed")
        raise gr.Error(f"{_INTERNAL} [internal-error]", print_exception=False) from error


def _one_line(error: Exception | str) -> str:
    return scrub(" ".join(str(error).split()))


def _problem(code: str, message: str) -> JSONResponse:
    """Return the response to a request that failed."""
    data = valid_json({"code": code, "message": _one_line(message)})
    return JSONResponse(data, _STATUS.get(code, 400), headers={"cache-control": "no-store"})


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read and discard the rest of a body, up to a limit."""
    size = 0
    with suppress(ClientDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for block in body:
                size += len(block)
                if size > _MOST_DRAINED:
                    return


_PAGE: Final = Path(str(resources.files("retalkit_web") / "page"))
_ASSETS: Final = ("app.css", "icon.svg", "login.js", *(path.name for path in sorted(_PAGE.glob("*.js"))))


def _page(name: str) -> str:
    text = (_PAGE / name).read_text(encoding="utf-8")
    for key, value in TEXTS.items():
        text = text.replace(f"{{{{ {key} }}}}", escape(value))
    return text


def _send(path: Path, download: str = "", *, page: bool = False) -> Response:
    """Send a file. ``download``: name under which the browser stores the file, or an empty string to show the file."""
    headers = {"cache-control": "private, no-cache"}
    if page:
        headers["content-security-policy"] = _COMPARISON_POLICY
        return FileResponse(path, media_type="text/html", headers=headers)
    kind = _TYPES.get(path.suffix.lower(), "application/octet-stream")
    headers |= _disposition(download or path.name, inline=not download)
    return FileResponse(path, media_type=kind, headers=headers)


def _disposition(name: str, *, inline: bool) -> dict[str, str]:
    how = "inline" if inline else "attachment"
    return {"content-disposition": f"{how}; filename*=UTF-8''{quote(safe_name(name, 'download'))}"}


def _check_address(host: str, port: int) -> int:
    """Return the port, or a free port for 0. Raises WebError if the server cannot bind to the address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # The server does the same, so that it can start again at once.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except (OSError, UnicodeError) as error:
        raise _address_error(host, port, error) from error


def _address_error(host: str, port: int, error: Exception) -> WebError:
    reason = getattr(error, "strerror", None) or str(error)
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return WebError(
            f"--host {host}: {reason}; use an address of this machine, such as 127.0.0.1", code="invalid-host"
        )
    return WebError(f"--port {port}: {reason}; choose another port", code="port-in-use")
