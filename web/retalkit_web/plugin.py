"""Command ``retalkit web``.

This module is imported whenever commands are listed, so it must not import gradio.
"""

from __future__ import annotations

from retalkit.plugins import CommandSpec, hookimpl


@hookimpl
def retalkit_commands() -> list[CommandSpec]:
    """Return the command ``web``."""
    return [
        CommandSpec(
            name="web",
            summary="Serve the web page, on this machine by default.",
            application="retalkit_web.commands:application",
            requires=("gradio",),
            install="retalkit[web]",
        )
    ]
