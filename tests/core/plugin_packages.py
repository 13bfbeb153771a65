"""Write plugin packages to a temporary folder, in the layout of an installed package."""

from __future__ import annotations

import textwrap
from pathlib import Path

from retalkit.plugins.registry import Registry
from retalkit.stages import CONTRACT_VERSIONS

GOOD = """
from retalkit.plugins import StageConfig, StageSpec, hookimpl
from retalkit.stages import StageKind


class Options(StageConfig):
    strength: float = 1.0


@hookimpl
def retalkit_stages():
    return [
        StageSpec(
            kind=StageKind.ENHANCER,
            name="{name}",
            summary="for a test",
            build=lambda config, runtime: config,
            licence="MIT",
            config=Options,
            {api}{extra}
        )
    ]
"""


def good_source(name: str = "polish", extra: str = "") -> str:
    """Return the source of a plugin module that offers one enhancer."""
    api = "" if "api=" in extra else f"api={CONTRACT_VERSIONS['enhancer'].current}, "
    return GOOD.format(name=name, api=api, extra=extra)


def install(folder: Path, package: str, source: str, version: str = "2.0") -> None:
    """Write a package with one plugin module and its metadata to ``folder``, which must be on ``sys.path``."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[retalkit]\nstages = {module}\n", encoding="utf-8")


def problem_of(registry: Registry, package: str) -> str:
    """Return the first problem of one package."""
    return next(problem.reason for problem in registry.problems if problem.owner.startswith(package))
