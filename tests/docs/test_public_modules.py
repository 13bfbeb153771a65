"""Tests that templates, the example package and the documentation import only names from the API reference."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from retalkit.scaffolding.kinds import KIND_NAMES, kind_named
from retalkit.scaffolding.names import names_from
from retalkit.scaffolding.package_files import render_package

from tests.docs.pages import EXAMPLE_PAGE, PAGES, REPOSITORY, blocks, text_of

CODE_PAGES = tuple(page for page in PAGES if page.startswith("docs/reference/"))


def defining_name(module: str, name: str) -> str:
    """Return an object's full name in the module that defines the object, because packages re-export many objects."""
    value = getattr(import_module(module), name, None)
    place = "" if value is None or isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
    return f"{place if place.startswith('retalkit.') else module}.{name}"


def documented_names() -> frozenset[str]:
    """Return the names of the modules and objects that the API reference documents."""
    names = {name for page in CODE_PAGES for name in re.findall(r"^::: (\S+)$", text_of(page), re.M)}
    split = [name.rpartition(".") for name in names if name.count(".")]
    return frozenset(names | {defining_name(module, name) for module, _, name in split})


PUBLIC = documented_names()


def is_public(name: str) -> bool:
    """Return whether the API reference documents ``name`` or the module or class that contains ``name``."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in PUBLIC for count in range(1, len(parts) + 1))


def imported_names(code: str) -> Iterator[str]:
    """Yield the full names of the Retalkit modules and objects that ``code`` imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("retalkit."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "retalkit":
            yield from (defining_name(node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "retalkit":
            yield defining_name("retalkit", node.attr)


def python_blocks(page: str) -> list[str]:
    return [block.text for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_templates_import_public_modules_only(kind: str) -> None:
    files = render_package(names_from("soft-glow"), kind_named(kind))
    names = [name for path, text in files.items() if path.suffix == ".py" for name in imported_names(text)]
    assert len(names) > 5
    assert [name for name in names if not is_public(name)] == []


def test_example_imports_public_modules_only() -> None:
    files = (REPOSITORY / Path(EXAMPLE_PAGE).parent).rglob("*.py")
    names = [name for file in files for name in imported_names(file.read_text(encoding="utf-8"))]
    assert len(names) > 10
    assert [name for name in names if not is_public(name)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)])
def test_pages_import_public_modules_only(page: str) -> None:
    assert [name for code in python_blocks(page) for name in imported_names(code) if not is_public(name)] == []


def test_internal_modules_are_not_public() -> None:
    assert is_public("retalkit.stages.FaceEdit.mask")
    assert not is_public("retalkit.pipeline.plan.plan")
    assert not is_public("retalkit.storage.cache.Cache")
    assert not is_public("retalkit.pipeline.run")
