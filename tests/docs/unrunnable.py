"""The commands of the documents that no test can run as they stand: why, and what is checked in their place."""

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
"""Called in the folder of the page."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Why a command is not run, and what is done in its stead."""

    reason: str
    check: Check


def _target(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """make knows the target, and its recipe takes every variable that the command sets."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", *command.words[1:]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for word in command.words[2:]:
        assert word.partition("=")[2] in done.stdout, f"{word} changes nothing"


def _demo(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """make does all of it but the installing: it takes the environment of the tests."""
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


def _environment(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The virtual environment that make fills is the one that is activated."""
    folder = Path(command.words[1]).parent.parent
    assert re.search(rf"^VENV := {re.escape(str(folder))}$", (REPOSITORY / "Makefile").read_text(), re.M)


def _requirements(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What pip is given can be read, the extras are ours, and none of it is what our own extras forbid."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    ranges = [Requirement(text) for texts in (project["dependencies"], *extras.values()) for text in texts]
    for word in command.words[2:]:
        if word.startswith((".[", "retalkit[")):
            assert set(word.partition("[")[2][:-1].split(",")) <= set(extras)
        elif not word.startswith("-"):
            asked = Requirement(word)
            for version in [one.version for one in asked.specifier if one.operator == "=="]:
                assert all(known.specifier.contains(version) for known in ranges if known.name == asked.name)


def _own_package(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The package is put on the path with its own entry points, as pip would leave it."""
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


def _built(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The build system that the package names makes a wheel of it, without pip around it."""
    pytest.importorskip("hatchling", reason="builds need the extra: pip install 'retalkit[dev]'")
    folder = Path(command.words[-1])
    script = "from hatchling.build import build_wheel\nbuild_wheel('dist')"
    subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True)
    assert list(folder.glob("dist/*.whl"))


def _nothing(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing of it that could be checked here."""


def _flite(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the package that the training itself asks for."""
    program = (REPOSITORY / "training" / "speech_to_mouth" / "__main__.py").read_text(encoding="utf-8")
    assert " ".join(command.words[1:]) in program


def _training(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The options are read, and the weights go where the page says; the work itself is left out."""
    pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
    program = importlib.import_module("training.speech_to_mouth.__main__")
    written: list[Path] = []
    patch.setattr(program, "flite_program", lambda: Path("flite"))
    patch.setattr(program, "make_corpus", lambda recipe, work: None)
    patch.setattr(program, "make_network", lambda recipe, work: None)
    patch.setattr(program, "score_and_export", lambda recipe, work, network, output: written.append(output))
    program.main(list(command.words[3:]))
    named = command.words[command.words.index("--output") + 1] if "--output" in command.words else program.WEIGHTS.name
    assert [path.name for path in written] == ["tiny.safetensors" if "--tiny" in command.words else named]


def _options(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The script has every option."""
    done = subprocess.run(
        [sys.executable, command.words[1], "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in command.words if word.startswith("--"))


def _offline(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It gets as far as the network, and is told there that there is none."""
    patch.setenv("RETALKIT_OFFLINE", "1")
    done = call(capsys, *command.words[1:])
    assert (done.code, "RETALKIT_OFFLINE is set" in done.error) == (2, True), done.error


def _refused(needle: str) -> Check:
    """It runs, and is refused in one line that holds ``needle``."""

    def check(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        done = call(capsys, *command.words[1:])
        assert (done.code, needle in done.error) == (2, True), done.error

    return check


def _readable(variants: Mapping[str, int]) -> Check:
    """The comparison file is read, with the clips that it names, and makes so many variants on each page."""

    def check(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert len(read_comparison(Path(command.words[2]), discover()).variants) == variants[command.page]
        with pytest.raises(SystemExit):
            from retalkit.cli.main import main

            main([*command.words[1:], "--help"])

    return check


_INSTALLS = Stand("would change the environment that the tests run in, from the network", _requirements)
_OWN = Stand(
    "pip gets the build system from the network; tests/cli/test_new_plugin.py and tests/examples install without one",
    _own_package,
)
_DEMO = Stand("would install the environment first", _demo)
_MAKE = Stand("runs these tests, or minutes of installing; tests/docs/test_site.py builds the site", _target)
_LONG_TRAINING = Stand("takes half an hour", _training)
_PULL = Stand("downloads from the internet", _offline)

UNRUNNABLE: dict[str, Stand] = {
    "make setup": _MAKE,
    "make demo": _DEMO,
    "make demo VIDEO=me.mp4 SPEECH=words.wav OUT=out/me.mp4": _DEMO,
    "make test": _MAKE,
    "make test-packages": Stand("installs 6 GB of other packages, among them another torch", _target),
    "make docs": _MAKE,
    ". .venv/bin/activate": Stand("a shell's own business", _environment),
    'pip install -e ".[train]"': _INSTALLS,
    'pip install torch==2.14.1 torchvision==0.29.1 "numpy<2" cython setuptools wheel': _INSTALLS,
    'pip install --no-build-isolation basicsr==1.4.2 filterpy "numpy<2" opencv-python==4.11.0.86': _INSTALLS,
    'pip install -e ".[gfpgan,spandrel]"': _INSTALLS,
    'pip install -e "loud-lips[dev]"': _OWN,
    "python -m pip install -e 'my-sharpener[dev]'": _OWN,
    "python -m pip install -e '.[dev]'": _OWN,
    "pip install 'retalkit[paper]'": _INSTALLS,
    "pip install spandrel_extra_arches": _INSTALLS,
    "python -m build loud-lips": Stand("gets the package's build system from the network", _built),
    "twine upload": Stand("sends to PyPI", _nothing),
    "retalkit new-plugin retalkit-loudness --kind lip_syncer": Stand(
        "what was made of it is installed on that page", _refused("already offers the lip_syncer 'loudness'")
    ),
    "sudo apt-get install flite": Stand("needs root and a network", _flite),
    "python -m training.speech_to_mouth all --work rehearsal --tiny": Stand(
        "takes half a minute; tests/training runs the same recipe", _training
    ),
    "python -m training.speech_to_mouth all --work work": _LONG_TRAINING,
    "python -m training.speech_to_mouth all --work work --output mine.safetensors": _LONG_TRAINING,
    "python benchmarks/restoration_flicker.py --media CLIPS --out OUT --enhancer gfpgan": Stand(
        "needs real clips and published weights", _options
    ),
    "retalkit weights pull lnet enet": _PULL,
    "retalkit weights pull --preset paper": _PULL,
    "retalkit weights import LNet.pth": Stand("the published file cannot be had", _refused("LNet.pth")),
    "retalkit dub talk.mp4 speech.wav -o dubbed.mp4 --preset paper --device cuda": Stand(
        "the published weights cannot be had", _refused("weights")
    ),
    "retalkit compare comparison.yaml --output compared": Stand(
        "makes a dozen videos; tests/examples and the tutorials run such comparisons",
        _readable({"README.md": 3, EXAMPLE_PAGE: 2}),
    ),
    "retalkit compare comparison.yaml --output compared --jobs 2": Stand(
        "makes dozens of videos; the tutorials' comparisons are run", _readable({"docs/compare.md": 8})
    ),
}
"""Command as it stands in a document -> why it is not run, and the check in its place."""
