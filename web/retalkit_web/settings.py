"""Options of the server: address, access and limits."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from retalkit.errors import RetalkitError

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_SHORTEST_PASSWORD: Final = 8


class WebError(RetalkitError):
    """Error raised if the server cannot start with its options, or if a request to the server is invalid."""

    code = "invalid-request"


@dataclass(frozen=True, slots=True)
class Account:
    """User name and password that every request must present."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Options of the server."""

    folder: Path
    """Directory that contains one directory for each session."""
    host: str = "127.0.0.1"
    port: int = 7860
    """TCP port. 0 selects a free port."""
    account: Account | None = None
    """Required login, or None if everybody who reaches the server may use it."""
    jobs: int = 1
    """Number of videos that are rendered at the same time."""
    waiting: int = 20
    """Maximum number of waiting jobs of all sessions."""
    waiting_per_session: int = 5
    """Maximum number of waiting jobs of one session."""
    upload_bytes: int = 2_000_000_000
    """Maximum size of one uploaded file in bytes."""
    session_bytes: int = 10_000_000_000
    """Maximum size of all files of a session in bytes, including its results."""
    media_seconds: float = 1800.0
    """Maximum duration of an uploaded video or sound in seconds."""
    sessions: int = 200
    """Maximum number of sessions."""
    keep_hours: float = 24.0
    """Time in hours after the last request at which a session is deleted."""
    plugins: tuple[Path, ...] = ()
    """Python files from which plugins are also loaded."""


def parse_account(text: str | None) -> Account | None:
    """Return the account that ``USER:PASSWORD`` describes. Raises WebError."""
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not colon or not user.strip() or len(password) < _SHORTEST_PASSWORD:
        raise WebError(
            f"--auth: expected USER:PASSWORD with a password of at least {_SHORTEST_PASSWORD} characters",
            code="invalid-account",
        )
    return Account(user.strip(), password)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that is bound to ``host``."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_access(host: str, account: Account | None, allow_open: bool) -> None:
    """Raise WebError if other machines could use the server without a login, unless ``allow_open`` is True."""
    if is_loopback(host) or account is not None or allow_open:
        return
    raise WebError(
        f"--host {host}: other machines could use this server without a login; add --auth USER:PASSWORD, or "
        "--allow-open if everybody on the network may use it",
        code="open-server",
    )
