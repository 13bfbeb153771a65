"""Results of calls that many jobs share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from retalkit.errors import RetalkitError

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class Memo(Generic[Key, Result]):
    """Results of calls by key. Each call is made once, also if it fails. Several threads may use one memo."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Key, Result | RetalkitError] = {}

    def get(self, key: Key, call: Callable[[], Result]) -> Result:
        """Return the result of ``call`` for ``key``. A RetalkitError of the call is raised for every job."""
        with self._lock:
            if key not in self._found:
                try:
                    self._found[key] = call()
                except RetalkitError as error:
                    self._found[key] = error
            found = self._found[key]
        if isinstance(found, RetalkitError):
            raise type(found)(str(found), code=found.code) from found
        return found
