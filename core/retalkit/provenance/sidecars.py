"""Sidecar files of outputs whose format cannot contain a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from retalkit.errors import OutputError
from retalkit.paths import is_any_of
from retalkit.provenance.formats import sidecar_path
from retalkit.provenance.options import ProvenanceOptions

UNSIGNED: Final = "the output is not signed with Content Credentials because provenance.sign is false"
"""Note for the terminal and the run record."""


def check_sidecar(output: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise OutputError if the sidecar file of an output exists and ``force`` is False, or if it is an input file.

    An unsigned output is also checked, because a run without a signature removes the sidecar file.
    """
    sidecar = sidecar_path(output)
    if sidecar is not None and is_any_of(sidecar, inputs):
        raise OutputError(
            f"{sidecar}: the manifest of the output would replace an input file; choose another output path",
            code="output-is-input",
        )
    if sidecar is not None and sidecar.exists() and not force:
        raise OutputError(
            f"{sidecar}: the file already exists; use --force to replace the file, or choose another output path",
            code="output-exists",
        )


def remove_stale_sidecar(output: Path, options: ProvenanceOptions) -> None:
    """Remove the manifest of a replaced output. It would report the new, unsigned output as tampered."""
    sidecar = sidecar_path(output)
    if not options.sign and sidecar is not None:
        sidecar.unlink(missing_ok=True)
