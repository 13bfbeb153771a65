"""Network inference with OpenVINO on the CPU.

Each network is converted once. The converted model is stored in ``RETALKIT_HOME/openvino`` under a hash of the weights,
the source code and the library versions. Later processes load the stored model.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from retalkit.inference.execution import flatten
from retalkit.inference.openvino_import import FrontEndManager, TorchScriptPythonDecoder, openvino
from retalkit.weights.store import readable_home

_FORMAT: Final = 3
"""Format version, which is part of the hash. Increase the version when the conversion changes."""
_KEPT_SECONDS: Final = 30 * 24 * 3600.0
"""Retention time in seconds. When a model is stored, converted models of this network that have not been read within
the retention time are deleted.
"""
_CHECKSUM: Final = "model.crc32"
"""Name of the file in a model's directory that contains the checksum of the model."""
_BLOCK: Final = 1 << 20
_PARTIAL: Final = ".partial-"
"""Name prefix of the directories of models that are being written. A killed process may leave such a directory."""
_LONGEST_CONVERSION: Final = 600.0
"""Maximum waiting time in seconds for a conversion of the same model by another process."""
_KEPT_SIZES: Final = 4
"""Maximum number of compiled models in memory for different input sizes."""


_PRECISIONS: Final = {"float32": ("f32", "FP32"), "bfloat16": ("bf16", "BF16")}
"""OpenVINO's names of each precision and of the required CPU capability."""


class OpenVinoNetwork:
    """Network that OpenVINO executes in the requested precision, or in float32 if the CPU has no instructions for the
    requested precision.
    """

    backend = "openvino"

    def __init__(
        self,
        network: nn.Module,
        example_inputs: Sequence[Tensor],
        *,
        threads: int = 0,
        precision: str = "float32",
        variable_size: bool = False,
    ) -> None:
        self._core = openvino.Core()
        self._lock = threading.Lock()
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": supported_precision(self._core, precision),
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
            # Concurrent runs on one machine must not be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._model = converted(self._core, network, example_inputs, variable_size=variable_size)
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._variable_size = variable_size
        if not variable_size:
            self._compiled[()] = self._core.compile_model(self._model, "CPU", self._options)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        arrays = [each.detach().float().cpu().contiguous().numpy() for each in inputs]
        # A compiled model has one inference request, and each call overwrites the output buffers of the previous call.
        with self._lock:
            results = self._network(tuple(inputs[0].shape))(arrays, share_inputs=True)
            return [torch.from_numpy(results[index].copy()) for index in range(len(results))]

    def _network(self, shape: tuple[int, ...]) -> Any:
        if not self._variable_size:
            return self._compiled[()]
        compiled = self._compiled.pop(shape, None)
        if compiled is None:
            model = self._model.clone()
            model.reshape({0: list(shape)})
            compiled = self._core.compile_model(model, "CPU", self._options)
        self._compiled[shape] = compiled  # most recently used entries are last
        while len(self._compiled) > _KEPT_SIZES:
            del self._compiled[next(iter(self._compiled))]
        return compiled


def supported_precision(core: openvino.Core, precision: str) -> str:
    """Return OpenVINO's name of ``precision``, or ``f32`` if the CPU has no instructions for the precision."""
    name, capability = _PRECISIONS[precision]
    return name if capability in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def converted(
    core: openvino.Core, network: nn.Module, example_inputs: Sequence[Tensor], *, variable_size: bool = False
) -> openvino.Model:
    """Return the network as an OpenVINO model. A stored model is loaded from disk."""
    name = type(network).__name__
    folder = readable_home() / "openvino"
    entry = folder / f"{name}-{network_hash(network, example_inputs, variable_size=variable_size)[:24]}"
    if (model := _stored(core, entry)) is not None:
        return model
    with _conversion_lock(entry):
        # Another process may have stored the model while this process waited for the lock.
        if (model := _stored(core, entry)) is not None:
            return model
        model = _convert(network, example_inputs, variable_size=variable_size)
        with suppress(OSError):  # a full disk does not prevent inference
            _store(model, entry)
            _remove_old(folder, name)
    return model


def _stored(core: openvino.Core, entry: Path) -> openvino.Model | None:
    """Return the stored model, or None if the model is missing or damaged."""
    with suppress(RuntimeError, OSError):
        if (entry / _CHECKSUM).read_text(encoding="ascii") == _checksum(entry):
            model = core.read_model(entry / "model.xml")
            os.utime(entry)
            return model
    return None


def _checksum(entry: Path) -> str:
    """Return a checksum of the model's files. OpenVINO does not detect changed weights. CRC-32 is sufficient for
    accidental damage and twice as fast as SHA-256.
    """
    value = 0
    for name in ("model.xml", "model.bin"):
        with (entry / name).open("rb") as file:
            while block := file.read(_BLOCK):
                value = zlib.crc32(block, value)
    return f"{value:08x}"


@contextmanager
def _conversion_lock(entry: Path) -> Generator[None]:
    """Wait while another process converts the same model, so that the model is converted only once.

    Has no effect if the directory does not support locks, or if the wait exceeds ``_LONGEST_CONVERSION``.
    """
    from filelock import FileLock, Timeout

    file = entry.with_name(f".{entry.name}.lock")
    lock = FileLock(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_LONGEST_CONVERSION)
    except (Timeout, OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        lock.release()


def network_hash(network: nn.Module, example_inputs: Sequence[Tensor], *, variable_size: bool = False) -> str:
    """Compute a hash of the weights, layer options, source code, input shapes and library versions of a converted
    model."""
    shapes = [(tuple(each.shape), str(each.dtype)) for each in example_inputs]
    kinds = sorted({type(module) for module in network.modules()}, key=lambda kind: (kind.__module__, kind.__name__))
    versions = (_FORMAT, openvino.__version__, torch.__version__, sys.version_info[:2])
    digest = hashlib.sha256(repr((versions, shapes, variable_size)).encode())
    for source in sorted({_source(kind) for kind in kinds if not kind.__module__.startswith("torch.")}):
        digest.update(source.encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    # The string representation and the plain attributes contain options that are neither parameters nor buffers, such
    # as strides.
    digest.update(repr(network).encode())
    for name, module in network.named_modules():
        digest.update(repr((name, _options(module))).encode())
    return digest.hexdigest()


def _options(module: nn.Module) -> dict[str, Any]:
    """Return the module's attributes that are numbers, strings, or tuples or lists of them."""

    def plain(value: Any) -> bool:
        if isinstance(value, tuple | list):
            return all(plain(each) for each in cast("Sequence[Any]", value))
        return value is None or isinstance(value, bool | int | float | str)

    return {name: value for name, value in sorted(vars(module).items()) if plain(value)}


def _source(kind: type) -> str:
    """Return the source code of the module that defines a layer, or the layer's name if the source is unavailable."""
    try:
        return inspect.getsource(sys.modules[kind.__module__])
    except (OSError, TypeError, KeyError):
        return f"{kind.__module__}.{kind.__qualname__}"


class _Flat(nn.Module):
    """Wrapper that flattens the network's output into one tuple of tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(flatten(self.network(*inputs)))


def _convert(network: nn.Module, example_inputs: Sequence[Tensor], *, variable_size: bool) -> openvino.Model:
    shapes = [list(each.shape) for each in example_inputs]
    if variable_size:
        shapes[0][2:] = [-1, -1]
    frontend = FrontEndManager().load_by_framework("pytorch")
    with torch.no_grad():
        traced = cast("Any", torch.jit).trace(_Flat(network.cpu()), tuple(example_inputs), check_trace=False)
        # openvino.convert_model is not used because it sends usage data to the publisher.
        decoder = TorchScriptPythonDecoder(traced, example_input=tuple(example_inputs))
        model = frontend.convert(frontend.load(decoder))
    model.reshape(dict(enumerate(shapes)))
    return model


def _store(model: openvino.Model, entry: Path) -> None:
    """Write the model atomically."""
    temporary = entry.with_name(f"{_PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        openvino.save_model(model, temporary / "model.xml", compress_to_fp16=False)
        (temporary / _CHECKSUM).write_text(_checksum(temporary), encoding="ascii")
        shutil.rmtree(entry, ignore_errors=True)
        temporary.rename(entry)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_old(folder: Path, name: str) -> None:
    oldest = time.time() - _KEPT_SECONDS
    for entry in (*folder.glob(f"{name}-*"), *folder.glob(f"{_PARTIAL}*")):
        with suppress(OSError):
            if entry.stat().st_mtime < oldest:
                shutil.rmtree(entry, ignore_errors=True)
