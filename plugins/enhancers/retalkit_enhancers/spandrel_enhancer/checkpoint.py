"""From a user's checkpoint to a network that restores faces, by the package ``spandrel``."""

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
"""Identifiers in spandrel of the networks that restore an aligned face of 512 x 512. All were trained with the same
template of five points and with pixels in [-1, 1]."""
_EXTRA: Final = "spandrel_extra_arches"
_CODEFORMER_NAMES: Final = ("position_emb", "idx_pred_layer.1.weight")


class FaceCheckpoint:
    """A file that spandrel takes for a face-restoration network."""

    def __init__(self, path: Path) -> None:
        """Reads the file and finds out what it is; keeps none of its tensors.

        Raises WeightsError for a file that cannot be read, would run code, or is no such network; PluginError where
        spandrel cannot be imported.
        """
        self._path = path
        self.architecture = self._recognised(self._tensors()).id
        """One of ``FACE_NETWORKS``."""

    def load(self, device: str) -> torch.nn.Module:
        """The network with its weights, for use, on the device. Raises WeightsError where they do not fit."""
        tensors = self._tensors()
        architecture = self._recognised(tensors)
        try:
            # spandrel makes networks with random numbers first, out of torch's own generator.
            with torch.random.fork_rng(devices=[]):
                described = architecture.load(tensors)
        # What spandrel's readers of hyperparameters, torch's layers and its strict loading raise.
        except (RuntimeError, KeyError, ValueError, IndexError, TypeError, AssertionError, AttributeError) as error:
            raise WeightsError(
                f"{self._path}: looks like {self.architecture} and does not fit it "
                f"({' '.join(str(error).split())[:200]}): get the file from its publisher again"
            ) from error
        if described.scale != 1 or (described.input_channels, described.output_channels) != (3, 3):
            raise WeightsError(
                f"{self._path}: takes {described.input_channels} channels to {described.output_channels} at "
                f"{described.scale} times the size; enhancer '{NAME}' needs 3, 3 and 1: choose another checkpoint"
            )
        return described.model.float().eval().requires_grad_(False).to(device)

    def _tensors(self) -> dict[str, Any]:
        """The network's parameters, taken out of what trainers wrap around them."""
        content = read_file(self._path)
        try:
            tensors = _spandrel().canonicalize_state_dict(content) if isinstance(content, dict) else None
        except AttributeError:
            # Names that are no text.
            tensors = None
        if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
            raise WeightsError(f"{self._path}: holds no network's parameters: choose the checkpoint of one")
        return cast("dict[str, Any]", tensors)

    def _recognised(self, tensors: Mapping[str, Any]) -> Any:
        """The architecture of spandrel that the parameters belong to. Raises WeightsError if it restores no faces."""
        wanted = ", ".join(FACE_NETWORKS)
        found = next((each for each in _architectures() if each.detect(tensors)), None)
        if found is not None and found.architecture.id in FACE_NETWORKS:
            return found.architecture
        if found is not None:
            raise WeightsError(
                f"{self._path}: is a checkpoint of {found.architecture.name}, which is no network that restores a face "
                f"of 512 x 512: choose one of {wanted}"
            )
        if all(name in tensors for name in _CODEFORMER_NAMES):
            raise WeightsError(
                f"{self._path}: is a checkpoint of {CODEFORMER}, whose code is in another package, for non-commercial "
                "use only: if your use is that, pip install spandrel_extra_arches"
            )
        raise WeightsError(f"{self._path}: is nothing that spandrel recognises: choose a checkpoint of one of {wanted}")


def _spandrel() -> Any:
    return _imported("spandrel")


def _architectures() -> Iterator[Any]:
    """What spandrel recognises, in its order; then what the package of its restricted architectures does, where a user
    installed it. Its own way would be to add those to spandrel, for all else in this process."""
    yield from _spandrel().MAIN_REGISTRY.architectures("detection")
    if find_spec(_EXTRA) is not None:
        yield from _imported(_EXTRA).EXTRA_REGISTRY.architectures("detection")


def _imported(package: str) -> Any:
    try:
        return import_module(package)
    # A torchvision that was built for another torch fails with RuntimeError, a missing library with OSError.
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        text = " ".join(str(error).split())[:200]
        raise PluginError(
            f"enhancer '{NAME}': the package {package} cannot be imported ({type(error).__name__}: {text}): "
            "install torch, torchvision and it again, in one command"
        ) from error
