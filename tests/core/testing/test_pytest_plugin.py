"""``pytest --retalkit-stages`` in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

HEAVY = ("numpy", "torch", "cv2", "av", "pydantic")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    points = metadata.distribution("retalkit").entry_points.select(group="pytest11")
    # An editable install that is older than the entry point does not have it yet.
    given = [] if list(points) else ["-p", "retalkit.testing.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *given, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_named_stage_and_metric_is_a_test(tmp_path: Path) -> None:
    done = run(tmp_path, "-v", "--retalkit-stages=shallow,cost")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "retalkit[reconstructor-shallow] PASSED" in done.stdout
    assert "retalkit[metric-cost] PASSED" in done.stdout and "2 passed" in done.stdout


def test_every_installed_one_is_listed_and_can_be_chosen_with_k(tmp_path: Path) -> None:
    done = run(tmp_path, "--collect-only", "-q", "--retalkit-stages", "-k", "lip_syncer or metric")
    assert "retalkit[lip_syncer-exemplar]" in done.stdout and "retalkit[metric-pixels]" in done.stdout
    assert "mediapipe" not in done.stdout


def test_a_broken_stage_fails_with_the_words_of_the_report(tmp_path: Path) -> None:
    (tmp_path / "broken_toy.py").write_text(
        "from retalkit.plugins import StageSpec, hookimpl\n"
        "from retalkit.stages import StageKind\n"
        "class Mute:\n"
        "    def __init__(self, config, runtime): pass\n"
        "    def open(self, clip, context): return self\n"
        "    def denoise(self, waveform): return waveform[:0]\n"
        "    def finish(self): return []\n"
        "    def close(self): pass\n"
        "@hookimpl\n"
        "def retalkit_stages():\n"
        "    return [StageSpec(StageKind.DENOISER, 'mute', 'For a test.', 'broken_toy:Mute', 'MIT', api=2)]\n",
        encoding="utf-8",
    )
    info = tmp_path / "broken_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-toy\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[retalkit]\nstages = broken_toy\n", encoding="utf-8")
    done = run(tmp_path, "--retalkit-stages=mute")
    assert done.returncode == 1
    assert "finish() is list, not an array float32 [N]" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stdout


def broken_plugin(folder: Path) -> None:
    (folder / "broken_plugin.py").write_text("import no_such_module\n", encoding="utf-8")
    info = folder / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[retalkit]\nstages = broken_plugin\n", encoding="utf-8")


def test_a_plugin_that_cannot_be_used_fails_with_the_reason(tmp_path: Path) -> None:
    broken_plugin(tmp_path)
    done = run(tmp_path, "--retalkit-stages", "-k", "plugin-broken")
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout + done.stderr
    assert "could not be imported: ModuleNotFoundError" in done.stdout and "Traceback" not in done.stdout


def test_a_name_that_a_broken_plugin_would_offer_is_told_with_the_reason(tmp_path: Path) -> None:
    broken_plugin(tmp_path)
    done = run(tmp_path, "--retalkit-stages=mute")
    assert done.returncode == 4 and "no_such_module" in done.stderr, done.stdout + done.stderr


def test_without_the_option_nothing_is_added_and_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        f"import sys\ndef test_light():\n    assert not set({HEAVY!r}) & set(sys.modules)\n", encoding="utf-8"
    )
    done = run(tmp_path)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_a_wrong_name_is_told_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--retalkit-stages=nobody")
    assert done.returncode == 4 and "no stage or metric is named 'nobody'" in done.stderr


def test_the_fixture_gives_a_clip_and_a_sound(tmp_path: Path) -> None:
    (tmp_path / "test_fixture.py").write_text(
        "def test_material(retalkit_material):\n"
        "    assert retalkit_material.clip().frames(__import__('numpy').arange(2)).images.shape == (2, 288, 336, 3)\n"
        "    assert retalkit_material.odd_clip().source.info.width == 167\n"
        "    assert len(retalkit_material.speech(1.0)) == 16000\n",
        encoding="utf-8",
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("text", ['retalkit = "retalkit.testing.pytest_plugin"', "[project.entry-points.pytest11]"])
def test_the_package_names_the_plugin(text: str) -> None:
    assert text in (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text(encoding="utf-8")
