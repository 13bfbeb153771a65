"""Conversion of the speech encoder of Moonshine tiny-en to the weights file in the package.

The wheel moonshine-voice 0.0.4 on PyPI contains the encoder in the format of ONNX Runtime. The conversion keeps the
convolutions and the first layers, restores the published parameter names, and stores the dequantised parameters as
float16::

    pip download --no-deps moonshine-voice==0.0.4
    unzip -j moonshine_voice-0.0.4-*.whl moonshine_voice/assets/tiny-en/encoder_model.ort
    pip install onnx onnxruntime
    python -m retalkit_training.speech_to_mouth.convert_moonshine encoder_model.ort moonshine_tiny_en.safetensors

Nothing else in Retalkit requires the packages onnx and onnxruntime.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from retalkit.errors import InputError, PluginError, RetalkitError
from retalkit.paths import missing
from retalkit.storage.cache import content_hash
from retalkit.storage.permissions import default_permissions
from safetensors.numpy import save_file

SHA256: Final = "e091ae52fc2a912197af8f7b7ae2e8365b656ff58463313e0660cce59d9e81d3"
"""SHA-256 hash of ``encoder_model.ort``."""
LAYERS: Final = 3
"""Number of layers. With fewer and with more layers, a ridge regression of real lips has a lower correlation."""
_PROJECTIONS: Final = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_NAMED: Final = ("conv1.weight", "conv2.weight", "conv2.bias", "conv3.weight", "conv3.bias")

Array = NDArray[Any]


def convert(source: Path, target: Path) -> None:
    """Write the first layers of the encoder in ``source`` to the safetensors file ``target``.

    Raises:
        InputError: ``source`` is not the published file.
        PluginError: a package is missing.
    """
    if not source.is_file():
        raise InputError(missing(source, "no such file"), code="file-not-found")
    found = content_hash(source)
    if found != SHA256:
        raise InputError(f"{source}: expected SHA-256 {SHA256}, got {found}", code="hash-mismatch")
    tensors = encoder_tensors(_read_graph(source))
    stored = {name: np.ascontiguousarray(tensor.astype(np.float16)) for name, tensor in tensors.items()}
    metadata = {
        "source": "moonshine-voice 0.0.4, assets/tiny-en/encoder_model.ort",
        "source_sha256": SHA256,
        "layers": str(LAYERS),
        "license": "MIT, Copyright (c) 2025 Moonshine AI",
    }
    with default_permissions(target):
        save_file(stored, target, metadata)


def encoder_tensors(graph: Any) -> dict[str, Array]:
    """Return the parameters of the convolutions and of the first layers, with the published names.

    ``graph``: ONNX graph of the encoder.
    """
    helper = _package("onnx.numpy_helper")
    values: dict[str, Array] = {each.name: helper.to_array(each) for each in graph.initializer}
    nodes = {node.name: node for node in graph.node}
    tensors = {name: values[name] for name in _NAMED}
    for name, node in (("groupnorm.weight", "/groupnorm/Mul"), ("groupnorm.bias", "/groupnorm/Add")):
        tensors[name] = values[nodes[node].input[1]].reshape(-1)
    for layer in range(LAYERS):
        prefix = f"layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = values[f"{prefix}{name}.weight"]
        for name in ("mlp.fc1", "mlp.fc2"):
            tensors[f"{prefix}{name}.bias"] = values[f"{prefix}{name}.bias"]
        for name in (*_PROJECTIONS, "mlp.fc1", "mlp.fc2"):
            quantised = nodes[f"/{prefix}{name}".replace(".", "/").replace("layers/", "layers.") + "/MatMul_quant"]
            tensors[f"{prefix}{name}.weight"] = _dequantised(values, quantised.input[1])
    return tensors


def _dequantised(values: dict[str, Array], name: str) -> Array:
    """Return the transposed weights of a quantised matrix multiplication, float32."""
    base = name.removesuffix("_quantized")
    zero = values[f"{base}_zero_point"].astype(np.float32)
    return ((values[name].astype(np.float32) - zero) * values[f"{base}_scale"]).T


def _read_graph(source: Path) -> Any:
    onnx, runtime = _package("onnx"), _package("onnxruntime")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "encoder.onnx")
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # ONNX Runtime writes the graph that it has loaded in the ONNX format.
        options.optimized_model_filepath = path
        runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        return onnx.load(path).graph


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise PluginError(
            f"the conversion needs the package {package}: pip install onnx onnxruntime", code="missing-package"
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """Convert the file that the first argument names to the file that the second argument names."""
    parser = argparse.ArgumentParser(prog="convert_moonshine", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="encoder_model.ort from the wheel")
    parser.add_argument("target", type=Path, help="safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        convert(options.source, options.target)
    except RetalkitError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
