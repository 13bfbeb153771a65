"""Tests for ``retalkit motion``, and for the options ``--transcript`` and ``--language`` of ``motion`` and ``dub``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from commands import Done, call
from retalkit.config import load
from retalkit.errors import PlanError
from retalkit.media.motion_files import COLUMNS, read_motion
from retalkit.pipeline.plan import plan
from retalkit.plugins.discovery import discover

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SPEECH = EXAMPLES / "speech.wav"
WORDS = EXAMPLES / "speech.txt"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("motion")


def write_motion(capsys: pytest.CaptureFixture[str], cache: Path, output: Path, *arguments: object) -> Done:
    return call(capsys, "motion", SPEECH, "-o", output, *arguments, "--cache", cache)


def test_written_motion_is_what_the_driver_file_returns(
    capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    done = write_motion(capsys, cache, tmp_path / "a.csv")
    assert done.code == 0 and "515 rows" in done.out
    read = ("--set", "lip_syncer.driver.use=file", "--set", f"lip_syncer.driver.path={tmp_path / 'a.csv'}")
    assert write_motion(capsys, cache, tmp_path / "b.csv", *read).code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    table = read_motion(tmp_path / "a.csv")
    assert table.times[-1] >= 5.14 and table.motion.opening.max() > 0.8

    assert write_motion(capsys, cache, tmp_path / "c.json", "--rate", 25, "--quiet").out == ""
    frames = read_motion(tmp_path / "c.json")
    assert len(frames.times) == 130
    inside = frames.times < 5.1
    expected = table.at(frames.times[inside])
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(frames.motion, name)[inside], getattr(expected, name), atol=1e-3)


def test_another_driver_is_chosen_by_name(capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path) -> None:
    for driver in ("model", "bands"):
        assert write_motion(capsys, cache, tmp_path / f"{driver}.csv", "--driver", driver, "--rate", 50).code == 0
    model, bands = (read_motion(tmp_path / f"{driver}.csv").motion for driver in ("model", "bands"))
    assert 0.3 < np.corrcoef(model.opening, bands.opening)[0, 1] < 0.95


def test_transcript_guides_the_motion_or_is_refused_with_a_note(
    capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("espeakng_loader", reason="transcripts need the extra: pip install 'retalkit[transcript]'")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("The weather report from Berlin: heavy rain will come over the hills before the weekend begins.")
    notes: dict[str, str] = {}
    for name, words in (("plain", None), ("right", WORDS), ("wrong", wrong)):
        given = () if words is None else ("--transcript", words, "--language", "en-gb")
        done = write_motion(capsys, cache, tmp_path / f"{name}.csv", *given)
        assert done.code == 0
        notes[name] = done.err
    plain, right, refused = ((tmp_path / f"{name}.csv").read_bytes() for name in ("plain", "right", "wrong"))
    assert plain == refused != right
    assert "wrong.txt does not match" in notes["wrong"]
    assert "does not match" not in notes["right"]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (("-o", "motion.npz"), ["motion.npz", ".csv or .json"]),
        (("-o", "none/motion.csv"), ["none"]),
        (("-o", "m.csv", "--driver", "moddel"), ["moddel", "model"]),
        (("-o", "m.csv", "--driver", "file"), ["path"]),
        (("-o", "m.csv", "--rate", "0"), ["--rate", "1"]),
        (("-o", "m.csv", "--transcript", "none.txt"), ["transcript", "none.txt"]),
        (("-o", "m.csv", "--driver", "bands", "--transcript", WORDS), ["transcript", "bands"]),
        (("-o", "m.csv", "--transcript", WORDS, "--language", "klingon"), ["klingon", "en-us"]),
        (("-o", "m.csv", "--transcript", SPEECH), ["speech.wav", ".srt"]),
        (("-o", "m.csv", "--language", "de"), ["--language", "--transcript"]),
        (("-o", "m.csv", "--driver", "file"), ["`path: VALUE`"]),
        (("-o", "m.csv", "--driver", "bands", "--transcript", WORDS), ["of the driver 'model'"]),
        (
            ("-o", "m.csv", "--set", "lip_syncer.driver={use: bands, transcript: a.txt}"),
            ["lip_syncer.driver.transcript", "of the driver 'model'"],
        ),
        (("-o", "m.csv", "--set", "lip_syncer.driver={use: file, path: }"), ["path: must be a path, got None"]),
        (("-o", "m.csv", "--set", "lip_syncer.driver={use: file, path: ''}"), ["path", "empty"]),
    ],
)
def test_user_error_is_one_line(
    capsys: pytest.CaptureFixture[str],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[object, ...],
    facts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(capsys, "motion", SPEECH, *arguments, "--cache", cache)
    assert done.code == 2
    for fact in facts:
        assert fact in done.error
    assert not list(tmp_path.glob("m.*"))


@pytest.mark.parametrize(("option", "suffix"), [("transcript", ".txt"), ("path", ".csv")])
@pytest.mark.parametrize(
    ("kind", "fact"),
    [("absent", "not found"), ("directory", "directory"), ("pipe", "pipe"), ("unreadable", "cannot read")],
)
def test_unreadable_driver_file_is_one_line(
    capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path, option: str, suffix: str, kind: str, fact: str
) -> None:
    path = tmp_path / f"given{suffix}"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "unreadable":
        # Reading this file fails for every user, including root.
        path.symlink_to("/proc/self/mem")
    driver = "model" if option == "transcript" else "file"
    given = ("--set", f"lip_syncer.driver={{use: {driver}, {option}: {path}}}")
    done = write_motion(capsys, cache, tmp_path / "out.csv", *given)
    assert done.code == 2
    assert f"lip_syncer.driver.{option}" in done.error and path.name in done.error and fact in done.error


def test_existing_motion_file_is_kept(capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    done = write_motion(capsys, cache, tmp_path / "a.csv")
    assert done.code == 2 and "--force" in done.error
    assert (tmp_path / "a.csv").read_text() == "mine"


HEAD = "time,opening,width,protrusion,closure,speech\n"


@pytest.mark.parametrize("option", ["driver", "transcript"])
def test_input_is_not_overwritten(capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path, option: str) -> None:
    """The motion file or transcript that the driver reads is not replaced, even with --force."""
    content = f"{HEAD}0,0,0,0,0,1\n1,0.5,0,0,0,1\n"
    path = tmp_path / "given.csv"
    path.write_text(content)
    (tmp_path / "words.txt").symlink_to(path)
    given = ("--set", f"lip_syncer.driver={{use: file, path: {path}}}")
    if option == "transcript":
        given = ("--transcript", tmp_path / "words.txt")
    done = write_motion(capsys, cache, path, "--force", *given)
    assert done.code == 2 and "input" in done.error and "given.csv" in done.error
    assert path.read_text() == content


@pytest.mark.parametrize(("first", "last", "code"), [(0, 5140, 0), (-30, 5, 0), (0, 9, 0), (60, 65, 2), (-9, -1, 2)])
def test_motion_outside_the_speech_is_reported(
    capsys: pytest.CaptureFixture[str], cache: Path, tmp_path: Path, first: float, last: float, code: int
) -> None:
    path = tmp_path / "given.csv"
    path.write_text(f"{HEAD}{first},0,0,0,0,1\n{last},0.5,0,0,0,1\n")
    done = write_motion(capsys, cache, tmp_path / "a.csv", "--set", f"lip_syncer.driver={{use: file, path: {path}}}")
    assert done.code == code
    reported = f"{first:g} to {last:g} s" in done.err and "5.14 s" in done.err and "in seconds" in done.err
    assert reported == (last != 9)


@pytest.mark.parametrize(
    ("driver", "name", "content", "fact"),
    [
        ("{use: file, path: FILE}", "m.csv", b"time\n", "opening"),
        ("{use: model, transcript: FILE}", "t.txt", b"Gr\xfc\xdfe", "UTF-8"),
        ("{use: model, transcript: FILE, language: klingon}", "t.txt", b"Hello", "klingon"),
    ],
)
def test_plan_checks_the_content_of_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, driver: str, name: str, content: bytes, fact: str
) -> None:
    if "transcript" in driver:
        pytest.importorskip("espeakng_loader", reason="transcripts need the extra: pip install 'retalkit[transcript]'")
    (tmp_path / name).write_bytes(content)
    value = driver.replace("FILE", str(tmp_path / name))
    (tmp_path / "run.yaml").write_text(f"lip_syncer: {{use: exemplar, driver: {value}}}\n")
    done = call(capsys, "config", "validate", tmp_path / "run.yaml")
    assert done.code == 2 and "lip_syncer.driver" in done.error and fact in done.error


def test_dub_sets_the_transcript_of_the_driver(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Errors in driver options contain the option's path or flag."""
    start = ("dub", tmp_path / "talk.mp4", SPEECH, "-o", tmp_path / "out.mp4")
    done = call(capsys, *start, "--transcript", tmp_path / "none.txt")
    assert done.code == 2 and "lip_syncer.driver.transcript" in done.error and "none.txt" in done.error
    done = call(capsys, *start, "--language", "de")
    assert done.code == 2 and "--language" in done.error and "--transcript" in done.error
    done = call(capsys, *start, "--transcript", WORDS, "--set", "lip_syncer.driver.use=bands")
    assert done.code == 2 and "--transcript" in done.error and "bands" in done.error
    done = call(capsys, *start, "--transcript", WORDS, "--set", "lip_syncer.use=lnet")
    assert done.code == 2 and "--transcript" in done.error and "lnet" in done.error


def test_transcript_is_identified_by_content_and_language(tmp_path: Path) -> None:
    registry = discover()

    def identity(text: str, language: str) -> tuple[str, str]:
        (tmp_path / "words.txt").write_text(text)
        values = {"use": "model", "transcript": str(tmp_path / "words.txt"), "language": language}
        stage = plan(load(registry, overrides=[("lip_syncer.driver", values, "")]), registry).lip_syncer
        return str(stage.identity()), stage.file_hashes()["driver.transcript"]

    first = identity("one", "en-us")
    assert first == identity("one", "en-us")
    assert len({first, identity("two", "en-us"), identity("one", "de")}) == 3
    assert first[1] != identity("two", "en-us")[1]


def test_missing_package_is_reported_by_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = discover()
    config = load(registry, overrides=[("lip_syncer.driver", {"use": "model", "transcript": str(WORDS)}, "")])
    monkeypatch.setattr("retalkit.plugins.availability._importable", lambda name: name != "espeakng_loader")
    with pytest.raises(PlanError, match=r"espeakng_loader.*retalkit\[transcript\]") as error:
        plan(config, registry)
    assert error.value.code == "missing-package"
    plan(load(registry), registry)
