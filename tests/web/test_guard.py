"""Access control, without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from retalkit_web.guard import Guard, Logins
from retalkit_web.settings import Account, ServerSettings

ACCOUNT = Account("anna", "correct-horse")


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


def status(method: str, path: str, *, account: Account | None = None, host: str = "127.0.0.1", **headers: str) -> int:
    """Return the status of a request that passes the guard."""
    settings = ServerSettings(folder=Path(), host=host, account=account)
    guard = Guard(application, settings, Logins(account))

    async def request() -> int:
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:7860") as client:
            response = await client.request(
                method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            assert response.headers["x-content-type-options"] == "nosniff"
            return response.status_code

    return asyncio.run(request())


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/file=/etc/passwd",
        "/gradio_api/upload",
        "/gradio_api/proxy=http://10.0.0.1",
        "/gradio_api/vibe-code",
        "/gradio_api/component_server",
        "/monitoring",
        "/media/jobs/../../x",
        "/media/jobs/%2e%2e/%2e%2e/x",
        "/assets/../server.py",
        "/docs",
    ],
)
def test_routes_of_gradio_that_serve_or_accept_files_are_closed(path: str) -> None:
    assert status("GET", path) == 404


def test_requests_of_other_sites_are_rejected() -> None:
    assert status("POST", "/api/files") == 200
    assert status("POST", "/api/files", sec_fetch_site="same-origin") == 200
    assert status("POST", "/api/files", sec_fetch_site="cross-site") == 403
    assert status("POST", "/gradio_api/call/start", sec_fetch_site="same-site") == 403
    assert status("POST", "/api/files", origin="http://evil.example") == 403
    assert status("POST", "/api/files", origin="http://localhost:7860") == 200
    assert status("GET", "/api/state", sec_fetch_site="cross-site") == 403
    assert status("GET", "/", sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200
    # A name that resolves to this machine (DNS rebinding).
    assert status("GET", "/", **{"Host": "evil.example:7860"}) == 403
    assert status("GET", "/", host="0.0.0.0", **{"Host": "my.machine:7860"}) == 200


def test_a_login_protects_every_route() -> None:
    for path in (
        "/api/state",
        "/api/page",
        "/media/files/f1/x",
        "/config",
        "/gradio_api/info",
        "/gradio_api/queue/data",
    ):
        assert status("GET", path, account=ACCOUNT) == 401
    assert status("GET", "/", account=ACCOUNT) == 303
    assert status("GET", "/login", account=ACCOUNT) == 200
    for credentials, expected in (("anna:correct-horse", 200), ("anna:wrong-horses", 401), ("ben:correct-horse", 401)):
        header = httpx.BasicAuth(*credentials.split(":"))._auth_header
        assert status("GET", "/api/state", account=ACCOUNT, authorization=header) == expected
    for header in ("Basic !!!", "Basic", "Bearer x"):
        assert status("GET", "/api/state", account=ACCOUNT, authorization=header) == 401
    assert status("GET", "/api/state", account=ACCOUNT, cookie="retalkit_login=guess") == 401


def test_a_login_is_a_random_token() -> None:
    logins = Logins(ACCOUNT)
    assert logins.open("anna", "wrong") is None
    token = logins.open("anna", "correct-horse")
    assert token is not None
    assert logins.known(token)
    logins.close(token)
    assert not logins.known(token)
