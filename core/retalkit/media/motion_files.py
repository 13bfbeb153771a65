"""Motion files, which store mouth motion over time in CSV, JSON (ARKit blend shapes) or NumPy format.

A **CSV** file contains the columns ``time`` (seconds), ``opening``, ``width``, ``protrusion``, ``closure`` and
``speech`` in any order, in the units of ``retalkit.stages.MouthMotion``. Additional columns are ignored. Times must
ascend, and their spacing may vary.

A **JSON** file has the layout of NVIDIA Audio2Face exports. ``weightMat`` contains one row per frame and one column per
name in ``facsNames``. Frame ``k`` is at the time ``k / exportFps``. The optional ``speech`` contains one value per
frame (default: 1). The file contains the following Apple ARKit blend shapes:

* ``jawOpen`` = 0.5 opening + 0.1 closure, because the jaw is slightly open while the lips touch.
* ``mouthClose`` = closure * ``jawOpen``. The lips are closed if ``mouthClose`` equals ``jawOpen``.
* ``mouthStretchLeft``, ``mouthStretchRight`` = max(width, 0).
* ``mouthPucker`` = max(-width, 0).
* ``mouthFunnel`` = protrusion.

``read_motion`` inverts these equations. Smile blend shapes also widen the mouth: width = stretch + smile - pucker,
where stretch and smile are the means of the left and right blend shape.

An **NPZ** file contains the arrays ``times``, ``opening``, ``width``, ``protrusion``, ``closure`` and ``speech``,
float [N].
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from retalkit.errors import ConfigError, OutputError
from retalkit.media.encoding import write_error
from retalkit.media.muxing import check_output_path
from retalkit.media.npz_archive import NpzArchive
from retalkit.paths import link_target, partial_path
from retalkit.stages import MouthMotion

Values = NDArray[np.float64]

COLUMNS: Final = tuple(each.name for each in fields(MouthMotion))
SUFFIXES: Final = (".csv", ".json", ".npz")
FADE: Final = 0.1
"""Duration in seconds of the transition to the rest position before the first row and after the last row."""
_LIMITS: Final = {"opening": (0.0, 1.5), "width": (-1.5, 1.5), "protrusion": (0.0, 1.5)}
"""Mapping from column to the accepted range. All other columns accept values from 0 to 1."""
_RATES: Final = (1, 1000)
"""Minimum and maximum of ``exportFps``."""
_JAW = 0.5
_JAW_IN_CLOSURE = 0.1
_Rows = tuple[Values, dict[str, Values], list[int] | None]
"""Times, columns, and the line number of each row. The line numbers are None for formats without lines."""
_SHAPES: Final = ("jawOpen", "mouthClose", "mouthStretchLeft", "mouthStretchRight", "mouthPucker", "mouthFunnel")


@dataclass(frozen=True, slots=True)
class MotionTable:
    """Mouth motion with the time of each row."""

    times: Values
    """Times in seconds in ascending order, float64 [N]."""
    motion: MouthMotion
    """Mouth motion at ``times``, float32 [N] per attribute."""

    def at(self, times: Values) -> MouthMotion:
        """Return the linearly interpolated motion at ``times``.

        The mouth is at rest until 0.1 s before the first row and from 0.1 s after the last row.
        """
        known = np.concatenate([[self.times[0] - FADE], self.times, [self.times[-1] + FADE]])
        rows = {name: np.pad(getattr(self.motion, name), 1) for name in COLUMNS}
        return MouthMotion(**{name: np.interp(times, known, row).astype(np.float32) for name, row in rows.items()})


def read_motion(path: Path) -> MotionTable:
    """Return the content of a motion file.

    Raises ConfigError if the file is invalid. The message contains the path, the line or row, and the problem.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        _fail(path, f"unknown suffix '{path.suffix}'; expected one of {', '.join(SUFFIXES)}", "wrong-suffix")
    times, columns, lines = reader(path)

    def place(row: int) -> str:
        return f"line {lines[row]}" if lines is not None else f"row {row}"

    if not len(times):
        _fail(path, "the file contains no rows; expected at least one", "empty-file")
    for name, values in columns.items():
        low, high = _LIMITS.get(name, (0.0, 1.0))
        wrong = np.flatnonzero(~np.isfinite(values) | (values < low - 1e-6) | (values > high + 1e-6))
        if len(wrong):
            row = int(wrong[0])
            _fail(path, f"{place(row)}: {name}: expected {low:g} to {high:g}, got {values[row]:g}", "invalid-value")
    wrong = np.flatnonzero(~np.isfinite(times))
    if len(wrong):
        _fail(path, f"{place(int(wrong[0]))}: time: expected a finite number", "invalid-value")
    wrong = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong):
        row = int(wrong[0]) + 1
        message = f"{place(row)}: time: expected a value above {times[row - 1]:g}, got {times[row]:g}"
        _fail(path, message, "times-not-ascending")
    return MotionTable(times, MouthMotion(**{name: values.astype(np.float32) for name, values in columns.items()}))


def check_motion_output(path: Path, force: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Check that a motion file can be written to ``path``.

    Raises OutputError if the suffix is neither .csv nor .json, or as described for ``check_output_path``.
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise OutputError(
            f"{path}: unsupported motion format '{path.suffix}'; use .csv or .json", code="unsupported-output-format"
        )
    check_output_path(path, force, inputs)


def write_motion(path: Path, table: MotionTable) -> None:
    """Write a .csv or .json file atomically.

    Raises OutputError if the suffix is neither .csv nor .json, if the times in a .json file are not evenly spaced from
    0, or if the file cannot be written.
    """
    check_motion_output(path, force=True)
    content = _csv(table) if path.suffix.lower() == ".csv" else _json(table)
    temporary = partial_path(path)
    try:
        temporary.write_text(content, encoding="utf-8", newline="")
        temporary.replace(link_target(path))
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


# --------------------------------------------------------------------------- CSV


def _csv(table: MotionTable) -> str:
    lines = [",".join(("time", *COLUMNS))]
    columns = [getattr(table.motion, name) for name in COLUMNS]
    for row, time in enumerate(table.times):
        # Converting a float32 value to str yields the shortest decimal string that is parsed to the identical value.
        lines.append(",".join((f"{time:.6g}", *(str(np.float32(column[row])) for column in columns))))
    return "\n".join(lines) + "\n"


def _read_csv(path: Path) -> _Rows:
    lines = _text(path).splitlines()
    reader = csv.reader(lines)
    try:
        rows = list(reader)
    except csv.Error as error:
        _fail(path, f"line {reader.line_num}: invalid CSV: {error}", "unreadable-file")
    if not rows:
        _fail(path, "the file is empty; expected a header line and at least one row", "empty-file")
    header = [name.strip().lower() for name in rows[0]]
    missing = [name for name in ("time", *COLUMNS) if name not in header]
    if missing:
        hint = "; separate the columns with commas" if len(header) == 1 else ""
        _fail(path, f"missing columns: {', '.join(missing)}{hint}", "missing-column")
    places = [header.index(name) for name in ("time", *COLUMNS)]
    values: list[list[float]] = []
    numbers: list[int] = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < len(header):
            _fail(path, f"line {number}: expected {len(header)} columns, got {len(row)}", "missing-column")
        values.append([_number(path, number, header[place], row[place]) for place in places])
        numbers.append(number)
    table = np.array(values, np.float64).reshape(-1, len(places))
    return table[:, 0], dict(zip(COLUMNS, table[:, 1:].T, strict=True)), numbers


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        _fail(path, f"line {line}: {name}: expected a number, got '{_shorten(text.strip())}'", "invalid-value")


# --------------------------------------------------------------------------- JSON with ARKit blend shapes


def _json(table: MotionTable) -> str:
    motion = table.motion
    rate = (len(table.times) - 1) / table.times[-1] if len(table.times) > 1 else 1.0
    if not np.allclose(table.times, np.arange(len(table.times)) / rate, atol=1e-4):
        raise OutputError(
            "the JSON format requires evenly spaced times that start at 0; write a .csv file instead",
            code="unsupported-output-format",
        )
    jaw = _JAW * motion.opening + _JAW_IN_CLOSURE * motion.closure
    spread = np.maximum(motion.width, 0.0)
    shapes = [jaw, motion.closure * jaw, spread, spread, np.maximum(-motion.width, 0.0), motion.protrusion]
    data = {
        "exportFps": round(float(rate), 4),
        "numPoses": len(_SHAPES),
        "numFrames": len(table.times),
        "facsNames": list(_SHAPES),
        "weightMat": [[round(float(value), 6) for value in row] for row in np.stack(shapes, axis=1)],
        "speech": [round(float(value), 6) for value in motion.speech],
    }
    return json.dumps(data) + "\n"


def _read_json(path: Path) -> _Rows:
    try:
        data: Any = json.loads(_text(path))
    except ValueError as error:
        _fail(path, f"invalid JSON: {error}", "unreadable-file")
    except RecursionError:
        _fail(path, "invalid JSON: the values are nested too deeply", "unreadable-file")
    if not isinstance(data, dict):
        _fail(path, "expected a JSON object with the keys exportFps, facsNames and weightMat", "missing-column")
    data = cast("dict[str, Any]", data)
    missing = [name for name in ("exportFps", "facsNames", "weightMat") if name not in data]
    if missing:
        _fail(path, f"missing keys: {', '.join(missing)}", "missing-column")
    names = [str(name) for name in data["facsNames"]] if isinstance(data["facsNames"], list) else []
    lacking = [name for name in ("jawOpen", "mouthClose") if name not in names]
    if lacking:
        _fail(path, f"facsNames: missing blend shapes: {', '.join(lacking)}", "missing-column")
    rate = data["exportFps"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not _RATES[0] <= rate <= _RATES[1]:
        shown = _shorten(repr(rate))
        _fail(path, f"exportFps: expected {_RATES[0]} to {_RATES[1]} frames per second, got {shown}", "invalid-value")
    weights = _numbers(path, "weightMat", data["weightMat"])
    speech = _numbers(path, "speech", data["speech"]) if "speech" in data else np.ones(len(weights))
    if weights.size == 0:
        _fail(path, "weightMat: expected at least one row, got none", "empty-file")
    if weights.ndim != 2 or weights.shape[1] != len(names) or speech.shape != (len(weights),):
        _fail(path, f"expected {len(names)} columns in weightMat and one value per row in speech", "missing-column")

    for name, actual in (("numFrames", len(weights)), ("numPoses", len(names))):
        if name in data and data[name] != actual:
            shown = _shorten(repr(data[name]))
            _fail(path, f"{name}: the value {shown} does not match weightMat, which has {actual}", "invalid-value")

    def shape(*wanted: str) -> Values:
        found = [_share(path, name, weights[:, names.index(name)]) for name in wanted if name in names]
        return np.mean(found, axis=0) if found else np.zeros(len(weights))

    if not np.isfinite(weights).all():
        row = int(np.flatnonzero(~np.isfinite(weights).all(axis=1))[0])
        _fail(path, f"row {row}: weightMat: expected finite numbers", "invalid-value")
    jaw = shape("jawOpen")
    closure = np.clip(shape("mouthClose") / np.maximum(jaw, 1e-6), 0.0, 1.0)
    stretch = shape("mouthStretchLeft", "mouthStretchRight") + shape("mouthSmileLeft", "mouthSmileRight")
    columns = {
        "opening": np.clip((jaw - _JAW_IN_CLOSURE * closure) / _JAW, 0.0, 1.5),
        "width": np.clip(stretch - shape("mouthPucker"), -1.0, 1.0),
        "protrusion": shape("mouthFunnel"),
        "closure": closure,
        "speech": speech,
    }
    return np.arange(len(weights)) / rate, columns, None


def _numbers(path: Path, name: str, value: Any) -> Values:
    numbers = np.zeros(0, object)
    # numpy raises ValueError for rows of different lengths, and uses an object array for integers above 64 bits.
    with suppress(ValueError):
        numbers = np.array(value)
    if numbers.ndim == 0 or numbers.dtype.kind not in "fiu":
        _fail(path, f"{name}: expected numbers in rows of equal length", "invalid-value")
    return numbers.astype(np.float64)


def _share(path: Path, name: str, values: Values) -> Values:
    """Return the values of a blend shape, which must be in [0, 1] except for rounding errors."""
    wrong = np.flatnonzero((values < -1e-6) | (values > 1.0 + 1e-6))
    if len(wrong):
        row = int(wrong[0])
        _fail(path, f"row {row}: {name}: expected 0 to 1, got {values[row]:g}", "invalid-value")
    return np.clip(values, 0.0, 1.0)


# --------------------------------------------------------------------------- NPZ


def _read_npz(path: Path) -> _Rows:
    wanted = ("times", *COLUMNS)
    try:
        with NpzArchive(path) as stored:
            arrays = {name: np.asarray(stored.numbers(name), np.float64) for name in wanted if name in stored}
    except ValueError as error:
        _fail(path, str(error), "unreadable-file")
    missing = [name for name in wanted if name not in arrays]
    if missing:
        _fail(path, f"missing arrays: {', '.join(missing)}", "missing-column")
    times = arrays.pop("times")
    if times.ndim != 1 or any(array.shape != times.shape for array in arrays.values()):
        _fail(path, "expected one-dimensional arrays of equal length", "missing-column")
    return times, arrays, None


_READERS: Final[dict[str, Callable[[Path], _Rows]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".npz": _read_npz,
}


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        _fail(path, f"cannot read the file: {error.strerror or error}", "unreadable-file")
    except UnicodeDecodeError:
        _fail(path, "the file is not encoded in UTF-8; save the file as UTF-8", "unreadable-file")


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fail(path: Path, reason: str, code: str) -> NoReturn:
    raise ConfigError(f"motion file {path}: {reason}", code=code)
