"""Which module may import which, and what the quick commands must leave alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
CORE = REPOSITORY / "core" / "retalkit"
PLUGINS = REPOSITORY / "plugins"

HEAVY = ("torch", "mediapipe", "cv2", "scipy", "av", "jax", "matplotlib", "skimage", "numpy", "rich")
"""Takes long to import and is not needed to say what there is."""


def imports(file: Path) -> Iterator[str]:
    """Full names of the modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom retalkit.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_the_command_line_leaves_all_cores_to_networks() -> None:
    pytest.importorskip("torch", reason="the published networks need the extra: pip install 'retalkit[paper]'")

    def threads(before: str) -> str:
        script = f"{before}\nimport torch\nprint(torch.get_num_threads())"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    inside = (
        "import sys\nfrom retalkit.cli.main import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    pass"
    )
    assert threads(inside) == threads("")


def test_the_core_imports_no_plugin_and_no_network_library() -> None:
    packages = tuple(folder.name for folder in PLUGINS.glob("*/retalkit_*"))
    assert len(packages) == 6
    assert offenders(CORE, (*packages, "mediapipe", "pyrnnoise", "noisereduce")) == []
    # Reading checkpoints and running networks is torch's work; nothing else knows it, and no quick command loads it.
    users = {text.split()[0] for text in offenders(CORE, ("torch", "safetensors"))}
    places = ("inference.py", "pipeline/plan.py", "weights/load.py", "weights/store.py")
    assert users == {f"core/retalkit/{place}" for place in places}


def test_only_the_command_line_knows_the_command_line() -> None:
    assert offenders(CORE, ("typer", "rich", "argparse"), leave="cli") == []
    assert [text for text in offenders(CORE, ("retalkit.cli",), leave="cli") if "__main__" not in text] == []
    assert offenders(PLUGINS, ("typer", "rich", "argparse", "retalkit.cli")) == []


def test_plugins_import_only_public_modules_of_the_core_and_not_each_other() -> None:
    names = [folder.name for folder in PLUGINS.glob("*/retalkit_*")]
    private = [
        f"{file.relative_to(REPOSITORY)} imports {module}"
        for file in sorted(PLUGINS.rglob("*.py"))
        for module in imports(file)
        if module.split(".")[0] == "retalkit" and any(part.startswith("_") for part in module.split("."))
    ]
    assert private == []
    for name in names:
        others = tuple(other for other in names if other != name)
        assert offenders(next(PLUGINS.glob(f"*/{name}")), others) == []
    assert offenders(PLUGINS, ("retalkit.pipeline.run", "retalkit.pipeline.plan", "retalkit.config")) == []
