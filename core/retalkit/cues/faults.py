"""Collection of the faults of a cue sheet or of a job list."""

from __future__ import annotations

from retalkit.errors import RetalkitError


class Faults:
    """Faults in the order in which they were found. The first fault is reported together with the number of others."""

    def __init__(self) -> None:
        self._found: list[RetalkitError] = []

    def add(self, error: RetalkitError) -> None:
        self._found.append(error)

    @property
    def errors(self) -> tuple[RetalkitError, ...]:
        return tuple(self._found)

    def check(self) -> None:
        """Raise the first fault, with the number of others, if there is at least one fault."""
        if not self._found:
            return
        first, others = self._found[0], len(self._found) - 1
        if others:
            text = f"{first} (and {others} more fault{'s' if others > 1 else ''})"
            raise type(first)(text, code=first.code) from first
        raise first
