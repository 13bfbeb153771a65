"""Export of a trained network to the package's safetensors file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from retalkit.errors import WeightsError
from retalkit.storage.permissions import default_permissions
from retalkit_renderers.speech_to_mouth.coarticulation import MEASURES
from retalkit_renderers.speech_to_mouth.interface import WEIGHTS
from retalkit_renderers.speech_to_mouth.network import MOONSHINE
from retalkit_renderers.speech_to_mouth.visemes import CLASSES
from retalkit_training.speech_to_mouth.corpus import Corpus
from retalkit_training.speech_to_mouth.network import CONTACT, SpeechToMouthNetwork
from retalkit_training.tasks.frozen_weights import load_exactly
from retalkit_training.tasks.speech_to_mouth_config import Features
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

FORMAT = "1"


def output_scales(corpus: Corpus) -> dict[str, float]:
    """Return the divisors that convert network outputs to the units of ``MouthMotion``.

    ``opening``, ``protrusion`` and ``jaw`` are the 95th percentiles of the targets within speech. ``spread`` and
    ``rounding`` are the 95th percentiles of the absolute values of positive and negative widths.
    """
    values = corpus.speaking_measures()
    width = values[:, MEASURES.index("width")]
    percentile = {name: float(np.percentile(values[:, index], 95)) for index, name in enumerate(MEASURES)}
    del percentile["width"]
    percentile["spread"] = float(np.percentile(width[width > 0.0], 95))
    percentile["rounding"] = float(np.percentile(-width[width < 0.0], 95))
    return {name: round(value, 4) for name, value in percentile.items()}


def class_widths(corpus: Corpus) -> list[float]:
    """Return the mean target width of each viseme class, in the order of ``CLASSES``."""
    widths, classes = corpus.widths_and_classes()
    by_class = [widths[classes == number] for number in range(len(CLASSES))]
    return [round(float(values.mean()), 4) if len(values) else 0.0 for values in by_class]


def export(
    network: SpeechToMouthNetwork,
    path: Path,
    scales: dict[str, float],
    calibration: dict[str, Any],
    extra_metadata: dict[str, str],
) -> None:
    """Write the weights as float16 with the network configuration in the metadata, replacing an existing file.

    ``calibration`` contains ``closure_threshold`` (the closure evidence above which the lips touch), ``gains`` (from
    ``range_gains``) and, depending on the weights, ``class_widths``, ``contact_share`` and ``width_smoothing``; see
    ``retalkit_renderers.speech_to_mouth.decoding.Calibration``.
    """
    tensors = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    metadata = {
        "format": FORMAT,
        "channels": str(network.channels),
        "dilations": json.dumps(list(network.dilations)),
        "lookahead": "" if network.lookahead_seconds is None else str(network.lookahead_seconds),
        "features": MOONSHINE if network.kind == "encoder" else "log_mel",
        "after": json.dumps(list(network.after)),
        "classes": json.dumps(CLASSES),
        "measures": json.dumps(MEASURES),
        "scales": json.dumps(scales),
        "calibration": json.dumps(calibration),
        **extra_metadata,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    with default_permissions(temporary):
        save_file(tensors, str(temporary), metadata)
    temporary.replace(path)


def as_stored(network: SpeechToMouthNetwork) -> SpeechToMouthNetwork:
    """Round the weights to the precision of weights files, and return the network."""
    network.load_state_dict(
        {
            name: tensor.half().float() if tensor.is_floating_point() else tensor
            for name, tensor in network.state_dict().items()
        }
    )
    return network


def weights_path(source: str, features: Features = "log_mel") -> Path:
    """Return the bundled weights for ``features`` if ``source`` is ``published``, or the path of a file.

    The bundled weights for log-mel features were trained on synthetic speech.
    """
    published = WEIGHTS["real" if features == "encoder" else "synthetic"]
    return published if source == "published" else Path(source)


def exported_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an exported weights file."""
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata())


def load_exported(
    path: Path, network: SpeechToMouthNetwork | None = None
) -> tuple[SpeechToMouthNetwork, dict[str, float]]:
    """Return the network of an exported weights file in evaluation mode, and the network's output scales.

    ``network``: network into which the weights are loaded. None: a new one.

    Raises:
        WeightsError: the file cannot be read, contains other weights, or weights of another architecture.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata()
            names = list(file.keys())
            tensors = {name: file.get_tensor(name).float() for name in names}
        loaded = network or SpeechToMouthNetwork(
            int(metadata["channels"]),
            tuple(json.loads(metadata["dilations"])),
            float(metadata["lookahead"]) if metadata["lookahead"] else None,
            contact=len(tensors["head.bias"]) > CONTACT,
            features="encoder" if metadata.get("features") == MOONSHINE else "log_mel",
        )
        scales = json.loads(metadata["scales"])
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}", code="unreadable-file") from error
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: no weights of the driver `model`", code="weights-mismatch") from error
    load_exactly(loaded, tensors, str(path))
    return loaded.eval(), scales
