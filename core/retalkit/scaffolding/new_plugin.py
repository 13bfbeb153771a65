"""Creation of a plugin package, which validates the name, renders the templates and writes the files."""

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
    """Plugin package created by ``new_plugin``."""

    folder: Path
    names: PackageNames
    kind: PluginKind
    files: tuple[str, ...]
    """File paths relative to ``folder``, separated by ``/``."""


def new_plugin(
    name: str, kind: str, registry: Registry, *, folder: Path | None = None, replace: bool = False
) -> NewPlugin:
    """Create a plugin package with one working example plugin. If an error is raised, no files are written.

    Args:
        name: name of the new package.
        kind: kind of the example plugin.
        registry: registry of the installed plugins.
        folder: output directory (default: a directory called ``name`` in the working directory).
        replace: whether to replace files written by an earlier call. Other files are never replaced.

    Raises:
        ConfigError: the name or kind is invalid.
        PluginError: an installed plugin or module already uses the name.
        OutputError: the directory already exists or is not writable.
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
    """Raise PluginError if an installed package already uses one of the names.

    If ``recreated`` is set, the package being recreated may use the names.
    """
    for package in _packages_offering(names.stage, kind, registry):
        if not (recreated and _normalised(package) == names.distribution):
            raise PluginError(
                f"package {package} already provides the {kind.name} '{names.stage}': choose a different name",
                code="name-in-use",
            )
    if not recreated and importable(names.module):
        raise PluginError(
            f"the Python package '{names.module}' is already installed: choose a different name", code="name-in-use"
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
