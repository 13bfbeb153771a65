"""``retalkit new-plugin``: packages of every kind install, are discovered, pass their own tests and run."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from new_plugins import Packages, make_packages
from numpy.typing import NDArray
from retalkit.comparison.spec import read_comparison
from retalkit.metrics import MetricSpec
from retalkit.plugins import StageSpec
from retalkit.plugins.discovery import discover
from retalkit.scaffolding.kinds import KIND_NAMES, METRIC
from retalkit.stages import CONTRACT_VERSIONS
from retalkit.weights.checkpoint import Checkpoint
from scipy.io import wavfile

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = tuple(kind for kind in KIND_NAMES if kind != METRIC)
QUIET = 0.4
"""Seconds of silence before the words of the test's speech."""

Frames = NDArray[np.int16]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return make_packages(tmp_path_factory.mktemp("new_plugins"))


@pytest.fixture(scope="module")
def one_second(moving_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with one second of a moving head, clip.mp4, and of silence and words, speech.wav."""
    folder = tmp_path_factory.mktemp("second")
    with av.open(moving_head) as source, av.open(folder / "clip.mp4", "w") as clip:
        stream = clip.add_stream("libx264", rate=25, options={"crf": "16", "preset": "veryfast"})
        stream.width = stream.height = 384
        stream.pix_fmt = "yuv420p"
        for frame in islice(source.decode(video=0), 25):
            image = frame.reformat(width=384, height=384).to_ndarray(format="rgb24")
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        clip.mux(stream.encode())
    rate, spoken = wavfile.read(REPOSITORY / "examples" / "speech.wav")
    spoken = spoken[:rate]
    loud = int(np.argmax(np.abs(spoken) > 2000))
    samples = np.concatenate([np.zeros(int(QUIET * rate), np.int16), spoken[loud:]])[:rate]
    wavfile.write(folder / "speech.wav", rate, samples.astype(np.int16))
    return folder


RUNS: dict[str, list[str]] = {
    "none": [],
    "no_denoiser": ["denoiser=none"],
    "detector": ["detector={name}"],
    # On a steady clip of one person it equals `shallow`, unless the mean face comes from a single frame.
    "reconstructor": ["reconstructor={name}", "reconstructor.samples=1"],
    "expression_editor": ["expression_editor={name}", "expression_editor.openness=1.0"],
    # At 0 dBFS everything counts as noise, so no speech drives the mouth.
    "denoiser": ["denoiser={name}", "denoiser.threshold=0"],
    "lip_syncer": ["lip_syncer={name}", "enhancers=[]"],
    "enhancer": ["enhancers.1={name}"],
}


@pytest.fixture(scope="module")
def dubbed(packages: Packages, one_second: Path) -> Path:
    """Return a directory with KIND.mp4, dubbed with the new stage of that kind, and none.mp4 without new stages."""
    commands = [
        [
            "dub",
            str(one_second / "clip.mp4"),
            str(one_second / "speech.wav"),
            "-o",
            str(one_second / f"{kind}.mp4"),
            "--quiet",
        ]
        + ["--cache", str(one_second / "cache")]
        + [
            word
            for change in changes
            for word in ("--set", change.format(name=packages.name(kind) if kind in STAGES else ""))
        ]
        for kind, changes in RUNS.items()
    ]
    run_all(packages, commands)
    return one_second


def run_all(packages: Packages, commands: list[list[str]]) -> str:
    """Run commands and return their output. They share a process, because imports take most of the time."""
    script = (
        "import sys, json\nfrom retalkit.cli.main import main\n"
        "for command in json.loads(sys.argv[1]):\n"
        "    try:\n        main(command)\n"
        "    except SystemExit as end:\n        assert not end.code, command\n"
    )
    done = packages.python("-c", script, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    return done.stdout


def frames_of(path: Path) -> Frames:
    """int16 [T, H, W, 3], RGB."""
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.int16)


def changed(one: Frames, other: Frames) -> NDArray[np.float64]:
    """Return the visibly different pixels of each frame in per mille, float64 [T]."""
    return (np.abs(one - other).max(axis=-1) > 12).mean(axis=(1, 2)) * 1000


# --------------------------------------------------------------------------- without changes


def test_all_kinds_are_listed_and_run(packages: Packages) -> None:
    done = packages.python("-m", "retalkit", "plugins", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert listed["problems"] == []
    for kind, made in packages.of.items():
        entries = listed["metrics"] if kind == METRIC else [s for s in listed["stages"] if s["kind"] == kind]
        (entry,) = (entry for entry in entries if entry["name"] == made.names.stage)
        assert (entry["runs_here"], entry["package"], entry["licence"]) == (True, made.names.distribution, "Apache-2.0")


def test_listing_imports_nothing_heavy(packages: Packages) -> None:
    modules = [f"{made.names.module}.plugin" for made in packages.of.values()]
    script = (
        f"import sys, {', '.join(modules)}\nprint(sorted({{'numpy', 'cv2', 'torch', 'mediapipe'}} & {{*sys.modules}}))"
    )
    done = packages.python("-c", script)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_own_tests_pass(packages: Packages) -> None:
    folders = [made.folder for made in packages.of.values()]
    done = packages.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *folders)
    assert done.returncode == 0, done.stdout + done.stderr
    # Two tests of its own per lip syncer, one per other kind, and many checks.
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 10 * len(folders)


@pytest.mark.parametrize("kind", STAGES)
def test_run_uses_the_stage_and_pixels_change(kind: str, dubbed: Path, packages: Packages) -> None:
    record = json.loads((dubbed / f"{kind}.mp4.json").read_text(encoding="utf-8"))
    assert packages.of[kind].names.distribution in json.dumps(record)
    without = dubbed / ("no_denoiser.mp4" if kind == "denoiser" else "none.mp4")
    share = changed(frames_of(dubbed / f"{kind}.mp4"), frames_of(without))
    assert share.max() > 0, share


def test_lip_syncer_opens_the_mouth_during_speech_only(dubbed: Path) -> None:
    made = frames_of(dubbed / "lip_syncer.mp4")
    # Pixels with the dark red of the mouth interior, in per mille.
    share = (np.abs(made - (48, 20, 20)).max(axis=-1) < 16).mean(axis=(1, 2)) * 1000
    times = np.arange(len(share)) / 25
    quiet, spoken = share[times < QUIET - 0.1], share[times > QUIET + 0.1]
    assert spoken.max() > quiet.max() + 2, share
    # Without speech every frame has the mouth of the reference.
    resting = changed(made, frames_of(dubbed / "clip.mp4"))[: len(quiet)]
    assert resting.min() > 5 and np.ptp(resting) < 3, resting


def test_enhancer_raises_the_value_of_the_metric(dubbed: Path, packages: Packages) -> None:
    name = packages.name(METRIC)
    options = ["--metric", name, "--json", "--quiet", "--cache", str(dubbed / "cache")]
    videos = [str(dubbed / file) for file in ("enhancer.mp4", "none.mp4")]
    printed = run_all(packages, [["evaluate", video, *options] for video in videos])
    enhanced, plain = map(float, re.findall(rf'"{name}": ([0-9.]+)', printed))
    assert enhanced > 1.005 * plain > 0


def test_code_passes_the_linter(packages: Packages) -> None:
    for made in packages.of.values():
        rules = "E,F,I,UP,B,SIM,PTH,T20,N,C4,RET"
        for words in (["check", "--select", rules], ["format", "--check"]):
            done = packages.python("-m", "ruff", *words, "--no-cache", ".", cwd=made.folder)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_spec_has_option_and_example_checkpoint(kind: str, packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    made = packages.of[kind]
    monkeypatch.syspath_prepend(made.folder / "src")
    plugin = __import__(f"{made.names.module}.plugin", fromlist=["plugin"])
    hook: Callable[[], list[Any]] = plugin.retalkit_metrics if kind == METRIC else plugin.retalkit_stages
    (spec,) = hook()
    assert spec.api == CONTRACT_VERSIONS[kind].current
    assert isinstance(spec, MetricSpec if kind == METRIC else StageSpec)
    if isinstance(spec, StageSpec):
        assert list(spec.config.model_fields) == [made.kind.option]
        text = (made.folder / "src" / made.names.module / "plugin.py").read_text(encoding="utf-8")
        (config,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
        assert isinstance(config.body[-1], ast.Expr)
        assert isinstance(config.body[-2], ast.AnnAssign)
    assert tuple(plugin.retalkit_checkpoints()) == ()
    # The commented example is a complete declaration.
    lines = Path(plugin.__file__).read_text(encoding="utf-8").splitlines()
    begin = lines.index("    # Checkpoint(")
    end = lines.index("    # ),", begin)
    example = eval("\n".join(line[6:] for line in lines[begin : end + 1]), {"Checkpoint": Checkpoint})
    assert isinstance(example[0], Checkpoint)
    assert example[0].name == made.names.stage


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_comparison_file_and_readme_commands_are_valid(
    kind: str, packages: Packages, one_second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = packages.of[kind]
    for path in ("site", *(f"{other.folder.name}/src" for other in packages.of.values())):
        monkeypatch.syspath_prepend(packages.folder / path)
    registry = discover()
    (one_second / "speaker.mp4").write_bytes((one_second / "clip.mp4").read_bytes())
    file = one_second / f"{kind}.yaml"
    text = (made.folder / "comparison.yaml").read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    comparison = read_comparison(file, registry)
    assert made.names.stage in str(comparison)
    from retalkit.config import RunConfig
    from retalkit.pipeline.plan import plan

    readme = (made.folder / "README.md").read_text(encoding="utf-8")
    assert readme.index("Retalkit is not on PyPI yet") < readme.index("pip install")
    dubs = [line for line in readme.splitlines() if line.startswith("retalkit dub ")]
    assert len(dubs) == (0 if kind == METRIC else 2)
    for line in dubs:
        changes = re.findall(r"--set (\S+)", line)
        planned = plan(RunConfig.from_preset(registry=registry, overrides=changes), registry)
        assert made.names.stage in [stage.found.spec.name for stage in planned.stages]


# --------------------------------------------------------------------------- real installation


def test_packages_of_every_kind_can_be_built(packages: Packages, tmp_path: Path) -> None:
    """pip builds the same wheel for ``pip install -e``."""
    pytest.importorskip("hatchling", reason="builds need the extra: pip install 'retalkit[dev]'")
    script = (
        "import os, sys\nfrom hatchling.build import build_editable\n"
        "for folder in sys.argv[2:]:\n    os.chdir(folder)\n    build_editable(sys.argv[1])\n"
    )
    done = packages.python("-c", script, tmp_path, *(made.folder for made in packages.of.values()))
    assert done.returncode == 0, done.stderr
    for made in packages.of.values():
        name = made.names.distribution.replace("-", "_")
        (wheel,) = tmp_path.glob(f"{name}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            texts = {Path(file).name: archive.read(file).decode() for file in archive.namelist()}
        assert f"\nName: {made.names.distribution}\nVersion: 0.1.0\n" in texts["METADATA"]
        assert f"[retalkit]\n{made.names.stage} = {made.names.module}.plugin\n" in texts["entry_points.txt"]
        assert "\nProvides-Extra: dev\n" in texts["METADATA"]
        (path,) = (text.strip() for file, text in texts.items() if file.endswith(".pth"))
        assert path == str(made.folder / "src")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("glow", "enhancer"), ("loud-lips", "lip_syncer")])
def test_pip_installs_into_new_environment_offline(name: str, kind: str, tmp_path: Path, dubbed: Path) -> None:
    """The packages and commands of the documentation."""
    pytest.importorskip("hatchling", reason="builds need the extra: pip install 'retalkit[dev]'")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    (site,) = (environment / "lib").glob("python*/site-packages")
    # The new environment sees packages of this one, editable ones too, but not vice versa.
    here = sysconfig.get_paths()["purelib"]
    (site / "here.pth").write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")

    def run(*arguments: object) -> str:
        command = [str(word) for word in (python, "-m", *arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    printed = run("retalkit", "new-plugin", name, "--kind", kind)
    next_commands = [line.strip() for line in printed.split("next steps:\n")[1].splitlines()]
    assert next_commands[0] == f"python -m pip install -e '{name}[dev]'"
    run("pip", "install", "--no-index", "--no-build-isolation", "-q", "-e", f"{name}[dev]")
    listed = json.loads(run("retalkit", "plugins", "--json", "--kind", kind))
    packages = [
        f"{s['package']} {s['package_version']}" for s in listed["stages"] if s["name"] == name.replace("-", "_")
    ]
    assert packages == [f"{name} 0.1.0"]
    assert next_commands[1] == f"pytest {name}"
    # test_own_tests_pass runs all tests of such a package.
    run("pytest", name, "-p", "no:cacheprovider", "-k", "spec")
    words = (
        next_commands[2].replace("talk.mp4", str(dubbed / "clip.mp4")).replace("speech.wav", str(dubbed / "speech.wav"))
    )
    run(*words.split(), "--quiet", "--cache", dubbed / "cache")
    assert changed(frames_of(tmp_path / "dubbed.mp4"), frames_of(dubbed / "none.mp4")).max() > 0


def test_wheel_contains_the_templates(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds need the extra: pip install 'retalkit[dev]'")
    script = f"from hatchling.build import build_wheel\nbuild_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    folder = REPOSITORY / "core" / "retalkit" / "scaffolding" / "templates"
    expected = {f"retalkit/scaffolding/templates/{p.relative_to(folder).as_posix()}" for p in folder.rglob("*.j2")}
    assert len(expected) > 20
    with zipfile.ZipFile(wheel) as archive:
        assert expected <= set(archive.namelist())
