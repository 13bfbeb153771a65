"""What the templates, the example and the pages import of Retalkit is what the pages under *Code* call public."""

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
PUBLIC = frozenset(name for page in CODE_PAGES for name in re.findall(r"^::: (\S+)$", text_of(page), re.M))
"""Modules and single objects that the pages under *Code* show."""


def is_public(name: str) -> bool:
    """Whether a page shows this module or object, or the module or class that it stands in."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in PUBLIC for count in range(1, len(parts) + 1))


def used(code: str) -> Iterator[str]:
    """Full names of the modules and objects of Retalkit that some code imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("retalkit."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "retalkit":
            yield from (home(node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "retalkit":
            yield home("retalkit", node.attr)


def home(module: str, name: str) -> str:
    """Where an object stands that ``retalkit`` and ``retalkit.testing`` only hand on."""
    value = getattr(import_module(module), name, None)
    place = "" if value is None or isinstance(value, ModuleType) else str(getattr(value, "__module__", ""))
    return f"{place if place.startswith('retalkit.') else module}.{name}"


def shown(page: str) -> list[str]:
    return [block.text for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_templates_import_public_modules_only(kind: str) -> None:
    files = render_package(names_from("soft-glow"), kind_named(kind))
    names = [name for path, text in files.items() if path.suffix == ".py" for name in used(text)]
    assert len(names) > 5
    assert [name for name in names if not is_public(name)] == []


def test_the_example_imports_public_modules_only() -> None:
    files = (REPOSITORY / Path(EXAMPLE_PAGE).parent).rglob("*.py")
    names = [name for file in files for name in used(file.read_text(encoding="utf-8"))]
    assert len(names) > 10
    assert [name for name in names if not is_public(name)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if shown(page)])
def test_what_a_page_shows_imports_public_modules_only(page: str) -> None:
    assert [name for code in shown(page) for name in used(code) if not is_public(name)] == []


def test_what_is_no_plugin_authors_business_is_not_public() -> None:
    assert is_public("retalkit.stages.FaceEdit.mask")
    assert not is_public("retalkit.pipeline.plan.plan")
    assert not is_public("retalkit.storage.cache.Cache")
    assert not is_public("retalkit.pipeline.run")
