"""Creates a plugin package: validates the name, renders the templates, writes the folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from retalkit.errors import PluginError
from retalkit.plugins.registry import Registry
from retalkit.scaffolding.kinds import METRIC, PluginKind, kind_named
from retalkit.scaffolding.names import PackageNames, importable, names_from
from retalkit.scaffolding.output_folder import check_folder, write_package
from retalkit.scaffolding.package_files import render_package
from retalkit.stages import StageKind


@dataclass(frozen=True, slots=True)
class NewPlugin:
    """A created package."""

    folder: Path
    names: PackageNames
    kind: PluginKind
    files: tuple[str, ...]
    """Paths relative to ``folder``, with ``/``."""


def new_plugin(
    name: str, kind: str, registry: Registry, *, folder: Path | None = None, replace: bool = False
) -> NewPlugin:
    """Create the package ``name`` with one working plugin of ``kind`` in ``folder`` (default: ``name`` in the current
    directory).

    ``replace``: replace the files of an earlier call; other files are never replaced. Raises ConfigError for an invalid
    name or kind, PluginError if an installed plugin or module has the name, OutputError if the folder exists or cannot
    be written. After an error nothing has been written.
    """
    chosen = kind_named(kind)
    names = names_from(name)
    target = Path(names.distribution) if folder is None else folder
    _check_name_is_free(names, chosen, registry, recreated=replace and (target / "src" / names.module).is_dir())
    files = render_package(names, chosen)
    check_folder(target, files, replace=replace)
    write_package(target, files)
    return NewPlugin(target, names, chosen, tuple(str(path) for path in files))


def _check_name_is_free(names: PackageNames, kind: PluginKind, registry: Registry, *, recreated: bool) -> None:
    """Raise PluginError if an installed package uses one of the names. A ``recreated`` package may use its own."""
    for package in _packages_offering(names.stage, kind, registry):
        if not (recreated and _normalised(package) == names.distribution):
            raise PluginError(
                f"package {package} already offers the {kind.name} '{names.stage}': choose another name",
                code="name-in-use",
            )
    if not recreated and importable(names.module):
        raise PluginError(
            f"a Python package '{names.module}' is already installed: choose another name", code="name-in-use"
        )


def _packages_offering(stage: str, kind: PluginKind, registry: Registry) -> list[str]:
    if kind.name != METRIC:
        return [found.package for found in registry.candidates(StageKind(kind.name), stage)]
    return [
        found.package
        for found in registry.metrics
        if stage in (found.spec.name, *(measure.name for measure in found.spec.measures))
    ]


def _normalised(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
