"""Obsolete run file keys and their replacements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from retalkit.errors import ConfigError

_MOVED = {"quietest_speech": "voice_activity.quietest_speech"}


def check_former_keys(data: dict[str, Any], origin: Callable[[Sequence[str | int]], str]) -> None:
    """Raise ConfigError (code ``former-key``) if the run file was written for Retalkit 0.1.

    ``data`` is the result of merging the layers. ``origin`` returns the source of the value at a path, such as
    ``run.yaml:3``.
    """
    for old, new in _MOVED.items():
        if old in data:
            group, _, key = new.partition(".")
            raise ConfigError(
                f"{origin((old,))}: {old}: this key of Retalkit 0.1 is now {new}: "
                f"write `{group}: {{{key}: {data[old]}}}`",
                code="former-key",
            )
    enhancers = data.get("enhancers")
    for number, entry in enumerate(cast("list[Any]", enhancers) if isinstance(enhancers, list) else []):
        if isinstance(entry, dict) and cast("dict[str, Any]", entry).get("on") == "reference":
            use = cast("dict[str, Any]", entry).get("use", "NAME")
            key_path = ("enhancers", number, "on")
            raise ConfigError(
                f"{origin(key_path)}: enhancers.{number}.on: 'reference' was an option of Retalkit 0.1: move the entry "
                f"to `reference_enhancers: [{{use: {use}}}]`, without `on`",
                code="former-key",
            )
