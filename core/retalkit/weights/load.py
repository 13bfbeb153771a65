"""From a published file to the arrays of one network: no code of the file is run, and nothing is missing or left over.

``.pth`` files are pickles. They are read by torch's unpickler that makes tensors and plain containers and refuses all
else (``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from retalkit.errors import WeightsError
from retalkit.weights.checkpoint import Checkpoint

_SHOWN = 4


def read_checkpoint(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Name -> torch tensor for every parameter of the checkpoint's network, wrappers taken off.

    Raises WeightsError for a file that cannot be read, that would run code, or whose names or shapes are not those of
    the network.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    if checkpoint.reader:
        tensors = _read_other(path, checkpoint)
    elif path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    else:
        tensors = unwrapped(_unpickled(path), checkpoint, path)
        if odd := [name for name, value in tensors.items() if not _is_plain(value)]:
            raise WeightsError(f"{path}: {_some(odd)} is no plain array of numbers: it is no {checkpoint.file}")
    _count_batches(tensors, checkpoint)
    check_names(tensors, checkpoint, path)
    return tensors


def read_file(path: Path) -> object:
    """What a safetensors file or a file of torch holds, whatever network it belongs to; torch tensors on the processor.

    Raises WeightsError for a file that is not there, cannot be read, or would run code.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    return _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _unpickled(path)


def unwrapped(data: object, checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    """The network's own parameters of what a file holds, with its own names. Raises WeightsError if there are none."""
    import torch

    if not isinstance(data, Mapping):
        raise WeightsError(f"{path}: holds {type(data).__name__} where the weights of '{checkpoint.name}' are expected")
    content = cast("Mapping[str, Any]", data)
    entry = next((key for key in checkpoint.entries if key in content), None)
    inner = content if entry is None else content[entry]
    if not isinstance(inner, Mapping):
        raise WeightsError(f"{path}: its entry '{entry}' holds {type(inner).__name__} and no weights")
    named = {str(name): value for name, value in cast("Mapping[object, Any]", inner).items()}
    if entry is None and checkpoint.entries and not all(isinstance(value, torch.Tensor) for value in named.values()):
        wanted = " or ".join(f"'{key}'" for key in checkpoint.entries)
        raise WeightsError(f"{path}: has no entry {wanted}; it has {_some(sorted(named))}: it is no {checkpoint.file}")
    result: dict[str, Any] = {}
    for name, value in named.items():
        if any(re.search(pattern, name) for pattern in checkpoint.dropped):
            continue
        own = name.replace(checkpoint.removed, "") if checkpoint.removed else name
        if own in result:
            raise WeightsError(f"{path}: has {own} twice, once as {name}: it is no {checkpoint.file}")
        result[own] = value
    return result


def _is_plain(value: object) -> bool:
    """Whether it is a tensor of real numbers that lie in memory, each for itself."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return False
    return value.device.type == "cpu" and not value.is_complex() and not value.is_quantized


def _count_batches(tensors: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Batch norms have counted their batches since PyTorch 0.4.1. Older files lack the counts, which nothing reads."""
    import torch

    for name, shape in checkpoint.expected_shapes().items():
        if name.endswith(".num_batches_tracked") and name not in tensors and shape == ():
            tensors[name] = torch.zeros((), dtype=torch.int64)


def check_names(tensors: Mapping[str, Any], checkpoint: Checkpoint, path: Path) -> None:
    """Raises WeightsError unless names and shapes are exactly those of the network."""
    expected = checkpoint.expected_shapes()
    faults: list[str] = []
    if missing := [name for name in expected if name not in tensors]:
        faults.append(f"lacks {_some(missing)}")
    if extra := [name for name in tensors if name not in expected]:
        faults.append(f"has besides {_some(extra)}")
    other = [
        f"{name} {list(tensors[name].shape)} for {list(shape)}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    if other:
        faults.append(f"has other shapes: {_some(other)}")
    if faults:
        raise WeightsError(
            f"{path}: these are not the weights of '{checkpoint.name}' ({checkpoint.file}): it {'; '.join(faults)}"
        )


def safetensors_shapes(path: Path) -> dict[str, Any]:
    """Name -> something with the shape of each array of a safetensors file, read from its head alone."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {name: _Shaped(tuple(file.get_slice(name).get_shape())) for name in file.keys()}  # noqa: SIM118


@dataclass(frozen=True, slots=True)
class _Shaped:
    shape: tuple[int, ...]


def _unpickled(path: Path) -> object:
    import torch

    try:
        if zipfile.is_zipfile(path):
            _check_sums(path)
        with warnings.catch_warnings():
            # About old pickle protocols: what cannot be read is said below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL |Unsupported global: GLOBAL |unsupported GLOBAL )([\w.]+)", str(error))
        if found is None:
            # torch's own text advises to switch the safe reading off.
            raise WeightsError(f"{path}: is no file of weights: get it from its publisher again") from error
        raise WeightsError(
            f"{path}: refused, because it holds more than weights ('{found[1]}' could run code): get the file from its "
            "publisher again"
        ) from error
    except Exception as error:
        # A damaged file may stop its reader anywhere.
        raise WeightsError(f"{path}: cannot be read, it may be cut off ({_first_line(error)})") from error


def _check_sums(path: Path) -> None:
    """Raises BadZipFile where a part of the file is not what was written: torch does not look."""
    with zipfile.ZipFile(path) as content:
        if (damaged := content.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: is no safetensors file ({_first_line(error)})") from error


def _read_other(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    import torch

    try:
        arrays = checkpoint.read_other(path)
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise WeightsError(f"{path}: is no {checkpoint.file} ({_first_line(error)})") from error
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _first_line(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.partition(". ")[0][:160]
