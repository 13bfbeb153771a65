"""From a trained network to the file that the package ships."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from training.speech_to_mouth.corpus import Corpus
from training.speech_to_mouth.network import SpeechToMouthNetwork
from training.speech_to_mouth.targets import MEASURES
from training.speech_to_mouth.visemes import CLASSES

FORMAT = "1"


def output_scales(corpus: Corpus) -> dict[str, float]:
    """How to turn outputs into the units of ``MouthMotion``: divide by these.

    ``opening``, ``protrusion`` and ``jaw``: 95th percentile of the targets inside speech. ``spread``: of the positive,
    ``rounding``: of the negative widths' size.
    """
    values = corpus.speaking_measures()
    width = values[:, MEASURES.index("width")]
    percentile = {name: float(np.percentile(values[:, index], 95)) for index, name in enumerate(MEASURES)}
    del percentile["width"]
    percentile["spread"] = float(np.percentile(width[width > 0.0], 95))
    percentile["rounding"] = float(np.percentile(-width[width < 0.0], 95))
    return {name: round(value, 4) for name, value in percentile.items()}


def class_widths(corpus: Corpus) -> list[float]:
    """Mean width of the targets of each viseme class, in the order of ``CLASSES``."""
    widths, classes = corpus.widths_and_classes()
    known = [widths[classes == number] for number in range(len(CLASSES))]
    return [round(float(of_class.mean()), 4) if len(of_class) else 0.0 for of_class in known]


def export(
    network: SpeechToMouthNetwork,
    path: Path,
    scales: dict[str, float],
    calibration: dict[str, Any],
    facts: dict[str, str],
) -> None:
    """Writes the weights as float16 with everything that a reader needs in the metadata; replaces an older file.

    ``calibration``: ``closure_threshold`` is the posterior of p, b, m or f, v from which the lips are taken to touch;
    ``class_widths`` and ``gains`` are what ``class_widths`` and ``validation.range_gains`` give.
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
        "after": json.dumps(list(network.after)),
        "classes": json.dumps(CLASSES),
        "measures": json.dumps(MEASURES),
        "scales": json.dumps(scales),
        "calibration": json.dumps(calibration),
        **facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_file(tensors, str(temporary), metadata)
    temporary.chmod(0o644)
    temporary.replace(path)
