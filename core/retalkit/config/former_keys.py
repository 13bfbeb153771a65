"""Obsolete run file keys and their replacements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from retalkit.errors import ConfigError


def check_former_keys(data: dict[str, Any], origin: Callable[[Sequence[str | int]], str]) -> None:
    """Raise ConfigError (code ``former-key``) if the run file was written for Retalkit 0.1.

    ``data`` is the result of merging the layers. ``origin`` returns the source of the value at a path, such as
    ``run.yaml:3``.
    """
    if "quietest_speech" in data:
        raise ConfigError(
            f"{origin(('quietest_speech',))}: quietest_speech: voice_activity.quietest_speech replaces this key of "
            "Retalkit 0.1, in LU relative to the loudness of the speech instead of dBFS; delete the key, or write "
            "`voice_activity: {quietest_speech: -28}`",
            code="former-key",
        )
    lip_syncer = data.get("lip_syncer")
    if isinstance(lip_syncer, dict) and "motion" in lip_syncer:
        options = cast("dict[str, Any]", lip_syncer)
        if str(options.get("use", "")).rpartition(":")[2] == "exemplar":
            raise ConfigError(
                f"{origin(('lip_syncer', 'motion'))}: lip_syncer.motion: the driver `file` replaces this option of "
                f"Retalkit 0.1; write `driver: {{use: file, path: {options['motion']}}}`",
                code="former-key",
            )
    enhancers = data.get("enhancers")
    for number, entry in enumerate(cast("list[Any]", enhancers) if isinstance(enhancers, list) else []):
        if isinstance(entry, dict) and cast("dict[str, Any]", entry).get("on") == "reference":
            use = cast("dict[str, Any]", entry).get("use", "NAME")
            key_path = ("enhancers", number, "on")
            raise ConfigError(
                f"{origin(key_path)}: enhancers.{number}.on: 'reference' was an option of Retalkit 0.1; move the entry "
                f"to `reference_enhancers: [{{use: {use}}}]`, without `on`",
                code="former-key",
            )
