"""Protection of files that do not belong to a batch: results directories, outputs and the cache."""

from __future__ import annotations

import csv
import errno
from pathlib import Path

import pytest
from retalkit.batch.checked_jobs import IdentifiedJob
from retalkit.batch.gate_limits import GateLimits
from retalkit.batch.index_page import write_index
from retalkit.batch.jobs import Job
from retalkit.batch.journal import Journal
from retalkit.batch.outcome import BatchOutcome, JobOutcome
from retalkit.batch.output_checks import check_folders
from retalkit.batch.result_file import result_file
from retalkit.batch.tables import write_tables
from retalkit.config import RunConfig
from retalkit.cues.faults import Faults
from retalkit.errors import OutputError
from retalkit.plugins.discovery import discover


def job(folder: Path, name: str = "a", language: str = "") -> Job:
    config = RunConfig.from_preset("embedded", registry=discover())
    return Job(
        video=folder / "v.mp4", speech=folder / "s.wav", output=folder / f"{name}.mp4", language=language, config=config
    )


@pytest.mark.parametrize("name", ["journal.jsonl", "index.html", "summary.csv", "results.json"])
def test_files_of_others_are_replaced_only_with_force(name: str, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").touch()
    (tmp_path / name).write_text('{"mine": 1}\n')
    with pytest.raises(OutputError, match=r"--force") as error:
        Journal(tmp_path)
    assert error.value.code == "foreign-directory" and name in str(error.value)
    Journal(tmp_path, force=True)


def test_own_results_are_recognised(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.start(tmp_path / "a.mp4", "key", [])
        journal.end(tmp_path / "a.mp4", "key", "failed", {"reason": "full disk"})
        outcome = BatchOutcome(tmp_path, jobs=[JobOutcome(job=job(tmp_path), state="failed")])
        write_tables(outcome, GateLimits())
        write_index(outcome)
    entry = Journal(tmp_path).entry(tmp_path / "a.mp4")
    assert entry is not None and entry["reason"] == "full disk"


def test_faulty_lines_of_a_journal_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"output":"/a.mp4"}\n{"output":3,"state":"done","key":"k"}\n')
    assert Journal(tmp_path).entry(Path("/a.mp4")) is None


def test_results_and_outputs_in_the_cache_are_rejected(tmp_path: Path) -> None:
    inside = IdentifiedJob(job=job(tmp_path / "cache" / "out"), key="", inputs=(), note="")
    faults = Faults()
    check_folders([inside], tmp_path / "cache", tmp_path / "cache", faults)
    assert [error.code for error in faults.errors] == ["unwritable-output"] * 2
    outside = IdentifiedJob(job=job(tmp_path), key="", inputs=(), note="")
    check_folders([outside], tmp_path / "results", tmp_path / "cache", faults)
    assert len(faults.errors) == 2


def test_cells_are_no_formulas(tmp_path: Path) -> None:
    outcome = BatchOutcome(tmp_path, jobs=[JobOutcome(job=job(tmp_path, language="=1+1"), state="not run")])
    write_tables(outcome, GateLimits())
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["language"] == "'=1+1" and row["output"] == str(tmp_path / "a.mp4")


def test_a_full_disk_names_the_result(tmp_path: Path) -> None:
    message = r"summary\.csv: cannot write the file: No space left"
    with pytest.raises(OutputError, match=message), result_file(tmp_path / "summary.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())
