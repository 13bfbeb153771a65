"""Collection of the faults of a cue sheet or of a job list."""

from __future__ import annotations

from retalkit.errors import RetalkitError


class Faults:
    """Faults in the order in which they were found. Identical messages, such as those about a file that several rows
    use, are kept once."""

    def __init__(self) -> None:
        self._found: list[RetalkitError] = []
        self._texts: set[str] = set()

    def add(self, error: RetalkitError) -> None:
        if str(error) not in self._texts:
            self._texts.add(str(error))
            self._found.append(error)

    @property
    def errors(self) -> tuple[RetalkitError, ...]:
        return tuple(self._found)

    def check(self) -> None:
        """Raise the first fault if there is at least one fault. The messages of all other faults are its ``others``."""
        if not self._found:
            return
        first, others = self._found[0], [str(error) for error in self._found[1:]]
        if others:
            text = f"{first} (and {len(others)} more fault{'s' if len(others) > 1 else ''})"
            error = type(first)(text, code=first.code)
            error.others = tuple(others)
            raise error from first
        raise first
