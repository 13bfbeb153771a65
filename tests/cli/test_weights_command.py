"""``retalkit weights``, and the error of a run whose weights are missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import call
from tests.core.weights import file_server as web

torch = pytest.importorskip("torch", reason="checkpoints are read by torch: pip install 'retalkit[paper]'")

PLUGIN = """
from retalkit.plugins import StageSpec, hookimpl
from retalkit.stages import StageKind
from retalkit.weights.checkpoint import Checkpoint


@hookimpl
def retalkit_stages():
    return [StageSpec(kind=StageKind.ENHANCER, name="weighty", summary="for a test",
                      build=lambda config, runtime: config, licence="MIT", checkpoints=("tiny",), api=2)]


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


def test_checkpoint_is_imported_listed_and_verified(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(tmp_path)
    before = json.loads(call(capsys, "weights", "list", "--json", "--plugin", plugin).out)["weights"]
    tiny = next(row for row in before if row["name"] == "tiny")
    assert tiny["path"] is None and tiny["used_by"] == ["enhancer 'weighty'"]
    assert "tiny: two numbers; not installed" in call(capsys, "weights", "list", "--plugin", plugin).out

    assert call(capsys, "weights", "import", file, "--plugin", plugin).code == 0
    assert file.exists()
    assert "tiny: two numbers; installed" in call(capsys, "weights", "list", "--plugin", plugin).out
    assert "tiny: OK" in call(capsys, "weights", "verify", "--plugin", plugin).out
    stored = Path(call(capsys, "weights", "where", "tiny", "--plugin", plugin).out.strip())
    assert stored.is_file() and stored.is_relative_to(tmp_path / "home")

    again = call(capsys, "weights", "import", file, "--plugin", plugin)
    assert again.code == 2 and "--force" in again.error
    assert call(capsys, "weights", "import", file, "--force", "--plugin", plugin).code == 0

    stored.write_bytes(b"damaged")
    done = call(capsys, "weights", "verify", "--plugin", plugin)
    assert done.code == 2 and "modified since it was imported" in done.error


def test_file_with_an_unknown_name_requires_the_as_option(
    plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = published(tmp_path).rename(tmp_path / "other.bin")
    done = call(capsys, "weights", "import", file, "--plugin", plugin)
    assert done.code == 2 and "--as NAME" in done.error
    done = call(capsys, "weights", "import", file, "--as", "tinny", "--plugin", plugin)
    assert done.code == 2 and "did you mean 'tiny'" in done.error
    assert call(capsys, "weights", "import", file, "--as", "tiny", "--plugin", plugin).code == 0


def test_run_without_weights_names_file_size_licence_and_commands(
    plugin: Path, tmp_path: Path, moving_head: Path, short_speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    run = tmp_path / "run.yaml"
    run.write_text("enhancers:\n  - {use: weighty}\n", encoding="utf-8")
    done = call(capsys, "dub", moving_head, short_speech, "-o", output, "-c", run, "--plugin", plugin)
    assert done.code == 2
    for part in ("enhancer 'weighty'", "Tiny.pth", "2 MB", "MIT", "retalkit weights pull tiny"):
        assert part in done.error
    for part in ("retalkit weights import Tiny.pth --as tiny", "https://example.org/Tiny.pth"):
        assert part in done.error
    assert not output.exists()
    listed = call(capsys, "plugins", "--kind", "enhancer", "--plugin", plugin).out
    assert "needs the weights tiny" in listed and "`retalkit weights pull tiny`" in listed


# ---------------------------------------------------------------------- pull


@pytest.fixture
def server(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[web.FileServer]:
    """A local server with the file at the URL that the plugin declares."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "RETALKIT_MIRRORS", "RETALKIT_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    content = published(tmp_path).read_bytes()
    with web.serving(content) as files:
        text = PLUGIN.replace("https://example.org", files.address).replace("2_000_000", str(len(content)))
        plugin.write_text(text, encoding="utf-8")
        yield files


def test_pull_prints_the_licence_first_and_installs_the_file(
    server: web.FileServer, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "weights", "pull", "tiny", "--plugin", plugin)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "tiny: Tiny.pth, 1 kB, licence: MIT; commercial use: not stated"
    assert lines[1] == f"tiny: {tmp_path / 'home' / 'weights' / 'tiny.safetensors'}"
    assert "SHA-256" in lines[2] and "lock.json" in lines[2]
    assert "download tiny: 1 MB in" in done.err and f"{server.address}/Tiny.pth" in done.err
    assert "tiny: OK" in call(capsys, "weights", "verify", "--plugin", plugin).out

    assert "tiny: already installed" in call(capsys, "weights", "pull", "tiny", "--plugin", plugin).out
    assert len(server.paths) == 1


def test_pull_without_names_is_an_error(
    server: web.FileServer, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "weights", "pull", "--plugin", plugin)
    assert done.code == 2
    for part in ("tiny", "s3fd", "--preset NAME", "--all"):
        assert part in done.error
    assert "did you mean 'tiny'" in call(capsys, "weights", "pull", "tinny", "--plugin", plugin).error
    assert "did you mean 'paper'" in call(capsys, "weights", "pull", "--preset", "papr", "--plugin", plugin).error
    assert server.paths == []


def test_pull_of_a_preset_installs_the_weights_of_its_stages(
    server: web.FileServer, plugin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from retalkit.config import RunConfig

    enhancers = [{"use": "weighty"}]
    monkeypatch.setattr(
        RunConfig,
        "from_preset",
        lambda name, registry: RunConfig.model_validate(
            {
                "detector": "mediapipe",
                "reconstructor": "shallow",
                "expression_editor": "first_frame",
                "denoiser": "none",
                "lip_syncer": "exemplar",
                "enhancers": enhancers,
            }
        ),
    )
    done = call(capsys, "weights", "pull", "--preset", "embedded", "--plugin", plugin)
    assert done.code == 0 and "tiny.safetensors" in done.out
    assert server.paths == ["/Tiny.pth"]


def test_file_that_differs_from_the_pin_requires_accept_new(
    server: web.FileServer, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "weights", "pull", "tiny", "-q", "--plugin", plugin).code == 0
    torch.save({"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)}, tmp_path / "Tiny.pth")
    (tmp_path / "home" / "weights" / "tiny.safetensors").unlink()
    server.content = (tmp_path / "Tiny.pth").read_bytes()
    for command in (["pull", "tiny"], ["import", tmp_path / "Tiny.pth"]):
        done = call(capsys, "weights", *command, "--plugin", plugin)
        assert done.code == 2 and "--accept-new" in done.error
        assert "tiny: two numbers; not installed" in call(capsys, "weights", "list", "--plugin", plugin).out
    # --force repeats a download, for example after damage. It does not accept a different file.
    assert call(capsys, "weights", "pull", "tiny", "--force", "--plugin", plugin).code == 2
    done = call(capsys, "weights", "pull", "tiny", "--accept-new", "--plugin", plugin)
    assert done.code == 0 and "replaced" in done.out and "lock.json" in done.out


def test_failed_pull_is_one_line_and_the_other_files_are_installed(
    server: web.FileServer, plugin: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.responses = [web.fail(404)]
    text = plugin.read_text(encoding="utf-8")
    second = text[text.index("[Checkpoint(") + 1 : text.rindex("]")].replace('name="tiny"', 'name="second"')
    plugin.write_text(text[: text.rindex("]")] + f", {second}]\n", encoding="utf-8")
    done = call(capsys, "weights", "pull", "tiny", "second", "--plugin", plugin)
    assert done.code == 2
    assert "tiny was not downloaded" in done.error and "HTTP 404 Not Found" in done.error
    assert "second.safetensors" in done.out

    monkeypatch.setenv("RETALKIT_OFFLINE", "1")
    done = call(capsys, "weights", "pull", "tiny", "--plugin", plugin)
    assert done.code == 2 and "RETALKIT_OFFLINE is set" in done.error
    assert len(server.paths) == 2


def test_published_archive_is_imported_by_its_member(
    server: web.FileServer, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import zipfile

    text = plugin.read_text(encoding="utf-8").replace('/Tiny.pth"', '/All.zip#Tiny.pth"')
    plugin.write_text(text, encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "All.zip", "w") as archive:
        archive.write(tmp_path / "Tiny.pth", "folder/Tiny.pth")
    done = call(capsys, "weights", "import", tmp_path / "All.zip", "--as", "tiny", "--plugin", plugin)
    assert done.code == 0 and "tiny.safetensors" in done.out


def test_httpx_is_imported_only_by_pull(plugin: Path) -> None:
    for arguments in (["--help"], ["weights", "list", "--plugin", str(plugin)]):
        code = (
            "import sys\nfrom retalkit.cli.main import main\n"
            f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
            "assert 'httpx' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
