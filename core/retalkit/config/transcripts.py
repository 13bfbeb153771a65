"""Overrides that add a transcript to the driver of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retalkit.config.model import RunConfig, read_options
from retalkit.errors import ConfigError
from retalkit.plugins.registry import Registry
from retalkit.stages import StageKind


def transcript_overrides(
    config: RunConfig, registry: Registry, options: Mapping[str, str]
) -> list[tuple[str, Any, str]]:
    """Return the overrides that add ``options`` to the driver options of the configured lip syncer.

    Raises ConfigError if the lip syncer uses no driver.
    """
    if not options:
        return []
    flag = f"--{next(iter(options))}"
    found = registry.find(StageKind.LIP_SYNCER, config.lip_syncer.use)
    drivers = read_options(found, config.lip_syncer).drivers()
    if not drivers:
        raise ConfigError(
            f"{flag}: {found.label} uses no driver; select a lip syncer with a driver, such as lip_syncer.use=exemplar",
            code="missing-driver",
        )
    name, choice = next(iter(drivers.items()))
    return [(f"lip_syncer.{name}", {"use": choice.use, **choice.options, **options}, flag)]
