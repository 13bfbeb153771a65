"""Loading of a user-provided face restoration checkpoint with the package ``spandrel``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import torch
from retalkit.errors import PluginError, WeightsError
from retalkit.weights.load import read_file

from retalkit_enhancers.spandrel_enhancer.interface import NAME

CODEFORMER: Final = "CodeFormer"
FACE_NETWORKS: Final = ("GFPGAN", "RestoreFormer", CODEFORMER)
"""spandrel's identifiers for networks that restore aligned 512 x 512 faces.

All of these networks were trained with one five-point template and with pixel values in [-1, 1].
"""
_EXTRA: Final = "spandrel_extra_arches"
_CODEFORMER_NAMES: Final = ("position_emb", "idx_pred_layer.1.weight")


class FaceCheckpoint:
    """Checkpoint that spandrel recognises as a face restoration network."""

    def __init__(self, path: Path) -> None:
        """Read the checkpoint and detect its architecture without retaining its tensors.

        Raises WeightsError if the checkpoint cannot be read, contains executable code, or does not contain a face
        restoration network. Raises PluginError if spandrel cannot be imported.
        """
        self.path = path
        self.architecture = self._recognise(self._tensors()).id
        """Architecture identifier, which is one of ``FACE_NETWORKS``."""

    def load(self, device: str) -> torch.nn.Module:
        """Return the network in evaluation mode on ``device``.

        Raises WeightsError if the weights do not match the network.
        """
        tensors = self._tensors()
        architecture = self._recognise(tensors)
        try:
            # spandrel initialises networks with random numbers from torch's global generator.
            with torch.random.fork_rng(devices=[]):
                described = architecture.load(tensors)
        # spandrel's hyperparameter detection, torch's layers and strict loading raise these errors.
        except (RuntimeError, KeyError, ValueError, IndexError, TypeError, AssertionError, AttributeError) as error:
            raise WeightsError(
                f"{self.path}: the weights do not match the detected architecture {self.architecture} "
                f"({' '.join(str(error).split())[:200]}); download the checkpoint again from its "
                "publisher",
                code="weights-mismatch",
            ) from error
        if described.scale != 1 or (described.input_channels, described.output_channels) != (3, 3):
            raise WeightsError(
                f"{self.path}: the network has {described.input_channels} input channels, "
                f"{described.output_channels} output channels and scale {described.scale}, but the "
                f"enhancer '{NAME}' requires 3, 3 and 1; choose a different checkpoint",
                code="unsupported-checkpoint",
            )
        return described.model.float().eval().requires_grad_(False).to(device)

    def _tensors(self) -> dict[str, Any]:
        """Return the network's parameters without the wrapper dictionaries that training code adds."""
        content = read_file(self.path)
        try:
            tensors = _spandrel().canonicalize_state_dict(content) if isinstance(content, dict) else None
        except AttributeError:
            # spandrel raises AttributeError for parameter names that are not strings.
            tensors = None
        if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
            raise WeightsError(
                f"{self.path}: the file contains no network parameters; choose a face restoration checkpoint",
                code="unsupported-checkpoint",
            )
        return cast("dict[str, Any]", tensors)

    def _recognise(self, tensors: Mapping[str, Any]) -> Any:
        """Return spandrel's architecture for ``tensors``.

        Raises WeightsError if the architecture does not restore faces.
        """
        wanted = ", ".join(FACE_NETWORKS)
        found = next((each for each in _architectures() if each.detect(tensors)), None)
        if found is not None and found.architecture.id in FACE_NETWORKS:
            return found.architecture
        if found is not None:
            raise WeightsError(
                f"{self.path}: checkpoints of {found.architecture.name} do not restore 512 x 512 "
                f"faces; choose a checkpoint of {wanted}",
                code="unsupported-checkpoint",
            )
        if all(name in tensors for name in _CODEFORMER_NAMES):
            raise WeightsError(
                f"{self.path}: {CODEFORMER} checkpoints require a separate package that is licensed "
                "for non-commercial use only; if the licence permits your use, run pip install "
                "spandrel_extra_arches",
                code="missing-package",
            )
        raise WeightsError(
            f"{self.path}: spandrel does not recognise the checkpoint; choose a checkpoint of {wanted}",
            code="unsupported-checkpoint",
        )


def _spandrel() -> Any:
    return _import("spandrel")


def _architectures() -> Iterator[Any]:
    """Yield spandrel's architectures in registry order, followed by the restricted architectures if they are installed.

    spandrel's own installation function would add the restricted architectures to the process-wide registry.
    """
    yield from _spandrel().MAIN_REGISTRY.architectures("detection")
    if find_spec(_EXTRA) is not None:
        yield from _import(_EXTRA).EXTRA_REGISTRY.architectures("detection")


def _import(package: str) -> Any:
    try:
        return import_module(package)
    # Importing a torchvision build for a different torch version raises RuntimeError. A missing shared library raises
    # OSError.
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise PluginError(
            f"enhancer '{NAME}': the package {package} cannot be imported ({type(error).__name__}: "
            f"{text}); reinstall torch, torchvision and {package} with one pip command",
            code="broken-package",
        ) from error
