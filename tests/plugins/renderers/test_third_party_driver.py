"""The lip syncer ``exemplar`` with a driver from a third-party plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import retalkit
from jsonschema import Draft202012Validator
from retalkit.config import RunConfig, effective, load
from retalkit.config.schema import json_schema
from retalkit.errors import ConfigError, PlanError
from retalkit.pipeline.plan import plan, plan_driver
from retalkit.plugins import DriverChoice
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import Registry
from retalkit.stages import StageKind
from retalkit.testing import check_stage

WAVE = """
from pathlib import Path

import numpy as np
from retalkit.plugins import DriverSpec, StageConfig, hookimpl
from retalkit.stages import MouthMotion


class WaveConfig(StageConfig):
    rate: float = 3.0
    table: Path | None = None
    network: bool = False

    def checkpoints(self):
        return ("wave_network",) if self.network else ()


class WaveDriver:
    def __init__(self, config, runtime):
        assert runtime.device == "cpu"
        self.rate = config.rate

    def motion(self, speech, times):
        rest = np.zeros(len(times), np.float32)
        opening = 0.5 + 0.5 * np.sin(self.rate * times)
        return MouthMotion(opening.astype(np.float32), rest, rest, rest, rest + 1)


@hookimpl
def retalkit_drivers():
    return [
        DriverSpec(name="wave", summary="a sine", build=WaveDriver, config=WaveConfig, api=2),
        DriverSpec(name="absent", summary="?", build=WaveDriver, api=2, requires=("no_such",), install="w[all]"),
    ]
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "wave_driver.py"
    path.write_text(WAVE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def registry(plugin: Path) -> Registry:
    found = discover([plugin])
    assert found.problems == []
    return found


def with_driver(registry: Registry, driver: str) -> RunConfig:
    return load(registry, overrides=[f"lip_syncer.driver={driver}"])


def lip_syncer_identity(registry: Registry, driver: str) -> dict[str, Any]:
    return plan(with_driver(registry, driver), registry).lip_syncer.identity()


def test_driver_moves_the_mouth_and_is_recorded(
    moving_head: Path, short_speech: Path, plugin: Path, registry: Registry, tmp_path: Path
) -> None:
    first, second = (
        retalkit.dub(
            moving_head,
            short_speech,
            tmp_path / f"{rate}.mp4",
            config=with_driver(registry, f"{{use: wave, rate: {rate}}}"),
            registry=registry,
            cache=tmp_path / "cache",
        )
        for rate in (6.0, 9.0)
    )
    for record, rate in ((first, 6.0), (second, 9.0)):
        with np.load(record.artefacts["mouth_plan"]) as stored:
            motion = np.sin(rate * stored["times"])
            assert np.corrcoef(stored["opening"], motion)[0, 1] > 0.95
        written = json.loads(record.record.read_text())
        assert written["configuration"]["lip_syncer"]["driver"] == {"use": "wave", "rate": rate}
        assert written["versions"][str(plugin)].startswith("sha256:")
    assert {"speech", "faces", "coefficients"} <= set(second.cached_steps)
    assert "lips" not in second.cached_steps


def test_driver_is_part_of_the_cache_key(plugin: Path, registry: Registry, tmp_path: Path) -> None:
    table = tmp_path / "table.bin"
    table.write_bytes(b"first")
    driver = f"{{use: wave, table: {table}}}"
    identity = lip_syncer_identity(registry, driver)
    assert identity["drivers"]["driver"]["name"] == "wave"
    assert identity == lip_syncer_identity(registry, driver)
    assert identity != lip_syncer_identity(registry, f"{{use: wave, rate: 4, table: {table}}}")
    assert identity != lip_syncer_identity(registry, "bands")
    table.write_bytes(b"other")
    assert identity != lip_syncer_identity(registry, driver)
    table.write_bytes(b"first")
    changed = tmp_path / plugin.name
    changed.write_text(WAVE.replace("0.5 + 0.5", "0.4 + 0.5"), encoding="utf-8")
    assert identity != lip_syncer_identity(discover([changed]), driver)


@pytest.mark.parametrize(
    ("lines", "code", "facts"),
    [
        ("use: wav", "unknown-driver", [":5: lip_syncer.driver.use: ", "'wav'", "'wave'"]),
        ("use: wave\n    speed: 2", "unknown-option", [":6: lip_syncer.driver.speed: ", "'wave'", "rate"]),
        ("use: wave\n    rate: fast", "invalid-option", [":6: lip_syncer.driver.rate: ", "number", "'fast'"]),
        ("rate: 2", "missing-option", [":4: lip_syncer.driver: ", "use: NAME"]),
    ],
)
def test_invalid_driver_names_the_line(
    registry: Registry, tmp_path: Path, lines: str, code: str, facts: list[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"preset: embedded\nlip_syncer:\n  use: exemplar\n  driver:\n    {lines}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(registry, file=file)
    message = str(error.value)
    assert [fact for fact in (str(file), *facts) if fact not in message] == []
    assert "\n" not in message
    assert error.value.code == code


def test_missing_package_of_a_driver_is_reported(registry: Registry) -> None:
    with pytest.raises(PlanError) as error:
        plan(with_driver(registry, "absent"), registry)
    assert error.value.code == "missing-package"
    facts = ("driver 'absent'", "no_such", "pip install 'w[all]'")
    assert [fact for fact in ("lip_syncer.driver: ", *facts) if fact not in str(error.value)] == []
    with pytest.raises(PlanError) as error:
        plan_driver(DriverChoice(use="absent"), registry, "--driver")
    assert error.value.code == "missing-package"
    assert [fact for fact in ("--driver: ", *facts) if fact not in str(error.value)] == []


def test_missing_weights_of_a_driver_are_reported(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETALKIT_HOME", str(tmp_path))
    with pytest.raises(PlanError) as error:
        plan(with_driver(registry, "{use: wave, network: true}"), registry)
    assert error.value.code == "missing-weights"
    assert "lip_syncer 'exemplar'" in str(error.value) and "wave_network" in str(error.value)
    with pytest.raises(PlanError) as error:
        plan_driver(DriverChoice(use="wave", network=True), registry, "--driver")
    assert error.value.code == "missing-weights"
    assert "driver 'wave'" in str(error.value) and "wave_network" in str(error.value)


def test_missing_file_of_a_driver_is_reported(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as error:
        plan(with_driver(registry, f"{{use: wave, table: {tmp_path / 'gone'}}}"), registry)
    assert error.value.code == "file-not-found"
    assert "lip_syncer.driver.table: " in str(error.value) and "gone" in str(error.value)


def test_schema_completes_drivers_and_their_options(registry: Registry) -> None:
    schema = Draft202012Validator(json_schema(registry))

    def accepts(driver: object) -> bool:
        return schema.is_valid({"lip_syncer": {"use": "exemplar", "driver": driver}})

    assert accepts("wave") and accepts({"use": "wave", "rate": 2.5}) and accepts({"use": "bands"})
    assert not accepts("wav") and not accepts({"use": "wave", "speed": 2}) and not accepts({"rate": 2.5})


def test_effective_configuration_shows_the_options_of_the_driver(registry: Registry) -> None:
    shown = effective(with_driver(registry, "wave"), registry)
    assert shown["lip_syncer"]["driver"] == {"use": "wave", "rate": 3.0, "table": None, "network": False}


def test_author_kit_reports_a_driver_that_is_not_installed(registry: Registry) -> None:
    stage = registry.find(StageKind.LIP_SYNCER, "exemplar")
    report = check_stage(stage, options={"driver": "wav"})
    assert "'wav'" in str(report)
