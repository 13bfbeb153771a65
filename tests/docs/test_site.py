"""Tests that the documentation site builds without warnings, loads no remote resources, and matches the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from retalkit.config import RunConfig, load, preset_names
from retalkit.plugins.availability import availability
from retalkit.plugins.discovery import discover
from retalkit.stages import StageKind

from docs.generate.commands import page as commands_page
from docs.generate.errors import collect, documented
from tests.docs.pages import REPOSITORY, text_of

LARGEST_IMAGE = 60_000
"""Maximum image file size in bytes."""
URL_ATTRIBUTES = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
"""Mapping from HTML tags to the attribute whose URL a browser loads automatically."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site in strict mode and return its directory.

    Broken links, broken anchors and pages that are missing from the navigation are errors.
    """
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _LoadedUrls(HTMLParser):
    """Parser that collects the URLs that a browser loads when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") in ("canonical", "next", "prev"):
            return
        if (url := values.get(URL_ATTRIBUTES.get(tag, ""))) is not None:
            self.urls.append(url)


def test_pages_are_built_and_load_nothing_from_other_hosts(site: Path) -> None:
    pages = sorted(path.relative_to(site) for path in site.rglob("*.html"))
    sources = [
        path.relative_to(REPOSITORY / "docs").with_suffix(".html") for path in (REPOSITORY / "docs").rglob("*.md")
    ]
    assert set(sources) <= set(pages)
    for page in pages:
        parser = _LoadedUrls()
        parser.feed((site / page).read_text(encoding="utf-8"))
        assert parser.urls
        assert not [url for url in parser.urls if urlsplit(url).netloc], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_contracts_are_in_reference(site: Path) -> None:
    page = (site / "reference" / "stages.html").read_text(encoding="utf-8")
    for name in ("LipSyncer.open", "LipSyncerSession.sync", "FaceEdit.mask", "StageContext", "CONTRACT_VERSIONS"):
        assert f'id="retalkit.stages.{name}"' in page, name
    assert "remain bit-identical" in page
    assert 'id="retalkit.plugins.StageSpec.api"' in (site / "reference" / "plugins.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("python", "retalkit.pipeline.run.dub"),
        ("python", "retalkit.plugins.discovery.discover"),
        ("python", "retalkit.plugins.registry.Registry.find"),
        ("python", "retalkit.errors.PluginError"),
        ("authors", "retalkit.observer.Observer.started"),
        ("authors", "retalkit.geometry.pose.rigid_fit"),
        ("testing", "retalkit.testing.fixtures.kit_material.Material.clip"),
        ("testing", "retalkit.testing.fixtures.clips.Clip.sync_batch"),
    ],
)
def test_other_public_objects_are_in_reference(site: Path, page: str, name: str) -> None:
    assert f'id="{name}"' in (site / "reference" / f"{page}.html").read_text(encoding="utf-8")


def test_commands_page_matches_cli() -> None:
    assert text_of("docs/commands.md") == commands_page(), "run `make docs`, which generates docs/commands.md"


def test_errors_page_matches_source() -> None:
    assert documented() == {code: found.classes for code, found in collect().items()}, "run `make docs`"


def test_bundled_stages_are_documented_with_their_licence() -> None:
    sections = re.split(r"^### ", text_of("docs/stages.md"), flags=re.M)
    registry = discover()
    ours = [found for found in registry.stages if found.package == "retalkit"]
    assert {found.spec.kind for found in ours} == set(StageKind)
    for found in ours:
        name, kind = found.spec.name, found.spec.kind.value
        headings = (f"`{name}`\n", f"`{name}` ({kind})\n")
        section = next((text for text in sections if text.startswith(headings)), None)
        assert section is not None, found.label
        assert f"Licence: {found.spec.licence}.\n" in section, found.label
        assert ("Offline." in section) == (not found.spec.checkpoints and not found.spec.install), found.label


def test_images_are_small_and_used() -> None:
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]
    text = "".join(path.read_text(encoding="utf-8") for path in pages)
    for image in sorted((REPOSITORY / "docs" / "images").iterdir()):
        assert image.stat().st_size <= LARGEST_IMAGE, image.name
        assert f"images/{image.name})" in text, image.name


def test_preset_table_matches_availability() -> None:
    registry = discover()
    for name in preset_names():
        runs = all(
            registry.candidates(kind, choice.use) and availability(registry.find(kind, choice.use)) is None
            for kind, _, choice in load(registry, preset=name).choices
        )
        row = re.search(rf"^\| `{name}`.*\| (yes|no)[^|]*\|$", text_of("README.md"), re.M)
        assert row is not None
        assert (row.group(1) == "yes") == runs, name


def test_run_file_page_documents_all_keys_and_defaults() -> None:
    page = text_of("docs/run-file.md")
    for name, field in RunConfig.model_fields.items():
        assert f"`{name}" in page
        if isinstance(field.default, str | int | float):
            row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
            assert yaml.safe_load(row.split("|")[3].strip().strip("`")) == field.default
