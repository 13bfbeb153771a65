"""Jobs of all sessions and the queue from which the worker processes take them.

A job is stored in its own directory. Jobs that were unfinished when the server ended are queued again at the next
start, and resume from the session's cache.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from retalkit_web.run_request import Kind, RunRequest, files_in
from retalkit_web.scrub import scrub, scrub_all, valid_json
from retalkit_web.sessions import Session, SessionStore, is_id, new_id, write_json
from retalkit_web.settings import ServerSettings, WebError
from retalkit_web.uploads import storage_error
from retalkit_web.worker_process import WorkerProcess

Status = Literal["queued", "running", "done", "failed", "cancelled"]
_UNFINISHED: Final = ("queued", "running")
_INTERACTIVE: Final = ("inspect", "preview", "motion")
"""Kinds of jobs that answer within seconds. They have a worker of their own, so that they never wait for a
rendering."""
_MOST_JOBS: Final = 500
"""Maximum number of jobs of a session, including finished ones."""
_CANCEL_SECONDS: Final = 15.0
"""Time after which the worker process of a cancelled job is ended, if the job does not stop itself."""
_LOG: Final = logging.getLogger(__name__)
_KEPT_HELPERS: Final = 3
"""Number of finished inspections, previews and curves that are kept per session and kind."""


@dataclass(slots=True)
class Job:
    """Job of a session."""

    id: str
    kind: Kind
    request: dict[str, Any]
    created: float
    status: Status = "queued"
    step: str = ""
    done: int = 0
    total: int | None = None
    rate: float | None = None
    """Units of the step per second."""
    left: float | None = None
    """Estimated time left in seconds."""
    fraction: float = 0.0
    notes: list[str] = field(default_factory=list[str])
    error: dict[str, str] = field(default_factory=dict[str, str])
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    finished: float = 0.0
    """Time at which the job ended, in seconds since the epoch."""

    def as_dict(self) -> dict[str, Any]:
        """Return the job as plain data. Its result may be large, so that it is not copied."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"notes": [*self.notes]}


def files_of(request: dict[str, Any]) -> set[str]:
    """Return the ids of the uploaded files that a request names."""
    people = {each["speech"] for each in request.get("people", ())}
    options = {id for _, id in files_in(request.get("config"))}
    return {request.get("video", ""), request.get("motion", "")} | people | options


class JobQueue:
    """Queue of jobs with a limited number of worker processes."""

    def __init__(self, settings: ServerSettings, store: SessionStore) -> None:
        self._settings = settings
        self._store = store
        self._lock = threading.Condition()
        self._jobs: dict[str, tuple[Session, Job]] = {}
        self._order: list[str] = []
        self._running: dict[str, WorkerProcess] = {}
        self._cancelled: set[str] = set()
        self._timers: dict[str, threading.Timer] = {}
        """Timers that end the worker of a cancelled job."""
        self._stopped = False
        self._workers = [WorkerProcess("interactive", settings.plugins)]
        self._workers += [WorkerProcess(f"render{number}", settings.plugins) for number in range(settings.jobs)]
        self._threads: list[threading.Thread] = []

    @property
    def workers(self) -> list[WorkerProcess]:
        return self._workers

    def start(self) -> None:
        """Queue unfinished jobs of the last server again, and start the worker processes."""
        self._load()
        for worker in self._workers:
            worker.start()
            thread = threading.Thread(target=self._work, args=(worker,), name=worker.name, daemon=True)
            thread.start()
            self._threads.append(thread)
        sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
        sweeper.start()

    def stop(self) -> None:
        """Stop the worker processes. Unfinished jobs keep their state and are resumed at the next start."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()
        closing = [threading.Thread(target=worker.close) for worker in self._workers]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def add(self, session: Session, kind: Kind, request: RunRequest) -> Job:
        """Queue a job. An unfinished inspection, preview or curve of the session is replaced by a new one.

        If an unfinished rendering or comparison has the same request, that job is returned. Raises WebError if the
        queue or the disk is full.
        """
        if session.size() > self._settings.session_bytes:
            raise WebError("the session uses too much storage; delete results or files", code="session-full")
        data = request.model_dump(mode="json")
        with self._lock:
            for job in self.of(session):
                if job.kind != kind or job.status not in _UNFINISHED:
                    continue
                if kind in _INTERACTIVE:
                    self.cancel(session, job.id)
                elif {**job.request, "name": ""} == {**data, "name": ""}:
                    # The button was clicked twice, or in two tabs.
                    return job
            self._check_limits(session)
            job = Job(id=new_id("j"), kind=kind, request=data, created=time.time())
            try:
                (session.jobs / job.id).mkdir(parents=True)
            except OSError as error:
                raise storage_error(error) from error
            self._enqueue(session, job)
        self._store_job(session, job)
        if kind in _INTERACTIVE:
            self._forget_helpers(session, kind)
        return job

    def _check_limits(self, session: Session) -> None:
        waiting = [self._jobs[id][0] for id in self._order]
        if len(waiting) >= self._settings.waiting:
            raise WebError("the server is busy; try again when other jobs have finished", code="queue-full")
        if sum(each.key == session.key for each in waiting) >= self._settings.waiting_per_session:
            raise WebError("too many of your jobs are waiting; cancel one or wait", code="queue-full")
        if sum(owner.key == session.key for owner, _ in self._jobs.values()) >= _MOST_JOBS:
            raise WebError("the session has too many jobs; delete results", code="session-full")

    def resume(self, session: Session, id: str) -> Job:
        """Queue a cancelled or failed job again. Raises WebError."""
        with self._lock:
            job = self.get(session, id)
            if job.status not in ("cancelled", "failed"):
                raise WebError("only a cancelled or failed job can be resumed", code="invalid-request")
            self._check_limits(session)
            job.status, job.error, job.notes = "queued", {}, []
            self._enqueue(session, job)
        self._store_job(session, job)
        return job

    def cancel(self, session: Session, id: str) -> Job:
        """Cancel a job. A running job stops after the current batch of frames."""
        job = self.get(session, id)
        with self._lock:
            if job.status == "queued" and id in self._order:
                self._order.remove(id)
                job.status = "cancelled"
            elif job.status == "running":
                worker = self._running.get(id)
                if worker is not None and id not in self._cancelled:
                    timer = self._timers[id] = threading.Timer(_CANCEL_SECONDS, worker.kill, (id,))
                    timer.daemon = True
                    timer.start()
                self._cancelled.add(id)
                if worker is not None:
                    worker.cancel(id)
        self._store_job(session, job)
        return job

    def release(self, session: Session, file: str) -> None:
        """Cancel the inspections and previews that read an uploaded file.

        Raises WebError if a rendering or comparison reads the file.
        """
        with self._lock:
            for job in self.of(session):
                if job.status not in _UNFINISHED or file not in files_of(job.request):
                    continue
                if job.kind not in _INTERACTIVE:
                    raise WebError("a rendering uses this file; cancel the rendering first", code="file-in-use")
                self.cancel(session, job.id)

    def delete(self, session: Session, id: str) -> None:
        """Delete a finished job and its files. Raises WebError if the job is running."""
        job = self.get(session, id)
        if job.status in _UNFINISHED:
            raise WebError("cancel the job before you delete it", code="invalid-request")
        with self._lock:
            self._jobs.pop(id, None)
        shutil.rmtree(session.jobs / id, ignore_errors=True)

    def clear(self, session: Session) -> None:
        """Cancel and forget all jobs of a session."""
        for job in self.of(session):
            if job.status in _UNFINISHED:
                self.cancel(session, job.id)
        with self._lock:
            for job in [job for owner, job in self._jobs.values() if owner.key == session.key]:
                if job.status != "running":
                    self._jobs.pop(job.id, None)

    def get(self, session: Session, id: str) -> Job:
        """Return a job of the session. Raises WebError if the session has no such job."""
        with self._lock:
            found = self._jobs.get(id) if is_id(id) else None
            if found is None or found[0].key != session.key:
                raise WebError("there is no such job in this session", code="unknown-job")
            return found[1]

    def of(self, session: Session) -> list[Job]:
        """Return the jobs of a session, oldest first."""
        with self._lock:
            found = [job for owner, job in self._jobs.values() if owner.key == session.key]
        return sorted(found, key=lambda job: job.created)

    def position(self, id: str) -> int:
        """Return the number of jobs that start before a waiting job."""
        with self._lock:
            return self._order.index(id) if id in self._order else 0

    # ------------------------------------------------------------------ worker threads

    def _enqueue(self, session: Session, job: Job) -> None:
        with self._lock:
            self._jobs[job.id] = (session, job)
            self._order.append(job.id)
            self._lock.notify_all()

    def _take(self, worker: WorkerProcess) -> tuple[Session, Job] | None:
        interactive = worker.name == "interactive"
        with self._lock:
            while not self._stopped:
                for id in self._order:
                    session, job = self._jobs[id]
                    if (job.kind in _INTERACTIVE) == interactive:
                        self._order.remove(id)
                        job.status = "running"
                        self._running[id] = worker
                        return session, job
                self._lock.wait(5)
        return None

    def _work(self, worker: WorkerProcess) -> None:
        while (taken := self._take(worker)) is not None:
            session, job = taken
            self._store_job(session, job)
            request = {
                "job": job.id,
                "kind": job.kind,
                "folder": str(session.jobs / job.id),
                "request": job.request,
            }
            try:
                for event in worker.run(request):
                    if self._stopped:
                        return
                    self._apply(session, job, event)
            except Exception:
                # The thread must outlive a full disk or a deleted session, because it serves all sessions.
                _LOG.exception("job %s failed in the server", job.id)
                message = "the server could not store the result; try again later"
                job.finished, job.left, job.error = time.time(), None, {"code": "storage-failed", "message": message}
                job.status = "failed"
            with self._lock:
                # Another worker may have taken the job again if it was resumed at once.
                if self._running.get(job.id) is worker:
                    del self._running[job.id]
                self._cancelled.discard(job.id)
                # The timer must not end the worker if the job is resumed.
                if (timer := self._timers.pop(job.id, None)) is not None:
                    timer.cancel()
                if not session.folder.is_dir():
                    self._jobs.pop(job.id, None)
            self._store_job(session, job)
            # The time until the session is deleted begins when the result is ready.
            session.touch()

    def _apply(self, session: Session, job: Job, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "progress":
            job.step, job.done, job.total, job.rate = event["step"], event["done"], event["total"], event["rate"]
        elif kind == "left":
            job.left, job.fraction = event["seconds"], max(event["fraction"], 0.0)
        elif kind == "note":
            job.notes.append(scrub(event["text"], session.folder))
        elif kind in ("done", "failed", "cancelled"):
            if kind == "failed" and event["code"] == "worker-ended" and job.id in self._cancelled:
                kind = "cancelled"
            job.finished = time.time()
            job.left = None
            if kind == "done":
                job.result, job.fraction = valid_json(scrub_all(event["result"], session.folder)), 1.0
                write_json(session.jobs / job.id / "result.json", job.result)
            elif kind == "failed":
                job.error = {"code": event["code"], "message": scrub(event["message"], session.folder)}
            # The status is set last, because the page reads the result as soon as the job is done.
            job.status = kind
        # A job that was cancelled before it reached its worker.
        if kind == "progress" and job.id in self._cancelled:
            self._running[job.id].cancel(job.id)

    def _forget_helpers(self, session: Session, kind: Kind) -> None:
        finished = [job for job in self.of(session) if job.kind == kind and job.status not in _UNFINISHED]
        for job in finished[:-_KEPT_HELPERS]:
            with suppress(WebError):
                self.delete(session, job.id)

    # ------------------------------------------------------------------ storage

    def _store_job(self, session: Session, job: Job) -> None:
        with suppress(OSError):
            write_json(session.jobs / job.id / "job.json", {**job.as_dict(), "result": {}})

    def _load(self) -> None:
        known = {each.name for each in fields(Job)}
        unfinished: list[tuple[Session, Job]] = []
        for session in self._store.all():
            with suppress(OSError, ValueError, TypeError):
                session.discard_partial()
            for path in session.jobs.glob("*/job.json"):
                with suppress(OSError, ValueError, TypeError):
                    data = json.loads(path.read_text(encoding="utf-8"))
                    job = Job(**{name: value for name, value in data.items() if name in known})
                    result = path.with_name("result.json")
                    if result.exists():
                        job.result = json.loads(result.read_text(encoding="utf-8"))
                    self._jobs[job.id] = (session, job)
                    if job.status in _UNFINISHED:
                        unfinished.append((session, job))
        for session, job in sorted(unfinished, key=lambda each: each[1].created):
            job.status = "queued"
            self._enqueue(session, job)

    def _sweep(self) -> None:
        while not self._stopped:
            try:
                self.delete_expired()
            except Exception:
                _LOG.exception("expired sessions could not be deleted")
            time.sleep(min(60.0, self._settings.keep_hours * 900))

    def delete_expired(self) -> int:
        """Delete the sessions that were not used for the set time. Return their number."""
        expired = self._store.expired()
        deleted = 0
        for session in expired:
            jobs = self.of(session)
            if any(job.status in _UNFINISHED for job in jobs):
                continue
            with self._lock:
                for job in jobs:
                    self._jobs.pop(job.id, None)
            self._store.delete(session)
            deleted += 1
        return deleted
