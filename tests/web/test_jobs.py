"""Queue of jobs without worker processes, and the content of the page."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from retalkit.plugins.discovery import discover
from retalkit_web.jobs import JobQueue
from retalkit_web.presets import page_options
from retalkit_web.run_request import RunRequest, parse_request
from retalkit_web.scrub import valid_json
from retalkit_web.sessions import SessionStore
from retalkit_web.settings import ServerSettings, WebError
from retalkit_web.texts import TEXTS
from retalkit_web.worker_process import WorkerProcess

from tests.web.running_server import wait_until

REQUEST = parse_request({"video": "f1"})


def variant(number: int) -> RunRequest:
    return parse_request({"video": "f1", "config": {"seed": number}})


PLUGIN = """
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import CONTRACT_VERSIONS, StageKind

class Options(StageConfig):
    limit: float = float("inf")
    wobble: int = 3
    \"\"\"How much the mouth wobbles.\"\"\"

@hookimpl
def retalkit_stages():
    api = CONTRACT_VERSIONS["lip_syncer"].current
    spec = StageSpec(
        kind=StageKind.LIP_SYNCER, name="wobbly", summary="wobbles", build="a:b", licence="MIT", config=Options, api=api
    )
    return [spec]
"""


def test_the_queue_is_limited_and_outlives_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerSettings(folder=tmp_path, waiting=3, waiting_per_session=2)
    store = SessionStore(settings)
    queue = JobQueue(settings, store)
    (_, first), (_, second) = store.create(), store.create()
    one, two = (queue.add(first, "render", variant(number)) for number in range(2))
    with pytest.raises(WebError) as error:
        queue.add(first, "render", variant(2))
    assert error.value.code == "queue-full"
    queue.add(second, "render", REQUEST)
    with pytest.raises(WebError) as error:
        queue.add(second, "render", variant(0))
    assert error.value.code == "queue-full"
    assert queue.position(two.id) == 1
    queue.cancel(first, one.id)
    assert (one.status, queue.position(two.id)) == ("cancelled", 0)
    with pytest.raises(WebError) as error:
        queue.get(second, one.id)
    assert error.value.code == "unknown-job"
    # A new inspection replaces an unfinished one.
    old, new = (queue.add(first, "inspect", REQUEST) for _ in range(2))
    assert (old.status, new.status) == ("cancelled", "queued")
    # Resumed jobs are limited as well.
    with pytest.raises(WebError) as error:
        queue.resume(first, one.id)
    assert error.value.code == "queue-full"
    # A file that belongs to no upload, because the server ended.
    (first.folder / "files" / "f9").mkdir(parents=True)

    monkeypatch.setattr(WorkerProcess, "start", lambda worker: None)
    monkeypatch.setattr(JobQueue, "_work", lambda queue, worker: None)
    again = JobQueue(settings, SessionStore(settings))
    again.start()
    assert {job.id: job.status for job in again.of(first)} == {
        one.id: "cancelled",
        two.id: "queued",
        old.id: "cancelled",
        new.id: "queued",
    }
    assert list((first.folder / "files").iterdir()) == []
    again.cancel(first, two.id)
    again.resume(first, one.id)
    assert again.position(one.id) == 2
    again.stop()


def test_the_same_rendering_is_queued_once(tmp_path: Path) -> None:
    settings = ServerSettings(folder=tmp_path)
    store = SessionStore(settings)
    queue = JobQueue(settings, store)
    (_, session), (_, other) = store.create(), store.create()
    job = queue.add(session, "render", variant(1))
    assert queue.add(session, "render", variant(1).model_copy(update={"name": "again"})) is job
    assert queue.add(session, "render", variant(2)) is not job
    assert queue.add(other, "render", variant(1)) is not job
    with pytest.raises(WebError) as error:
        queue.release(session, "f1")
    assert error.value.code == "file-in-use"
    for each in queue.of(session):
        queue.cancel(session, each.id)
    inspection = queue.add(session, "inspect", REQUEST)
    queue.release(session, "f1")
    assert inspection.status == "cancelled"


def test_a_worker_outlives_a_deleted_session_and_a_job_that_ignores_its_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(folder=tmp_path)
    queue = JobQueue(settings, SessionStore(settings))
    sessions = {number: queue._store.create()[1] for number in range(3)}
    killed = threading.Event()

    def run(worker: WorkerProcess, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        number = request["request"]["config"]["seed"]
        if number == 0:
            queue._store.delete(sessions[0])
        if number == 1:
            queue.cancel(sessions[1], request["job"])
            assert killed.wait(20)
            yield {"event": "failed", "code": "worker-ended", "message": ""}
            return
        yield {"event": "done", "result": {"seconds": float("nan"), "path": str(tmp_path / "x" / "y.mp4")}}

    monkeypatch.setattr("retalkit_web.jobs._CANCEL_SECONDS", 0.05)
    monkeypatch.setattr(WorkerProcess, "start", lambda worker: None)
    monkeypatch.setattr(WorkerProcess, "run", run)
    monkeypatch.setattr(WorkerProcess, "kill", lambda worker, job: killed.set())
    queue.start()
    jobs = [queue.add(session, "render", variant(number)) for number, session in sessions.items()]
    wait_until(lambda: jobs[2].status == "done", 20)
    queue.stop()
    assert [job.status for job in jobs] == ["failed", "cancelled", "done"]
    assert jobs[0].error["code"] == "storage-failed"
    assert queue.of(sessions[0]) == []
    assert jobs[2].result == {"seconds": None, "path": "y.mp4"}


def test_a_resumed_job_is_not_ended_by_its_earlier_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(folder=tmp_path)
    queue = JobQueue(settings, SessionStore(settings))
    _, session = queue._store.create()
    killed, runs = threading.Event(), 0

    def run(worker: WorkerProcess, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        nonlocal runs
        runs += 1
        if runs == 1:
            queue.cancel(session, request["job"])
            yield {"event": "cancelled"}
            return
        yield {"event": "failed" if killed.wait(1) else "done", "code": "worker-ended", "message": "", "result": {}}

    monkeypatch.setattr("retalkit_web.jobs._CANCEL_SECONDS", 0.4)
    monkeypatch.setattr(WorkerProcess, "start", lambda worker: None)
    monkeypatch.setattr(WorkerProcess, "run", run)
    monkeypatch.setattr(WorkerProcess, "kill", lambda worker, job: killed.set())
    queue.start()
    job = queue.add(session, "render", variant(1))
    wait_until(lambda: job.status == "cancelled", 20)
    queue.resume(session, job.id)
    wait_until(lambda: job.status in ("done", "failed"), 20)
    queue.stop()
    assert (job.status, runs) == ("done", 2)


def test_sessions_with_unfinished_jobs_are_not_deleted(tmp_path: Path) -> None:
    settings = ServerSettings(folder=tmp_path, keep_hours=-1.0)
    store = SessionStore(settings)
    queue = JobQueue(settings, store)
    _, session = store.create()
    job = queue.add(session, "render", REQUEST)
    assert queue.delete_expired() == 0
    queue.cancel(session, job.id)
    assert queue.delete_expired() == 1
    assert not session.folder.exists()


def test_options_of_a_plugin_and_commands_of_a_preset_appear(tmp_path: Path) -> None:
    plugin = tmp_path / "wobbly.py"
    plugin.write_text(PLUGIN, encoding="utf-8")
    page = page_options(discover([plugin]))
    shown = [each for each in page["schema"]["properties"]["lip_syncer"]["oneOf"] if each.get("title") == "wobbly"]
    assert shown[0]["properties"]["wobble"]["description"] == "How much the mouth wobbles."
    json.dumps(valid_json(page), allow_nan=False)
    assert str(tmp_path) not in json.dumps(page)
    presets = {each["name"]: each for each in page["presets"]}
    assert presets["embedded"]["missing"] == ""
    assert presets["paper"]["values"]["lip_syncer"]["use"] == "lnet"
    # The tests have no checkpoints.
    assert any(
        "retalkit weights pull" in command or "pip install" in command for command in presets["paper"]["commands"]
    )
    assert "cache_limit_gb" not in page["schema"]["properties"]


def test_every_text_of_the_page_is_defined() -> None:
    import retalkit_web

    folder = Path(retalkit_web.__file__).parent / "page"
    used: set[str] = set()
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r"\{\{ (\w+) \}\}", text))
        if path.suffix == ".js":
            used |= set(re.findall(r"\bt\(\"(\w+)\"", text))
    assert used - set(TEXTS) == set()
    dynamic = ("step_", "legend_", "short_", "preset_", "motion_", "unit_")
    unused = {key for key in TEXTS if key not in used and not key.startswith(dynamic)}
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    assert {key for key in unused if f'"{key}"' not in sources} == {"wrong_login", "too_many_logins"}
    assert "http://" not in sources.replace("http://www.w3.org", "")
    assert "https://" not in sources
