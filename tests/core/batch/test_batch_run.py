"""Batches of short clips: shared analysis, broken clips, resume, retries, gates and the index page."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import retalkit
from retalkit.batch.executor import Executor
from retalkit.batch.gate_limits import GateLimits
from retalkit.batch.index_page import write_index
from retalkit.batch.jobs import Common, Job, build_jobs
from retalkit.batch.jobs_file import read_jobs
from retalkit.batch.local import LocalExecutor
from retalkit.batch.outcome import BatchOutcome, JobOutcome
from retalkit.batch.run import BatchOptions, check_batch, run_batch
from retalkit.batch.tables import write_tables
from retalkit.cli.batch_options import summary
from retalkit.cli.json_progress import JsonProgress
from retalkit.config import load
from retalkit.cues.faults import Faults
from retalkit.errors import OutputError, RunCancelledError
from retalkit.observer import SilentObserver
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry

JOBS = """
defaults: {set: {provenance.sign: false}, output: "out/{video.stem}_{language}.mp4"}
jobs:
  - {video: one.mp4, speech: {de: de.wav, fr: fr.wav}}
  - {video: faceless.mp4, speech: {de: de.wav, fr: fr.wav}}
  - {video: two.mp4, speech: {de: de.wav}}
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, moving_head: Path, short_speech: Path) -> Path:
    """Directory with two clips of 12 frames, a clip without a face, and two speeches."""
    import av
    import numpy as np
    from scipy.io import wavfile

    folder = tmp_path_factory.mktemp("batch")
    with av.open(str(moving_head)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    pictures = {"one": frames[:12], "two": frames[20:32], "faceless": [np.full_like(frames[0], 90)] * 12}
    for name, images in pictures.items():
        with av.open(str(folder / f"{name}.mp4"), "w") as target:
            stream = target.add_stream("libx264", rate=25, options={"crf": "16"})
            stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], "yuv420p"
            for image in images:
                target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            target.mux(stream.encode())
    rate, samples = wavfile.read(short_speech)
    for name, start in (("de", 0.2), ("fr", 0.8)):
        wavfile.write(folder / f"{name}.wav", rate, samples[int(start * rate) : int((start + 0.48) * rate)])
    (folder / "jobs.yaml").write_text(JOBS, encoding="utf-8")
    return folder


def jobs_of(folder: Path, registry: Registry) -> list[Job]:
    read = read_jobs(folder / "jobs.yaml", Faults())
    return build_jobs(read.rows, Common(folder=folder), registry, Faults())


def run(folder: Path, registry: Registry, workers: int = 2, **options: object) -> BatchOutcome:
    given = BatchOptions(results=folder / "results", cache=folder / "cache", **options)  # type: ignore[arg-type]

    def open_executor() -> Executor:
        return LocalExecutor(workers)

    return run_batch(jobs_of(folder, registry), given, registry, open_executor, SilentObserver())


@pytest.fixture(scope="module")
def finished(folder: Path, registry: Registry) -> BatchOutcome:
    return run(folder, registry)


def states(outcome: BatchOutcome) -> dict[str, str]:
    return {each.job.output.stem: each.state for each in outcome.jobs}


def test_broken_clip_does_not_affect_others(finished: BatchOutcome, folder: Path) -> None:
    assert states(finished) == {
        "one_de": "done",
        "one_fr": "done",
        "faceless_de": "failed",
        "faceless_fr": "failed",
        "two_de": "done",
    }
    failed = [each for each in finished.jobs if each.state == "failed"]
    assert all(each.values["code"] == "no-face" and "faceless.mp4" in each.reason for each in failed)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        *("one_de.mp4", "one_de.mp4.json", "one_fr.mp4", "one_fr.mp4.json", "two_de.mp4", "two_de.mp4.json")
    ]


def test_clip_is_analysed_once(finished: BatchOutcome, folder: Path) -> None:
    records = {path.name: json.loads(path.read_text()) for path in folder.glob("out/*.json")}
    for name in ("one_de", "one_fr"):
        cached = records[f"{name}.mp4.json"]["cached_steps"]
        assert {"faces", "tracks", "coefficients"} <= set(cached)
    assert "speech" in records["two_de.mp4.json"]["cached_steps"], "two clips share the speech"
    assert finished.analyses == 2


def test_outputs_are_those_of_plain_runs(finished: BatchOutcome, folder: Path, registry: Registry) -> None:
    config = load(registry, overrides=["provenance.sign=false", "threads=1"])
    plain = folder / "plain.mp4"
    retalkit.dub(folder / "one.mp4", folder / "fr.wav", plain, config=config, cache=folder / "other_cache")
    assert plain.read_bytes() == (folder / "out" / "one_fr.mp4").read_bytes()


def test_results_are_written_as_page_and_tables(finished: BatchOutcome, folder: Path) -> None:
    results = folder / "results"
    with (results / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {Path(row["output"]).stem: row for row in csv.DictReader(file)}
    assert rows["one_de"]["state"] == "done" and rows["one_de"]["edited_verdict"] == "passed"
    assert rows["faceless_de"]["code"] == "no-face"
    data = json.loads((results / "results.json").read_text(encoding="utf-8"))
    assert data["counts"] == {"done": 3, "needs review": 0, "failed": 2, "not run": 0}
    page = (results / "index.html").read_text(encoding="utf-8")
    assert 'src="../out/one_de.mp4"' in page and "faceless" in page
    assert len(list((results / "jobs").glob("*.json"))) == 5
    # A job that failed in the analysis of its clip refers to the log of the analysis.
    assert all((results / job["log"]).is_file() for job in data["jobs"])


def test_summary_and_dry_run_show_the_state_of_every_job(
    finished: BatchOutcome, folder: Path, registry: Registry
) -> None:
    lines = summary(finished).splitlines()
    assert lines[0].split() == ["state", "output", "edited", "seconds"]
    table = [line.split() for line in lines[1:6]]
    assert [(row[0], Path(row[1]).stem) for row in table] == [(state, stem) for stem, state in states(finished).items()]
    assert table[0][2] == "12/12"
    options = BatchOptions(results=folder / "results", cache=folder / "cache")
    checked = check_batch(jobs_of(folder, registry), options, registry, Faults())
    assert {path.stem: state for path, state in checked.items()} == states(finished)
    strict = replace(options, gates=GateLimits(drift=0.5), retry_failed=True)
    checked = check_batch(jobs_of(folder, registry), strict, registry, Faults())
    assert {path.stem: state for path, state in checked.items()} == {
        stem: "evaluate gates" if state == "done" else "not run" for stem, state in states(finished).items()
    }


def test_frames_notes_and_settings_are_shown(tmp_path: Path, registry: Registry) -> None:
    config = load(registry)
    gate = {"gate": "edited", "verdict": "review", "value": 0.25, "limit": 0.5, "text": "5 of 20 frames are edited"}
    gate |= {"frames": [[3, 9], [12, 12]], "seconds": [0.11, 0.9]}
    notes = ["The end of the speech is cut."]
    outcome = BatchOutcome(tmp_path)
    for state, language in (("needs review", "de"), ("not run", "fr")):
        output = tmp_path / f"{language}.mp4"
        job = Job(video=tmp_path / "a.mp4", output=output, language=language, config=config, settings="output.crf=20")
        values = {"gates": [gate], "notes": notes, "frames_edited": 5, "frames_passed": {"no face": 15}, "seconds": 2.0}
        outcome.jobs.append(JobOutcome(job=job, state=state, values=values if language == "de" else {}))
    write_index(outcome)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "≥ 50 %" in page and "25 %" in page and notes[0] in page and "output.crf=20" in page
    assert 'data-time="0.110">3-9</button>, ' in page and 'data-time="0.900">12</button>' in page
    assert "more ranges" not in page
    write_tables(outcome, GateLimits())
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        row, other = csv.DictReader(file)
    assert (row["edited_frames"], row["notes"], row["settings"]) == ("3-9, 12", notes[0], "output.crf=20")
    assert "frames 3-9, 12" in row["review"] and row["review"] in summary(outcome) and other["review"] == ""
    assert "1 job: The end of the speech is cut." in summary(outcome)
    gate |= {"frames": [[2 * n, 2 * n] for n in range(40)], "seconds": [n / 10 for n in range(40)]}
    write_index(outcome)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count('class="jump"') == 30 and "and 10 more ranges" in page
    gate |= {"frames": [[3, 9], [12, 12]]}
    lines = StringIO()
    JsonProgress(lines, "retalkit batch").job(outcome.jobs[0])
    assert json.loads(lines.getvalue().splitlines()[-1])["reason"] == row["review"]


def test_second_call_computes_nothing(finished: BatchOutcome, folder: Path, registry: Registry) -> None:
    def no_executor() -> Executor:
        raise AssertionError("no task may run")

    before = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    # A copied input has a new modification time, but the same content.
    os.utime(folder / "one.mp4")
    options = BatchOptions(results=folder / "results", cache=folder / "cache")
    again = run_batch(jobs_of(folder, registry), options, registry, no_executor, SilentObserver())
    assert again.computed == 0 and states(again) == states(finished)
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}


def test_changed_gates_evaluate_existing_outputs(finished: BatchOutcome, folder: Path, registry: Registry) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    strict = run(folder, registry, workers=1, gates=GateLimits(drift=0.0))
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    verdicts = {each.job.output.stem: [gate["verdict"] for gate in each.gates] for each in strict.jobs if each.gates}
    assert strict.computed == 3 and set(verdicts) == {"one_de", "one_fr", "two_de"}
    assert run(folder, registry).computed == 3, "the gates of the first call are evaluated again"


def test_changed_output_is_replaced_only_with_force(finished: BatchOutcome, folder: Path, registry: Registry) -> None:
    output = folder / "out" / "two_de.mp4"
    original = output.read_bytes()
    output.write_bytes(b"my own file")
    with pytest.raises(OutputError, match=r"two_de\.mp4.*--force") as error:
        run(folder, registry)
    assert error.value.code == "output-exists" and output.read_bytes() == b"my own file"
    assert run(folder, registry, force=True).computed == 1
    assert output.read_bytes() == original


def test_failed_jobs_run_again_on_request(
    finished: BatchOutcome, folder: Path, registry: Registry, tmp_path: Path
) -> None:
    kept = tmp_path / "faceless.mp4"
    shutil.copy2(folder / "faceless.mp4", kept)
    again = run(folder, registry, retry_failed=True)
    assert again.computed == 2 and states(again) == states(finished)
    # A file in place of an output that the failed job never wrote belongs to the user.
    own = folder / "out" / "faceless_de.mp4"
    own.write_bytes(b"my own file")
    with pytest.raises(OutputError) as error:
        run(folder, registry, retry_failed=True)
    assert error.value.code == "output-exists" and own.read_bytes() == b"my own file"
    own.unlink()
    shutil.copy(folder / "two.mp4", folder / "faceless.mp4")
    repaired = run(folder, registry)
    assert repaired.computed == 2 and set(states(repaired).values()) == {"done"}
    for path in folder.glob("out/faceless_*"):
        path.unlink()
    shutil.copy2(kept, folder / "faceless.mp4")


def test_cancelled_batch_resumes(finished: BatchOutcome, folder: Path, registry: Registry) -> None:
    from threading import Event

    for path in (folder / "out").iterdir():
        path.unlink()
    shutil.rmtree(folder / "results")
    cancellation = Event()

    class Observer(SilentObserver):
        def advanced(self, step: str, done: int) -> None:
            if done:
                cancellation.set()

    options = BatchOptions(results=folder / "results", cache=folder / "cache")
    executor = LocalExecutor(1)
    with pytest.raises(RunCancelledError):
        run_batch(jobs_of(folder, registry), options, registry, lambda: executor, Observer(), cancellation=cancellation)
    assert 0 < len(list((folder / "results" / "jobs").iterdir())) < 5
    resumed = run(folder, registry)
    assert states(resumed) == states(finished) and 0 < resumed.computed < 5


@pytest.mark.slow
def test_killed_worker_and_killed_driver_lose_nothing(finished: BatchOutcome, folder: Path, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4", "de.wav", "fr.wav"):
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / "jobs.yaml").write_text(
        'jobs: [{video: "*.mp4", speech: {de: de.wav, fr: fr.wav}, output: "out/{video.stem}_{language}.mp4",'
        " set: {provenance.sign: false}}]"
    )
    command = [sys.executable, "-m", "retalkit", "batch", "jobs.yaml", "--jobs", "2", "--cache", "cache", "--json"]
    with (tmp_path / "events.txt").open("w") as events:
        driver = subprocess.Popen(command, cwd=tmp_path, stdout=events)
        for ended, victim in ((1, "worker"), (2, "driver")):
            limit = time.monotonic() + 300
            while len(list(tmp_path.glob("jobs-results/jobs/*.json"))) < ended and time.monotonic() < limit:
                time.sleep(0.02)
            killed = driver.pid if victim == "driver" else worker_of(driver.pid)
            os.kill(killed, signal.SIGKILL)
        driver.wait()
    known = len(list(tmp_path.glob("jobs-results/jobs/*.json")))
    done = subprocess.run([*command[:-1], "--quiet"], cwd=tmp_path, check=False)
    assert done.returncode == 0
    results = json.loads((tmp_path / "jobs-results" / "results.json").read_text(encoding="utf-8"))
    assert results["counts"]["done"] == 4 and sum(job["computed"] for job in results["jobs"]) == 4 - known
    for language in ("de", "fr"):
        name = f"one_{language}.mp4"
        assert (tmp_path / "out" / name).read_bytes() == (folder / "out" / name).read_bytes()
    assert not list(tmp_path.glob("out/.*"))


def worker_of(driver: int) -> int:
    """Return the process id of one worker process."""
    text = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(driver)], capture_output=True, text=True, check=True
    )
    return next(int(line.split()[0]) for line in text.stdout.splitlines() if "spawn_main" in line)
