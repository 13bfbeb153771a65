"""``retalkit credentials`` manages credentials and reports the state of a file in its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from retalkit.provenance.verification import State, Verification

from tests.cli.commands import Done
from tests.cli.commands import call as call_any
from tests.core.provenance.signing_samples import certificate, sign_clip, write_clip


def call(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Done:
    done = call_any(capsys, "credentials", *arguments)
    assert done.code == code, done
    return done


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_credentials_are_created_shown_and_replaced(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "retalkit credentials init" in call(capsys, "show", code=2).err
    made = json.loads(call(capsys, "init", "--name", "Studio Z", "--json").out)
    assert (made["signer"], made["origin"], made["algorithm"]) == ("Studio Z", "local", "es256")
    assert json.loads(call(capsys, "show", "--json").out) == made
    assert "--force" in call(capsys, "init", code=2).err
    for name in ("", "N" * 65, "two\nlines"):
        assert "--name" in call(capsys, "init", "--force", "--name", name, code=2).err
    assert call(capsys, "show", "--pem").out.count("BEGIN CERTIFICATE") == 2
    chain, key = certificate(tmp_path)
    call(capsys, "import", chain, key, code=2)
    call(capsys, "import", chain, key, "--force", "--time-stamp-authority", "tsa", code=2)
    shown = call(capsys, "import", chain, key, "--force").out
    assert "signer       Studio" in shown and "origin       imported" in shown
    assert "PRIVATE" not in shown + call(capsys, "show").out


def test_exit_code_of_verify_is_the_state(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    chain, key = certificate(tmp_path)
    signed = sign_clip(clip, tmp_path / "out.mp4", clip, clip, certificate=chain, key=key)
    report = json.loads(call(capsys, "verify", signed, "--json").out)
    assert (report["state"], report["signer"], report["problems"]) == ("valid", "Studio", [])
    assert [action["action"] for action in report["actions"]] == ["c2pa.opened", "c2pa.placed", "c2pa.edited"]
    assert report["ingredients"][0]["title"] == "clip.mp4"
    call(capsys, "verify", signed, "--require-trusted", code=5)
    trusted = call(capsys, "verify", signed, "--require-trusted", "--trust", tmp_path / "root.pem").out
    assert "trusted" in trusted and "0.50-1.00 s" in trusted and "original clip.mp4" in trusted
    assert "none" in call(capsys, "verify", clip, code=4).out
    content = bytearray(signed.read_bytes())
    content[-1] ^= 1
    signed.write_bytes(content)
    assert "tampered" in call(capsys, "verify", signed, code=3).out
    call(capsys, "verify", tmp_path / "absent.mp4", code=2)


def test_report_shows_texts_of_other_programs_safely(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    time = {"type": "npt", "start": "0:00:01.5", "end": "0:00:02"}
    text = "a\nstate  trusted\x1b[2K"
    changes = [{"description": person, "region": [{"time": time}]} for person in ("anna", "ben")]
    action = {"action": "c2pa.edited", "description": text, "changes": changes}
    found = Verification(file=Path("clip.mp4"), state=State.VALID, signer="\x1b[1mStudio\rZ", actions=(action,))
    monkeypatch.setattr("retalkit.provenance.verification.verify", lambda path, trust: found)
    lines = call(capsys, "verify", "clip.mp4").out.splitlines()
    assert [line.split()[0] for line in lines] == ["state", "signer", "action"]
    assert all(line.isprintable() for line in lines)
    assert "0:00:01.5-0:00:02 s (anna), 0:00:01.5-0:00:02 s (ben)" in lines[-1]
