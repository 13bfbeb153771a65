"""Files of a session that the page may download, without paths of the server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from retalkit_web.jobs import Job
from retalkit_web.scrub import scrub_all
from retalkit_web.sessions import Session
from retalkit_web.settings import WebError

_RESULT: Final = re.compile(r"output\.(mp4|mov|mkv|c2pa)|playable\.mp4|motion\.csv|run-file\.yaml|credentials\.json")
_IMAGE: Final = re.compile(r"images/[a-z0-9-]+\.jpg")
_COMPARISON: Final = re.compile(r"comparison/(blind\.html|report\.html|(previews|images)/[\w./-]+)")
RECORD: Final = "record.json"


def job_file(session: Session, job: Job, name: str) -> Path:
    """Return the path of a file of a job. Raises WebError if the file does not exist or must not be read."""
    folder = session.jobs / job.id
    allowed = _RESULT.fullmatch(name) or _IMAGE.fullmatch(name) or _COMPARISON.fullmatch(name)
    path = folder / name
    if not allowed or ".." in name or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise WebError("there is no such file", code="unknown-file")
    return path


def record_of(session: Session, job: Job) -> dict[str, Any]:
    """Return the run record of a job. Raises WebError if there is no record."""
    for path in (session.jobs / job.id).glob("output.*.json"):
        return scrub_all(json.loads(path.read_text(encoding="utf-8")), session.folder)
    raise WebError("there is no run record", code="unknown-file")
