"""Workers that are forked copies of the process of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from retalkit.batch import forking
from retalkit.batch.forking import can_fork
from retalkit.errors import OutputError
from retalkit.paths import reserved

from tests.core.batch.test_local_executor import is_running

REPOSITORY = Path(__file__).resolve().parents[3]
DRIVER = """
import json, os, sys, threading
from pathlib import Path
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from retalkit.batch.forking import can_fork
from retalkit.batch.local import LocalExecutor
from retalkit.batch.worker import WorkerState
from retalkit.native_logs import FILTER_THREAD
from retalkit.paths import reserved
from tests.core.batch.test_local_executor import task

folder = Path(sys.argv[1])
waiting = threading.Event()
threading.Thread(target=waiting.wait, name=FILTER_THREAD, daemon=True).start()
state = WorkerState()
state.pool.get("counter", lambda: [41])
with reserved(folder / "out.mp4"), LocalExecutor(2, forked=state) as executor:
    facts = {"processes": executor.processes()}
    facts |= executor.submit(task("count")).result().value
    facts["later"] = can_fork()
    print(json.dumps(facts), flush=True)
    if sys.argv[2] == "long":
        executor.submit(task("long", mark=str(folder / "mark"))).result()
"""


def start(folder: Path, mode: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), mode], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_copies_share_the_state_and_end_with_the_executor(tmp_path: Path) -> None:
    driver = start(tmp_path, "short")
    output, _ = driver.communicate(timeout=60)
    facts = json.loads(output)
    assert driver.returncode == 0
    assert facts["count"] == 42 and facts["pid"] in facts["processes"] and len(facts["processes"]) == 2
    assert not facts["later"], "the threads of the executor must prevent further copies"
    assert not any(map(is_running, facts["processes"]))


def test_killed_driver_releases_its_files_at_once(tmp_path: Path) -> None:
    driver = start(tmp_path, "long")
    assert driver.stdout is not None
    facts = json.loads(driver.stdout.readline())
    mark = tmp_path / "mark"
    limit = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < limit:
        time.sleep(0.02)
    with pytest.raises(OutputError), reserved(tmp_path / "out.mp4"):
        pass
    driver.kill()
    driver.wait()
    # A copy that kept the descriptor of the lock would hold the lock for some time.
    with reserved(tmp_path / "out.mp4"):
        pass
    while any(map(is_running, facts["processes"])) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(map(is_running, facts["processes"]))


def test_other_threads_prevent_copies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(forking, "_THREADS", tmp_path)
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread()])
    (tmp_path / "1").touch()
    assert can_fork() == (sys.platform == "linux")
    (tmp_path / "2").touch()
    assert not can_fork(), "a thread of a native library"
    stranger = threading.Thread(name="stranger")
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread(), stranger])
    assert not can_fork()
