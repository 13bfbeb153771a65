"""``retalkit evaluate VIDEO``: any finished video, with what is known of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.commands import call


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def scores(capsys: pytest.CaptureFixture[str], cache: Path, *arguments: object) -> dict[str, dict[str, float]]:
    done = call(capsys, "evaluate", *arguments, "--json", "-q", "--cache", cache)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_a_video_against_itself_is_perfect(capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path) -> None:
    found = scores(capsys, cache, talking_head, "--reference", talking_head, "--original", talking_head)
    assert found["scores"]["lips"]["opening_r"] == pytest.approx(1.0, abs=1e-6)
    assert found["scores"]["lips"]["lip_lag"] == 0
    assert found["scores"]["pixels"]["ssim"] == pytest.approx(1.0)
    assert "quiet_mouth" in found["not_measured"]


def test_a_video_of_somebody_else_has_no_record_and_needs_none(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path, tmp_path: Path
) -> None:
    stranger = shutil.copy(talking_head, tmp_path / "stranger.mp4")
    found = scores(capsys, cache, stranger)
    assert "cpbd" in found["scores"]["sharpness"]
    assert "record" in str(found["not_measured"]["cost"])
    assert "unedited" in str(found["not_measured"]["steadiness"])
    (tmp_path / "stranger.mp4.json").write_text('{"mine": true}')
    assert scores(capsys, cache, stranger)["not_measured"]["cost"] == found["not_measured"]["cost"]


def test_a_video_of_ours_knows_where_it_comes_from(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path
) -> None:
    found = scores(capsys, cache, talking_head, "--metric", "cost", "--metric", "steadiness")
    assert set(found["scores"]) == {"cost", "steadiness"}
    assert found["scores"]["cost"]["realtime_factor"] > 0
    assert found["scores"]["steadiness"]["outside_change"] < 3


def test_silence_is_what_the_user_says(capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path) -> None:
    found = scores(capsys, cache, talking_head, "--silent", "--metric", "quiet_mouth")
    assert found["scores"]["quiet_mouth"]["rest_opening"] > 1.0, "she does speak"


def test_the_text_lists_numbers_and_what_was_left_out(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path
) -> None:
    done = call(capsys, "evaluate", talking_head, "-q", "--cache", cache, "--metric", "lips", "--metric", "sharpness")
    assert "sharpness\n  CPBD" in done.out
    assert "not measured:\n  lips: needs lips of a person who says the words" in done.out
    assert "(--reference)" in done.out
    told = call(capsys, "evaluate", talking_head, "--cache", cache, "--metric", "sharpness").err
    assert "metrics: done in 0.0 s" not in told and " frames in " in told


def test_mistakes(capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path, tmp_path: Path) -> None:
    missing = call(capsys, "evaluate", tmp_path / "none.mp4", "--cache", cache)
    assert (missing.code, "none.mp4" in missing.error) == (2, True)
    unknown = call(capsys, "evaluate", talking_head, "--metric", "lipz", "--cache", cache)
    assert "did you mean 'lips'" in unknown.error
    assert "speech-to-mouth" in call(capsys, "evaluate").out
