"""Prefetching of iterator items in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def read_ahead(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the items of an iterator while a background thread prefetches up to ``depth`` items.

    An exception raised by the iterator is re-raised after all preceding items. Closing the generator stops the thread.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: Item | _End) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as caught:
            error = caught
        put(_End(error))

    # Profilers show the name, so it contains the name of the generator.
    name = f"read-ahead {getattr(items, '__name__', type(items).__name__)}"
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()
