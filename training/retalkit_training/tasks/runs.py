"""Directories of runs: configuration, dataset and versions, and their comparison when a run resumes."""

from __future__ import annotations

import json
import platform
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout
from retalkit._version import __version__
from retalkit.errors import InputError, OutputError
from retalkit_training.loop.config import LOGGING_FIELDS, LoopConfig
from retalkit_training.loop.data import TrainingData
from retalkit_training.tasks.config import CONFIGS

RECORD: Final = "run.json"
LOCK: Final = ".lock"
TRAINERS: Final = (*CONFIGS, "speech-to-mouth")
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
    elif folder.is_dir() and any(entry.name not in (PERSON_FOLDER, LOCK) for entry in folder.iterdir()):
        raise OutputError(f"{folder}: the directory is not empty and contains no run", code="output-exists")
    else:
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return existed


@contextmanager
def run_lock(folder: Path) -> Generator[None]:
    """Hold the lock of a run, so that no other process trains in its directory.

    The operating system releases the lock of a killed process.

    Raises:
        OutputError: another process holds the lock, or the directory is not writable.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise OutputError(
            f"{folder}: another process is training in this directory; choose another output directory",
            code="run-in-use",
        ) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: cannot be written ({error.strerror or error}); choose another directory", code="unwritable-output"
    )


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run.

    Raises:
        InputError: the directory contains no run, or the record is damaged.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        complete = isinstance(record["config"], dict) and {"name", "key"} <= record["data"].keys()
        if record["trainer"] not in TRAINERS or not complete or "retalkit" not in record:
            raise ValueError("it describes no run of this version")
        return record
    except FileNotFoundError as error:
        raise InputError(f"{folder}: contains no training run ({RECORD} is missing)", code="not-a-run") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: the record of the run cannot be read ({type(error).__name__}: {error}); restore the file, or use "
            "another directory",
            code="unreadable-file",
        ) from error


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
            f"{folder}: contains a run with a different dataset ({_dataset(before['data'])} in {RECORD}, now "
            f"{_dataset(data)}); {advice}",
            code="output-exists",
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


def _dataset(data: Mapping[str, Any]) -> str:
    counts: Mapping[str, Any] = data.get("train") or {}
    size = f" with {counts['frames']} training frames" if "frames" in counts else ""
    return f"'{data['name']}'{size}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
