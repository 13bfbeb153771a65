"""Collection of the faults of a cue sheet."""

from __future__ import annotations

from retalkit.errors import CueError


class Faults:
    """Faults in the order in which they were found. The first fault is reported together with the number of others."""

    def __init__(self) -> None:
        self._found: list[CueError] = []

    def add(self, error: CueError) -> None:
        self._found.append(error)

    @property
    def errors(self) -> tuple[CueError, ...]:
        return tuple(self._found)

    def check(self) -> None:
        """Raise CueError if there is at least one fault."""
        if not self._found:
            return
        first, others = self._found[0], len(self._found) - 1
        if others:
            text = f"{first} (and {others} more fault{'s' if others > 1 else ''})"
            raise CueError(text, code=first.code) from first
        raise first
