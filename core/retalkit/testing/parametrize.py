"""One test per stage and check. All checks of a stage share one examination, which the first of them runs."""

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
"""Name of a check -> why it is expected to fail."""


class ContractCheck:
    """One check of one stage or metric. Calling it fails or skips the test as the check does."""

    def __init__(self, examination: SharedExamination, name: str) -> None:
        self._examination = examination
        self.name = name

    @property
    def spec(self) -> StageSpec | MetricSpec:
        """The checked spec."""
        return self._examination.spec

    @property
    def report(self) -> Report:
        """The report of all checks of the stage or metric. The first access runs them."""
        return self._examination.report

    def __call__(self) -> None:
        """Raise AssertionError with the problems of the check; skip the test if the check could not run."""
        __tracebackhide__ = True  # pytest shows the text instead of these lines
        report = self._examination.report
        own = report.only(self.name)
        problems = own.problems
        if self.name == "spec":
            # Problems of a check without its own test are reported here.
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
        return f"not run, because of a problem in `{first}`" if first else "not applicable with these options"


class SharedExamination:
    """The examination of one stage or metric, which runs at the first access of ``report``."""

    def __init__(self, spec: AnySpec, options: Options | None = None) -> None:
        self.spec = spec.spec if isinstance(spec, FoundStage | FoundMetric) else spec
        self.label = f"{getattr(self.spec, 'kind', 'metric')} '{self.spec.name}'"
        self.names = check_names(self.spec)
        self._checked = spec
        self._options = options
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """The report of all checks."""
        if self._report is None:
            if isinstance(self._checked, MetricSpec | FoundMetric):
                self._report = check_metric(self._checked)
            else:
                self._report = check_stage(self._checked, options=self._options)
        return self._report

    def checks(self) -> list[ContractCheck]:
        """Return all checks, in the order in which they run."""
        return [ContractCheck(self, name) for name in self.names]

    def unknown_check(self, expected: ExpectedFailures) -> str:
        """Describe the first name in ``expected`` that is not a check, else empty."""
        for name in expected:
            if name not in self.names:
                close = difflib.get_close_matches(name, self.names, n=1)
                hint = f" (did you mean '{close[0]}'?)" if close else ""
                return f"{self.label} has no check '{name}'{hint}; checks: {', '.join(self.names)}"
        return ""


def parametrize_with_checks(
    specs: Iterable[AnySpec],
    *,
    options: Mapping[str, Options] | None = None,
    expected_failures: ExpectedFailures | Callable[[Any], ExpectedFailures] | None = None,
) -> pytest.MarkDecorator:
    """Parametrize a test function with one ``check`` per stage or metric and check.

    ::

        @parametrize_with_checks(retalkit_stages(), expected_failures={"seed": "uses a library with its own seed"})
        def test_contract(check):
            check()

    ``options``: name of a stage -> its options. ``expected_failures``: name of a check -> why it fails, or a function
    that returns this for a spec. The test of such a check is reported as xfail, and as failed if it passes. Raises
    ValueError for an unknown check.
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
    """Return the strict xfail mark of an expected failure."""
    return [pytest.mark.xfail(strict=True, reason=expected[name], raises=AssertionError)] if name in expected else []
