"""The example package in a clean environment: discovery, a run, its own tests, a comparison."""

from __future__ import annotations

import ast
import csv
import json
import re
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from retalkit.config import RunConfig
from retalkit.media.sound import open_sound
from retalkit.motion_eval.agreement import GRID_RATE, smooth
from retalkit.motion_eval.clips import measure_lips, track
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.storage.cache import Cache

from tests.examples.clean_environment import Environment, make_environment

pytest.importorskip("hatchling", reason="builds need the extra: pip install 'retalkit[dev]'")

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "loudness_lip_syncer"
PACKAGE = "retalkit-loudness"
RATE = 16000

Values = NDArray[np.float64]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("third_party")
    package = folder / "package"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns(".*_cache", "__pycache__", "dist", "compared"))
    made = Environment(folder / "environment", package)
    make_environment(made.folder, [REPOSITORY, package], extra="dev")
    made.install(REPOSITORY)
    made.install(f"{package}[dev]")
    return made


@pytest.fixture(scope="module")
def dubbed(environment: Environment, moving_head: Path, short_speech: Path) -> Path:
    """Return the moving head dubbed with ``short_speech`` by the example."""
    video = environment.folder.parent / "dubbed.mp4"
    environment.run(
        "retalkit", "dub", moving_head, short_speech, "-o", video, "--set", "lip_syncer=loudness", "--quiet"
    )
    return video


def test_packages_are_installed_in_the_environment(environment: Environment) -> None:
    script = "import retalkit, retalkit_loudness; print(retalkit.__file__); print(retalkit_loudness.__file__)"
    for path in environment.run("python", "-c", script).stdout.splitlines():
        assert Path(path).is_relative_to(environment.folder)


def test_environment_has_declared_dependencies_only(environment: Environment) -> None:
    """An undeclared dependency of the example or of Retalkit would be missing."""
    script = (
        "from importlib.util import find_spec; print(*map(bool, map(find_spec, ('numpy', 'pytest', 'torch', 'ruff'))))"
    )
    assert environment.run("python", "-c", script).stdout == "True True False False\n"
    environment.run("python", "-m", "pip", "check")


def test_stage_is_listed_with_its_package(environment: Environment) -> None:
    listed = json.loads(environment.run("retalkit", "plugins", "--json").stdout)
    assert listed["problems"] == []
    (entry,) = (stage for stage in listed["stages"] if stage["name"] == "loudness")
    found = tuple(entry[key] for key in ("kind", "package", "package_version", "runs_here", "licence"))
    assert found == ("lip_syncer", PACKAGE, "0.1.0", True, "Apache-2.0")
    # The table has the same facts.
    table = environment.run("retalkit", "plugins", "--kind", "lip_syncer").stdout
    assert re.search(rf"  loudness: .*\n +{PACKAGE} 0.1.0, Apache-2.0; runs here\n", table), table


def loudness_of(sound: Path, times: Values) -> Values:
    """Return the RMS over 80 ms at float64 [T] seconds, computed independently of the package."""
    samples = np.concatenate(list(open_sound(sound).chunks(RATE))).astype(np.float64)
    samples = np.concatenate([samples, np.zeros(RATE)])
    middles = np.rint(times * RATE).astype(int)
    half = RATE // 25
    return np.array([np.sqrt(np.square(samples[max(at - half, 0) : at + half]).mean()) for at in middles])


def frames_of(path: Path, count: int) -> NDArray[np.int16]:
    """Return the first frames, RGB int16 [count, H, W, 3]."""
    with av.open(path) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return np.stack([frame for frame, _ in zip(frames, range(count), strict=False)]).astype(np.int16)


def test_mouth_follows_the_loudness_and_eyes_stay(
    dubbed: Path, moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    record = json.loads(dubbed.with_name("dubbed.mp4.json").read_text(encoding="utf-8"))
    assert PACKAGE in json.dumps(record)
    registry = discover()
    chosen = plan(RunConfig.from_preset(registry=registry), registry)
    steps = ClipSteps(chosen, Cache(tmp_path), SilentObserver())
    lips = measure_lips(track(dubbed, steps))
    loudness = smooth(loudness_of(short_speech, lips.start + np.arange(len(lips.opening)) / GRID_RATE))
    seen = np.isfinite(lips.opening)
    assert seen.mean() > 0.9
    # The mouth in the source clip does not move.
    assert np.corrcoef(lips.opening[seen], np.sqrt(np.maximum(loudness[seen], 0)))[0, 1] > 0.5
    analysis = track(moving_head, steps)
    still = measure_lips(analysis).opening
    assert np.ptp(lips.opening[seen]) > 4 * np.ptp(still[np.isfinite(still)])
    ours, theirs = (frames_of(path, 30) for path in (dubbed, moving_head))
    changes = np.abs(ours - theirs).mean(axis=3)
    for frame, points in zip(changes, analysis.landmarks(0, 30), strict=True):
        eyes = int(points[[33, 263], 1].max()) + 10
        assert frame[:eyes].max() < 40
        assert frame[:eyes].mean() < 3
    assert changes.max(axis=(1, 2)).max() > 80


@pytest.mark.slow
def test_own_tests_pass(environment: Environment) -> None:
    done = environment.run("python", "-m", "pytest", "-p", "no:cacheprovider", "-rA", cwd=environment.package)
    assert "PASSED tests/test_loudness.py::test_contract" in done.stdout
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.slow
def test_comparison_with_exemplar_runs(environment: Environment, dubbed: Path) -> None:
    file = environment.package / "comparison.yaml"
    comparison = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert comparison["variants"] == {"loudness": {"lip_syncer": "loudness"}}
    # One clip without another speaker: one second of the dubbed video.
    shortened = {
        "clips": {"head": str(dubbed)},
        "speeches": [],
        "arms": ["own"],
        "seconds": 1,
        "metrics": ["lips", "cost"],
    }
    copy = environment.folder.parent / "comparison.yaml"
    copy.write_text(yaml.safe_dump({**comparison, **shortened}), encoding="utf-8")
    folder = environment.folder.parent / "compared"
    environment.run("retalkit", "compare", copy, "--output", folder, "--quiet")
    with (folder / "cells.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert {row["variant"] for row in rows} == {"base", "loudness"}, rows
    report = (folder / "report.html").read_text(encoding="utf-8")
    for text in ("loudness", "exemplar", comparison["title"]):
        assert text in report
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert "opening_r" in json.dumps(results)


def test_example_imports_public_names_only() -> None:
    allowed = {"retalkit", "retalkit_loudness", "numpy", "cv2", "pydantic", "pytest"} | set(sys.stdlib_module_names)
    files = [*(EXAMPLE / "src").rglob("*.py"), *(EXAMPLE / "tests").rglob("*.py")]
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                parts = name.split(".")
                assert parts[0] in allowed, f"{file.name} imports {name}"
                assert not any(part.startswith("_") and part != "__future__" for part in parts), f"{file.name}: {name}"


def test_run_file_with_uninstalled_stage_is_an_error(environment: Environment) -> None:
    # The last test of this file, because it uninstalls the example.
    environment.run("python", "-m", "pip", "uninstall", "-y", "-q", PACKAGE)
    listed = json.loads(environment.run("retalkit", "plugins", "--json").stdout)
    assert "loudness" not in json.dumps(listed)
    run_file = environment.folder.parent / "run.yaml"
    run_file.write_text("lip_syncer: {use: loudness}\n", encoding="utf-8")
    said = environment.run("retalkit", "config", "validate", run_file, code=2)
    (line,) = said.stderr.splitlines()
    assert re.match(r"retalkit: error: .*lip_syncer.*'loudness'", line), line
