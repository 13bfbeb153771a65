"""Access control, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
    assert status("POST", "/api/files", origin="http://[x") == 403
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


def test_names_of_uploaded_files_are_accepted() -> None:
    for name in ("My video (1).mp4", "Größe ä.mp4", "a..b.mp4"):
        assert status("GET", f"/media/files/f1/{name}") == 200
    for path in ("/media/files/f1/a/b", "/media/files/../x", "/media/files/f1/..", "/media/jobs/j1/a b"):
        assert status("GET", path) == 404


def test_the_bound_address_is_a_name_of_the_server() -> None:
    assert status("GET", "/", host="127.0.0.2", **{"Host": "127.0.0.2:7860"}) == 200
    assert status("GET", "/", host="127.0.0.1", **{"Host": "127.0.0.2:7860"}) == 403


def test_bodies_are_limited_except_for_uploads() -> None:
    received: list[str] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        received.append(message["type"])
        await application(scope, receive, send)

    async def post(path: str, size: int, announced: bool) -> int:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(size // 1000):
                yield b"x" * 1000

        guard = Guard(reading, ServerSettings(folder=Path()), Logins(None))
        headers = {"content-length": str(size)} if announced else {}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=guard), base_url="http://localhost") as client:
            return (await client.post(path, content=body(), headers=headers)).status_code

    assert asyncio.run(post("/login", 20_000, announced=True)) == 413
    assert asyncio.run(post("/gradio_api/call/start", 40_000_000, announced=True)) == 413
    assert received == []
    asyncio.run(post("/login", 20_000, announced=False))
    asyncio.run(post("/login", 5_000, announced=False))
    asyncio.run(post("/api/files", 20_000, announced=False))
    assert received == ["http.disconnect", "http.request", "http.request"]


def test_guessing_a_login_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 600.0
    monkeypatch.setattr("retalkit_web.guard.time.monotonic", lambda: now)
    logins = Logins(ACCOUNT)
    token = logins.open("anna", "correct-horse", "10.0.0.1")
    assert token is not None
    for number in range(10):
        assert not logins.blocked("10.0.0.1")
        assert not logins.check("anna", f"guess{number}", "10.0.0.1")
    assert not logins.check("anna", "correct-horse", "10.0.0.1")
    assert logins.blocked("10.0.0.1")
    assert logins.known(token)
    assert logins.check("anna", "correct-horse", "10.0.0.2")
    now += 60
    assert logins.check("anna", "correct-horse", "10.0.0.1")


def test_a_login_is_a_random_token() -> None:
    logins = Logins(ACCOUNT)
    assert logins.open("anna", "wrong") is None
    token = logins.open("anna", "correct-horse")
    assert token is not None
    assert logins.known(token)
    logins.close(token)
    assert not logins.known(token)
