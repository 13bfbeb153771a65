"""Output and errors of ``retalkit evaluate speech-to-mouth``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from commands import Done, call

FLAT = """
import numpy as np
from retalkit.plugins import DriverSpec, hookimpl
from retalkit.stages import MouthMotion

class Flat:
    def __init__(self, config, runtime):
        pass

    def motion(self, speech, times):
        ones = np.ones(len(times), np.float32)
        return MouthMotion(0.5 * ones, 0 * ones, 0 * ones, 0 * ones, ones)

@hookimpl
def retalkit_drivers():
    return [DriverSpec(name="flat", summary="always half open", build=Flat, api=2)]
"""


def evaluate(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: object) -> Done:
    return call(capsys, "evaluate", "speech-to-mouth", *arguments, "--cache", folder / "cache")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("evaluate")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    path = tmp_path / "flat.py"
    path.write_text(FLAT, encoding="utf-8")
    return path


def make_clip(path: Path, sound: bool, seconds: int = 1) -> Path:
    """Write a video of grey images without a face, optionally with a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(25 * seconds):
            image = np.full((120, 160, 3), 100 + number % 25, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            tone = 0.3 * np.sin(np.arange(16000 * seconds) / 8.0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def test_bundled_driver_follows_tracked_lips(
    capsys: pytest.CaptureFixture[str], shared_media: Path, cache: Path
) -> None:
    clips = [shared_media / "talk_man_700p22.mp4", shared_media / "talk_woman_590p25.mp4"]
    report = json.loads(evaluate(capsys, cache, *clips, "--json").out)
    assert report["driver"] == "model"
    # The description of the clips states 2 and -1.
    assert [clip["agreement"]["offset"] for clip in report["clips"]] == pytest.approx([2, -1], abs=1)
    assert report["opening"] > 0.48
    assert report["width"] > 0.3
    assert report["recall"] > 0.5 and report["precision"] > 0.45
    low, high = report["opening_interval"]
    assert low < report["opening"] < high
    assert abs(report["chance_opening"]) < 0.3 and abs(report["chance_width"]) < 0.3
    assert list(report["background"]) == ["silence", "white", "hum", "music", "babble"]
    assert {name: rest["at_rest"] for name, rest in report["background"].items() if rest["at_rest"] < 0.98} == {}

    table = evaluate(capsys, cache, *clips, "--driver", "bands")
    assert table.code == 0
    assert "faces: from the cache" in table.err
    lines = table.out.splitlines()
    assert lines[0].split()[:2] == ["clip", "offset"]
    assert [line.split()[0] for line in lines[1:4]] == [clips[0].name, clips[1].name, "all"]
    assert "babble 100%" in lines[-1]


def test_plugin_driver_is_measured(
    capsys: pytest.CaptureFixture[str], shared_media: Path, cache: Path, flat: Path
) -> None:
    clip = shared_media / "talk_woman_590p25.mp4"
    done = evaluate(capsys, cache, clip, "--driver", "flat", "--plugin", flat, "--json", "--quiet")
    assert done.err == ""
    report = json.loads(done.out)
    assert report["opening"] is None and report["width"] is None
    assert report["recall"] == 0.0 and report["precision"] is None
    assert {rest["at_rest"] for rest in report["background"].values()} == {0.0}


def test_user_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, shared_media: Path) -> None:
    silent = make_clip(tmp_path / "silent.mp4", sound=False)
    faceless = make_clip(tmp_path / "faceless.mp4", sound=True)
    cases = [
        ([silent], ["silent.mp4"]),
        ([faceless], ["faceless.mp4", "face"]),
        ([tmp_path / "absent.mp4"], ["absent.mp4"]),
        ([faceless, "--driver", "bnds"], ["'bnds'", "'bands'"]),
        ([faceless, "--preset", "papr"], ["'papr'", "'paper'"]),
        ([], ["Missing argument"]),
    ]
    for arguments, facts in cases:
        done = (
            evaluate(capsys, tmp_path, *arguments, "--quiet")
            if arguments
            else call(capsys, "evaluate", "speech-to-mouth")
        )
        assert done.code == 2, done.err
        assert done.error.startswith("retalkit: error: ")
        assert [fact for fact in facts if fact not in done.error] == []
        assert done.out == ""


def test_missing_driver_weights_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retalkit_renderers.speech_to_mouth.model.WEIGHTS", tmp_path / "gone.safetensors")
    done = evaluate(capsys, tmp_path, tmp_path / "clip.mp4")
    assert done.code == 2
    assert "'model'" in done.error and "weights" in done.error


def test_group_help_lists_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert "speech-to-mouth" in call(capsys, "evaluate").out
    assert "--driver" in call(capsys, "evaluate", "speech-to-mouth", "--help").out
