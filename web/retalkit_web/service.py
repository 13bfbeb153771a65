"""Operations of the page and of the HTTP API. All arguments and results are plain data."""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from retalkit_web.jobs import Job, JobQueue
from retalkit_web.presets import page_options
from retalkit_web.run_request import Kind, RunRequest, check_files, parse_request, parse_run_file, run_file_text
from retalkit_web.scrub import scrub
from retalkit_web.sessions import Session, SessionStore, StoredFile, new_id
from retalkit_web.settings import ServerSettings, WebError
from retalkit_web.texts import TEXTS

if TYPE_CHECKING:
    from retalkit.plugins.registry import Registry

_MOTION_ROWS = 400_000


class Service:
    """Sessions and jobs of the server."""

    def __init__(self, settings: ServerSettings, registry: Registry) -> None:
        self.settings = settings
        self.registry = registry
        self.store = SessionStore(settings)
        self.queue = JobQueue(settings, self.store)
        self._page: dict[str, Any] | None = None

    def page(self) -> dict[str, Any]:
        """Return what the page needs once: texts, presets, options and limits."""
        if self._page is None:
            limits = {
                "upload_bytes": self.settings.upload_bytes,
                "media_seconds": self.settings.media_seconds,
                "keep_hours": self.settings.keep_hours,
            }
            self._page = {"texts": TEXTS, "limits": limits, **page_options(self.registry)}
        return self._page

    def state(self, session: Session, known: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the files and jobs of a session. ``known``: finished jobs of which the results are omitted."""
        jobs = [self.job(job) for job in self.queue.of(session)]
        for job in jobs:
            if job["id"] in known and job["status"] == "done":
                del job["result"]
        return {"files": [asdict(each) for each in session.files()], "jobs": jobs}

    def job(self, job: Job) -> dict[str, Any]:
        """Return a job as plain data."""
        return {**job.as_dict(), "position": self.queue.position(job.id)}

    def start(self, session: Session, kind: str, request: Any) -> dict[str, Any]:
        """Queue a job. Raises WebError."""
        if kind not in get_args(Kind):
            raise WebError(f"unknown kind of job; use {', '.join(get_args(Kind))}", code="invalid-request")
        parsed = parse_request(request)
        if kind == "compare":
            parsed = self._comparison(session, parsed)
        check_files(parsed, session)
        if kind != "inspect" and not parsed.people:
            raise WebError("no person has a speech; add a speech first", code="missing-speech")
        return self.job(self.queue.add(session, kind, parsed))  # pyright: ignore[reportArgumentType]

    def _comparison(self, session: Session, request: RunRequest) -> RunRequest:
        """Return the request with the inputs of the compared variants, which the screen may no longer show."""
        jobs = [self.queue.get(session, other) for other in dict.fromkeys(request.others)]
        if len(jobs) < 2:
            raise WebError("select at least two variants", code="invalid-request")
        if any((job.kind, job.status) != ("render", "done") for job in jobs):
            raise WebError("only finished variants can be compared", code="invalid-request")
        first, *others = (parse_request(job.request) for job in jobs)
        if any((each.video, each.people) != (first.video, first.people) for each in others):
            raise WebError("only variants of the same video and speech can be compared", code="invalid-request")
        return request.model_copy(update={"video": first.video, "people": first.people})

    def cancel(self, session: Session, id: str) -> dict[str, Any]:
        return self.job(self.queue.cancel(session, id))

    def resume(self, session: Session, id: str) -> dict[str, Any]:
        return self.job(self.queue.resume(session, id))

    def clear(self, session: Session) -> None:
        """Delete a session with all files and jobs."""
        self.queue.clear(session)
        self.store.delete(session)

    def run_file(self, session: Session, request: Any) -> dict[str, Any]:
        """Return the run file of a request, or the reason why it is invalid."""
        from retalkit.errors import RetalkitError

        from retalkit_web.run_request import load_config

        parsed = parse_request(request)
        text = run_file_text(parsed, session)
        try:
            load_config(parsed, session, session.folder / "check", self.registry)
        except RetalkitError as error:
            return {"text": text, "error": scrub(" ".join(str(error).split()), session.folder)}
        return {"text": text, "error": ""}

    def load_run_file(self, text: str) -> dict[str, Any]:
        """Return the content of a run file. Raises WebError, ConfigError or PluginError if the run file is invalid."""
        return parse_run_file(text, self.registry)

    def delete_file(self, session: Session, id: str) -> None:
        """Delete an uploaded file. Raises WebError if a rendering uses the file."""
        self.queue.release(session, id)
        session.remove(id)

    def save_motion(self, session: Session, job: str, curves: Any) -> dict[str, Any]:
        """Store the motion of a finished job with changed curves as a motion file. Raises WebError.

        ``curves``: mapping from ``opening`` or ``closure`` to one value per row of the job's motion.
        """
        source = session.jobs / self.queue.get(session, job).id / "motion.csv"
        if not source.exists() or not isinstance(curves, dict):
            raise WebError("there is no motion to change; predict the motion first", code="unknown-file")
        rows = list(csv.reader(io.StringIO(source.read_text(encoding="utf-8"))))
        header = rows[0]
        for name, highest in (("opening", 1.5), ("closure", 1.0)):
            values = curves.get(name)
            if values is None:
                continue
            if not isinstance(values, list) or len(values) != len(rows) - 1 or len(rows) > _MOTION_ROWS:
                raise WebError(f"{name}: expected {len(rows) - 1} values", code="invalid-request")
            column = header.index(name)
            for row, value in zip(rows[1:], values, strict=True):
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
                    raise WebError(f"{name}: expected numbers from 0 to {highest:g}", code="invalid-request")
                row[column] = f"{value:.4f}"
        text = "\n".join(",".join(row) for row in rows) + "\n"
        id = new_id("f")
        file = StoredFile(id=id, name="motion.csv", kind="motion", bytes=len(text), seconds=float(rows[-1][0]))
        path = session.path(file)
        with session.reserve(file.bytes, self.settings.session_bytes):
            try:
                path.parent.mkdir(parents=True)
                path.write_text(text, encoding="utf-8")
                session.add(file)
            except (OSError, WebError):
                shutil.rmtree(path.parent, ignore_errors=True)
                raise
        return asdict(file)
