"""Directories of runs: configuration, dataset and versions, and their comparison when a run resumes."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from retalkit._version import __version__
from retalkit.errors import InputError, OutputError
from retalkit_training.loop.config import LOGGING_FIELDS, LoopConfig
from retalkit_training.loop.data import TrainingData
from retalkit_training.tasks.config import CONFIGS

RECORD: Final = "run.json"
PERSON_FOLDER: Final = "data"
"""Directory of the dataset that ``--person`` prepares before the run is recorded."""


def open_run(folder: Path, trainer: str, config: LoopConfig, data: TrainingData, record: dict[str, Any]) -> bool:
    """Create the directory of a run, or check that an existing one belongs to the same run. Returns whether it existed.

    Options that do not change the weights, such as the number of steps, may differ from those of the existing run.

    Raises:
        OutputError: the directory contains something else, or a run with other options.
    """
    facts = {
        "name": data.name,
        "key": data.key,
        "references": data.reference_editor,
        "restoration": data.restoration,
        "chin": data.chin,
        "split_by": data.split_by,
        **_counts(data),
    }
    return open_record(folder, trainer, config.model_dump(mode="json"), facts, record)


def open_record(
    folder: Path, trainer: str, config: Mapping[str, Any], data: Mapping[str, Any], record: Mapping[str, Any]
) -> bool:
    """Like ``open_run``, with options as plain data. ``data``: facts of the dataset, with ``name`` and ``key``."""
    path = folder / RECORD
    if path.is_file():
        _compare(folder, read_record(folder), trainer, config, data)
        existed = True
    elif folder.is_dir() and any(entry.name != PERSON_FOLDER for entry in folder.iterdir()):
        raise OutputError(f"{folder}: the directory is not empty and contains no run", code="output-exists")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        existed = False
    content = {
        "trainer": trainer,
        "config": config,
        "data": data,
        "retalkit": __version__,
        "python": platform.python_version(),
        **record,
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return existed


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run.

    Raises:
        InputError: the directory contains no run.
    """
    path = folder / RECORD
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{folder}: contains no training run ({RECORD} is missing)", code="not-a-run") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}", code="unreadable-file") from error


def recorded_config(record: dict[str, Any]) -> LoopConfig:
    """Return the options of a recorded run."""
    return CONFIGS[record["trainer"]].model_validate(record["config"])


def flat_options(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested options by path, such as ``optimizer.learning_rate``."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat_options(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _compare(
    folder: Path, before: dict[str, Any], trainer: str, config: Mapping[str, Any], data: Mapping[str, Any]
) -> None:
    advice = "use another output directory, or the options of the existing run"
    if before["trainer"] != trainer:
        raise OutputError(
            f"{folder}: contains a run of the trainer {before['trainer']}; {advice}", code="output-exists"
        )
    if before["data"]["key"] != data["key"]:
        raise OutputError(
            f"{folder}: contains a run with another dataset ({before['data']['name']}); {advice}", code="output-exists"
        )
    old, new = _weight_options(before["config"]), _weight_options(config)
    for key in sorted(set(old) | set(new)):
        if old.get(key) != new.get(key):
            raise OutputError(
                f"{folder}: contains a run with {key}={_short(old.get(key))}, not {_short(new.get(key))}; {advice}",
                code="output-exists",
            )


def _weight_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that change the weights after a given step, by path."""
    options = flat_options(config)

    def changes_weights(path: str) -> bool:
        name = path.rpartition(".")[2]
        # The learning rate of every step depends on the number of steps.
        cosine = path.removesuffix("steps") + "optimizer.cosine"
        # Wav2Lip's lip-sync loss starts after an evaluation.
        starts = name == "evaluate_every" and options.get("loss.sync_start") is not None
        return name not in LOGGING_FIELDS or starts or options.get(cosine, False)

    return {path: value for path, value in options.items() if changes_weights(path)}


def _counts(data: TrainingData) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for split in ("train", "val"):
        clips = data.clips(split)
        counts[split] = {
            "clips": len(clips),
            "speakers": len({clip.speaker for clip in clips}),
            "frames": sum(clip.frame_count for clip in clips),
        }
    return counts


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
