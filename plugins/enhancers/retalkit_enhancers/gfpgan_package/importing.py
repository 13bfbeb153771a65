"""How to import the package ``gfpgan`` beside a torchvision of today."""

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

_GONE: Final = "torchvision.transforms.functional_tensor"


@contextmanager
def gone_module() -> Generator[None]:
    """Inside, ``torchvision.transforms.functional_tensor`` can be imported; after it all is as before.

    ``gfpgan`` imports ``basicsr``, whose last release (1.4.2, 2022) takes ``rgb_to_grayscale`` out of that module.
    torchvision 0.17 removed the module; the function is in ``torchvision.transforms.functional``, where it always was.
    A torchvision that still has the module keeps its own.
    """
    if _GONE in sys.modules or find_spec(_GONE) is not None:
        yield
        return
    module = ModuleType(_GONE)
    module.rgb_to_grayscale = import_module("torchvision.transforms.functional").rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_GONE] = module
    try:
        yield
    finally:
        # What imported the function keeps it. Nobody else shall take this for the old module.
        del sys.modules[_GONE]


def clean_architecture() -> Any:
    """The package's class ``GFPGANv1Clean``. Raises PluginError where the package cannot be imported."""
    try:
        with gone_module():
            return import_module("gfpgan.archs.gfpganv1_clean_arch").GFPGANv1Clean
    # A torchvision that was built for another torch fails with RuntimeError, a missing library with OSError.
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise PluginError(
            f"enhancer '{NAME}': the package gfpgan cannot be imported ({type(error).__name__}: {text}): "
            f"install it again (pip install '{INSTALL}') or use the enhancer 'gfpgan', which does without it"
        ) from error
