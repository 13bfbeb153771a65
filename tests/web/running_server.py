"""A running ``retalkit web`` for tests, and helpers for its page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx


class RunningServer:
    """``retalkit web`` in a separate process."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.url = ""
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "retalkit", "web", "--port", "0", "--folder", str(self.folder), *self.options],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.url = next(word for word in line.split() if word.startswith("http")).rstrip("/")

    def kill(self) -> None:
        """End the server as a power failure would. Its worker processes end because their stdin is closed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise

    def worker_memory(self) -> dict[str, int]:
        """Return the resident memory of each worker process in bytes."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        found: dict[str, int] = {}
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            children += (task / "children").read_text().split()
        for child in set(children):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if b"retalkit_web.worker" in words:
                pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
                found[words[words.index(b"retalkit_web.worker") + 1].decode()] = pages * os.sysconf("SC_PAGE_SIZE")
        return found


class ApiClient:
    """Session of the HTTP API without a browser."""

    def __init__(self, url: str, session: str | None = None) -> None:
        self.http = httpx.Client(base_url=url, timeout=300)
        self.session = session if session is not None else self.call("open_session")
        self.http.headers["X-Session"] = self.session

    def call(self, name: str, *data: Any) -> Any:
        """Call a function of the Gradio API. Raises RuntimeError with the message of an error."""
        import json

        event = self.http.post(f"/gradio_api/call/{name}", json={"data": list(data)}).raise_for_status().json()
        text = self.http.get(f"/gradio_api/call/{name}/{event['event_id']}").raise_for_status().text
        for block in reversed(text.strip().split("\n\n")):
            lines = block.splitlines()
            value = json.loads(lines[1].removeprefix("data: "))
            if lines[0] == "event: complete":
                return value[0]
            if lines[0] == "event: error":
                raise RuntimeError(value["error"] if isinstance(value, dict) else value)
        raise RuntimeError(text)

    def follow(self, job: str) -> list[dict[str, Any]]:
        """Return the states of a job until it ends."""
        import json

        event = self.http.post("/gradio_api/call/follow", json={"data": [job, self.session]}).json()
        text = self.http.get(f"/gradio_api/call/follow/{event['event_id']}").text
        blocks = [block.splitlines() for block in text.strip().split("\n\n")]
        return [json.loads(data.removeprefix("data: "))[0] for name, data in blocks if name == "event: generating"]

    def upload(self, kind: str, path: Path, name: str | None = None) -> str:
        parameters = {"kind": kind, "name": name or path.name}
        response = self.http.post("/api/files", params=parameters, content=path.read_bytes())
        assert response.status_code == 200, response.text
        return response.json()["id"]

    def start(self, kind: str, **run: Any) -> dict[str, Any]:
        return self.call("start", kind, run, self.session)

    def job(self, id: str) -> dict[str, Any]:
        state = self.http.get("/api/state").raise_for_status().json()
        return next(each for each in state["jobs"] if each["id"] == id)

    def wait(self, id: str, seconds: float = 300) -> dict[str, Any]:
        """Return the job after it has ended."""
        job: dict[str, Any] = {}

        def ended() -> bool:
            # On a busy machine, the server may close an idle connection at the moment of the next request.
            with suppress(httpx.RemoteProtocolError):
                job.update(self.job(id))
            return bool(job) and job["status"] not in ("queued", "running")

        wait_until(ended, seconds)
        return job


def wait_until(condition: Callable[[], object], seconds: float = 240) -> None:
    """Wait until the condition is true. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s")
        time.sleep(0.1)
