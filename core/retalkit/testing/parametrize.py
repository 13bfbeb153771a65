"""Generation of one test per stage and check.

All checks of a stage share one examination, which runs when the first check is called.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from retalkit.plugins.metric_specs import MetricSpec
from retalkit.plugins.registry import FoundMetric, FoundStage
from retalkit.plugins.specs import StageSpec
from retalkit.testing.checks.metrics import check_metric
from retalkit.testing.checks.names import check_names
from retalkit.testing.report import Report
from retalkit.testing.stage_checks import Options, check_stage

AnySpec = StageSpec | FoundStage | MetricSpec | FoundMetric
ExpectedFailures = Mapping[str, str]
"""Mapping from check name to the reason why the check is expected to fail."""


class ContractCheck:
    """Check of one stage or metric. Calling an instance raises the check's problems or skips the test."""

    def __init__(self, examination: SharedExamination, name: str) -> None:
        self._examination = examination
        self.name = name

    @property
    def spec(self) -> StageSpec | MetricSpec:
        """Spec of the stage or metric."""
        return self._examination.spec

    @property
    def report(self) -> Report:
        """Report with all checks of the stage or metric. The first access runs the checks."""
        return self._examination.report

    def __call__(self) -> None:
        """Raise AssertionError if the check found problems. Skip the test if the check could not run."""
        __tracebackhide__ = True  # pytest shows the message instead of these lines
        report = self._examination.report
        own = report.only(self.name)
        problems = own.problems
        if self.name == "spec":
            # Problems of checks without a test of their own are reported here.
            problems += tuple(one for one in report.problems if one.check not in self._examination.names)
        if problems:
            raise AssertionError(str(Report(report.label, problems)))
        if self.name not in report.passed:
            pytest.skip(self._skip_reason(report, own))

    def __str__(self) -> str:
        return f"{self._examination.label}: {self.name}"

    __repr__ = __str__

    def _skip_reason(self, report: Report, own: Report) -> str:
        if own.skipped:
            return own.skipped[0].reason
        if report.unavailable:
            return report.unavailable
        first = next((problem.check for problem in report.problems), "")
        return f"not run because of a problem in `{first}`" if first else "not applicable to these options"


class SharedExamination:
    """Shared examination of one stage or metric, which runs when ``report`` is first accessed."""

    def __init__(self, spec: AnySpec, options: Options | None = None) -> None:
        self.spec = spec.spec if isinstance(spec, FoundStage | FoundMetric) else spec
        self.label = f"{getattr(self.spec, 'kind', 'metric')} '{self.spec.name}'"
        self.names = check_names(self.spec)
        self._checked = spec
        self._options = options
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """Report with all checks."""
        if self._report is None:
            if isinstance(self._checked, MetricSpec | FoundMetric):
                self._report = check_metric(self._checked)
            else:
                self._report = check_stage(self._checked, options=self._options)
        return self._report

    def checks(self) -> list[ContractCheck]:
        """Return all checks, in execution order."""
        return [ContractCheck(self, name) for name in self.names]

    def unknown_check(self, expected: ExpectedFailures) -> str:
        """Return an error message for the first name in ``expected`` that is not a check, or an empty string."""
        for name in expected:
            if name not in self.names:
                close = difflib.get_close_matches(name, self.names, n=1)
                hint = f" (did you mean '{close[0]}'?)" if close else ""
                return f"{self.label} has no check '{name}'{hint}; available checks: {', '.join(self.names)}"
        return ""


def parametrize_with_checks(
    specs: Iterable[AnySpec],
    *,
    options: Mapping[str, Options] | None = None,
    expected_failures: ExpectedFailures | Callable[[Any], ExpectedFailures] | None = None,
) -> pytest.MarkDecorator:
    """Parametrize a test function with one ``check`` per combination of stage or metric and check.

    ::

        @parametrize_with_checks(retalkit_stages(), expected_failures={"seed": "uses a library with its own seed"})
        def test_contract(check):
            check()

    ``options`` maps stage names to stage options. ``expected_failures`` maps check names to the reasons why the checks
    are expected to fail. Alternatively, ``expected_failures`` is a function that returns such a mapping for a spec. The
    test of an expected failure is reported as xfail if the check fails, and as failed if the check passes. Raises
    ValueError if a check name is unknown.
    """
    parameters: list[Any] = []
    for spec in specs:
        examination = SharedExamination(spec)
        if options is not None and examination.spec.name in options:
            examination = SharedExamination(spec, options[examination.spec.name])
        expected = expected_failures(examination.spec) if callable(expected_failures) else expected_failures or {}
        if unknown := examination.unknown_check(expected):
            raise ValueError(unknown)
        parameters += [
            pytest.param(check, id=str(check), marks=expected_failure_marks(check.name, expected))
            for check in examination.checks()
        ]
    return pytest.mark.parametrize("check", parameters)


def expected_failure_marks(name: str, expected: ExpectedFailures) -> list[pytest.MarkDecorator]:
    """Return a strict xfail mark for an expected failure."""
    return [pytest.mark.xfail(strict=True, reason=expected[name], raises=AssertionError)] if name in expected else []
