"""The part of Ray that ``retalkit.batch.ray`` uses, with actors that are threads of the test process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class RayError(Exception):
    """Base class of the errors, as in Ray."""


class RayActorError(RayError):
    """An actor died or is not available."""


class GetTimeoutError(RayError, TimeoutError):
    """No result yet."""


class Reference:
    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def future(self) -> Future[Any]:
        return self._future


class Method:
    def __init__(self, actor: Actor, name: str) -> None:
        self._actor, self._name = actor, name

    def remote(self, *arguments: object) -> Reference:
        future: Future[Any] = Future()
        actor = self._actor
        if actor.unavailable:
            actor.unavailable -= 1
            future.set_exception(RayActorError("unavailable"))
            return Reference(future)

        def call() -> None:
            try:
                result = getattr(actor.instance, self._name)(*arguments)
            except Exception as error:
                # Ray restarts the actor, which takes a while.
                actor.unavailable = 2
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=call, daemon=True).start()
        return Reference(future)


class Actor:
    def __init__(self, instance: object) -> None:
        self.instance = instance
        self.unavailable = 0
        """Number of calls that fail before the restarted actor is ready."""

    def __getattr__(self, name: str) -> Method:
        return Method(self, name)


class FakeRay(ModuleType):
    """Module ``ray`` for ``sys.modules``."""

    def __init__(self, cpus: int, make: Callable[[], object]) -> None:
        super().__init__("ray")
        self.__spec__ = ModuleSpec("ray", None)
        self.cpus, self.make = cpus, make
        self.actors: list[Actor] = []
        self.options: dict[str, object] = {}
        self.killed = 0
        self.running = False

    def is_initialized(self) -> bool:
        return self.running

    def init(self, **options: object) -> None:
        if options["address"] == "auto":
            raise ConnectionError("no cluster\nat this address")
        self.running = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cpus)}

    def remote(self, kind: type) -> Any:
        return self

    def __call__(self) -> None: ...

    def get(self, reference: Reference, timeout: float) -> Any:
        if not reference.future().done():
            raise GetTimeoutError
        return reference.future().result()

    def kill(self, actor: Actor) -> None:
        self.killed += 1

    def shutdown(self) -> None:
        self.running = False


class ActorClass:
    """Result of ``ray.remote(...).options(...)``."""

    def __init__(self, ray: FakeRay) -> None:
        self._ray = ray

    def remote(self) -> Actor:
        self._ray.actors.append(Actor(self._ray.make()))
        return self._ray.actors[-1]
