"""Makes a new plugin package: checks the name, fills the templates, writes the folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from retalkit.errors import PluginError
from retalkit.plugins.registry import Registry
from retalkit.scaffolding.kinds import METRIC, PluginKind, kind_named
from retalkit.scaffolding.names import PackageNames, importable, names_from
from retalkit.scaffolding.templating import rendered
from retalkit.scaffolding.writing import check_folder, write
from retalkit.stages import StageKind


@dataclass(frozen=True, slots=True)
class NewPlugin:
    """A package that was made."""

    folder: Path
    names: PackageNames
    kind: PluginKind
    files: tuple[str, ...]
    """Paths inside ``folder``, with ``/``."""


def new_plugin(
    name: str, kind: str, registry: Registry, *, folder: Path | None = None, replace: bool = False
) -> NewPlugin:
    """Makes the package ``name`` with one working plugin of ``kind`` in ``folder`` (default: ``name`` in the current
    folder). ``replace``: files that it wrote before are replaced; no other file ever is.

    Raises ConfigError for a name or a kind that cannot be, PluginError where something installed has the name, and
    OutputError where the folder is there already or cannot be written. Then nothing was written.
    """
    chosen = kind_named(kind)
    names = names_from(name)
    place = Path(names.distribution) if folder is None else folder
    _check_free(names, chosen, registry, is_known=replace and (place / "src" / names.module).is_dir())
    files = rendered(names, chosen)
    check_folder(place, files, replace=replace)
    write(place, files)
    return NewPlugin(place, names, chosen, tuple(str(path) for path in files))


def _check_free(names: PackageNames, kind: PluginKind, registry: Registry, *, is_known: bool) -> None:
    """Raises PluginError where an installed package has one of the names; where the folder ``is_known`` to be made
    again, it may be that very package."""
    for package in _offers(names.stage, kind, registry):
        if not (is_known and _normal(package) == names.distribution):
            raise PluginError(
                f"{package} offers the {kind.name} '{names.stage}' already: choose another name for the new package"
            )
    if not is_known and importable(names.module):
        raise PluginError(f"a Python package '{names.module}' is installed already: choose another name")


def _offers(stage: str, kind: PluginKind, registry: Registry) -> list[str]:
    """Packages that offer the name."""
    if kind.name != METRIC:
        return [found.package for found in registry.candidates(StageKind(kind.name), stage)]
    return [
        found.package
        for found in registry.metrics
        if stage in (found.spec.name, *(measure.name for measure in found.spec.measures))
    ]


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
