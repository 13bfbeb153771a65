"""Events as JSON lines, and runs that a signal stops."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from commands import call
from retalkit.cli.run_report import report_run
from retalkit.pipeline.record import RunRecord

KNOWN = {"begin", "started", "advanced", "finished", "note", "artefact", "time_left", "detail", "result"}


def test_sigterm_stops_and_the_printed_command_resumes(
    tmp_path: Path, moving_head: Path, short_speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out file.mp4"
    arguments = ["dub", moving_head, short_speech, "-o", output, "--cache", tmp_path / "cache", "--json", "--verbose"]
    arguments += ["--set", "provenance.sign=false"]
    process = subprocess.Popen(
        [sys.executable, "-m", "retalkit", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "advanced" and events[-1]["step"] == "faces":
            process.send_signal(signal.SIGTERM)
            break
    rest, error = process.communicate(timeout=120)
    events += [json.loads(line) for line in rest.splitlines()]
    assert process.returncode == 143, error
    assert events[0]["event"] == "begin" and events[0]["version"] == 1
    assert events[-1]["event"] == "stopped"
    command = events[-1]["resume"]
    assert error.splitlines()[-1] == f"retalkit: stopped; resume with: {command}"
    assert shlex.split(command) == ["retalkit", *map(str, arguments)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]

    done = call(capsys, *shlex.split(command)[1:])
    events = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0 and {event["event"] for event in events} <= KNOWN
    result = events[-1]
    assert result["event"] == "result" and result["output"] == str(output) and result["frames_edited"] == 50
    left = [event for event in events if event["event"] == "time_left"]
    assert left and all(0 <= event["fraction"] <= 1 for event in left)
    # The duration depends on the machine, the decrease does not.
    assert len(left) == 1 or (left[-1]["seconds"] < left[0]["seconds"] and left[-1]["fraction"] > left[0]["fraction"])
    assert any("h264" in event.get("text", "") for event in events)
    # The error of the same command without --force is an event and the usual line.
    done = call(capsys, *shlex.split(command)[1:])
    assert json.loads(done.out.splitlines()[-1])["code"] == "output-exists"
    assert done.code == 2 and done.error.startswith("retalkit: error: ")


def test_quiet_excludes_json(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "dub", "a.mp4", "b.wav", "-o", "c.mp4", "-q", "--json")
    assert (done.code, "--quiet and --json" in done.error) == (2, True)


@pytest.mark.parametrize("edited", [0, 1])
def test_run_without_an_edited_frame_needs_review(tmp_path: Path, edited: int) -> None:
    record = RunRecord(output=tmp_path / "o.mp4", record=tmp_path / "o.mp4.json", seed=1)
    record.frames_edited, record.frames_passed = edited, {"mouth not visible": 24}
    code = 0
    try:
        with report_run(quiet=True, verbose=False, as_json=False, command="retalkit dub") as report:
            report.result(record)
    except typer.Exit as stopped:
        code = stopped.exit_code
    assert code == (0 if edited else 4)
