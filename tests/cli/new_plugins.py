"""Creates a package of every kind and installs all of them on the path of a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from retalkit.plugins.discovery import discover
from retalkit.scaffolding.kinds import KIND_NAMES
from retalkit.scaffolding.new_plugin import NewPlugin, new_plugin


@dataclass(frozen=True, slots=True)
class Packages:
    """One package of each kind."""

    folder: Path
    of: dict[str, NewPlugin]
    """Kind -> package."""

    def name(self, kind: str) -> str:
        return self.of[kind].names.stage

    def python(self, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run Python with all packages installed."""
        sources = [str(made.folder / "src") for made in self.of.values()]
        path = os.pathsep.join([str(self.folder / "site"), *sources, os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path},
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            check=False,
        )


def make_packages(folder: Path) -> Packages:
    """Create a package of each kind in ``folder``, and its metadata from its pyproject.toml in ``folder/site``."""
    (folder / "site").mkdir()
    registry = discover()
    made: dict[str, NewPlugin] = {}
    for kind in KIND_NAMES:
        name = f"retalkit-my-{kind.replace('_', '-')}"
        made[kind] = new_plugin(name, kind, registry, folder=folder / name)
        _install(folder / name, folder / "site")
    return Packages(folder, made)


def _install(package: Path, site: Path) -> None:
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{point} = {target}" for point, target in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
