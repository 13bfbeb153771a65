"""What computing costs, also where a run found the result in its cache.

The seconds that a step took when it was computed, and the memory, lie beside its result. So variants that share a step
can be compared by what each would have cost alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager

from retalkit.storage.cache import Folder

_PEAK = "cost-memory.json"


def kept_cost(folder: Folder, name: str, seconds: float, done: int, total: int) -> float | None:
    """Seconds that ``total`` units of work cost, or None where nobody knows.

    ``seconds`` were spent on ``done`` units now. The first measurement of at least half of the units is kept in
    ``folder`` and counts from then on; a part is scaled to the whole.
    """
    file = f"cost-{name}.json"
    path = folder.path(file)
    if path is not None:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return float(kept["seconds"]) * total / max(int(kept["total"]), 1)
    if done <= 0:
        return None
    cost = seconds * total / done
    if 2 * done >= total:
        with folder.write(file) as written:
            written.write_text(json.dumps({"seconds": round(cost, 4), "total": total}), encoding="utf-8")
    return cost


def kept_peak(folder: Folder, fresh: bool) -> int | None:
    """Bytes of memory that the process held at most until a step was computed; None where nobody knows.

    ``fresh``: it was computed now. The first measurement is kept in ``folder`` and counts from then on.
    """
    path = folder.path(_PEAK)
    if path is not None:
        return int(json.loads(path.read_text(encoding="utf-8"))["bytes"])
    peak = peak_memory_bytes()
    if not fresh or not peak:
        return None
    with folder.write(_PEAK) as written:
        written.write_text(json.dumps({"bytes": peak}), encoding="utf-8")
    return peak


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


class Stopwatch:
    """Adds up the seconds of named parts; each name belongs to one thread."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.units: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def timing(self, name: str, units: int) -> Generator[None]:
        """Times what is done inside; ``units`` of work are done by it."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start
        self.units[name] += units
