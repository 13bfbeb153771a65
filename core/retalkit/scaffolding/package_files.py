"""Rendering of the plugin package templates to strings."""

from __future__ import annotations

from pathlib import PurePosixPath

from jinja2 import Environment, PackageLoader, StrictUndefined

from retalkit._version import __version__
from retalkit.scaffolding.kinds import METRIC, PluginKind
from retalkit.scaffolding.names import PackageNames, compatible_range
from retalkit.stages import CONTRACT_VERSIONS


def render_package(names: PackageNames, kind: PluginKind) -> dict[PurePosixPath, str]:
    """Return a mapping from path to content for the files of the package, in the recommended reading order."""
    environment = Environment(
        loader=PackageLoader("retalkit.scaffolding"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    values = {
        "distribution": names.distribution,
        "module": names.module,
        "stage": names.stage,
        "class_name": names.class_name(kind.name),
        "config_name": f"{names.class_name(kind.name)}Config",
        "kind": kind,
        "is_metric": kind.name == METRIC,
        "api_version": CONTRACT_VERSIONS[kind.name].current,
        "retalkit_range": compatible_range(__version__),
    }
    return {
        PurePosixPath(path): environment.get_template(template).render(values)
        for path, template in _files(names, kind).items()
    }


def _files(names: PackageNames, kind: PluginKind) -> dict[str, str]:
    """Return a mapping from path in the package to template name."""
    package = f"src/{names.module}"
    return {
        "README.md": "package/README.md.j2",
        "pyproject.toml": "package/pyproject.toml.j2",
        f"{package}/__init__.py": "package/init.py.j2",
        f"{package}/plugin.py": "package/plugin.py.j2",
        f"{package}/{kind.name}.py": f"{kind.name}/implementation.py.j2",
        f"tests/test_{names.stage}.py": f"{kind.name}/test.py.j2",
        "comparison.yaml": "package/comparison.yaml.j2",
        ".gitignore": "package/gitignore.j2",
    }
