"""Tests for motion files: round trips, interpolation and error messages."""

from __future__ import annotations

import io
import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from retalkit.errors import ConfigError, OutputError
from retalkit.media.motion_files import COLUMNS, MotionTable, check_motion_output, read_motion, write_motion
from retalkit.stages import MouthMotion

HEAD = "time,opening,width,protrusion,closure,speech\n"


def table(rows: int = 40) -> MotionTable:
    """Return a table with random motion at 50 Hz. The lips are completely closed in the first row."""
    random = np.random.default_rng(4)
    opening, protrusion, closure, speech = random.uniform(0, 1, (4, rows)).astype(np.float32)
    width = random.uniform(-1, 1, rows).astype(np.float32)
    opening[0], closure[0] = 0.0, 1.0
    opening[1] = 1.5
    return MotionTable(np.arange(rows) / 50.0, MouthMotion(opening, width, protrusion, closure, speech))


def test_csv_returns_the_same_bits(tmp_path: Path) -> None:
    written = table()
    write_motion(tmp_path / "motion.csv", written)
    read = read_motion(tmp_path / "motion.csv")
    np.testing.assert_allclose(read.times, written.times, atol=1e-9)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(read.motion, name), getattr(written.motion, name))
    assert (tmp_path / "motion.csv").read_text().startswith(HEAD)
    assert [path.name for path in tmp_path.iterdir()] == ["motion.csv"]


def test_json_has_arkit_names_and_returns_the_same_motion(tmp_path: Path) -> None:
    written = table()
    write_motion(tmp_path / "motion.json", written)
    data = json.loads((tmp_path / "motion.json").read_text())
    assert {"jawOpen", "mouthClose", "mouthPucker", "mouthFunnel"} <= set(data["facsNames"])
    assert (data["exportFps"], data["numFrames"]) == (50.0, 40)
    weights = np.array(data["weightMat"])
    assert weights.min() >= 0 and weights.max() <= 1
    closed = dict(zip(data["facsNames"], weights[0], strict=True))
    assert closed["mouthClose"] == closed["jawOpen"] > 0
    read = read_motion(tmp_path / "motion.json")
    np.testing.assert_allclose(read.times, written.times, atol=1e-9)
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(read.motion, name), getattr(written.motion, name), atol=2e-5)


def test_json_of_other_software_is_read(tmp_path: Path) -> None:
    names = ["eyeBlinkLeft", "jawOpen", "mouthClose", "mouthSmileLeft", "mouthSmileRight", "mouthPucker"]
    rows = [[1, 0.3, 0.0, 0.4, 0.2, 0.0], [0, 0.2, 0.2, 0.0, 0.0, 0.5]]
    data = {"exportFps": 30, "facsNames": names, "weightMat": rows, "numPoses": 6, "numFrames": 2}
    (tmp_path / "a2f.json").write_text(json.dumps(data))
    motion = read_motion(tmp_path / "a2f.json").at(np.array([0.0, 1 / 30]))
    np.testing.assert_allclose(motion.opening, [0.6, 0.2], atol=1e-6)
    np.testing.assert_allclose(motion.closure, [0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(motion.width, [0.3, -0.5], atol=1e-6)
    np.testing.assert_allclose(motion.speech, 1.0)
    np.testing.assert_allclose(motion.protrusion, 0.0)


def test_keyframes_are_interpolated_and_the_mouth_rests_outside(tmp_path: Path) -> None:
    # The file contains reordered columns, an additional column, a byte order mark, spaces and a blank line.
    text = (
        "\ufeffspeech, closure,opening,width,protrusion,note,time\n1,0,0.5,0.2,0.1,hello,1.0\n\n1,1,0,-0.2,0.1,,2.0\n"
    )
    (tmp_path / "keys.csv").write_text(text, encoding="utf-8")
    motion = read_motion(tmp_path / "keys.csv").at(np.array([0.5, 0.95, 1.0, 1.25, 2.0, 2.2]))
    np.testing.assert_allclose(motion.opening, [0, 0.25, 0.5, 0.375, 0, 0], atol=1e-6)
    np.testing.assert_allclose(motion.width, [0, 0.1, 0.2, 0.1, -0.2, 0], atol=1e-6)
    np.testing.assert_allclose(motion.closure, [0, 0, 0, 0.25, 1, 0], atol=1e-6)
    np.testing.assert_allclose(motion.speech, [0, 0.5, 1, 1, 1, 0], atol=1e-6)


FAULTS = {
    "empty.csv": ("", "empty-file", []),
    "header.csv": (HEAD, "empty-file", ["no rows"]),
    "lacking.csv": ("time,opening,width,closure,speech\n0,0,0,0,0\n", "missing-column", ["protrusion"]),
    "semicolons.csv": (HEAD.replace(",", ";") + "0;0;0;0;0;0\n", "missing-column", ["commas"]),
    "short.csv": (HEAD + "0,0,0,0,0,1\n0.1,0,0\n", "missing-column", ["line 3", "6 columns"]),
    "word.csv": (HEAD + "0,0,0,0,0,1\n\n0.1,open,0,0,0,1\n", "invalid-value", ["line 4", "opening", "'open'"]),
    "nan.csv": (HEAD + "0,0,nan,0,0,1\n", "invalid-value", ["line 2", "width"]),
    "percent.csv": (HEAD + "0,85,0,0,0,1\n", "invalid-value", ["line 2", "opening", "85", "0 to 1.5"]),
    "infinite.csv": (HEAD + "0,0,0,0,0,1\ninf,0,0,0,0,1\n", "invalid-value", ["line 3", "time"]),
    "back.csv": (HEAD + "0,0,0,0,0,1\n0.2,0,0,0,0,1\n0.2,0,0,0,0,1\n", "times-not-ascending", ["line 4", "0.2"]),
    "words.json": ("not json", "unreadable-file", []),
    "list.json": ("[1, 2]", "missing-column", ["weightMat"]),
    "names.json": ('{"exportFps": 30, "weightMat": []}', "missing-column", ["facsNames"]),
    "jaw.json": ('{"exportFps": 30, "facsNames": ["mouthClose"], "weightMat": [[0]]}', "missing-column", ["jawOpen"]),
    "rate.json": (
        '{"exportFps": 0, "facsNames": ["jawOpen", "mouthClose"], "weightMat": [[0, 0]]}',
        "invalid-value",
        ["exportFps"],
    ),
    "ragged.json": (
        '{"exportFps": 30, "facsNames": ["jawOpen", "mouthClose"], "weightMat": [[0, 0], [0]]}',
        "invalid-value",
        ["weightMat"],
    ),
    "rows.json": (
        '{"exportFps": 30, "facsNames": ["jawOpen", "mouthClose"], "weightMat": []}',
        "empty-file",
        ["weightMat"],
    ),
    "nan.json": (
        '{"exportFps": 30, "facsNames": ["jawOpen", "mouthClose"], "weightMat": [[0, 0], [NaN, 0]]}',
        "invalid-value",
        ["row 1"],
    ),
    "noise.npz": ("not an archive", "unreadable-file", []),
    "motion.txt": (HEAD + "0,0,0,0,0,1\n", "wrong-suffix", [".csv, .json, .npz"]),
}


def arkit(**changes: object) -> str:
    """Return a valid JSON motion file with two frames after replacing some values."""
    data = {"exportFps": 30, "numPoses": 2, "numFrames": 2, "facsNames": ["jawOpen", "mouthClose"]}
    return json.dumps({**data, "weightMat": [[0.5, 0], [0.2, 0]], **changes})


FAULTS |= {
    "nested.json": ("[" * 100_000, "unreadable-file", ["nested"]),
    "integer.json": (arkit(weightMat=[[10**400, 0], [0, 0]]), "invalid-value", ["weightMat"]),
    "rate-integer.json": (arkit(exportFps=10**400), "invalid-value", ["exportFps"]),
    "rate-true.json": (arkit(exportFps=True), "invalid-value", ["exportFps", "1 to 1000"]),
    "rate-low.json": (arkit(exportFps=0.001), "invalid-value", ["exportFps", "1 to 1000"]),
    "rate-high.json": (arkit(exportFps=1e12), "invalid-value", ["exportFps", "1 to 1000"]),
    "strings.json": (arkit(weightMat=[["0.5", 0], [0, 0]]), "invalid-value", ["weightMat"]),
    "speech.json": (arkit(speech="yes"), "invalid-value", ["speech"]),
    "speech-null.json": (arkit(speech=None), "invalid-value", ["speech"]),
    "matrix.json": (arkit(weightMat={"a": 1}), "invalid-value", ["weightMat"]),
    "percent.json": (arkit(weightMat=[[0, 0], [85, 0]]), "invalid-value", ["row 1", "jawOpen", "85", "0 to 1"]),
    "negative.json": (arkit(weightMat=[[0, -0.2], [0, 0]]), "invalid-value", ["row 0", "mouthClose", "-0.2"]),
    "frames.json": (arkit(numFrames=10), "invalid-value", ["numFrames", "10", "2"]),
    "poses.json": (arkit(numPoses=52), "invalid-value", ["numPoses", "52", "2"]),
    "cell.csv": (HEAD + '0,"' + "1" * 200_000 + '",0,0,0,1\n', "unreadable-file", ["line 2"]),
    "long.csv": (HEAD + "0," + "x" * 100_000 + ",0,0,0,1\n", "invalid-value", ["line 2", "opening", "xxx..."]),
    "empty.npz": ("", "unreadable-file", ["empty"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_one_line_with_file_place_and_code(tmp_path: Path, name: str) -> None:
    text, code, facts = FAULTS[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as error:
        read_motion(tmp_path / name)
    message = str(error.value)
    assert error.value.code == code
    assert "\n" not in message and name in message
    assert len(message) < 400 + len(str(tmp_path))
    for fact in facts:
        assert fact in message


def test_npz_is_read_and_its_faults_are_reported(tmp_path: Path) -> None:
    arrays = {name: np.full(3, 0.5) for name in COLUMNS}
    np.savez(tmp_path / "motion.npz", times=np.arange(3) / 25, **arrays)
    assert read_motion(tmp_path / "motion.npz").at(np.array([0.04])).opening == [0.5]
    for code, wrong in (
        ("missing-column", {"times": np.arange(3), "opening": np.zeros(3)}),
        ("missing-column", {"times": np.arange(2), **arrays}),
        ("invalid-value", {"times": np.arange(3), **arrays, "opening": np.array([0, np.nan, 1])}),
        ("times-not-ascending", {"times": np.array([0, 2, 1]), **arrays}),
    ):
        np.savez(tmp_path / "wrong.npz", **wrong)
        with pytest.raises(ConfigError, match=r"wrong\.npz") as error:
            read_motion(tmp_path / "wrong.npz")
        assert error.value.code == code


def damage(path: Path, kind: str) -> None:
    """Write a motion file in .npz format with one defect."""
    arrays: dict[str, object] = {"times": np.arange(300) / 25, **{name: np.full(300, 0.5) for name in COLUMNS}}
    wrong = {"object": np.array([None] * 300), "string": np.array(["a"] * 300), "time": np.zeros(300, "datetime64[s]")}
    if kind in wrong:
        arrays["opening"] = wrong[kind]
    np.savez(path, **arrays)  # type: ignore[arg-type]
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "corrupt":
        path.write_bytes(content[:400] + b"\xff" * 40 + content[440:])
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "huge-header":
        header = io.BytesIO()
        shape = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
        np.lib.format.write_array_header_1_0(header, shape)
        with ZipFile(io.BytesIO(content)) as source, ZipFile(path, "w") as archive:
            for name in source.namelist():
                archive.writestr(name, header.getvalue() if name == "times.npy" else source.read(name))


@pytest.mark.parametrize("kind", ["truncated", "corrupt", "npy", "huge-header", "object", "string", "time"])
def test_damaged_npz_is_one_line(tmp_path: Path, kind: str) -> None:
    damage(tmp_path / "motion.npz", kind)
    with pytest.raises(ConfigError, match=r"motion\.npz") as error:
        read_motion(tmp_path / "motion.npz")
    assert error.value.code == "unreadable-file" and "\n" not in str(error.value)


def test_output_is_checked_before_work(tmp_path: Path) -> None:
    for name, code in (("motion.npz", "unsupported-output-format"), ("none/motion.csv", "directory-not-found")):
        with pytest.raises(OutputError) as error:
            check_motion_output(tmp_path / name)
        assert error.value.code == code
    (tmp_path / "there.csv").write_text("")
    with pytest.raises(OutputError) as error:
        check_motion_output(tmp_path / "there.csv")
    assert error.value.code == "output-exists"
    check_motion_output(tmp_path / "there.csv", force=True)
