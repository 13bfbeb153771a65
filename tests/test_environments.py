"""The packages that make installs, and the dependencies that pyproject.toml declares."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY


def dry_run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``make --dry-run`` in ``folder``.

    The tests themselves may run in make: its flags and level would change the output.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", "PYTHON=python3", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def install_commands(folder: Path, *words: str) -> list[str]:
    """Return what make would install into the environment of the checkout ``folder``."""
    done = dry_run(folder, *words)
    assert done.returncode == 0, done.stderr
    return re.findall(r'pip install --no-compile -e "(.*)" -c constraints.txt', done.stdout)


@pytest.mark.parametrize(
    ("words", "installed"),
    [
        (["setup"], "."),
        (["demo"], "."),
        (["setup", "EXTRAS=paper, web"], ".[paper,web]"),
        (["lint", "docs"], ".[dev]"),
        (["test-web"], ".[dev]"),
    ],
)
def test_make_installs_once_and_only_what_the_target_needs(tmp_path: Path, words: list[str], installed: str) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    assert install_commands(tmp_path, *words) == [installed]
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").touch()
    (tmp_path / ".venv" / ".installed").touch()
    # The packages of the default stages are installed already.
    assert install_commands(tmp_path, *words) == ([] if installed == "." else [installed])
    (tmp_path / ".venv" / ".installed-dev").touch()
    assert install_commands(tmp_path, *words) == ([installed] if "EXTRAS" in words[-1] else [])


def test_unknown_extra_is_rejected() -> None:
    done = dry_run(REPOSITORY, "setup", "EXTRAS=paper,bogus")
    (line,) = done.stderr.splitlines()
    assert done.returncode and "no extra bogus" in line and "paper openvino" in line


def test_default_stages_import_every_dependency() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules: dict[str, set[str]] = {}
    for module, distributions in metadata.packages_distributions().items():
        for name in distributions:
            modules.setdefault(canonicalize_name(name), set()).add(module)
    imported: set[str] = set()
    for folder in ("core", "plugins"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.partition(".")[0])
                elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "find_spec")):
                    imported |= {
                        str(each.value).partition(".")[0] for each in node.args if isinstance(each, ast.Constant)
                    }
    names = [canonicalize_name(Requirement(text).name) for text in project["dependencies"]]
    assert [name for name in names if not modules[name] & imported] == []
