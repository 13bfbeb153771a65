"""Validation of what plugins offer: invalid specs are reported and not registered."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from retalkit.plugins.discovery import discover
from retalkit.plugins.validation import YAML_WORDS, name_error
from retalkit.stages import CONTRACT_VERSIONS, StageKind

from tests.core.plugin_packages import good_source, install, problem_of

NEXT_VERSION = CONTRACT_VERSIONS["enhancer"].current + 1

STAGE = """
from retalkit.plugins import StageSpec, hookimpl
from retalkit.stages import CONTRACT_VERSIONS, StageKind

@hookimpl
def retalkit_stages():
    values = dict(kind=StageKind.ENHANCER, name="other", summary="", build="a:b", licence="MIT",
                  api=CONTRACT_VERSIONS["enhancer"].current)
    return [StageSpec(**{**values, CHANGES})]
"""
DRIVER = """
from retalkit.plugins import DriverSpec, hookimpl
from retalkit.stages import CONTRACT_VERSIONS

@hookimpl
def retalkit_drivers():
    values = dict(name="other", summary="", build="a:b", api=CONTRACT_VERSIONS["driver"].current)
    return [DriverSpec(**{**values, CHANGES})]
"""
CHECKPOINT = """
from retalkit.plugins import hookimpl
from retalkit.weights.checkpoint import Checkpoint

@hookimpl
def retalkit_checkpoints():
    values = dict(name="other", summary="", file="x.pth", urls=(), licence="", commercial_use=None, shapes="a:b")
    return [Checkpoint(**{**values, CHANGES})]
"""
METRIC = """
from retalkit.metrics import Measure, MetricSpec
from retalkit.plugins import hookimpl



@hookimpl
def retalkit_metrics():
    measure = Measure(**{"name": "other", "title": "other", "direction": "higher", "low": 0, MEASURE})
    values = dict(name="other", summary="", measures=(measure,), build="a:b", source="")
    return [MetricSpec(**{**values, CHANGES})]
"""
SOURCES = {
    "stage": STAGE,
    "driver": DRIVER,
    "checkpoint": CHECKPOINT,
    "metric": METRIC.replace("MEASURE", ""),
    "measure": METRIC.replace("CHANGES", "").replace("MEASURE", "CHANGES"),
}


def source_of(kind: str, changes: str = "") -> str:
    """Return a plugin module that offers one spec named other, with ``changes`` in the syntax of a dictionary."""
    return SOURCES[kind].replace("CHANGES", changes)


def is_offered(kind: str) -> bool:
    registry = discover()
    names = {
        "stage": [found.spec.name for found in registry.stages],
        "driver": [found.spec.name for found in registry.drivers],
        "checkpoint": [checkpoint.name for checkpoint in registry.checkpoints],
    }
    return "other" in names.get(kind, [found.spec.name for found in registry.metrics])


@pytest.mark.parametrize("kind", SOURCES)
def test_valid_spec_is_registered(site: Path, kind: str) -> None:
    install(site, "typed-faces", source_of(kind))
    assert discover().problems == []
    assert is_offered(kind)


@pytest.mark.parametrize(
    ("kind", "field", "value", "reason"),
    [
        ("stage", "licence", "None", "offers the enhancer 'other', with licence=None, expected str"),
        ("stage", "needs", "['face:edit']", "with needs=['face:edit'], expected frozenset[str]"),
        ("stage", "gives", "'face:edit'", "with gives='face:edit', expected frozenset[str]"),
        ("stage", "requires", "'torch'", "with requires='torch', expected tuple[str, ...]"),
        ("stage", "checkpoints", "(1,)", "with checkpoints=(1,), expected tuple[str, ...]"),
        ("stage", "version", "2", "with version=2, expected str"),
        ("stage", "api", "'1'", "with api='1', expected int"),
        ("stage", "install", "'x' * 100 and [0] * 100", "with install=[0, 0, 0"),
        ("driver", "summary", "None", "offers the driver 'other', with summary=None, expected str"),
        ("driver", "build", "7", "with build=7, expected str | Callable[[Any, Runtime], SpeechToMouth]"),
        ("driver", "name", "'Other'", "offers a driver named 'Other': names must begin with"),
        (
            "checkpoint",
            "urls",
            "'https://x.org'",
            "declares the checkpoint 'other', with urls='https://x.org', expected",
        ),
        ("checkpoint", "size", "'7'", "with size='7', expected int | None"),
        ("checkpoint", "name", "None", "declares a checkpoint named None: names must begin with"),
        ("metric", "needs", "{'frames'}", "offers the metric 'other', with needs={'frames'}, expected frozenset[str]"),
        ("metric", "measures", "['other']", "with measures=['other'], expected tuple[Measure, ...]"),
        ("measure", "direction", "'up'", "with the measure 'other', with direction='up', expected Direction"),
        ("measure", "low", "'0'", "with low='0', expected float"),
    ],
)
def test_field_of_the_wrong_type_is_reported_and_others_still_load(
    site: Path, kind: str, field: str, value: str, reason: str
) -> None:
    install(site, "typed-faces", source_of(kind, f"{field!r}: {value}"))
    registry = discover()
    assert reason in problem_of(registry, "typed-faces")
    assert not is_offered(kind)
    assert registry.of_kind(StageKind.DETECTOR)


def test_kind_given_as_a_string_gets_a_hint(site: Path) -> None:
    install(site, "typed-faces", good_source().replace("StageKind.ENHANCER", "'enhancer'"))
    assert problem_of(discover(), "typed-faces").endswith("unknown stage kind; use StageKind.ENHANCER")


@pytest.mark.parametrize("kind", ["driver", "checkpoint", "metric"])
def test_incompatible_contract_version_is_rejected(site: Path, kind: str) -> None:
    install(site, "future-faces", source_of(kind, f"'api': {NEXT_VERSION}"))
    assert f"'other', made for version {NEXT_VERSION} of the" in problem_of(discover(), "future-faces")
    assert not is_offered(kind)


def test_incompatible_contract_version_is_reported_before_wrong_types(site: Path) -> None:
    install(site, "future-faces", source_of("stage", f"'api': {NEXT_VERSION}, 'needs': ['face:edit']"))
    reason = problem_of(discover(), "future-faces")
    assert reason.startswith(f"offers the enhancer 'other', made for version {NEXT_VERSION} of the enhancer contract")


def test_hook_that_returns_none_is_reported(site: Path) -> None:
    install(site, "silent-faces", source_of("stage").replace("return [", "["))
    assert problem_of(discover(), "silent-faces") == "retalkit_stages returned None, expected a list"


@pytest.mark.parametrize("name", sorted(YAML_WORDS))
def test_name_that_yaml_does_not_read_as_a_string_is_rejected(site: Path, name: str) -> None:
    install(site, "worded-faces", good_source(name=name))
    registry = discover()
    assert f"offers a stage named '{name}': YAML" in problem_of(registry, "worded-faces")
    assert not any(found.spec.name == name for found in registry.stages)


def test_reserved_words_are_those_of_yaml() -> None:
    others = ("y", "n", "none", "nan", "inf", "e5", "nil", "void", "detail", "x1", "true_color")
    for word in (*YAML_WORDS, *others):
        assert (yaml.safe_load(word) != word) == (word in YAML_WORDS) == (name_error(word) is not None), word
