"""Import rules: the order of packages, and what fast commands do not import."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CORE = REPOSITORY / "core" / "retalkit"
PLUGINS = REPOSITORY / "plugins"
TRAINING = REPOSITORY / "training"

HEAVY = ("torch", "mediapipe", "cv2", "scipy", "av", "jax", "matplotlib", "skimage", "numpy", "rich")
"""Slow to import, and not needed to list what is installed."""


@cache
def imports(file: Path) -> list[str]:
    """Return the full names of the modules that a file imports anywhere."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def offenders(folder: Path, forbidden: tuple[str, ...], *, leave: str = "") -> list[str]:
    return [
        f"{file.relative_to(REPOSITORY)} imports {name}"
        for file in sorted(folder.rglob("*.py"))
        if not leave or leave not in file.parts
        for name in imports(file)
        if any(name == start or name.startswith(start + ".") for start in forbidden)
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["plugins"],
        ["dub", "--help"],
        ["config", "show"],
        ["config", "schema"],
        ["evaluate"],
        ["weights", "list"],
    ],
)
def test_fast_commands_import_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom retalkit.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_stages_of_a_run_import_no_unused_library() -> None:
    modules = [
        "retalkit.pipeline.run",
        "retalkit_detectors.mediapipe_mesh",
        "retalkit_reconstructors.shallow",
        "retalkit_denoisers.adaptive",
        "retalkit_renderers.editors.neutral_warp",
        "retalkit_renderers.exemplar.syncer",
        "retalkit_renderers.speech_to_mouth.model",
        "retalkit_enhancers.detail",
    ]
    unused = {"scipy", "skimage", "matplotlib", "sounddevice", "pyrnnoise", "jinja2", "httpx", "torch"}
    script = f"import sys, {', '.join(modules)}\nprint({unused} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["train", "--help"], ["train", "syncnet", "--help"]])
def test_listing_of_training_commands_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    info = tmp_path / "training_entry-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: training-entry\nVersion: 1\n", encoding="utf-8")
    entry = "[retalkit]\ntraining_test = retalkit_training.plugin\n"
    (info / "entry_points.txt").write_text(entry, encoding="utf-8")
    if arguments[0] == "train" and find_spec("accelerate") is None:
        pytest.skip("training needs the extra: pip install 'retalkit[train]'")
    script = (
        "import sys\nfrom retalkit.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('LOADED', sorted(set({(*HEAVY, 'accelerate')!r}) & set(sys.modules)))"
    )
    path = os.pathsep.join([str(tmp_path), str(TRAINING), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_cli_leaves_all_cores_to_networks() -> None:
    pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

    def threads(before: str) -> str:
        script = f"{before}\nimport torch\nprint(torch.get_num_threads())"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    inside = (
        "import sys\nfrom retalkit.cli.main import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    pass"
    )
    assert threads(inside) == threads("")


def lint(*arguments: str, core: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the contracts of pyproject.toml; ``core`` replaces the directory of the core package."""
    folders = [core or CORE.parent, *(folder.parent for folder in PLUGINS.glob("*/retalkit_*")), TRAINING]
    program = "import sys\nfrom importlinter.cli import lint_imports_command\nlint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", *arguments, str(REPOSITORY / "pyproject.toml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
    )


def test_import_contracts_are_kept() -> None:
    done = lint()
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("media/muxing.py", "import retalkit.pipeline.run", "layers"),
        ("stages.py", "from retalkit.plugins import specs", "layers"),
        ("pipeline/plan.py", "from retalkit.pipeline import run", "acyclic"),
        ("speech/noise.py", "if False:\n    import retalkit_renderers", "no-bundled-plugins"),
    ],
)
def test_import_contracts_detect_an_added_import(tmp_path: Path, file: str, line: str, contract: str) -> None:
    shutil.copytree(CORE, tmp_path / "retalkit", ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "retalkit" / file
    changed.write_text(changed.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    done = lint("--contract", contract, core=tmp_path)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout


def test_core_root_is_small() -> None:
    assert len(list(CORE.glob("*.py"))) <= 10


def test_only_few_modules_of_the_core_import_torch() -> None:
    assert offenders(CORE, ("mediapipe", "pyrnnoise", "noisereduce")) == []
    users = {text.split()[0].removeprefix("core/retalkit/") for text in offenders(CORE, ("torch", "safetensors"))}
    assert {user for user in users if not user.startswith("inference")} == {
        "pipeline/devices.py",
        "weights/load.py",
        "weights/store.py",
    }


def test_only_the_cli_imports_terminal_libraries() -> None:
    assert offenders(CORE, ("typer", "rich", "argparse"), leave="cli") == []
    assert offenders(PLUGINS, ("typer", "rich", "argparse")) == []


def test_plugins_import_no_private_module() -> None:
    private = [
        f"{file.relative_to(REPOSITORY)} imports {module}"
        for file in sorted(PLUGINS.rglob("*.py"))
        for module in imports(file)
        if module.split(".")[0] == "retalkit" and any(part.startswith("_") for part in module.split("."))
    ]
    assert private == []
