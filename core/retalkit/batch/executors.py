"""Selection of an executor by name."""

from __future__ import annotations

import os
from typing import Final

from retalkit.batch.executor import Executor
from retalkit.batch.local import LocalExecutor
from retalkit.errors import BatchError

NAMES: Final = ("local", "ray")
_WORKERS_PER_CORE: Final = 16
"""Maximum number of local workers per CPU core. Each worker loads its own networks."""


def check_executor(name: str, address: str | None) -> None:
    """Raise BatchError if the executor is unknown or not installed, or if the address has no effect."""
    if name not in NAMES:
        raise BatchError(f"--executor {name}: unknown executor; available: {', '.join(NAMES)}", code="unknown-executor")
    if name != "ray" and address is not None:
        raise BatchError(f"--address {address}: has no effect without --executor ray", code="unused-option")
    if name == "ray":
        from retalkit.batch.ray import check_ray

        check_ray()


def open_executor(
    name: str = "local", workers: int | None = None, *, address: str | None = None, device: str = "cpu"
) -> Executor:
    """Return an executor, which starts its workers on demand.

    ``name``: ``local`` or ``ray``. ``workers``: number of workers (default: 1 for ``local``, and as many as the cluster
    has CPU cores or GPUs for ``ray``). ``address``: address of a Ray cluster, ``auto`` for the cluster of this machine,
    or None for a new one. ``device``: device of the networks, which decides whether each Ray worker requires a GPU.

    Raises BatchError if the executor cannot be used.
    """
    check_executor(name, address)
    if name == "local":
        cores = os.cpu_count() or 1
        if workers is not None and workers > _WORKERS_PER_CORE * cores:
            text = f"--jobs {workers}: this machine has {cores} CPU cores; pass at most {_WORKERS_PER_CORE * cores}"
            raise BatchError(text, code="too-many-workers")
        return LocalExecutor(workers or 1)
    from retalkit.batch.ray import RayExecutor

    return RayExecutor(workers, address=address, gpu=device.startswith("cuda"))
