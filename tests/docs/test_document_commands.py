"""Every command of the documents is run, page by page, in a folder with the files that the page names: those in blocks,
and those in the text that no block shows.

What cannot be run stands in ``unrunnable.py``, with the reason and a check in its place.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import yaml
from retalkit.comparison.spec import read_comparison
from retalkit.config import RunConfig, load
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.availability import availability
from retalkit.plugins.discovery import discover
from retalkit.stages import Analysis, StageContext
from retalkit.storage.cache import Cache, Folder, default_folder

from tests.cli.commands import call
from tests.docs import material
from tests.docs.pages import (
    EXAMPLE_PAGE,
    PAGES,
    REPOSITORY,
    Block,
    Command,
    all_commands,
    blocks,
    commands,
    prose_commands,
)
from tests.docs.unrunnable import UNRUNNABLE

GIVEN = {"docs/compare.md": ("dubbed.mp4",)}
"""Results that a page takes from another one."""
PACKAGES = {"docs/testing-kit.md": ("my_package", "README.md", "louder.py")}
"""A package of the reader's that a page speaks of, made of a file that another page shows."""
INSIDE = {EXAMPLE_PAGE: (REPOSITORY / EXAMPLE_PAGE).parent}
"""A folder in which the reader of a page is."""
OUTPUTS = ("-o", "--output")


@pytest.fixture(scope="session")
def clips(moving_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with the videos and sounds that pages name; every page shares one cache."""
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETALKIT_CACHE", str(tmp_path_factory.mktemp("documents_cache")))
        material.make(folder, moving_head, REPOSITORY / "examples" / "speech.wav", tmp_path_factory.mktemp("making"))
        yield folder


@pytest.fixture
def reader(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A reader's empty folder with clips in it, and what she may install there."""
    shutil.copytree(clips, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield monkeypatch
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) or prose_commands(page)])
def test_what_the_page_shows_works(page: str, reader: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page)
    for name in GIVEN.get(page, ()):
        shutil.copy("talk.mp4", name)
    if page in INSIDE:
        shutil.copytree(INSIDE[page], Path.cwd(), dirs_exist_ok=True)
    for block in found:
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
    if page in PACKAGES:
        name, other, title = PACKAGES[page]
        Path(name).mkdir()
        source = next(block.text for block in blocks(other) if block.title == title)
        Path(name, "plugin.py").write_text(source, encoding="utf-8")
        reader.syspath_prepend(Path.cwd())
    values: dict[str, Any] = {"__name__": "a_page"}
    for block in found:
        if block.language == "bash":
            for command in commands(block):
                run(command, reader, capsys)
        elif block.language == "python":
            run_python(block, values)
        elif block.language == "yaml":
            read_yaml(block)
        elif block.language == "toml":
            tomllib.loads(block.text)
        else:
            assert block.language == "text", f"{page}: no test knows what to do with ```{block.language}"
    shown = all_commands()
    for command in prose_commands(page):
        if not any(other.is_begun_by(command) for other in shown):
            run(command, reader, capsys)


def run(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As a reader would, with the exit code that the page announces; what it is to write is there afterwards."""
    if command.text in UNRUNNABLE:
        UNRUNNABLE[command.text].check(command, patch, capsys)
        return
    program = Path(command.words[0]).name
    assert program in ("retalkit", "python", "pytest"), (
        f"{command.page}: `{command.text}` must run, or stand in UNRUNNABLE"
    )
    if program == "retalkit":
        done = call(capsys, *command.words[1:])
        code, out, err = done.code, done.out, done.err
    else:
        # Not the installed `pytest`: it must be that of these tests.
        before = ["-m", "pytest", "-p", "no:cacheprovider"] if program == "pytest" else []
        process = subprocess.run(
            [sys.executable, *before, *command.words[1:]],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        code, out, err = process.returncode, process.stdout, process.stderr
        assert program != "pytest" or code or re.search(r"\b[1-9]\d* passed\b", out), f"{command.text}: {out}"
    assert code == command.code, f"{command.page}: `{command.text}` ended with {code}: {err}"
    if command.into:
        Path(command.into).write_text(out, encoding="utf-8")
    for option, value in zip(command.words, command.words[1:], strict=False):
        if option in OUTPUTS:
            assert Path(value).exists() == (code == 0), f"{command.page}: `{command.text}` and {value}"


def run_python(block: Block, values: dict[str, Any]) -> None:
    """A script is run, and the tests and functions in it; a plugin is found, and what it offers can be built."""
    before = set(values)
    is_plugin = "@hookimpl" in block.text
    exec(compile(block.text, block.page, "exec"), values)
    for name in set(values) - before:
        if name.startswith("test_"):
            values[name]()
        elif inspect.isfunction(values[name]) and values[name].__module__ == values["__name__"] and not is_plugin:
            assert name in CALLS, f"{block.page}: no test calls {name}()"
            CALLS[name](values[name])
    if is_plugin:
        file = Path(block.title or "a_plugin.py")
        file.write_text(block.text, encoding="utf-8")
        registry = discover([file])
        offered = [*registry.stages, *registry.metrics]
        for found in [one for one in offered if one.package == str(file)]:
            found.spec.make(found.spec.config()) if hasattr(found.spec, "config") else found.spec.make()


def analysed(video: str) -> Analysis:
    registry = discover()
    chosen = plan(RunConfig.from_preset(registry=registry), registry)
    return ClipSteps(chosen, Cache(default_folder()), SilentObserver()).analyse(Path(video))


def call_widest_open(widest_open: Callable[[Any], tuple[Any, int] | None]) -> None:
    """On a clip that talks, and on one without a face."""
    analysis = analysed("talk.mp4")
    found = widest_open(analysis)
    assert found is not None
    frame, index = found
    openings = analysis.landmarks(0, analysis.source.info.frame_count)[:, [13, 14], :2]
    assert index == np.linalg.norm(openings[:, 0] - openings[:, 1], axis=1).argmax()
    assert (frame.shape[2], frame.dtype) == (3, np.uint8)
    faceless = SimpleNamespace(
        source=SimpleNamespace(info=SimpleNamespace(frame_count=4)),
        landmark_scheme="mesh478",
        landmarks=lambda start, stop: np.full((stop - start, 478, 3), np.nan, np.float32),
    )
    assert widest_open(faceless) is None


def call_count_frames(count_frames: Callable[[Any, StageContext], int]) -> None:
    """Every report reaches the observer."""
    observer = create_autospec(SilentObserver, instance=True)
    context = StageContext(cache=Folder(Path("scratch")), observer=observer)
    count = count_frames(analysed("talk.mp4"), context)
    assert [name for name, _, _ in observer.method_calls] == ["started", *["advanced"] * count, "finished", "note"]


CALLS = {"count_frames": call_count_frames, "widest_open": call_widest_open}
"""Function that a page shows outside a plugin -> what calls it."""


def read_yaml(block: Block) -> None:
    """A comparison file names clips; anything else is a run file."""
    file = Path(block.title or "comparison.yaml")
    registry = discover([Path("my_lips.py")] if Path("my_lips.py").exists() else [])
    file.write_text(block.text, encoding="utf-8")
    if "clips" in yaml.safe_load(block.text):
        read_comparison(file, registry)
        return
    config = load(registry, file=file)
    if all(availability(registry.find(kind, choice.use)) is None for kind, _, choice in config.choices):
        plan(config, registry)


def test_every_exception_is_still_needed() -> None:
    typed = {command.text for command in (*all_commands(), *(one for page in PAGES for one in prose_commands(page)))}
    assert set(UNRUNNABLE) <= typed, f"no document says any more: {sorted(set(UNRUNNABLE) - typed)}"
    assert all(stand.reason for stand in UNRUNNABLE.values())
