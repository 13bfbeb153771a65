"""Calls of ``retalkit train``."""

from __future__ import annotations

from retalkit_training.commands import application
from typer.main import get_command


def train(*arguments: object) -> None:
    """Run ``retalkit train`` without the error handling of ``retalkit``."""
    get_command(application())(args=[str(each) for each in arguments], standalone_mode=False)
