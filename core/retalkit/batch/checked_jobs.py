"""Jobs whose settings and files were checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retalkit.batch.jobs import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedJob:
    """Job with the data that decides whether its output is up to date. No media file is opened for it."""

    job: Job
    key: str
    """Key that changes whenever the output may change, except for the content of the input files."""
    inputs: tuple[Path, ...]
    """Files on whose content the output depends."""
    note: str
    """Note about the configuration, or an empty string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedJob(IdentifiedJob):
    """Valid job with everything that scheduling requires."""

    configuration: Mapping[str, Any]
    """Configuration of the run as JSON-compatible data."""
    frames: int
    """Number of source frames that the job needs to analyse."""
    detections: str
    """Key of the face detection that jobs of one video share."""
    analysis: str
    """Key of the complete analysis that jobs of one video share."""
    speeches: Mapping[str, Path]
    """Mapping from the key of a prepared speech to the audio file."""
    analysis_cost: float
    """Expected time of the analysis in seconds."""
    speech_cost: float
    """Expected time of preparing one speech in seconds."""
    cost: float
    """Expected time of all other steps in seconds."""
