"""Deserialisation of published checkpoint files without code execution, and strict comparison with the network's
parameters.

``.pth`` files are pickles. ``torch.load(weights_only=True)`` deserialises these files with a restricted unpickler,
which creates only tensors and plain containers.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from retalkit.errors import WeightsError
from retalkit.paths import missing
from retalkit.weights.checkpoint import Checkpoint

_SHOWN = 4


def read_checkpoint(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the state dict of the checkpoint's network as CPU tensors, without the wrappers of the published file.

    Raises:
        WeightsError: the file cannot be read, would execute code, or contains parameter names or shapes that differ
            from the network's parameters.
    """
    _check_exists(path)
    if checkpoint.reader:
        tensors = _read_other(path, checkpoint)
    elif path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    else:
        tensors = unwrap_state_dict(_unpickle(path), checkpoint, path)
        if invalid := [name for name, value in tensors.items() if not _is_plain(value)]:
            raise WeightsError(
                f"{path}: not a valid {checkpoint.file}: {_some(invalid)} is not a dense real CPU tensor",
                code="weights-mismatch",
            )
    _add_batch_counts(tensors, checkpoint)
    check_names(tensors, checkpoint, path)
    return tensors


def read_file(path: Path) -> object:
    """Return the contents of a safetensors file or a torch file, with tensors on the CPU.

    Raises:
        WeightsError: the file does not exist, cannot be read, or would execute code.
    """
    _check_exists(path)
    return _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _unpickle(path)


def unwrap_state_dict(data: object, checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    """Extract the network's parameters from the contents of a file and rename the parameters to the network's names.

    Raises:
        WeightsError: the file contains no state dict, or two parameters have identical names.
    """
    import torch

    if not isinstance(data, Mapping):
        raise WeightsError(
            f"{path}: expected the state dict of '{checkpoint.name}', got {type(data).__name__}",
            code="weights-mismatch",
        )
    content = cast("Mapping[str, Any]", data)
    entry = next((key for key in checkpoint.entries if key in content), None)
    inner = content if entry is None else content[entry]
    if not isinstance(inner, Mapping):
        raise WeightsError(
            f"{path}: entry '{entry}': expected a state dict, got {type(inner).__name__}", code="weights-mismatch"
        )
    named = {str(name): value for name, value in cast("Mapping[object, Any]", inner).items()}
    if entry is None and checkpoint.entries and not all(isinstance(value, torch.Tensor) for value in named.values()):
        wanted = " or ".join(f"'{key}'" for key in checkpoint.entries)
        raise WeightsError(
            f"{path}: not a valid {checkpoint.file}: no entry {wanted}, found {_some(sorted(named))}",
            code="weights-mismatch",
        )
    result: dict[str, Any] = {}
    for name, value in named.items():
        if any(re.search(pattern, name) for pattern in checkpoint.ignore_names):
            continue
        own = name.replace(checkpoint.strip_from_names, "") if checkpoint.strip_from_names else name
        if own in result:
            raise WeightsError(
                f"{path}: not a valid {checkpoint.file}: parameter {own} occurs twice, once as {name}",
                code="weights-mismatch",
            )
        result[own] = value
    return result


def _is_plain(value: object) -> bool:
    """Return whether the value is a dense, real, unquantised tensor on the CPU."""
    import torch

    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return False
    return value.device.type == "cpu" and not value.is_complex() and not value.is_quantized


def _add_batch_counts(tensors: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Add ``num_batches_tracked`` buffers, which are missing from files written before PyTorch 0.4.1.

    The buffers have no effect on inference.
    """
    import torch

    for name, shape in checkpoint.expected_shapes().items():
        if name.endswith(".num_batches_tracked") and name not in tensors and shape == ():
            tensors[name] = torch.zeros((), dtype=torch.int64)


def check_names(tensors: Mapping[str, Any], checkpoint: Checkpoint, path: Path) -> None:
    """Raise WeightsError unless the names and shapes match those of the network exactly."""
    expected = checkpoint.expected_shapes()
    differences: list[str] = []
    if missing := [name for name in expected if name not in tensors]:
        differences.append(f"missing {_some(missing)}")
    if extra := [name for name in tensors if name not in expected]:
        differences.append(f"unexpected {_some(extra)}")
    other = [
        f"{name} {list(tensors[name].shape)}, expected {list(shape)}"
        for name, shape in expected.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    if other:
        differences.append(f"shape mismatch: {_some(other)}")
    if differences:
        raise WeightsError(
            f"{path}: not the weights of '{checkpoint.name}' ({checkpoint.file}): {'; '.join(differences)}",
            code="weights-mismatch",
        )


def safetensors_shapes(path: Path) -> dict[str, Any]:
    """Return a mapping from array names to objects with a ``shape`` attribute.

    Only the header of the safetensors file is read.
    """
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {name: _ArrayShape(tuple(file.get_slice(name).get_shape())) for name in file.keys()}  # noqa: SIM118


@dataclass(frozen=True, slots=True)
class _ArrayShape:
    shape: tuple[int, ...]


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(missing(path), code="file-not-found")


def _unpickle(path: Path) -> object:
    import torch

    try:
        if zipfile.is_zipfile(path):
            _verify_checksums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL |Unsupported global: GLOBAL |unsupported GLOBAL )([\w.]+)", str(error))
        if found is None:
            # torch's own message recommends weights_only=False, which would allow code execution.
            raise WeightsError(
                f"{path}: not a checkpoint file; download the file from its publisher again", code="unreadable-file"
            ) from error
        raise WeightsError(
            f"{path}: the file was rejected because it contains '{found[1]}', which could run code; download "
            "the file from its publisher again",
            code="unsafe-checkpoint",
        ) from error
    except Exception as error:
        # The unpickler may raise any exception for a damaged file.
        raise WeightsError(
            f"{path}: the file cannot be read and may be truncated ({_first_line(error)})", code="unreadable-file"
        ) from error


def _verify_checksums(path: Path) -> None:
    """Raise BadZipFile if an archive member has an invalid CRC, which torch does not check."""
    with zipfile.ZipFile(path) as content:
        if (damaged := content.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({_first_line(error)})", code="unreadable-file") from error


def _read_other(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    import torch

    try:
        arrays = checkpoint.read_other(path)
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise WeightsError(
            f"{path}: not a valid {checkpoint.file} ({_first_line(error)})", code="unreadable-file"
        ) from error
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _first_line(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.partition(". ")[0][:160]
