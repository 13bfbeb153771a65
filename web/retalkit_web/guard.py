"""Access control in front of all routes: hosts, login, cross-site requests and the list of reachable routes."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import urlsplit

from retalkit_web.settings import LOOPBACK_NAMES, Account, ServerSettings, is_loopback

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOGIN_COOKIE: Final = "retalkit_login"
_ROUTES: Final = re.compile(
    r"/|/login/?|/logout|/assets/[a-z0-9_.-]+|/api/(page|state|files)|/media/files/\w+/[^/]+|/media/jobs/\w+/[\w./-]+"
    r"|/favicon\.ico|/config/?"
    r"|/gradio_api/(info/?|openapi\.json|call/(v2/)?[a-z_]+(/[0-9a-f]+)?/?|queue/(join|data)|heartbeat/\w+|cancel|reset/?)"
)
"""Routes that can be reached. Gradio serves and accepts files on other routes, which this page does not use."""
_OPEN: Final = re.compile(r"/login/?|/assets/[a-z0-9_.-]+|/favicon\.ico")
"""Routes that do not require the login."""
_UPLOAD: Final = "/api/files"
"""Route whose handler limits the size of the body."""
_LOGIN_BODY: Final = 10_000
_BODY: Final = 32_000_000
"""Maximum size of the body of other requests in bytes. The motion curves of 30 minutes need about 3 MB."""
_FAILURES: Final = 10
"""Number of failed logins of an address within a minute after which its logins are rejected for the rest of it."""
_MOST_ADDRESSES: Final = 10_000
_STARTUP: Final = "/gradio_api/startup-events"
"""Route that Gradio requests from the server itself when it starts."""
_POLICY: Final = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_POLICY_HEADER: Final = b"content-security-policy"


class Logins:
    """Logins of this server. A login is a random token in a cookie, or HTTP basic authentication."""

    def __init__(self, account: Account | None) -> None:
        self._account = account
        self._tokens: set[str] = set()
        self._failures: dict[str, tuple[int, int]] = {}

    @property
    def required(self) -> bool:
        return self._account is not None

    def open(self, user: str, password: str, address: str = "") -> str | None:
        """Return the token of a new login, or None if the user name or the password is wrong."""
        if not self.check(user, password, address):
            return None
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return token

    def check(self, user: str, password: str, address: str = "") -> bool:
        """Return whether the user name and the password are right, and ``address`` did not guess too often."""
        account = self._account
        if account is None:
            return True
        if self.blocked(address):
            return False
        # Both values are compared, so that the time does not reveal which one is wrong.
        right_user = secrets.compare_digest(user.encode(), account.user.encode())
        right_password = secrets.compare_digest(password.encode(), account.password.encode())
        if not (right_user and right_password):
            minute, failures = self._failures.get(address, (0, 0))
            now = int(time.monotonic() // 60)
            if len(self._failures) > _MOST_ADDRESSES:
                self._failures.clear()
            self._failures[address] = now, failures + 1 if minute == now else 1
        return right_user and right_password

    def blocked(self, address: str) -> bool:
        """Return whether an address has failed to log in too often within this minute."""
        minute, failures = self._failures.get(address, (0, 0))
        return failures >= _FAILURES and minute == int(time.monotonic() // 60)

    def close(self, token: str) -> None:
        self._tokens.discard(token)

    def known(self, token: str) -> bool:
        return token in self._tokens


class Guard:
    """ASGI middleware that rejects requests before they reach a route."""

    def __init__(self, app: Application, settings: ServerSettings, logins: Logins) -> None:
        self._app = app
        # A login protects against DNS rebinding as well, and allows a proxy with another name.
        self._local = is_loopback(settings.host) and settings.account is None
        self._names = {*LOOPBACK_NAMES, settings.host}
        self._logins = logins
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        limit = _body_limit(scope["path"])
        refused = self._refuse(scope, headers)
        if refused is None and limit is not None and _announced(headers) > limit:
            refused = 413, ""
        if refused is None:
            await self._app(scope, receive if limit is None else _limited(receive, limit), _with_headers(send))
            return
        status, location = refused
        extra = [(b"location", location.encode())] if location else []
        if status == 401 and "sec-fetch-mode" not in headers:
            # A browser would show its own dialogue for every request of a page whose login has ended.
            extra.append((b"www-authenticate", b'Basic realm="Retalkit"'))
        if status == 429:
            extra.append((b"retry-after", b"60"))
        body = b"" if scope["method"] == "HEAD" else REASONS[status]
        sender = _with_headers(send)
        start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain"), *extra]}
        await sender(start)
        await sender({"type": "http.response.body", "body": body})

    def _refuse(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        """Return the status and the redirection of a rejected request, or None if the request is accepted."""
        path, method = scope["path"], scope["method"]
        host = headers.get("host", "")
        if self._local and _host_name(host) not in self._names:
            # Protects against DNS rebinding.
            return 403, ""
        if path == _STARTUP and not self._started:
            self._started = True
            return None
        if method == "HEAD" and path == "/":
            return 200, ""
        if not _ROUTES.fullmatch(path) or "/.." in path or "//" in path:
            return 404, ""
        if _is_cross_site(method, path, headers, host):
            return 403, ""
        address = client_address(scope)
        if self._logins.required and not _OPEN.fullmatch(path) and not self._logged_in(headers, address):
            if path == "/":
                return 303, "/login"
            return (429 if self._logins.blocked(address) else 401), ""
        return None

    def _logged_in(self, headers: dict[str, str], address: str) -> bool:
        token = cookie_of(headers.get("cookie", ""), LOGIN_COOKIE)
        if token and self._logins.known(token):
            return True
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        return self._logins.check(user, password, address)


REASONS: Final = {
    200: b"",
    303: b"",
    401: b"login required",
    403: b"this request is not accepted",
    404: b"not found",
    413: b"the request is too large",
    429: b"too many failed logins; try again in a minute",
}


def client_address(scope: Scope) -> str:
    """Return the address that sent a request, or an empty string if it is unknown."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _body_limit(path: str) -> int | None:
    if path == _UPLOAD:
        return None
    return _LOGIN_BODY if path.startswith("/login") else _BODY


def _announced(headers: dict[str, str]) -> int:
    length = headers.get("content-length", "")
    # Longer numbers are too large in any case.
    return int(length[:20]) if length.isdecimal() else 0


def _limited(receive: Receive, limit: int) -> Receive:
    """Return a function that ends the connection if the body is larger than ``limit`` bytes."""
    size = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        return {"type": "http.disconnect"} if size > limit else message

    return limited


def cookie_of(header: str, name: str) -> str:
    """Return the value of a cookie, or an empty string."""
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_cross_site(method: str, path: str, headers: dict[str, str], host: str) -> bool:
    """Return whether a page of another site sent the request, except for links to the page itself."""
    site = headers.get("sec-fetch-site", "")
    if method in ("GET", "HEAD") and path in ("/", "/login") and headers.get("sec-fetch-mode") == "navigate":
        return False
    if site:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != host
    except ValueError:
        return True


def _with_headers(send: Send) -> Send:
    async def sender(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            given += [header for header in _HEADERS if header[0] not in names]
            if _POLICY_HEADER not in names:
                given.append((_POLICY_HEADER, _POLICY.encode()))
            message = {**message, "headers": given}
        await send(message)

    return sender
