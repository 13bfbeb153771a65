"""Finishers change the muxed file before it gets its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.errors import ConfigError, CredentialsError, OutputError, PlanError, RetalkitError, StageError
from retalkit.pipeline.plan import plan
from retalkit.plugins.discovery import discover
from retalkit.provenance.verification import State, verify

from tests.core.provenance.signing_samples import certificate

PLUGIN = """
import json
from retalkit.errors import RetalkitError
from retalkit.plugins import FinisherSpec, StageConfig, hookimpl

class Options(StageConfig):
    mark: str = "x"
    fault: str = ""

class Marker:
    def __init__(self, config):
        self.config = config
    def finish(self, source, target, run):
        if self.config.fault == "bug":
            raise KeyError("no such thing")
        if self.config.fault == "user":
            raise RetalkitError("the key is missing: create one", code="no-key")
        if self.config.fault == "nothing":
            return
        run.results["mark"] = self.config.mark
        run.sidecar(".srt").write_text(self.config.mark)
        facts = {"edited": run.record["frames_edited"], "output": run.output.name, "video": run.video.name}
        target.write_bytes(source.read_bytes() + (self.config.mark + json.dumps(facts)).encode())

@hookimpl
def retalkit_finishers():
    return [FinisherSpec(name="marker", summary="Appends a mark.", build=Marker, config=Options)]
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finisher") / "marker.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


def dub(plugin: Path, video: Path, speech: Path, output: Path, *overrides: str) -> retalkit.RunRecord:
    registry = discover([plugin])
    config = RunConfig.from_preset(registry=registry, overrides=["provenance.sign=false", *overrides])
    return retalkit.dub(video, speech, output, config=config, registry=registry, cache=plugin.parent / "cache")


def test_finishers_run_in_order_on_the_muxed_file(
    plugin: Path, moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    plain = dub(plugin, moving_head, short_speech, tmp_path / "plain.mp4")
    finished = dub(
        plugin,
        moving_head,
        short_speech,
        tmp_path / "out.mp4",
        "finishers=[{use: marker, mark: a}, {use: marker, mark: b}]",
    )
    assert "render" in finished.cached_steps
    content = finished.output.read_bytes()
    assert content.startswith(plain.output.read_bytes())
    first, second = content[plain.output.stat().st_size :].decode().removeprefix("a").split("b{")
    facts = json.loads(first)
    assert facts == {"edited": 50, "output": "out.mp4", "video": moving_head.name} == json.loads("{" + second)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["out.mp4", "out.mp4.json", "out.srt", "plain.mp4", "plain.mp4.json"]
    assert (tmp_path / "out.srt").read_text() == "b"
    stored = json.loads(finished.record.read_text())
    assert stored["finishers"] == {"marker": {"mark": "b"}}
    assert stored["notes"] == ["the output is not signed with Content Credentials because provenance.sign is false"]
    assert stored["configuration"]["provenance"]["sign"] is False
    assert verify(plain.output).state == State.NONE


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("bug", StageError, "stage-failed"),
        ("user", RetalkitError, "no-key"),
        ("nothing", RetalkitError, "finisher-failed"),
    ],
)
def test_failing_finisher_leaves_no_output(
    plugin: Path,
    moving_head: Path,
    short_speech: Path,
    tmp_path: Path,
    fault: str,
    error: type[RetalkitError | StageError],
    code: str,
) -> None:
    with pytest.raises(error) as raised:
        dub(plugin, moving_head, short_speech, tmp_path / "out.mp4", f"finishers=[{{use: marker, fault: {fault}}}]")
    assert raised.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_unsigned_run_does_not_remove_an_existing_sidecar(
    plugin: Path, moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    sidecar = tmp_path / "out.c2pa"
    sidecar.write_bytes(b"mine")
    with pytest.raises(OutputError) as error:
        dub(plugin, moving_head, short_speech, tmp_path / "out.mkv")
    assert error.value.code == "output-exists"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_label_and_signature_are_the_last_finishers(plugin: Path) -> None:
    registry = discover([plugin])
    config = RunConfig.from_preset(registry=registry, overrides=["finishers=[marker]", "label=AI dubbed"])
    names = [finisher.found.spec.name for finisher in plan(config, registry).finishers]
    assert names == ["marker", "label", "content_credentials"]
    config = RunConfig.from_preset(registry=registry, overrides=["finishers=[content_credentials]"])
    with pytest.raises(PlanError) as error:
        plan(config, registry)
    assert error.value.code == "misplaced-finisher"


def test_unusable_certificate_stops_the_run_before_work(
    plugin: Path, moving_head: Path, short_speech: Path, tmp_path: Path
) -> None:
    chain, key = certificate(tmp_path, days=-1)
    output = tmp_path / "output"
    output.mkdir()
    signing = [f"provenance={{certificate: {chain}, key: {key}}}"]
    config = RunConfig.from_preset(registry=discover(), overrides=signing)
    with pytest.raises(CredentialsError) as error:
        retalkit.dub(moving_head, short_speech, output / "out.mp4", config=config, cache=tmp_path / "cache")
    assert error.value.code == "expired-certificate"
    assert not (tmp_path / "cache").exists() and not list(output.iterdir())


@pytest.mark.parametrize(
    ("override", "fact"),
    [
        ("finishers=[markr]", "marker"),
        ("finishers=[{use: marker, mrak: a}]", "finishers.0.mrak"),
        ("provenance.certificate=chain.pem", "provenance"),
        ("provenance.time_stamp_authority=here", "provenance.time_stamp_authority"),
        ("label={}", "label"),
        ("label.size=2", "label.size"),
    ],
)
def test_invalid_finisher_is_rejected_before_work(plugin: Path, override: str, fact: str) -> None:
    registry = discover([plugin])
    with pytest.raises(ConfigError, match=fact):
        RunConfig.from_preset(registry=registry, overrides=[override])
