"""Weights of the networks that supervise a trainer: VGG, ArcFace, the lip-sync expert, and E-Net's frozen L-Net."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from retalkit.errors import WeightsError
from retalkit.weights.load import read_file
from retalkit.weights.store import WeightStore
from torch import Tensor

_WRAPPERS = ("state_dict", "net_G_ema", "params_ema", "params")


class FrozenWeights(Protocol):
    """Source of the weights of frozen networks."""

    def stored(self, name: str, purpose: str) -> Mapping[str, Tensor]:
        """Return the state dict of a checkpoint of the store, such as ``vgg19``.

        Raises:
            WeightsError: the checkpoint is not in the store. ``purpose`` completes the message.
        """
        ...

    def file(self, path: Path) -> Mapping[str, Tensor]:
        """Return the state dict in a file, without the published wrapper. Raises WeightsError."""
        ...


class StoredWeights:
    """Weights of the user's store."""

    def __init__(self, store: WeightStore | None = None) -> None:
        self._store = store if store is not None else WeightStore()

    def stored(self, name: str, purpose: str) -> Mapping[str, Tensor]:
        return read_state_dict(self.require(name, purpose))

    def require(self, name: str, purpose: str) -> Path:
        """Return the path of a checkpoint. Raises WeightsError if it is not in the store."""
        path = self._store.path(name)
        if path is None:
            otherwise = ", or set the weight of this loss to 0" if purpose.endswith("loss") else ""
            raise WeightsError(
                f"{purpose} needs the weights '{name}', which are not installed; run `retalkit weights pull {name}`"
                f"{otherwise}",
                code="missing-weights",
            )
        return path

    def file(self, path: Path) -> Mapping[str, Tensor]:
        return read_state_dict(path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a file, without the wrapper and the prefix ``module.`` of published files.

    Raises:
        WeightsError: the file cannot be read, or contains no state dict.
    """
    data: Any = read_file(path)
    for wrapper in _WRAPPERS:
        if isinstance(data, dict) and wrapper in data:
            data = cast("dict[str, Any]", data)[wrapper]
            break
    if not isinstance(data, dict) or not all(
        isinstance(value, Tensor) for value in cast("dict[str, Any]", data).values()
    ):
        raise WeightsError(f"{path}: contains no weights of a network", code="weights-mismatch")
    tensors = cast("dict[str, Tensor]", data)
    return {name.removeprefix("module."): value for name, value in tensors.items()}


def _origin(names: set[str]) -> str:
    """Return a hint such as ``; the file contains the network of the trainer wav2lip``, or an empty string."""
    from retalkit.plugins.specs import resolve
    from retalkit_training.tasks.export import PUBLISHED

    for trainer, published in PUBLISHED.items():
        # Parameter names do not depend on the number of channels.
        if names and names == set(resolve(published.shapes)()):
            return f"; the file contains the network of the trainer {trainer}"
    return ""


def load_exactly(network: Any, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict whose names and shapes equal those of the network.

    Raises:
        WeightsError: a name is missing or unknown, or a shape differs.
    """
    expected: dict[str, Tensor] = network.state_dict()
    counts = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(tensors) - counts)
    unknown = sorted(set(tensors) - set(expected))
    shapes = sorted(name for name in set(expected) & set(tensors) if expected[name].shape != tensors[name].shape)
    if missing or unknown or shapes:
        wrong = [f"missing {missing[0]}"] if missing else []
        wrong += [f"unknown {unknown[0]}"] if unknown else []
        wrong += [f"shape of {shapes[0]}"] if shapes else []
        raise WeightsError(
            f"{source}: not the weights of {type(network).__name__}: {', '.join(wrong)}{_origin(set(tensors))}",
            code="weights-mismatch",
        )
    network.load_state_dict({**{name: expected[name] for name in counts}, **tensors})
