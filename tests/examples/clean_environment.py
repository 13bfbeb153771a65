"""A virtual environment with the declared dependencies of projects and no other installed packages."""

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
"""Packages needed to install others offline."""
SHARED = ("*.libs", "cv2*")
"""Two builds of OpenCV are installed in the same directory; either may own the libraries."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with non-editable installations of Retalkit and the example."""

    folder: Path
    package: Path
    """A copy of the example's directory."""

    def run(self, *words: object, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment that must exit with ``code``."""
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
        """Install a package offline; its dependencies must be installed."""
        self.run("python", "-m", "pip", "install", "-q", "--no-build-isolation", "--no-index", what)


def make_environment(folder: Path, projects: Iterable[Path], extra: str) -> None:
    """Create an environment in ``folder`` with the dependencies of the ``projects``, the last one with ``extra``."""
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
    """Return the installed distributions of these requirements and of their dependencies."""
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
    """Link an installed distribution into ``site``."""
    home = Path(str(found.locate_file("")))
    tops = {PurePath(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    paths = [home / top for top in tops] + [path for pattern in SHARED for path in home.glob(pattern)]
    for path in paths:
        if not (site / path.name).exists():
            (site / path.name).symlink_to(path)
