"""A virtual environment that holds what some projects declare to need, and nothing else of what is installed here."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOOLS = ("pip", "hatchling")
"""What installs packages without a network."""
SHARED = ("*.libs", "cv2*")
"""OpenCV is installed twice here, one build over the other, and the libraries of either may be the ones that count."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment in which Retalkit and the example are installed, not linked."""

    folder: Path
    package: Path
    """The example's folder, a copy."""

    def run(self, *words: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a program of the environment; its exit code must be ``code``."""
        hidden = ("PYTHON", "PIP_", "RETALKIT_", "PYTEST", "VIRTUAL_ENV")
        done = subprocess.run(
            [str(self.folder / "bin" / str(words[0])), *map(str, words[1:])],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(hidden)},
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONNOUSERSITE": "1",
                "RETALKIT_CACHE": str(self.folder.parent / "cache"),
                "RETALKIT_HOME": str(self.folder.parent / "home"),
            },
            cwd=cwd or self.folder.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def install(self, what: object) -> None:
        """Installs a package with all that it declares to need, which must be there: there is no network."""
        self.run("python", "-m", "pip", "install", "-q", "--no-build-isolation", "--no-index", what)


def make_environment(folder: Path, projects: Iterable[Path], extra: str) -> None:
    """An environment in ``folder`` with what the ``projects`` declare to need, the last one with ``extra``."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    own = [tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"] for project in projects]
    names = {canonicalize_name(project["name"]) for project in own}
    declared = [Requirement(text) for project in own for text in project["dependencies"]]
    declared += [Requirement(text) for text in own[-1].get("optional-dependencies", {}).get(extra, ())]
    wanted = [requirement for requirement in declared if canonicalize_name(requirement.name) not in names]
    for found in needed([*wanted, *map(Requirement, TOOLS)]):
        link(found, site)


def needed(requirements: Iterable[Requirement]) -> Iterator[metadata.Distribution]:
    """What is installed here of these and of all that they need in turn, every distribution once."""
    left, seen, given = list(requirements), set[tuple[str, str]](), set[str]()
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        found = metadata.distribution(name)
        if name not in given:
            given.add(name)
            yield found
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            for text in found.requires or ():
                one = Requirement(text)
                if one.marker is None or one.marker.evaluate({"extra": extra}):
                    left.append(one)


def link(found: metadata.Distribution, site: Path) -> None:
    """Makes an installed distribution visible in ``site``."""
    home = Path(str(found.locate_file("")))
    tops = {PurePath(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    paths = [home / top for top in tops] + [path for pattern in SHARED for path in home.glob(pattern)]
    for path in paths:
        if not (site / path.name).exists():
            (site / path.name).symlink_to(path)
