"""Discovery: valid plugins are found, invalid ones are reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from retalkit.errors import ConfigError, PluginError
from retalkit.plugins.availability import availability
from retalkit.plugins.discovery import discover
from retalkit.stages import CONTRACT_VERSIONS, ContractVersion, StageKind

from tests.core.plugin_packages import good_source, install, problem_of

NEXT_VERSION = CONTRACT_VERSIONS["enhancer"].current + 1


def test_bundled_stages_are_found() -> None:
    registry = discover()
    assert registry.problems == []
    assert {kind: bool(registry.of_kind(kind)) for kind in StageKind} == dict.fromkeys(StageKind, True)
    assert {found.package for found in registry.stages} == {"retalkit"}


def test_third_party_package_is_found_with_its_version(site: Path) -> None:
    install(site, "shiny-faces", good_source(), version="2.1")
    found = discover().find(StageKind.ENHANCER, "polish")
    assert (found.package, found.package_version, found.entry_point) == ("shiny-faces", "2.1", "stages")
    assert found.spec.make(found.spec.config(strength=0.5)).strength == 0.5


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("raise RuntimeError('first line\\nsecond line')", "RuntimeError: first line second line"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        (good_source(extra="no_such_field=1,"), "TypeError"),
        (good_source(name="Not A Name"), "'Not A Name'"),
        (good_source().replace("StageKind.ENHANCER", "'enhancr'"), "unknown stage kind; did you mean 'enhancer'?"),
        (good_source().replace("strength", "use"), "an option named 'use'"),
        (good_source().replace("config=Options", "config=dict"), "not a subclass of StageConfig"),
        (
            "from retalkit.plugins import hookimpl\n@hookimpl\ndef retalkit_stages():\n    yield 'a string'",
            "offers str, expected StageSpec",
        ),
        (
            "from retalkit.plugins import hookimpl\n@hookimpl\ndef retalkit_stage():\n    return []",
            "did you mean 'retalkit_stages'?",
        ),
    ],
)
def test_broken_plugin_is_reported_in_one_line_and_others_still_load(site: Path, source: str, reason: str) -> None:
    install(site, "broken-faces", source)
    install(site, "good-faces", good_source(name="fine"))
    registry = discover()
    assert reason in problem_of(registry, "broken-faces")
    assert all("\n" not in problem.reason for problem in registry.problems)
    assert registry.find(StageKind.ENHANCER, "fine").package == "good-faces"
    assert registry.of_kind(StageKind.DETECTOR)


def test_reason_names_the_line_of_the_plugin(site: Path) -> None:
    install(site, "broken-faces", "x = 1\nraise RuntimeError('bad')")
    assert problem_of(discover(), "broken-faces").endswith("broken_faces.py, line 2)")


def test_hook_that_fails_half_way_disables_only_its_plugin(site: Path) -> None:
    source = (
        good_source()
        + "\ngood = retalkit_stages\n\n@hookimpl\ndef retalkit_stages():\n    yield from good()\n    1 / 0\n"
    )
    install(site, "half-faces", source)
    registry = discover()
    assert "ZeroDivisionError" in problem_of(registry, "half-faces")
    assert registry.of_kind(StageKind.DETECTOR)


def test_name_offered_by_two_packages_requires_the_package(site: Path) -> None:
    install(site, "one-faces", good_source())
    install(site, "two-faces", good_source())
    registry = discover()
    with pytest.raises(
        PluginError, match=r"one-faces and two-faces both offer enhancer 'polish'.*use: one-faces:polish"
    ) as error:
        registry.find(StageKind.ENHANCER, "polish")
    assert error.value.code == "ambiguous-stage"
    assert registry.find(StageKind.ENHANCER, "two-faces:polish").package == "two-faces"
    assert registry.find(StageKind.ENHANCER, "Two_Faces:polish").package == "two-faces"
    assert {"one-faces:polish", "two-faces:polish"} <= set(registry.names(StageKind.ENHANCER))


def test_name_offered_twice_by_one_package_is_reported(site: Path) -> None:
    source = good_source().replace("    ]\n", "    ] * 2\n")
    install(site, "twice-faces", source)
    registry = discover()
    assert "twice" in problem_of(registry, "twice-faces")
    assert registry.find(StageKind.ENHANCER, "polish").package == "twice-faces"


def test_stage_of_another_contract_version_is_listed_but_cannot_run(site: Path) -> None:
    install(site, "future-faces", good_source(extra=f"api={NEXT_VERSION},"))
    registry = discover()
    found = next(found for found in registry.stages if found.spec.name == "polish")
    assert f"version {NEXT_VERSION}" in (availability(found) or "")
    with pytest.raises(PluginError, match="future-faces cannot run") as error:
        registry.find(StageKind.ENHANCER, "polish")
    assert error.value.code == "incompatible-version"


def test_unknown_name_suggests_the_closest_match() -> None:
    with pytest.raises(ConfigError, match="lip_syncer 'exmplar'; did you mean 'exemplar'") as error:
        discover().find(StageKind.LIP_SYNCER, "exmplar")
    assert error.value.code == "unknown-stage"


def test_missing_module_makes_a_stage_unavailable_without_importing_it(site: Path) -> None:
    install(site, "heavy-faces", good_source(extra="requires=('json', 'not_there_at_all'),"))
    found = discover().find(StageKind.ENHANCER, "polish")
    assert availability(found) == "needs the Python package not_there_at_all"


def test_plugin_file_without_a_package_is_found(tmp_path: Path) -> None:
    file = tmp_path / "my_stage.py"
    file.write_text(good_source(name="mine"), encoding="utf-8")
    first = discover([file]).find(StageKind.ENHANCER, "mine")
    assert first.package == str(file)
    file.write_text(good_source(name="mine") + "\n# changed\n", encoding="utf-8")
    assert discover([file]).find(StageKind.ENHANCER, "mine").package_version != first.package_version
    assert not any(found.spec.name == "mine" for found in discover().stages)


@pytest.mark.parametrize(
    ("source", "reason"),
    [(None, "not found"), ("1 / 0", "ZeroDivisionError"), ("", "offers nothing")],
)
def test_invalid_plugin_file_is_an_error(tmp_path: Path, source: str | None, reason: str) -> None:
    file = tmp_path / "my_stage.py"
    if source is not None:
        file.write_text(source, encoding="utf-8")
    with pytest.raises(PluginError, match=reason):
        discover([file])


DRIVERS = """
from retalkit.plugins import DriverSpec, hookimpl
from retalkit.stages import CONTRACT_VERSIONS

@hookimpl
def retalkit_drivers():
    return [DriverSpec(name="{name}", summary="A driver.", build=lambda config, runtime: "built",
                       api=CONTRACT_VERSIONS["driver"].current), {more}]
"""


def test_drivers_are_found_through_their_hook(site: Path) -> None:
    install(site, "other-mouths", DRIVERS.format(name="other", more=""))
    registry = discover()
    assert registry.problems == []
    assert [found.spec.name for found in registry.drivers] == ["other", "model", "bands", "file"]
    assert registry.driver("other").spec.make() == "built"
    with pytest.raises(ConfigError, match="driver 'bnds'; did you mean 'bands'") as error:
        registry.driver("bnds")
    assert error.value.code == "unknown-driver"


def test_invalid_driver_is_reported(site: Path) -> None:
    install(site, "other-mouths", DRIVERS.format(name="bands", more="'a string'"))
    registry = discover()
    reasons = [problem.reason for problem in registry.problems]
    assert any("offers str, expected DriverSpec" in reason for reason in reasons)
    assert any("offers the driver 'bands', which another plugin offers" in reason for reason in reasons)
    assert [found.spec.name for found in registry.drivers].count("bands") == 1


CHECKPOINTS = """
from retalkit.plugins import hookimpl
from retalkit.weights.checkpoint import Checkpoint




@hookimpl
def retalkit_checkpoints():
    names = ["good", "../outside", "lock", "good"]
    return [
        Checkpoint(name=name, summary="", file="x.pth", urls=(), licence="MIT", commercial_use=None, shapes="a:b")
        for name in names
    ]
"""


def test_invalid_checkpoint_names_are_reported(site: Path) -> None:
    install(site, "weighty-plugin", CHECKPOINTS)
    registry = discover()
    assert registry.checkpoint("good").file == "x.pth"
    assert not {"../outside", "lock"} & {checkpoint.name for checkpoint in registry.checkpoints}
    reasons = [problem.reason for problem in registry.problems]
    assert any("'../outside'" in reason for reason in reasons) and any("'lock'" in reason for reason in reasons)
    assert any("another plugin declares" in reason for reason in reasons)


def test_accepted_range_of_contract_versions(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current = CONTRACT_VERSIONS["enhancer"].current
    install(site, "older-faces", good_source("older", extra=f"api={current - 1},"))
    assert not is_usable("older")
    wider = {**CONTRACT_VERSIONS, "enhancer": ContractVersion(current=current, oldest=current - 1)}
    monkeypatch.setattr("retalkit.plugins.specs.CONTRACT_VERSIONS", wider)
    assert is_usable("older")


def is_usable(name: str) -> bool:
    registry = discover()
    found = next(found for found in registry.stages if found.spec.name == name)
    return availability(found) is None
