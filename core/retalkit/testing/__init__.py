"""Testing kit for plugin authors, which checks stages and metrics against their contracts.

``parametrize_with_checks`` generates one test per stage and check. ``check_stage(spec)`` and ``check_metric(spec)`` run
all checks and return a report. The pytest option ``--retalkit-stages`` checks installed stages and metrics. See
docs/testing-kit.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retalkit.testing.checks.metrics import check_metric
    from retalkit.testing.checks.names import check_names
    from retalkit.testing.parametrize import ContractCheck, parametrize_with_checks
    from retalkit.testing.report import Problem, Report, SkippedCheck
    from retalkit.testing.stage_checks import (
        check_denoiser,
        check_detector,
        check_enhancer,
        check_expression_editor,
        check_lip_syncer,
        check_reconstructor,
        check_stage,
    )

__all__ = [
    "ContractCheck",
    "Problem",
    "Report",
    "SkippedCheck",
    "check_denoiser",
    "check_detector",
    "check_enhancer",
    "check_expression_editor",
    "check_lip_syncer",
    "check_metric",
    "check_names",
    "check_reconstructor",
    "check_stage",
    "parametrize_with_checks",
]

# Modules are imported lazily because pytest imports this package at startup to register the option.
_MODULES = {
    "ContractCheck": "parametrize",
    "Problem": "report",
    "Report": "report",
    "SkippedCheck": "report",
    "check_metric": "checks.metrics",
    "check_names": "checks.names",
    "parametrize_with_checks": "parametrize",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'retalkit.testing' has no attribute '{name}'")
    return getattr(import_module(f"retalkit.testing.{_MODULES.get(name, 'stage_checks')}"), name)
