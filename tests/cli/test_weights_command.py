"""``retalkit weights``, and what a run says when weights are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import call

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

PLUGIN = """
from retalkit.plugins import StageSpec, hookimpl
from retalkit.stages import StageKind
from retalkit.weights.declarations import Checkpoint


@hookimpl
def retalkit_stages():
    return [StageSpec(kind=StageKind.ENHANCER, name="weighty", summary="for a test", build=lambda config: config,
                      licence="MIT", checkpoints=("tiny",))]


@hookimpl
def retalkit_checkpoints():
    return [Checkpoint(name="tiny", summary="two numbers", file="Tiny.pth", urls=("https://example.org/Tiny.pth",),
                       licence="MIT", commercial_use=None, size=2_000_000,
                       shapes="tests.core.weights.tiny_network:shapes")]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path / "home"))
    path = tmp_path / "weighty.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


def published(folder: Path) -> Path:
    file = folder / "Tiny.pth"
    torch.save({"layer.weight": torch.ones(2, 3), "layer.bias": torch.zeros(2)}, file)
    return file


def test_a_checkpoint_comes_in_is_listed_and_verified(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(tmp_path)
    before = json.loads(call(capsys, "weights", "list", "--json", "--plugin", plugin).out)["weights"]
    tiny = next(row for row in before if row["name"] == "tiny")
    assert tiny["path"] is None and tiny["used_by"] == ["enhancer 'weighty'"]
    assert "tiny: two numbers; not there" in call(capsys, "weights", "list", "--plugin", plugin).out

    assert call(capsys, "weights", "import", file, "--plugin", plugin).code == 0
    assert file.exists()
    assert "tiny: two numbers; there" in call(capsys, "weights", "list", "--plugin", plugin).out
    assert "tiny: good" in call(capsys, "weights", "verify", "--plugin", plugin).out
    kept = Path(call(capsys, "weights", "where", "tiny", "--plugin", plugin).out.strip())
    assert kept.is_file() and kept.is_relative_to(tmp_path / "home")

    again = call(capsys, "weights", "import", file, "--plugin", plugin)
    assert again.code == 2 and "--force" in again.error
    assert call(capsys, "weights", "import", file, "--force", "--plugin", plugin).code == 0

    kept.write_bytes(b"damaged")
    done = call(capsys, "weights", "verify", "--plugin", plugin)
    assert done.code == 2 and "not what was put in" in done.error


def test_a_file_of_another_name_has_to_be_named(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(tmp_path).rename(tmp_path / "other.bin")
    done = call(capsys, "weights", "import", file, "--plugin", plugin)
    assert done.code == 2 and "--as NAME" in done.error
    done = call(capsys, "weights", "import", file, "--as", "tinny", "--plugin", plugin)
    assert done.code == 2 and "did you mean 'tiny'" in done.error
    assert call(capsys, "weights", "import", file, "--as", "tiny", "--plugin", plugin).code == 0


def test_a_run_without_its_weights_says_which_how_large_and_how_to_get_them(
    plugin: Path, tmp_path: Path, moving_head: Path, short_speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    run = tmp_path / "run.yaml"
    run.write_text("enhancers:\n  - {use: weighty}\n", encoding="utf-8")
    done = call(capsys, "dub", moving_head, short_speech, "-o", output, "-c", run, "--plugin", plugin)
    assert done.code == 2
    for part in ("enhancer 'weighty'", "Tiny.pth", "2 MB", "MIT", "retalkit weights import Tiny.pth --as tiny"):
        assert part in done.error
    assert not output.exists()
    listed = call(capsys, "plugins", "--kind", "enhancer", "--plugin", plugin).out
    assert "needs the weights tiny: see `retalkit weights list`" in listed
