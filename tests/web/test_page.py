"""The page and the HTTP API with a server in this process. The worker processes are replaced, so that nothing is
rendered; ``test_browser_tour.py`` renders."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from retalkit_web.jobs import JobQueue
from retalkit_web.service import Service
from retalkit_web.settings import ServerSettings, WebError
from retalkit_web.worker_process import WorkerProcess

from tests.core.comparison.report_samples import open_browser
from tests.web.running_server import ApiClient

# Not `importorskip`, because the import takes two seconds in every process that collects the tests.
pytestmark = pytest.mark.skipif(
    find_spec("gradio") is None, reason="the page needs the extra: pip install 'retalkit[web]'"
)


def person(id: str, seconds: float) -> dict[str, Any]:
    return {"id": id, "name": "", "picture": None, "visible": seconds}


def inspection() -> dict[str, Any]:
    """Return the inspection of a clip with two shots and two persons."""
    speech = {"name": "a", "duration": 2.0, "step": 0.1, "levels": [0.2] * 20, "active": [[0.2, 1.4]]}
    spans = [
        {"start": 0.0, "end": 1.5, "outcome": "edited", "reason": "", "detail": ""},
        {"start": 1.5, "end": 3.0, "outcome": "passed", "reason": "no face", "detail": ""},
    ]
    shots = [
        {
            "number": number,
            "start": span["start"],
            "end": span["end"],
            "picture": None,
            "results": [{"person": "p1", "spans": [span]}],
            "spans": [span],
        }
        for number, span in enumerate(spans, 1)
    ]
    return {
        "video": {"is_photo": False, "duration": 3.0, "inspected": 3.0},
        "persons": [person("p1", 1.5), person("p2", 0.5)],
        "shots": shots,
        "speeches": [speech],
        "length": None,
        "estimate": {"measured_frames": 4, "seconds": 7.0},
        "mouths": {"p1": [[0.0, 0.5, 0.5, 0.1]]},
        "playable": False,
    }


@pytest.fixture(scope="module")
def url(moving_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from retalkit_web.server import Server

    def run(worker: WorkerProcess, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        folder = Path(request["folder"])
        if request["kind"] == "inspect":
            yield {"event": "done", "result": inspection()}
            return
        yield {"event": "progress", "step": "render", "done": 10, "total": 75, "rate": 25.0}
        if request["request"]["config"]:
            yield {"event": "failed", "code": "invalid-option", "message": f"{folder}/run.yaml:1: unknown option"}
            return
        shutil.copy(moving_head, folder / "output.mp4")
        (folder / "output.mp4.json").write_text(json.dumps({"output": str(folder / "output.mp4")}), encoding="utf-8")
        facts = {
            "seconds": 3.0,
            "wall_seconds": 1.0,
            "edited": 60,
            "passed": {"no face": 15},
            "notes": [],
            "bytes": 5000,
        }
        part = {"from": 0.0, "to": 3.0} if request["kind"] == "preview" else {}
        yield {"event": "done", "result": {"output": "output.mp4", "playable": "output.mp4", "part": part, **facts}}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerProcess, "start", lambda worker: None)
        patch.setattr(WorkerProcess, "run", run)
        server = Server(ServerSettings(folder=tmp_path_factory.mktemp("web"), port=0, upload_bytes=5_000_000))
        yield server.start().rstrip("/")
        server.stop()


def test_api_without_a_browser(url: str, moving_head: Path, short_speech: Path) -> None:
    api, other = ApiClient(url), ApiClient(url)
    run = {"video": api.upload("video", moving_head), "people": [{"speech": api.upload("sound", short_speech)}]}
    job = api.wait(api.start("render", **run)["id"])
    assert (job["status"], job["result"]["edited"]) == ("done", 60)
    result = f"/media/jobs/{job['id']}/output.mp4"
    assert api.http.get(result, headers={"Range": "bytes=0-99"}).status_code == 206
    assert api.http.get(f"/media/jobs/{job['id']}/record.json").json() == {"output": "output.mp4"}
    for path in (result, f"/media/files/{run['video']}/{moving_head.name}"):
        assert other.http.get(path).status_code == 404
    for name in ("job.json", "run.yaml", "output.mp4.json", "%2e%2e/%2e%2e/files.json"):
        assert api.http.get(f"/media/jobs/{job['id']}/{name}").status_code == 404
    failed = api.wait(api.start("render", **run, config={"seed": 1})["id"])
    assert failed["error"] == {"code": "invalid-option", "message": "run.yaml:1: unknown option"}
    for call, code in (
        (lambda: other.call("cancel", job["id"], other.session), "unknown-job"),
        (lambda: other.start("render", **run), "unknown-file"),
        (lambda: api.start("render", **{**run, "start": -1}), "invalid-request"),
        (lambda: api.call("state", "x" * 32), "no-session"),
        (lambda: api.call("load_run_file", "sound: /etc/passwd"), "path-not-allowed"),
    ):
        with pytest.raises(RuntimeError, match=rf"\[{code}\]"):
            call()
    checked = api.call("run_file", {**run, "config": {"lip_syncer": {"use": "exmplar"}}}, api.session)
    assert "did you mean 'exemplar'" in checked["error"]
    with pytest.raises(RuntimeError, match=r"run.yaml:1: unknown preset 'nope'.*\[unknown-preset\]"):
        api.call("load_run_file", "preset: nope")
    for call in (
        lambda: api.call("start", None, run, api.session),
        lambda: api.call("cancel", 5, api.session),
        lambda: api.call("state", {}),
        lambda: api.call("follow", [], api.session),
    ):
        with pytest.raises(RuntimeError, match=r": expected a string \[invalid-request\]"):
            call()
    assert [each["status"] for each in api.follow(job["id"])] == ["done"]
    state = api.http.get("/api/state", params={"known": job["id"]}).json()
    assert {each["id"]: "result" in each for each in state["jobs"]}[job["id"]] is False
    huge = api.http.post("/api/files?kind=video&name=x.mp4", content=b"x" * 5_000_001)
    assert (huge.status_code, huge.json()["code"]) == (413, "file-too-large")
    missing = api.http.post("/api/files", content=b"x")
    assert (missing.status_code, missing.json()["code"]) == (400, "invalid-request")
    api.call("clear", api.session)
    assert api.http.get(result).status_code == 401


def test_unexpected_errors_show_nothing_of_the_server(
    url: str, moving_head: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = ApiClient(url)
    for error, code in (
        (OSError(errno.ENOSPC, "No space left on device", "/srv/secret"), "disk-full"),
        (ValueError("/srv/secret"), "internal-error"),
    ):
        monkeypatch.setattr(Service, "state", Mock(side_effect=error))
        with pytest.raises(RuntimeError, match=rf"^[a-z ;]+ \[{code}\]$"):
            api.call("state", api.session)
        response = api.http.get("/api/state")
        assert (response.status_code >= 500, response.json()["code"]) == (True, code)
        assert "secret" not in response.text


def test_one_server_per_directory(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retalkit_web.server import Server

    monkeypatch.setattr(WorkerProcess, "start", lambda worker: None)
    settings = ServerSettings(folder=tmp_path, port=0)
    first = Server(settings)
    first._lock.acquire(timeout=0)
    with pytest.raises(WebError) as error:
        Server(settings).start()
    assert error.value.code == "folder-in-use"
    first._lock.release()


def test_unusable_addresses_and_directories_are_explained(url: str, tmp_path: Path) -> None:
    from retalkit_web.server import Server

    file = tmp_path / "file"
    file.touch()
    used = int(url.rpartition(":")[2])
    for settings, code, option in (
        (ServerSettings(folder=tmp_path / "a", port=used), "port-in-use", f"--port {used}"),
        (ServerSettings(folder=tmp_path / "a", host="203.0.113.5", port=0), "invalid-host", "--host 203.0.113.5"),
        (ServerSettings(folder=file), "folder-not-writable", "--folder"),
    ):
        with pytest.raises(WebError) as error:
            Server(settings).start()
        assert error.value.code == code
        assert str(error.value).startswith(option)


def test_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    from retalkit_web.server import Server

    monkeypatch.setattr(WorkerProcess, "start", lambda worker: None)
    monkeypatch.setattr(JobQueue, "start", lambda queue: None)
    try:
        server = Server(ServerSettings(folder=tmp_path, host="::1", port=0))
        url = server.start()
    except WebError as error:
        pytest.skip(f"no IPv6: {error}")
    assert url.startswith("http://[::1]:")
    assert httpx.get(url).status_code == 200
    server.stop()


def test_page_in_a_browser(url: str, moving_head: Path, short_speech: Path, tmp_path: Path) -> None:
    with open_browser() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 860})
        context.set_default_timeout(20000)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        context.on(
            "request", lambda request: None if request.url.startswith((url, "blob:")) else problems.append(request.url)
        )
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        video = tmp_path / "My video (1).mp4"
        shutil.copy(moving_head, video)
        page.set_input_files("#file-video", video)
        page.set_input_files("#file-speech", short_speech)
        page.wait_for_selector("#speeches .quiet")
        page.wait_for_selector("#timeline .track.speech")
        assert page.locator("#timeline .shot").count() == 2
        assert page.locator("#timeline .span.passed").count() == 1
        assert "50 %" in page.text_content("#summary")
        assert page.locator(".person.on").count() == 1
        page.locator(".person .face").nth(1).click()
        assert page.locator(".person.on").count() == 2
        page.click("#preview-button")
        page.locator("#right .caption", has_text="Preview").wait_for()
        page.dblclick("#render-button")
        page.locator(".variant.current").wait_for()
        assert page.locator(".variant").count() == 1
        run_file = tmp_path / "run.yaml"
        run_file.write_text("preset: nope", encoding="utf-8")
        page.set_input_files("#file-run", run_file)
        page.locator("#toast", has_text="unknown preset").wait_for()
        # The cookie is sent with links from other sites, so that the session is not replaced.
        assert {each["sameSite"] for each in context.cookies()} == {"Lax"}
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.locator(".person.on").count() == 2
        page.locator(".variant.current").wait_for()
        assert problems == []
