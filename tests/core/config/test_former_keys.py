"""Tests for the errors that obsolete run file keys cause."""

from __future__ import annotations

from pathlib import Path

import pytest
from retalkit.config import load
from retalkit.config.former_keys import check_former_keys
from retalkit.errors import ConfigError

from tests.core.registries import usual_registry


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("denoiser: none\nquietest_speech: -50\n", ["run.yaml:2: ", "LU", "voice_activity: {quietest_speech: -28}"]),
        (
            "enhancers:\n  - {use: detail, on: reference}\n",
            ["run.yaml:2: ", "enhancers.0.on", "reference_enhancers: [{use: detail}]"],
        ),
        (
            "lip_syncer: {use: exemplar, motion: lips.npz}\n",
            ["run.yaml:1: ", "lip_syncer.motion", "driver: {use: file, path: lips.npz}"],
        ),
    ],
)
def test_former_key_names_its_replacement(tmp_path: Path, text: str, facts: list[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(usual_registry(), file=file)
    assert error.value.code == "former-key"
    message = str(error.value)
    assert "\n" not in message and "run.yaml" in message
    for fact in facts:
        assert fact in message


def test_option_motion_of_other_lip_syncers_is_not_rejected() -> None:
    check_former_keys({"lip_syncer": {"use": "puppet", "motion": "lips.npz"}}, lambda path: "")


def test_voice_activity_options_come_from_the_run_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("voice_activity: {quietest_speech: -60, after: 0.3}\n", encoding="utf-8")
    config = load(usual_registry(), file=file, overrides=["voice_activity.shortest=0.2"])
    assert config.voice_activity.quietest_speech == -60
    assert (config.voice_activity.after, config.voice_activity.shortest) == (0.3, 0.2)
