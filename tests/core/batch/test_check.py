"""Facts that scheduling uses: shared analysis of long videos, and the graph of tasks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import av
import pytest
from retalkit.batch.check import check_jobs, identify_jobs
from retalkit.batch.jobs import Common, Job, Row, build_jobs
from retalkit.batch.run import BatchOptions, _Batch, file_name
from retalkit.config import RunConfig
from retalkit.cues.faults import Faults
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import analysed_part
from retalkit.pipeline.time_left import StepHistory
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from scipy.io import wavfile


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


def jobs_of(rows: list[dict[str, object]], registry: Registry) -> list[Job]:
    faults = Faults()
    given = [Row(origin=f"row {number}", values=values) for number, values in enumerate(rows)]
    jobs = build_jobs(given, Common(folder=Path("/")), registry, faults)
    faults.check()
    return jobs


def test_names_of_records_are_short_and_devices_are_checked(registry: Registry) -> None:
    row: dict[str, object] = {"video": "/a.mp4", "speech": "/a.wav", "output": f"/{'é' * 120}.mp4"}
    (job,), (other,) = (jobs_of([{**row, "set": {"device": name}}], registry) for name in ("cuda", "cpu"))
    assert len(file_name(job).encode()) < 200
    notes = [each.note for each in identify_jobs([job, other], registry, Faults())]
    assert "cuda" in notes[0] and notes[1] == ""


def test_jobs_of_a_long_video_analyse_the_longest_part(
    moving_head: Path, short_speech: Path, registry: Registry, tmp_path: Path
) -> None:
    rate, samples = wavfile.read(short_speech)
    wavfile.write(tmp_path / "short.wav", rate, samples[: rate // 2])
    # A limit of 0.1 s makes the clip of 3 s a long one.
    common = {"video": str(moving_head), "set": {"analysis_seconds": 0.1}}
    rows = [
        {**common, "speech": str(tmp_path / "short.wav"), "output": str(tmp_path / "a.mp4")},
        {**common, "speech": str(short_speech), "output": str(tmp_path / "b.mp4")},
    ]
    faults = Faults()
    known = identify_jobs(jobs_of(rows, registry), registry, faults)
    one, other = check_jobs(known, registry, StepHistory(tmp_path / "none"), faults)
    assert not faults.errors
    assert one.frames == other.frames == 50 and one.analysis == other.analysis
    source = open_source(moving_head)
    for each, seconds in ((one, 0.5), (other, 2.0)):
        # A plain run with the recorded configuration analyses the same part.
        config = RunConfig.model_validate(each.configuration)
        timeline = build_timeline(source, seconds, config.length, config.extend)
        assert analysed_part(source, timeline, config.analysis_seconds).info.frame_count == 50


def test_files_are_opened_once_for_all_jobs(
    moving_head: Path, short_speech: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(file: object, *args: Any, **options: Any) -> Any:
        opened.append(str(file))
        return av_open(file, *args, **options)

    av_open = av.open
    monkeypatch.setattr(av, "open", counted)
    monkeypatch.chdir(tmp_path)
    files = {"video": str(moving_head), "speech": str(short_speech), "reference": str(moving_head)}
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    counts: list[int] = []
    for jobs in (2, 6):
        opened.clear()
        # Each face is another configuration. The options of the output are the same.
        rows: list[dict[str, object]] = [
            {**files, "output": f"/{number}.mp4", "set": {"face": number}} for number in range(jobs)
        ]
        rows += [{**files, "video": str(damaged), "output": f"/damaged-{number}.mp4"} for number in range(jobs)]
        faults = Faults()
        known = identify_jobs(jobs_of(rows, registry), registry, faults)
        assert len(check_jobs(known, registry, StepHistory(tmp_path / "none"), faults)) == jobs
        assert {error.code for error in faults.errors} == {"unreadable-media"} and len(faults.errors) == jobs
        counts.append(len(opened))
    assert counts[0] == counts[1], opened


def test_shared_steps_are_separate_tasks(
    moving_head: Path, short_speech: Path, registry: Registry, tmp_path: Path
) -> None:
    clips = [shutil.copy(moving_head, tmp_path / f"{name}.mp4") for name in "abc"]
    speech = str(short_speech)
    rows: list[dict[str, object]] = [
        {"video": str(clips[0]), "speech": speech, "output": str(tmp_path / "1.mp4")},
        {"video": str(clips[0]), "speech": speech, "output": str(tmp_path / "2.mp4"), "set": {"output.crf": 30}},
        {"video": str(clips[0]), "speech": speech, "output": str(tmp_path / "3.mp4"), "set": {"face": 0}},
        {"video": str(clips[1]), "speech": speech, "output": str(tmp_path / "4.mp4"), "set": {"denoiser": "none"}},
    ]
    options = BatchOptions(results=tmp_path / "results", cache=tmp_path / "cache")
    batch = _Batch(jobs_of(rows, registry), options, registry, SilentObserver(), Faults())
    nodes = {node.key: node for node in batch._nodes()}
    kinds = [node.task().function.rpartition(":")[2] for node in nodes.values()]
    # Two faces of one video are two analyses, which share the detections. The fourth job shares nothing.
    assert sorted(kinds) == ["analyse_clip", "analyse_clip", "prepare_speech", *["run_job"] * 4]
    largest, left = (node for node in nodes.values() if node.task().function.endswith("analyse_clip"))
    assert (list(largest.after), list(left.after)) == ([], [largest.key])
    jobs = [node for node in nodes.values() if node.task().function.endswith("run_job")]
    assert [len(node.after) for node in jobs] == [2, 2, 2, 0]
    assert jobs[3].cost > jobs[0].cost, "the fourth job includes its analysis and speech"
    assert not (tmp_path / "results").exists()


def test_long_names_of_outputs(registry: Registry, tmp_path: Path) -> None:
    names = [f"{'a' * 250}.mp4", f"{'é' * 130}.mp4"]
    rows: list[dict[str, object]] = [
        {"video": "/a.mp4", "speech": "/a.wav", "output": str(tmp_path / name)} for name in names
    ]
    faults = Faults()
    known = identify_jobs(jobs_of(rows, registry), registry, faults)
    assert [each.job.output.name for each in known] == names[:1]
    assert [error.code for error in faults.errors] == ["name-too-long"] and "row 1" in str(faults.errors[0])


@pytest.mark.parametrize(
    "names", [("A.mp4", "a.mp4"), ("caf\u00e9.mp4", "cafe\u0301.mp4"), ("STRASSE.mp4", "straße.mp4")]
)
def test_outputs_that_some_file_systems_do_not_distinguish(
    names: tuple[str, str], registry: Registry, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [
        {"video": "/a.mp4", "speech": "/a.wav", "output": str(tmp_path / name)} for name in names
    ]
    faults = Faults()
    identify_jobs(jobs_of(rows, registry), registry, faults)
    assert [error.code for error in faults.errors] == ["duplicate-output"]
    assert "differs only in case" in str(faults.errors[0])
