"""``pytest --retalkit-stages`` in a separate directory."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HEAVY = ("numpy", "torch", "cv2", "av", "pydantic")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    points = metadata.distribution("retalkit").entry_points.select(group="pytest11")
    # An editable installation may be older than the entry point.
    plugin = [] if list(points) else ["-p", "retalkit.testing.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *plugin, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_check_of_the_named_stages_and_metrics_is_a_test(tmp_path: Path) -> None:
    done = run(tmp_path, "-v", "--retalkit-stages=first_frame,cost")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in (
        "expression_editor 'first_frame': seed",
        "expression_editor 'first_frame': networks",
        "metric 'cost': scene",
    ):
        assert f"{name} PASSED" in done.stdout, done.stdout
    assert "FAILED" not in done.stdout


def test_all_installed_stages_are_collected_and_selected_with_k(tmp_path: Path) -> None:
    done = run(tmp_path, "--collect-only", "-q", "--retalkit-stages", "-k", "lip_syncer or metric")
    assert "lip_syncer 'exemplar': memory" in done.stdout and "metric 'pixels': scene" in done.stdout
    assert "mediapipe" not in done.stdout


def invalid_stage(folder: Path) -> None:
    (folder / "broken_toy.py").write_text(
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
    info = folder / "broken_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-toy\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[retalkit]\nstages = broken_toy\n", encoding="utf-8")


def test_invalid_stage_fails_with_the_problems(tmp_path: Path) -> None:
    invalid_stage(tmp_path)
    done = run(tmp_path, "--retalkit-stages=mute")
    assert done.returncode == 1
    assert "finish() has type list, expected an array float32 [N]" in done.stdout, done.stdout + done.stderr
    assert "denoiser 'mute': result" in done.stdout and "1 failed" in done.stdout
    assert "Traceback" not in done.stdout


def test_expected_failures_are_read_from_the_configuration(tmp_path: Path) -> None:
    invalid_stage(tmp_path)
    lines = ["denoiser.mute.result: returns a list", "denoiser.mute.build: has no weights"]
    setting = "retalkit_expected_failures = " + "".join(f"\n  {line}" for line in lines)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{setting}\n", encoding="utf-8")
    done = run(tmp_path, "-rx", "--retalkit-stages=mute")
    assert done.returncode == 1 and "1 xfailed" in done.stdout and "1 failed" in done.stdout, done.stdout
    assert "denoiser 'mute': result - returns a list" in done.stdout
    assert "[XPASS(strict)] has no weights" in done.stdout


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("denoiser.mute.resul: a reason", "did you mean 'result'?"),
        ("denoiser.mute.result", "KIND.NAME.CHECK: REASON"),
    ],
)
def test_invalid_expected_failures_are_usage_errors(line: str, fact: str, tmp_path: Path) -> None:
    invalid_stage(tmp_path)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nretalkit_expected_failures = {line}\n", encoding="utf-8")
    done = run(tmp_path, "--retalkit-stages=mute", "--collect-only")
    assert done.returncode == 4 and fact in done.stderr, done.stdout + done.stderr


def broken_plugin(folder: Path) -> None:
    (folder / "broken_plugin.py").write_text("import no_such_module\n", encoding="utf-8")
    info = folder / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[retalkit]\nstages = broken_plugin\n", encoding="utf-8")


def test_broken_plugin_fails_with_the_reason(tmp_path: Path) -> None:
    broken_plugin(tmp_path)
    done = run(tmp_path, "--retalkit-stages", "-k", "plugin and broken")
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout + done.stderr
    assert "ModuleNotFoundError" in done.stdout and "Traceback" not in done.stdout


def test_unknown_name_lists_problems_of_plugins(tmp_path: Path) -> None:
    broken_plugin(tmp_path)
    done = run(tmp_path, "--retalkit-stages=mute")
    assert done.returncode == 4 and "no_such_module" in done.stderr, done.stdout + done.stderr


def test_without_the_option_nothing_is_collected_or_imported(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        f"import sys\ndef test_light():\n    assert not set({HEAVY!r}) & set(sys.modules)\n", encoding="utf-8"
    )
    done = run(tmp_path)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    done = run(tmp_path, "--retalkit-stages=unknown")
    assert done.returncode == 4 and "no stage or metric is named 'unknown'" in done.stderr


def test_fixture_has_clips_and_sound(tmp_path: Path) -> None:
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
def test_package_registers_the_plugin(text: str) -> None:
    assert text in (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text(encoding="utf-8")
