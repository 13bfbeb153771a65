"""Final step of a run: muxing, finishers, atomic rename and run record."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from retalkit.errors import OutputError, RetalkitError
from retalkit.media.containers import reason
from retalkit.media.muxing import SoundTrack, mux
from retalkit.pipeline.planned_stage import PlannedFinisher
from retalkit.pipeline.record import RunRecord
from retalkit.pipeline.stage_errors import attribute_errors
from retalkit.plugins.specs import FinishedRun


def finish(
    segments: Sequence[Path],
    sound: SoundTrack | None,
    record: RunRecord,
    finishers: Sequence[PlannedFinisher],
    *,
    video: Path,
    speech: Path,
    duration: float,
    time_base: Fraction,
    frames: int,
) -> None:
    """Mux the segments with the audio, apply the finishers in order, and rename the result to ``record.output``.

    An existing output file is replaced only after all operations have succeeded. Raises OutputError if a file cannot be
    written. Exceptions that a finisher raises are propagated. Temporary files are removed if an exception is raised.
    """
    run = FinishedRun(output=record.output, video=video, speech=speech, record=asdict(record))
    with _partial_files(record.output, len(finishers) + 1) as partials:
        mux(segments, sound, partials[0], duration=duration, time_base=time_base, frames=frames)
        for number, planned in enumerate(finishers):
            name = planned.found.spec.name
            finisher = planned.found.spec.make(planned.config)
            with attribute_errors(planned.found.label, finisher):
                try:
                    finisher.finish(partials[number], partials[number + 1], run)
                except OSError as error:
                    raise OutputError(
                        f"finisher '{name}' cannot write {record.output}: {reason(error)}", code="finisher-failed"
                    ) from error
            if not partials[number + 1].is_file():
                raise RetalkitError(
                    f"finisher '{name}' did not write an output file; report the error to the plugin author",
                    code="finisher-failed",
                )
            partials[number].unlink()
        try:
            partials[-1].replace(record.output)
        except OSError as error:
            raise OutputError(f"cannot write {record.output}: {reason(error)}", code="unwritable-output") from error


@contextmanager
def _partial_files(output: Path, count: int) -> Generator[list[Path]]:
    """Yield paths of temporary files next to the output with the output's suffix. The files are removed when the
    context exits."""
    name = f".{output.stem}.{os.getpid()}"
    paths = [output.with_name(f"{name}.{number}.partial{output.suffix}") for number in range(count)]
    try:
        yield paths
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
