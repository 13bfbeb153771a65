"""Commands of the documentation that tests cannot run: the reason, and an alternative check."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from retalkit.comparison.spec import read_comparison
from retalkit.plugins.discovery import discover

from tests.cli.commands import call
from tests.docs.pages import EXAMPLE_PAGE, REPOSITORY, Command

Check = Callable[[Command, pytest.MonkeyPatch, pytest.CaptureFixture[str]], None]
"""Called in the working directory of the page."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """Why a command is not run, and the check that replaces it."""

    reason: str
    check: Check


def _check_make_target(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The make target exists, and its recipe uses every variable that the command sets."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *command.words[1:]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in command.words[2:]:
        assert word.partition("=")[2] in done.stdout, f"{word} is not used"


def _check_demo(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The target runs in the environment of the tests, without the installation."""
    for name in ("examples", "pyproject.toml", "constraints.txt"):
        if not Path(name).exists():
            Path(name).symlink_to(REPOSITORY / name)
    installed = ["--file", str(REPOSITORY / "Makefile"), "--old-file", ".venv/.installed"]
    done = subprocess.run(
        ["make", *installed, f"BIN={Path(sys.executable).parent}", *command.words[1:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    output = next((Path(word[4:]) for word in command.words if word.startswith("OUT=")), Path("out/demo.mp4"))
    record = json.loads(output.with_name(f"{output.name}.json").read_text(encoding="utf-8"))
    assert output.exists()
    assert record["frames_edited"] > 0


def _check_environment(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command activates the virtual environment that make creates."""
    folder = Path(command.words[1]).parent.parent
    assert re.search(rf"^VENV := {re.escape(str(folder))}$", (REPOSITORY / "Makefile").read_text(), re.M)


def _check_requirements(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The requirements are valid, the extras exist, and pinned versions are in the ranges of our extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    ranges = [Requirement(text) for texts in (project["dependencies"], *extras.values()) for text in texts]
    for word in command.words[2:]:
        if word.startswith((".[", "retalkit[")):
            assert set(word.partition("[")[2][:-1].split(",")) <= set(extras)
        elif word != "." and not word.startswith("-"):
            requirement = Requirement(word)
            for version in [one.version for one in requirement.specifier if one.operator == "=="]:
                assert all(known.specifier.contains(version) for known in ranges if known.name == requirement.name)


def _install_local_package(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Put the package on the path with its entry points, as pip does."""
    folder, _, extra = command.words[-1].rstrip("]").partition("[")
    project = tomllib.loads((Path(folder) / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not extra or extra in project["optional-dependencies"]
    site = Path("site").resolve()
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    points = [f"{name} = {module}" for name, module in project["entry-points"]["retalkit"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[retalkit]", *points]) + "\n", encoding="utf-8")
    for path in (site, Path(folder).resolve() / "src"):
        patch.syspath_prepend(path)


def _check_build(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The build system of the package builds a wheel, without pip."""
    pytest.importorskip("hatchling", reason="builds need the extra: pip install 'retalkit[dev]'")
    folder = Path(command.words[-1])
    script = "from hatchling.build import build_wheel\nbuild_wheel('dist')"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True)
    assert list(folder.glob("dist/*.whl"))


def _check_nothing(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of the command can be checked."""


def _check_flite(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The training program names the same package in its error message."""
    folder = REPOSITORY / "training" / "retalkit_training" / "speech_to_mouth"
    assert " ".join(command.words[1:]) in (folder / "synthetic_steps.py").read_text(encoding="utf-8")


def _check_training(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The options are valid, and the steps run in the documented directory. The training is replaced."""
    pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
    program = importlib.import_module("retalkit_training.speech_to_mouth.command")
    started: list[tuple[Path, tuple[str, ...]]] = []
    patch.setattr(program, "find_lips", lambda folder, names: None)
    patch.setattr(program, "check_prerequisites", lambda session, names, lips: None)
    patch.setattr(
        program, "run_steps", lambda session, names, lips: started.append((session.folder, program.check_steps(names)))
    )
    done = call(capsys, *command.words[1:])
    assert done.code == 0, done.error
    folder = Path(command.words[command.words.index("-o") + 1])
    steps = ("real",) if "--only" in command.words else ("corpus", "synthetic", "real", "live")
    assert started == [(folder, steps)]


TINY_TRAINING = {
    "syncnet": ("steps=1", "channels=4", "batch_size=2", "evaluation_pairs=2", "contrastive_steps=1"),
    "wav2lip": ("steps=1", "batch_size=1", "loss.sync_start=null"),
}
"""Options of training commands that need seconds instead of days."""


def _check_tiny_run(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command succeeds with few steps, small batches and PyTorch, and writes its output."""
    pytest.importorskip("accelerate", reason="training needs the extra: pip install 'retalkit[train]'")
    patch.setenv("RETALKIT_HOME", str(Path("home").resolve()))
    changes = ["inference=torch"]
    if command.words[1] == "train":
        changes = [*TINY_TRAINING[command.words[2]], "workers=0", "tensorboard=false"]
    done = call(capsys, *command.words[1:], *(word for change in changes for word in ("--set", change)))
    assert done.code == 0, done.err
    if "-o" in command.words:
        assert Path(command.words[command.words.index("-o") + 1]).exists()


def _import_weights(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command imports the exported weights into a new store."""
    patch.setenv("RETALKIT_HOME", str(Path("home").resolve()))
    done = call(capsys, *command.words[1:])
    assert done.code == 0, done.err


def _check_training_options(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The options of the training command are valid."""
    from retalkit_training.tasks.reading import read_config

    words = command.words
    overrides = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    preset = words[words.index("--preset") + 1] if "--preset" in words else None
    read_config(words[2], None, overrides, preset)


def _check_options(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The script has all options of the command."""
    done = subprocess.run(
        [sys.executable, command.words[1], "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in command.words if word.startswith("--"))


def _check_offline(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command fails where it would open a connection."""
    patch.setenv("RETALKIT_OFFLINE", "1")
    done = call(capsys, *command.words[1:])
    assert (done.code, "RETALKIT_OFFLINE is set" in done.error) == (2, True), done.error


def _check_collection(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command collects checks of every named stage."""
    done = subprocess.run(
        [sys.executable, "-m", *command.words, "-p", "no:cacheprovider", "--collect-only", "-q"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in command.words[1].partition("=")[2].split(","):
        assert f" '{name}': result" in done.stdout, done.stdout


def _check_error(text: str) -> Check:
    """The command fails with a one-line error that contains ``text``."""

    def check(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        done = call(capsys, *command.words[1:])
        assert (done.code, text in done.error) == (2, True), done.error

    return check


def _check_comparison(variants: Mapping[str, int]) -> Check:
    """The comparison file is valid, its clips exist, and it has the number of variants given for the page."""

    def check(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert len(read_comparison(Path(command.words[2]), discover()).variants) == variants[command.page]
        with pytest.raises(SystemExit):
            from retalkit.cli.main import main

            main([*command.words[1:], "--help"])

    return check


def _check_web_options(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The options exist and are accepted."""
    from retalkit_web.commands import application
    from typer.main import get_command

    get_command(application()).make_context("web", list(command.words[2:]))


_SERVER = Alternative("starts a server; tests/web starts one", _check_web_options)


def _check_job_list(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All jobs are valid, and the options exist."""
    local = [word for word in command.words[1:] if word not in ("--executor", "ray", "--address", "auto")]
    assert call(capsys, *local, "--dry-run").code == 0


_INSTALLS = Alternative("would change the environment of the tests, and needs a network", _check_requirements)
_LOCAL_PACKAGE = Alternative(
    "pip downloads the build system; tests/cli/test_new_plugin.py and tests/examples install without a network",
    _install_local_package,
)
_DEMO = Alternative("would create the environment first", _check_demo)
_MAKE = Alternative(
    "runs these tests, or takes minutes to install; tests/docs/test_site.py builds the site", _check_make_target
)
_LONG_TRAINING = Alternative("takes half an hour", _check_training)
_PULL = Alternative("downloads from the internet", _check_offline)

_TRAINING = Alternative("takes days with the default options", _check_tiny_run)

UNRUNNABLE: dict[str, Alternative] = {
    "retalkit train syncnet --config syncnet.yaml --data data --dry-run": _TRAINING,
    "retalkit train syncnet --config syncnet.yaml --data data -o runs/syncnet --set contrastive_steps=20000": _TRAINING,
    "retalkit train wav2lip --data data -o runs/wav2lip --set expert=expert.pth": _TRAINING,
    "retalkit weights import mouth.safetensors --as wav2lip_gan": Alternative(
        "would change the weights of the user", _import_weights
    ),
    "retalkit dub talk.mp4 speech.wav -o dubbed.mp4 --preset wav2lip --set lip_syncer.checkpoint=wav2lip_gan "
    "--set lip_syncer.chin=0.08 "
    "--set detector.use=mediapipe": Alternative("converts the network for OpenVINO, which takes long", _check_tiny_run),
    "retalkit train lnet --data data -o runs/lnet --preset seed --set expert=expert.pth "
    "--set reference_expression=none": Alternative("the weights of VGG are not available", _check_error("vgg19")),
    "retalkit train export runs/lnet -o lnet.pth": Alternative("needs a trained L-Net", _check_error("runs/lnet")),
    "retalkit train enet --data data -o runs/enet --preset seed --set lnet=lnet.pth": Alternative(
        "needs a trained L-Net", _check_training_options
    ),
    "retalkit train lnet --from published --person talk.mp4 -o run --set expert=expert.pth": Alternative(
        "needs the published L-Net", _check_training_options
    ),
    "retalkit train dnet --data data -o runs/dnet --preset published": Alternative(
        "the weights of the face model are not available", _check_error("coefficients")
    ),
    "make setup": _MAKE,
    "make setup EXTRAS=paper": _MAKE,
    "make setup EXTRAS=paper,openvino": _MAKE,
    "make setup EXTRAS=paper,web": _MAKE,
    "make setup EXTRAS=train": _MAKE,
    "make setup EXTRAS=web": _MAKE,
    "make demo": _DEMO,
    "make demo VIDEO=me.mp4 SPEECH=words.wav OUT=out/me.mp4": _DEMO,
    "make test": _MAKE,
    "make test-slow": _MAKE,
    "make test-web": _MAKE,
    "make fuzz": _MAKE,
    "make test-packages": Alternative("installs 6 GB of packages, including another torch", _check_make_target),
    "make test-pythons": _MAKE,
    "make docs": _MAKE,
    ". .venv/bin/activate": Alternative("changes only the shell", _check_environment),
    "pip install .": _INSTALLS,
    'pip install -e ".[train]"': _INSTALLS,
    "pip install 'retalkit[identity]'": _INSTALLS,
    "pip install 'retalkit[ray]'": _INSTALLS,
    "pip install 'retalkit[heif]'": _INSTALLS,
    "retalkit batch jobs.yaml --executor ray --address auto": Alternative(
        "needs a Ray cluster; tests/core/batch/test_ray_executor.py starts one", _check_job_list
    ),
    "pip install 'retalkit[openvino]'": _INSTALLS,
    'pip install torch==2.14.1 torchvision==0.29.1 "numpy<2" cython setuptools wheel': _INSTALLS,
    'pip install --no-build-isolation basicsr==1.4.2 filterpy "numpy<2" opencv-python==4.11.0.86': _INSTALLS,
    'pip install -e ".[gfpgan,spandrel]"': _INSTALLS,
    'pip install -e "loud-lips[dev]"': _LOCAL_PACKAGE,
    "python -m pip install -e 'my-sharpener[dev]'": _LOCAL_PACKAGE,
    "python -m pip install -e '.[dev]'": _LOCAL_PACKAGE,
    "pip install 'retalkit[paper]'": _INSTALLS,
    "pip install 'retalkit[transcript]'": _INSTALLS,
    "pip install 'retalkit[web]'": _INSTALLS,
    "retalkit web": _SERVER,
    "retalkit web --open": _SERVER,
    "retalkit web --host 0.0.0.0 --auth anna:correct-horse": _SERVER,
    "retalkit web --jobs 2 --max-upload 500 --max-minutes 5 --keep-hours 2": _SERVER,
    "pip install spandrel_extra_arches": _INSTALLS,
    "python -m build loud-lips": Alternative("downloads the build system of the package", _check_build),
    "twine upload": Alternative("uploads to PyPI", _check_nothing),
    "pytest --retalkit-stages=exemplar,detail": Alternative(
        "tests/core/testing/test_bundled_stages.py runs these checks", _check_collection
    ),
    "retalkit new-plugin retalkit-loudness --kind lip_syncer": Alternative(
        "its result is installed on that page", _check_error("already provides the lip_syncer 'loudness'")
    ),
    "sudo apt-get install flite": Alternative("needs root and a network", _check_flite),
    "retalkit train speech-to-mouth --preset tiny -o rehearsal": Alternative(
        "takes a minute; tests/training runs the same steps", _check_training
    ),
    "retalkit train speech-to-mouth -o work": _LONG_TRAINING,
    "retalkit train speech-to-mouth --data ../shared/lips -o work": _LONG_TRAINING,
    "retalkit train speech-to-mouth --only real --data ../shared/lips -o work": _LONG_TRAINING,
    "retalkit train export work -o plugins/renderers/retalkit_renderers/speech_to_mouth/weights --force": Alternative(
        "needs trained weights", _check_error("contains no")
    ),
    "python benchmarks/restoration_flicker.py --media CLIPS --out OUT --enhancer gfpgan": Alternative(
        "needs real clips and published weights", _check_options
    ),
    "retalkit weights pull lnet enet": _PULL,
    "retalkit weights pull lipsync_expert": _PULL,
    "retalkit weights pull --preset paper": _PULL,
    "retalkit weights import LNet.pth": Alternative("the published file is not available", _check_error("LNet.pth")),
    "retalkit dub talk.mp4 speech.wav -o dubbed.mp4 --preset paper --device cuda": Alternative(
        "the published weights are not available", _check_error("weights")
    ),
    "retalkit compare comparison.yaml --output compared": Alternative(
        "makes a dozen videos; tests/examples and the tutorials run comparisons",
        _check_comparison({"README.md": 3, EXAMPLE_PAGE: 2}),
    ),
    "retalkit compare comparison.yaml --output compared --jobs 2": Alternative(
        "makes dozens of videos; the tutorials run comparisons", _check_comparison({"docs/compare.md": 8})
    ),
}
"""Command as documented -> why it is not run, and the alternative check."""
