"""Validation of the output paths of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as once
from pathlib import Path
from tempfile import TemporaryFile
from unicodedata import normalize

from retalkit.batch.checked_jobs import IdentifiedJob
from retalkit.batch.jobs import Job
from retalkit.cues.faults import Faults
from retalkit.errors import BatchError, OutputError


def check_outputs(checked: Sequence[IdentifiedJob], faults: Faults) -> None:
    """Check that outputs differ from each other and from all inputs, and that their directories can be written."""
    first: dict[str, tuple[Path, Job]] = {}
    resolved_input = once(resolve)
    inputs = {resolved_input(path): each.job for each in checked for path in (*each.inputs, each.job.reference) if path}
    paths = _ResolvedPaths()
    folders: dict[Path, str] = {}
    for each in checked:
        job, resolved = each.job, paths.get(each.job.output)
        if resolved.is_symlink():
            text = f"{job.origin}: output: {job.output}: the symbolic link refers to itself; remove the link"
            faults.add(OutputError(text, code="unwritable-output"))
            continue
        folded = _folded(resolved)
        if folded in first:
            path, other = first[folded]
            where = f"{other.origin} ({other.video.name}{f', {other.language}' if other.language else ''})"
            text = f"{job.origin}: output: {job.output} is also the output of {where}; add a placeholder to the path"
            if path != resolved:
                cause = "differs only in case or Unicode normalisation from the output of"
                text = f"{job.origin}: output: {job.output} {cause} {where}; choose a different name"
            faults.add(BatchError(text, code="duplicate-output"))
            continue
        first[folded] = resolved, job
        if resolved in inputs:
            text = f"{job.origin}: output: {job.output} is also an input of {inputs[resolved].origin}"
            faults.add(OutputError(text, code="output-is-input"))
        folder = job.output.parent
        if folder not in folders:
            folders[folder] = _folder_fault(folder.absolute())
        if folders[folder]:
            text = f"{job.origin}: output: {job.output}: {folders[folder]}; choose a different directory"
            faults.add(OutputError(text, code="unwritable-output"))


def _folded(path: Path) -> str:
    """Return a text that is equal for all paths that are the same file on a file system without case or normalisation.

    Such file systems are the defaults of macOS and Windows, which may also mount the directory.
    """
    text = str(path)
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFC", text).casefold())


def resolve(path: Path) -> Path:
    """Return a path without symbolic links, or the absolute path if the links form a loop."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


class _ResolvedPaths:
    """Results of ``resolve``. The directory of several paths is resolved once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def get(self, path: Path) -> Path:
        folder = path.parent
        if folder not in self._folders:
            self._folders[folder] = resolve(folder)
        resolved = self._folders[folder] / path.name
        return resolve(path) if path.name in ("", "..") or resolved.is_symlink() else resolved


def check_folders(jobs: Sequence[IdentifiedJob], results: Path, cache: Path, faults: Faults) -> None:
    """Check that no output and not the results directory is in the cache, from which old entries are removed."""
    folder = resolve(cache)
    if folder == (place := resolve(results)) or folder in place.parents:
        text = f"{results}: the directory is in the cache, whose content may be removed; choose a different directory"
        faults.add(OutputError(f"{text} with --results", code="unwritable-output"))
    paths = _ResolvedPaths()

    @once
    def in_cache(parent: Path) -> bool:
        return folder in (parent, *parent.parents)

    for each in jobs:
        if in_cache(paths.get(each.job.output).parent):
            text = f"{each.job.origin}: output: {each.job.output} is in the cache, whose content may be removed"
            faults.add(OutputError(f"{text}; choose a different path", code="unwritable-output"))


def _folder_fault(folder: Path) -> str:
    """Return why files cannot be written to a directory, which may be missing, or an empty string."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a directory"
    try:
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"cannot write to {folder}: {error.strerror or error}"
