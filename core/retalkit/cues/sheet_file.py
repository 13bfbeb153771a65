"""Reading of cue sheets in all supported formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from retalkit.cues.csv_sheet import read_csv
from retalkit.cues.faults import Faults
from retalkit.cues.model import CueSheet
from retalkit.cues.rows import Sheet, build_sheet
from retalkit.cues.rttm import read_rttm
from retalkit.cues.subtitles import read_subtitle_sheet
from retalkit.cues.yaml_sheet import read_yaml
from retalkit.errors import CueError
from retalkit.persons.selectors import PersonSelector

_READERS: Final[dict[str, Callable[[Path, Faults], Sheet]]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".csv": read_csv,
    ".srt": read_subtitle_sheet,
    ".vtt": read_subtitle_sheet,
    ".rttm": read_rttm,
}


def read_sheet(
    path: Path, speech: Path | None = None, bindings: Mapping[str, PersonSelector] | None = None
) -> CueSheet:
    """Read a cue sheet (.yaml, .csv, .srt, .vtt or .rttm). Paths in the sheet are relative to the sheet's directory.

    ``speech``: audio file of cues without a speech file, which has the same times as the sheet. ``bindings``: mapping
    from person name in the sheet to selector. ``retalkit.cues.validation`` checks the cues against the video.

    Raises CueError or ConfigError with the file and line of the first fault.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise CueError(f"{path}: unknown suffix '{path.suffix}'; expected one of {known}", code="wrong-suffix")
    faults = Faults()
    sheet = build_sheet(reader(path, faults), speech, bindings or {}, faults)
    faults.check()
    return sheet
