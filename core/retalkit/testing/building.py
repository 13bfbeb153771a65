"""Imports what makes a stage or a metric."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from retalkit.testing.examination import Examination, StopCheckError, one_line


def import_build(exam: Examination, build: Any, contract: str) -> None:
    """Imports what ``build`` names. Unwatched, so that what a package does when it is imported is not the stage's."""
    exam.module = build.partition(":")[0] if isinstance(build, str) else getattr(build, "__module__", "")
    if isinstance(build, str):
        try:
            import_module(exam.module)
        except (Exception, SystemExit) as error:
            exam.problem("build", f"importing {exam.module} raised {one_line(error, exam.module)}", contract)
            raise StopCheckError from error
