"""The plugin author's kit: one call checks a stage or a metric against its contract and says in words what is broken.

``check_stage(spec)`` picks the kind; ``check_detector`` and its like insist on one. The pytest option
``--retalkit-stages`` checks everything that is installed. See docs/testing-kit.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retalkit.testing.checks.metrics import check_metric
    from retalkit.testing.report import Problem, Report, SkippedCheck
    from retalkit.testing.run_checks import (
        check_denoiser,
        check_detector,
        check_enhancer,
        check_expression_editor,
        check_lip_syncer,
        check_reconstructor,
        check_stage,
    )

__all__ = [
    "Problem",
    "Report",
    "SkippedCheck",
    "check_denoiser",
    "check_detector",
    "check_enhancer",
    "check_expression_editor",
    "check_lip_syncer",
    "check_metric",
    "check_reconstructor",
    "check_stage",
]

# Names are looked up on first use: pytest loads this package at every start, for its option.
_HOMES = {
    "Problem": "report",
    "Report": "report",
    "SkippedCheck": "report",
    "check_metric": "checks.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'retalkit.testing' has no attribute '{name}'")
    return getattr(import_module(f"retalkit.testing.{_HOMES.get(name, 'run_checks')}"), name)
