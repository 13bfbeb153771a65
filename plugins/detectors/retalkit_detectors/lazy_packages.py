"""Import of single modules of a package without running the package's ``__init__``."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _LazyPackage(ModuleType):
    """Package whose ``__init__`` runs when an attribute that is not a loaded submodule is first accessed."""

    def __getattr__(self, attribute: str) -> Any:
        # The import system looks up special attributes, such as ``__all__``, of packages whose submodules it imports.
        if attribute.startswith("__") or self.__spec__ is None or self.__spec__.loader is None:
            raise AttributeError(
                f"cannot access '{attribute}' because the package '{self.__name__}' is not initialised"
            )
        object.__setattr__(self, "__class__", ModuleType)
        self.__spec__.loader.exec_module(self)
        return getattr(self, attribute)


def defer_initialisation(*names: str) -> None:
    """Let the packages ``names`` run their ``__init__`` only when it is needed.

    The ``__init__`` of MediaPipe 0.10.21 and of its package ``solutions`` import all solutions, the task API,
    matplotlib, and an audio library that starts processes to find shared libraries. Without them, the import of a
    solution takes 0.05 s of CPU time instead of 0.4 s. Other code can use the packages as usual. Packages that have
    already been imported are not changed. A package must be listed after the package that contains it.
    """
    for name in names:
        if name in sys.modules:
            continue
        spec = find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        package = module_from_spec(spec)
        package.__class__ = _LazyPackage
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
