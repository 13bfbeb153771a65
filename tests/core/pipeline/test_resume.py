"""A run killed with SIGKILL in any step resumes; its packets are identical to those of an uninterrupted run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.io import wavfile

from tests.packets import Packets, packets

# The child kills itself at the given moment. Short segments, so that there are several.
CHILD = """
import os, signal, sys
from pathlib import Path
from retalkit.config import RunConfig
from retalkit.pipeline import segments
from retalkit.observer import SilentObserver
from retalkit.pipeline.run import dub
from retalkit.plugins.discovery import discover

segments.SEGMENT_FRAMES = 8
video, speech, output, cache, moment = sys.argv[1:6]

class Killer(SilentObserver):
    def _check(self, now):
        if now == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    def started(self, step, total):
        self._check(f"start {step}")
    def advanced(self, step, done):
        if done >= 12:
            self._check(f"within {step}")

registry = discover()
config = RunConfig.from_preset(registry=registry, overrides=["analysis_seconds=0.5"])
options = {"config": config, "registry": registry, "cache": Path(cache), "observer": Killer()}
record = dub(Path(video), Path(speech), Path(output), **options)
print(",".join(record.cached_steps))
"""


def run(clip: Path, speech: Path, output: Path, cache: Path, moment: str = "never") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CHILD, str(clip), str(speech), str(output), str(cache), moment]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def word(short_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of speech, for which 25 frames are analysed and rendered."""
    path = tmp_path_factory.mktemp("word") / "word.wav"
    rate, samples = wavfile.read(short_speech)
    wavfile.write(path, rate, samples[:rate])
    return path


@pytest.fixture(scope="module")
def uninterrupted(moving_head: Path, word: Path, tmp_path_factory: pytest.TempPathFactory) -> Packets:
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = run(moving_head, word, folder / "out.mp4", folder / "cache")
    assert done.returncode == 0, done.stderr
    return packets(folder / "out.mp4")


@pytest.mark.parametrize(
    ("moment", "kept"),
    [
        pytest.param("start faces", [], marks=pytest.mark.slow),
        ("within faces", []),
        pytest.param("start tracks", ["faces"], marks=pytest.mark.slow),
        pytest.param("start coefficients", ["faces", "tracks"], marks=pytest.mark.slow),
        pytest.param("start lips", ["speech", "faces", "tracks", "coefficients"], marks=pytest.mark.slow),
        ("within render", ["speech", "faces", "tracks", "coefficients"]),
        ("start join", ["speech", "faces", "coefficients", "render"]),
    ],
)
def test_killed_run_resumes_with_identical_output(
    moment: str, kept: list[str], moving_head: Path, word: Path, uninterrupted: Packets, tmp_path: Path
) -> None:
    output, cache = tmp_path / "out.mp4", tmp_path / "cache"
    killed = run(moving_head, word, output, cache, moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not output.exists()
    again = run(moving_head, word, output, cache)
    assert again.returncode == 0, again.stderr
    assert set(kept) <= set(again.stdout.strip().split(","))
    assert packets(output) == uninterrupted
    record = json.loads((tmp_path / "out.mp4.json").read_text())
    assert record["frames_edited"] + sum(record["frames_passed"].values()) == 25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out.mp4", "out.mp4.json"]
