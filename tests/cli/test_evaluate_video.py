"""Scores and errors of ``retalkit evaluate VIDEO``."""

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


def test_video_compared_with_itself_is_perfect(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path
) -> None:
    found = scores(capsys, cache, talking_head, "--reference", talking_head, "--original", talking_head)
    assert found["scores"]["lips"]["opening_r"] == pytest.approx(1.0, abs=1e-6)
    assert found["scores"]["lips"]["lip_lag"] == 0
    assert found["scores"]["pixels"]["ssim"] == pytest.approx(1.0)
    assert "quiet_mouth" in found["not_measured"]


def test_video_without_run_record(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path, tmp_path: Path
) -> None:
    foreign = shutil.copy(talking_head, tmp_path / "foreign.mp4")
    found = scores(capsys, cache, foreign)
    assert "cpbd" in found["scores"]["sharpness"]
    assert "record" in str(found["not_measured"]["cost"])
    assert "unedited" in str(found["not_measured"]["steadiness"])
    (tmp_path / "foreign.mp4.json").write_text('{"mine": true}')
    assert scores(capsys, cache, foreign)["not_measured"]["cost"] == found["not_measured"]["cost"]


def test_run_record_provides_the_original_clip(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path
) -> None:
    found = scores(capsys, cache, talking_head, "--metric", "cost", "--metric", "steadiness")
    assert set(found["scores"]) == {"cost", "steadiness"}
    assert found["scores"]["cost"]["realtime_factor"] > 0
    assert found["scores"]["steadiness"]["outside_change"] < 3


def test_silent_option_measures_mouth_at_rest(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path
) -> None:
    found = scores(capsys, cache, talking_head, "--silent", "--metric", "quiet_mouth")
    assert found["scores"]["quiet_mouth"]["rest_opening"] > 1.0, "the person speaks"


def test_table_lists_scores_and_skipped_metrics(
    capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path
) -> None:
    done = call(capsys, "evaluate", talking_head, "-q", "--cache", cache, "--metric", "lips", "--metric", "sharpness")
    assert "sharpness\n  CPBD" in done.out
    assert "not computed:\n  lips: requires a reference video" in done.out
    assert "(--reference)" in done.out
    progress = call(capsys, "evaluate", talking_head, "--cache", cache, "--metric", "sharpness").err
    assert "metrics: done in 0.0 s" not in progress and " frames in " in progress


def test_user_errors(capsys: pytest.CaptureFixture[str], cache: Path, talking_head: Path, tmp_path: Path) -> None:
    missing = call(capsys, "evaluate", tmp_path / "none.mp4", "--cache", cache)
    assert (missing.code, "none.mp4" in missing.error) == (2, True)
    unknown = call(capsys, "evaluate", talking_head, "--metric", "lipz", "--cache", cache)
    assert "did you mean 'lips'" in unknown.error
    assert "speech-to-mouth" in call(capsys, "evaluate").out
