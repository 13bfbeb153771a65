"""Summary of a finished run for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retalkit.pipeline.record import RunRecord


def summary(record: RunRecord) -> str:
    """Return the run's output path, frame counts, timings and peak memory as several lines of text."""
    passed = sum(record.frames_passed.values())
    frames = f"{record.frames_edited} edited, {passed} unedited{_reasons(record.frames_passed)}"
    if record.frames_faded:
        frames += f"; faded edits{_reasons(record.frames_faded)}"
    seconds = ", ".join(
        f"{step} cached" if step in record.cached_steps else f"{step} {spent:.1f}"
        for step, spent in record.seconds.items()
    )
    credentials = record.finishers.get("content_credentials")
    signer = f"Content Credentials of {credentials['signer']}" if credentials else "no"
    people = ", ".join(
        f"{person['person']} ({person['id']}): {person['frames_edited']} frames" for person in record.persons
    )
    lines = [
        f"output   {record.output} ({record.output_seconds:.2f} s)",
        *([f"preview  {_preview(record.preview)}"] if record.preview else []),
        f"record   {record.record}",
        f"signed   {signer}",
        f"frames   {frames}",
        *([f"persons  {people}"] if people else []),
        f"seconds  {seconds}",
        f"speed    {record.realtime_factor:.2f} x real time ({record.wall_seconds:.1f} s in total), "
        f"peak memory {record.peak_memory_bytes / 2**20:.0f} MiB",
    ]
    return "\n".join(lines)


def _preview(preview: Mapping[str, Any]) -> str:
    width, height = preview["size"]
    return f"{preview['from']:.2f} to {preview['to']:.2f} s, {width}x{height}"


def _reasons(counts: Mapping[str, int]) -> str:
    if not counts:
        return ""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return " (" + ", ".join(f"{reason}: {count}" for reason, count in ordered) + ")"
