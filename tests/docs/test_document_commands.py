"""Tests that run every documented command in a temporary directory with sample files.

Commands that cannot run in a test are listed in ``unrunnable.py`` with the reason and an alternative check.
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
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
import yaml
from retalkit.batch.jobs_file import read_jobs
from retalkit.comparison.spec import read_comparison
from retalkit.config import RunConfig, load
from retalkit.cues.faults import Faults
from retalkit.cues.sheet_file import read_sheet
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.availability import availability
from retalkit.plugins.discovery import discover
from retalkit.stages import Analysis, StageContext
from retalkit.storage.cache import Cache, Folder, default_folder

from tests.cli.commands import call
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
from tests.docs.sample_files import write_sample_files
from tests.docs.unrunnable import UNRUNNABLE

EXISTING_FILES = {"docs/compare.md": ("dubbed.mp4",)}
"""Mapping from pages to the output files of other pages that the page's commands require."""
PACKAGES = {"docs/testing-kit.md": ("my_package", "README.md", "louder.py")}
"""Mapping from pages to the package that the page imports.

The package is specified by its name, and by the page and title of the code block that contains its code.
"""
WORKING_FOLDERS = {EXAMPLE_PAGE: (REPOSITORY / EXAMPLE_PAGE).parent}
"""Mapping from pages to a directory whose files are copied to the page's working directory."""
OUTPUT_OPTIONS = ("-o", "--output")
SLOW_PAGES = (
    "docs/tutorials/write-a-lip-syncer.md",
    "docs/tutorials/compare-two-variants.md",
    "docs/tutorials/train-on-your-footage.md",
    "docs/index.md",
    "docs/batch.md",
)
"""Pages that run a comparison of several variants or train networks, or whose commands other pages run as well."""


@pytest.fixture(scope="session")
def clips(moving_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the directory with the sample videos and audio files. All pages share one cache."""
    folder = tmp_path_factory.mktemp("documents")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETALKIT_CACHE", str(tmp_path_factory.mktemp("documents_cache")))
        write_sample_files(
            folder, moving_head, REPOSITORY / "examples" / "speech.wav", tmp_path_factory.mktemp("making")
        )
        yield folder


@pytest.fixture
def working_folder(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Change to a temporary directory with copies of the sample files.

    Modules that are imported from this directory are unloaded afterwards.
    """
    shutil.copytree(clips, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield monkeypatch
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page in SLOW_PAGES else [])
        for page in PAGES
        if blocks(page) or prose_commands(page)
    ],
)
def test_page_runs(page: str, working_folder: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks(page)
    for name in EXISTING_FILES.get(page, ()):
        shutil.copy("talk.mp4", name)
    if page in WORKING_FOLDERS:
        shutil.copytree(WORKING_FOLDERS[page], Path.cwd(), dirs_exist_ok=True)
    for block in found:
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
    if page in PACKAGES:
        name, other, title = PACKAGES[page]
        Path(name).mkdir()
        source = next(block.text for block in blocks(other) if block.title == title)
        Path(name, "plugin.py").write_text(source, encoding="utf-8")
        working_folder.syspath_prepend(Path.cwd())
    values: dict[str, Any] = {"__name__": "a_page"}
    for block in found:
        if block.language == "bash":
            for command in commands(block):
                run(command, working_folder, capsys)
        elif block.language == "python":
            run_python(block, values)
        elif block.language == "yaml":
            read_yaml(block)
        elif block.language == "toml":
            tomllib.loads(block.text)
        else:
            assert block.language == "text", f"{page}: unknown code block language {block.language!r}"
    shown = all_commands()
    for command in prose_commands(page):
        if not any(other.starts_with(command) for other in shown):
            run(command, working_folder, capsys)


def run(command: Command, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command, and check its exit code and output files."""
    if command.text in UNRUNNABLE:
        UNRUNNABLE[command.text].check(command, patch, capsys)
        return
    program = Path(command.words[0]).name
    assert program in ("retalkit", "python", "pytest"), (
        f"{command.page}: tests cannot run `{command.text}`; add the command to UNRUNNABLE"
    )
    if program == "retalkit":
        done = call(capsys, *command.words[1:])
        code, out, err = done.code, done.out, done.err
    else:
        # Run pytest with the current Python interpreter.
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
    assert code == command.exit_code, f"{command.page}: `{command.text}` exited with {code}: {err}"
    if command.output_file:
        Path(command.output_file).write_text(out, encoding="utf-8")
    for option, value in zip(command.words, command.words[1:], strict=False):
        if option in OUTPUT_OPTIONS:
            # A placeholder such as {language} stands for any text.
            value = next(map(str, Path().glob(re.sub(r"\{[a-z.]+\}", "*", value))), value)
            assert Path(value).exists() == (code == 0), f"{command.page}: `{command.text}` and {value}"


def run_python(block: Block, values: dict[str, Any]) -> None:
    """Execute a Python block.

    If the block is a plugin, build the plugin's stages and metrics. Otherwise, call the functions that the block
    defines. Tests are called in both cases.
    """
    before = set(values)
    is_plugin = "@hookimpl" in block.text
    exec(compile(block.text, block.page, "exec"), values)
    for name in set(values) - before:
        if name.startswith("test_"):
            run_test(values[name])
        elif inspect.isfunction(values[name]) and values[name].__module__ == values["__name__"] and not is_plugin:
            assert name in CALLS, f"{block.page}: function {name}() is not listed in CALLS"
            CALLS[name](values[name])
    if is_plugin:
        file = Path(block.title or "a_plugin.py")
        file.write_text(block.text, encoding="utf-8")
        registry = discover([file])
        offered = [*registry.stages, *registry.metrics]
        for found in [one for one in offered if one.package == str(file)]:
            found.spec.make(found.spec.config()) if hasattr(found.spec, "config") else found.spec.make()


def run_test(function: Callable[..., None]) -> None:
    """Call a test function. Call a parametrised test once per parameter set that has no marks such as ``xfail``."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        function()
    for parameter in marks[0].args[1] if marks else ():
        if not parameter.marks:
            with suppress(pytest.skip.Exception):
                function(*parameter.values)


def analyse(video: str) -> Analysis:
    registry = discover()
    chosen = plan(RunConfig.from_preset(registry=registry), registry)
    return ClipSteps(chosen, Cache(default_folder()), SilentObserver()).analyse(Path(video))


def call_widest_open(widest_open: Callable[[Any], tuple[Any, int] | None]) -> None:
    """Call ``widest_open`` for a clip with a face and for a clip without a face, and check the results."""
    analysis = analyse("talk.mp4")
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
    """Call ``count_frames`` and check the progress events that the observer receives."""
    observer = create_autospec(SilentObserver, instance=True)
    context = StageContext(cache=Folder(Path("scratch")), observer=observer)
    count = count_frames(analyse("talk.mp4"), context)
    assert [name for name, _, _ in observer.method_calls] == ["started", *["advanced"] * count, "finished", "note"]


def call_later(function: Callable[..., None]) -> None:
    """Call nothing: tests/web calls the function with a running server."""


CALLS = {"count_frames": call_count_frames, "dub_on_server": call_later, "widest_open": call_widest_open}
"""Mapping from functions that pages define outside plugins to the test code that calls these functions."""


def read_yaml(block: Block) -> None:
    """Validate a block with the title ``train.yaml`` as a training file, as a comparison file if it contains ``clips``,
    as a cue sheet if it contains ``cues``, as a job list if it contains ``jobs``, and otherwise as a run file."""
    file = Path(block.title or "comparison.yaml")
    registry = discover([Path("my_lips.py")] if Path("my_lips.py").exists() else [])
    file.write_text(block.text, encoding="utf-8")
    if file.name == "train.yaml":
        pytest.importorskip("torch", reason="training needs the extra: pip install 'retalkit[train]'")
        from retalkit_training.tasks.reading import read_config

        read_config("lnet", file)
        return
    if "clips" in yaml.safe_load(block.text):
        read_comparison(file, registry)
        return
    if "cues" in yaml.safe_load(block.text):
        read_sheet(file)
        return
    if "jobs" in yaml.safe_load(block.text):
        faults = Faults()
        read_jobs(file, faults)
        faults.check()
        return
    config = load(registry, file=file)
    if all(availability(registry.find(kind, choice.use)) is None for kind, _, choice in config.choices):
        plan(config, registry)


def test_unrunnable_commands_are_still_documented() -> None:
    documented = {
        command.text for command in (*all_commands(), *(one for page in PAGES for one in prose_commands(page)))
    }
    assert set(UNRUNNABLE) <= documented, f"no longer documented: {sorted(set(UNRUNNABLE) - documented)}"
    assert all(alternative.reason for alternative in UNRUNNABLE.values())
