"""Names of files and directories that users pass."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from retalkit.errors import InputError, OutputError
from retalkit.media.containers import check_file
from retalkit.media.muxing import check_output
from retalkit.paths import link_target, missing, partial_files, partial_path, printable, reserved
from retalkit.pipeline.record import check_record

UNDECODABLE = os.fsdecode(b"caf\xe9.mp4")


def code_of(path: Path, *, force: bool = False, inputs: tuple[Path, ...] = ()) -> str:
    try:
        check_output(path, force=force, inputs=inputs)
        check_record(path, force=force, inputs=inputs)
    except OutputError as error:
        assert "\n" not in str(error)
        str(error).encode()
        return error.code
    return ""


def test_names_of_outputs(tmp_path: Path) -> None:
    assert code_of(tmp_path / UNDECODABLE) == "invalid-name"
    assert code_of(tmp_path / f"{'x' * 246}.mp4") == ""
    assert code_of(tmp_path / f"{'x' * 247}.mp4") == "name-too-long"
    assert code_of(tmp_path / f"{'é' * 125}.mp4") == "name-too-long"
    assert code_of(tmp_path / "a: b.mp4") == ""
    assert code_of(Path()) == "path-is-directory"
    (tmp_path / "file").touch()
    assert code_of(tmp_path / "file" / "a.mp4") == "directory-not-found"
    assert code_of(Path("https://example.com/a.mp4")) == "directory-not-found"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert code_of(tmp_path / "pipe.mp4", force=True) == "not-a-regular-file"


def test_partial_names_are_short_and_unique(tmp_path: Path) -> None:
    first, second = (partial_path(tmp_path / f"{'é' * 120}.mp4", "1") for _ in range(2))
    assert first != second and first.suffix == ".mp4" and first.name.startswith(".")
    assert len(os.fsencode(first.name)) < 100
    first.touch()
    assert partial_files(tmp_path / f"{'é' * 120}.mp4") == [first]
    assert partial_files(tmp_path / f"{'é' * 119}.mp4") == []


def test_an_output_that_is_a_link_replaces_the_file_behind_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link, target = tmp_path / "out.mp4", tmp_path / "data" / "real.mp4"
    link.symlink_to(target)
    assert code_of(link) == ""
    assert partial_path(link).parent == target.parent and link_target(link) == target
    target.write_bytes(b"old")
    assert code_of(link) == "output-exists"
    assert code_of(link, force=True, inputs=(target,)) == "output-is-input"
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop)
    assert code_of(loop) == "broken-link"


def test_a_record_of_somebody_else_is_kept(tmp_path: Path) -> None:
    output, record = tmp_path / "out.mp4", tmp_path / "out.mp4.json"
    record.write_text('{"title": "my notes"}', encoding="utf-8")
    assert code_of(output) == "output-exists"
    assert code_of(output, force=True) == ""
    assert code_of(output, force=True, inputs=(record,)) == "output-is-input"
    record.write_text('{"output": "", "record": "", "configuration": {}, "versions": {}}', encoding="utf-8")
    assert code_of(output) == ""


def test_an_output_is_reserved_by_one_run(tmp_path: Path) -> None:
    with reserved(tmp_path / "out.mp4"), reserved(tmp_path / "other.mp4"):
        with pytest.raises(OutputError) as error, reserved(tmp_path / "out.mp4"):
            pass
        assert error.value.code == "output-in-use"
    with reserved(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code"), [(UNDECODABLE, "invalid-name"), ("x" * 300, "unreadable-file"), ("absent", "file-not-found")]
)
def test_names_of_inputs(tmp_path: Path, name: str, code: str) -> None:
    with pytest.raises(InputError) as error:
        check_file(tmp_path / name)
    assert error.value.code == code


def test_arguments_that_are_not_paths() -> None:
    assert missing(Path("https://example.com/a.mp4")).startswith("https://example.com/a.mp4: URLs")
    assert "standard input" in missing("-")
    assert "quotes" in missing("~/a.mp4")
    assert missing(Path("file:///a.mp4")).startswith("file:///a.mp4: URLs")
    assert missing("C:/a.mp4") == "C:/a.mp4: file not found; check the path"
    assert printable(UNDECODABLE) == "caf\\xe9.mp4"
