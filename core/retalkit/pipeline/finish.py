"""Final step of a run: muxing, finishers, atomic rename and run record."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from retalkit.errors import OutputError, RetalkitError
from retalkit.media.colour import Colour
from retalkit.media.containers import reason
from retalkit.media.kept_streams import KeptStreams
from retalkit.media.muxing import mux
from retalkit.media.sound_encoding import EncodedSound
from retalkit.observer import Observer
from retalkit.paths import link_target, partial_path
from retalkit.pipeline.planned_stage import PlannedFinisher
from retalkit.pipeline.record import RunRecord
from retalkit.pipeline.stage_errors import attribute_errors
from retalkit.plugins.specs import FinishedRun, Finisher
from retalkit.provenance.signing import ContentCredentials


@dataclass(frozen=True, slots=True)
class ReadyFinisher:
    """Constructed finisher of a run."""

    planned: PlannedFinisher
    finisher: Finisher

    @property
    def name(self) -> str:
        return self.planned.found.spec.name


def make_finishers(planned: Sequence[PlannedFinisher], observer: Observer) -> list[ReadyFinisher]:
    """Construct the finishers and pass their notes to the observer. The run does not start if a finisher fails."""
    ready: list[ReadyFinisher] = []
    for each in planned:
        with attribute_errors(each.found.label, each.found.spec):
            finisher = each.make()
        for note in getattr(finisher, "notes", ()):
            observer.note(note)
        ready.append(ReadyFinisher(each, finisher))
    return ready


def finish(
    segments: Sequence[Path],
    sound: EncodedSound | None,
    record: RunRecord,
    finishers: Sequence[ReadyFinisher],
    *,
    video: Path,
    speech: Path,
    duration: float,
    time_base: Fraction,
    frames: int,
    colour: Colour | None = None,
    kept: KeptStreams | None = None,
) -> None:
    """Mux the segments with the audio, apply the finishers in order, and rename the result to ``record.output``.

    An existing output file is replaced only after all operations have succeeded. Raises OutputError if a file cannot be
    written. Exceptions that a finisher raises are propagated. Temporary files are removed if an exception is raised.
    """
    run = FinishedRun(output=record.output, video=video, speech=speech, record=asdict(record))
    with _partial_files(record.output, len(finishers) + 1, run.sidecars) as partials:
        try:
            mux(
                segments,
                sound,
                partials[0],
                duration=duration,
                time_base=time_base,
                frames=frames,
                colour=colour,
                kept=kept,
            )
        except OutputError as error:
            # The user knows the output, but not the temporary file.
            raise OutputError(str(error).replace(str(partials[0]), str(record.output)), code=error.code) from error
        for number, ready in enumerate(finishers):
            facts: dict[str, Any] = {}
            _apply(ready, partials[number], partials[number + 1], replace(run, results=facts))
            record.finishers[ready.name] = facts
            partials[number].unlink()
        try:
            for suffix, path in run.sidecars.items():
                path.replace(link_target(record.output.with_suffix(suffix)))
            partials[-1].replace(link_target(record.output))
        except OSError as error:
            raise OutputError(f"cannot write {record.output}: {reason(error)}", code="unwritable-output") from error


def sign_layer(path: Path, finishers: Sequence[ReadyFinisher], run: FinishedRun) -> None:
    """Sign the layer of a run in place if the run's output is signed. Raises CredentialsError or OutputError."""
    for ready in finishers:
        if isinstance(ready.finisher, ContentCredentials):
            ready.finisher.sign_layer(path, run)


def _apply(ready: ReadyFinisher, source: Path, target: Path, run: FinishedRun) -> None:
    with attribute_errors(ready.planned.found.label, ready.finisher):
        try:
            ready.finisher.finish(source, target, run)
        except OSError as error:
            raise OutputError(
                f"finisher '{ready.name}' cannot write {run.output}: {reason(error)}", code="finisher-failed"
            ) from error
    missing = next((path for path in (target, *run.sidecars.values()) if not path.is_file()), None)
    if missing is not None:
        raise RetalkitError(
            f"finisher '{ready.name}' did not write an output file; report the error to the plugin author",
            code="finisher-failed",
        )


@contextmanager
def _partial_files(output: Path, count: int, sidecars: Mapping[str, Path]) -> Generator[list[Path]]:
    """Yield paths of temporary files next to the output with the output's suffix. The files and the temporary sidecar
    files are removed when the context exits."""
    paths = [partial_path(output, str(number)) for number in range(count)]
    try:
        yield paths
    finally:
        for path in (*paths, *sidecars.values()):
            path.unlink(missing_ok=True)
