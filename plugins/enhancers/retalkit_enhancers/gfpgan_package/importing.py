"""Import of the package ``gfpgan`` with current torchvision versions."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from retalkit.errors import PluginError

from retalkit_enhancers.gfpgan_package.interface import INSTALL, NAME

_REMOVED: Final = "torchvision.transforms.functional_tensor"


@contextmanager
def removed_module() -> Generator[None]:
    """Make ``torchvision.transforms.functional_tensor`` importable inside the block.

    ``gfpgan`` imports ``basicsr``, whose last release (1.4.2, 2022) imports ``rgb_to_grayscale`` from this module.
    torchvision 0.17 removed the module, but still provides the function in ``torchvision.transforms.functional``. If
    torchvision provides the module, the function has no effect.
    """
    if _REMOVED in sys.modules or find_spec(_REMOVED) is not None:
        yield
        return
    module = ModuleType(_REMOVED)
    module.rgb_to_grayscale = import_module("torchvision.transforms.functional").rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_REMOVED] = module
    try:
        yield
    finally:
        # The importing modules keep a reference to the function. Other code must not find the replacement module.
        del sys.modules[_REMOVED]


def import_architecture() -> Any:
    """Return the package's class ``GFPGANv1Clean``. Raises PluginError if the package cannot be imported."""
    try:
        with removed_module():
            return import_module("gfpgan.archs.gfpganv1_clean_arch").GFPGANv1Clean
    # Importing a torchvision build for a different torch version raises RuntimeError. A missing shared library raises
    # OSError.
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise PluginError(
            f"enhancer '{NAME}': the package gfpgan cannot be imported ({type(error).__name__}: "
            f"{text}); reinstall the package (pip install '{INSTALL}') or use the enhancer 'gfpgan', "
            "which does not require the package",
            code="broken-package",
        ) from error
