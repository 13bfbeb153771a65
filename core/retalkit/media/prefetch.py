"""Prefetching of iterator items in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class ReadAhead(Iterator[Item]):
    """Iterator whose items a background thread prefetches, from the construction until ``close`` is called.

    An exception raised by the given iterator is re-raised after all preceding items.
    """

    def __init__(self, items: Iterator[Item], depth: int) -> None:
        """Start the thread. ``depth``: maximum number of items that wait to be read."""
        self._items = items
        self._waiting: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
        self._stopped = threading.Event()
        self._ended = False
        # Profilers show the name, so it contains the name of the generator.
        name = f"read-ahead {getattr(items, '__name__', type(items).__name__)}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __next__(self) -> Item:
        if self._ended:
            raise StopIteration
        item = self._waiting.get()
        if isinstance(item, _End):
            self._ended = True
            raise StopIteration if item.error is None else item.error
        return item

    def close(self) -> None:
        """Stop the thread. Items that have not been read are lost."""
        self._ended = True
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    return
        except BaseException as caught:
            error = caught
        self._put(_End(error))

    def _put(self, item: Item | _End) -> bool:
        """Wait until the item can be stored. Return False if the thread must stop."""
        while not self._stopped.is_set():
            try:
                self._waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
