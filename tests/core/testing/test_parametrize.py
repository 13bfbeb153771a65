"""``parametrize_with_checks``: one test per stage and check, expected failures, one examination per stage."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from retalkit import testing
from retalkit.plugins import StageSpec
from retalkit.stages import StageKind
from retalkit.testing import parametrize, parametrize_with_checks

from tests.core.testing.toys import Denoises, faulty, spec_of

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).resolve().parents[3]
VALID_DENOISER = spec_of(StageKind.DENOISER, Denoises)


@parametrize_with_checks([VALID_DENOISER])
def test_decorated_test_receives_each_check(check: testing.ContractCheck) -> None:
    check()


def named_checks(*specs: StageSpec, **arguments: Any) -> dict[str, Any]:
    """Return id -> parameter."""
    return {parameter.id: parameter for parameter in parametrize_with_checks(specs, **arguments).args[1]}


def test_every_check_of_a_stage_has_a_test() -> None:
    assert list(named_checks(VALID_DENOISER)) == [f"denoiser 'toy': {n}" for n in testing.check_names(VALID_DENOISER)]


def test_checks_of_a_stage_share_one_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def check_stage(spec: Any, *, options: Any = None) -> testing.Report:
        calls.append((spec, options))
        return testing.Report("denoiser 'toy'", passed=testing.check_names(VALID_DENOISER))

    monkeypatch.setattr(parametrize, "check_stage", check_stage)
    for parameter in named_checks(VALID_DENOISER, options={"toy": {"strength": 1}}).values():
        parameter.values[0]()
    assert calls == [(VALID_DENOISER, {"strength": 1})]


def test_only_the_broken_check_fails_and_later_ones_are_skipped() -> None:
    checks = named_checks(spec_of(StageKind.DENOISER, faulty(Denoises, finish=lambda self: [])))
    with pytest.raises(AssertionError, match=r"finish\(\) has type list, expected an array") as caught:
        checks["denoiser 'toy': result"].values[0]()
    assert "memory" not in str(caught.value)
    checks["denoiser 'toy': spec"].values[0]()
    with pytest.raises(pytest.skip.Exception, match="fix `result` first"):
        checks["denoiser 'toy': memory"].values[0]()


def test_unavailable_stage_is_skipped_with_the_reason() -> None:
    checks = named_checks(spec_of(StageKind.DENOISER, Denoises, requires=("no_such_package",)))
    checks["denoiser 'toy': spec"].values[0]()
    with pytest.raises(pytest.skip.Exception, match="no_such_package"):
        checks["denoiser 'toy': result"].values[0]()


def test_problem_of_an_unlisted_check_fails_the_spec_check(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = testing.Problem("new_check", "something is wrong", "a contract")
    monkeypatch.setattr(
        parametrize, "check_stage", lambda spec, options: testing.Report("toy", (problem,), passed=("spec",))
    )
    with pytest.raises(AssertionError, match="new_check: something is wrong"):
        named_checks(VALID_DENOISER)["denoiser 'toy': spec"].values[0]()


def test_unknown_expected_failure_raises() -> None:
    with pytest.raises(ValueError, match=r"no check 'chunk' \(did you mean 'chunks'\?\)"):
        parametrize_with_checks([VALID_DENOISER], expected_failures={"chunk": "reason"})


def test_expected_failures_are_strict(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)]))
    pytester.makepyfile(
        """
        import numpy as np
        from retalkit.stages import StageKind
        from retalkit.testing import parametrize_with_checks
        from tests.core.testing.toys import Denoises, faulty, spec_of

        loud = faulty(Denoises, denoise=lambda self, w: w + np.float32(0.01))
        SPECS = [spec_of(StageKind.DENOISER, loud, name="loud"), spec_of(StageKind.DENOISER, Denoises, name="toy")]

        def expected(spec):
            return {"silence": "adds noise"} if spec.name == "loud" else {"short": "fails for one sample"}

        @parametrize_with_checks(SPECS, expected_failures=expected)
        def test_contract(check):
            check()
        """
    )
    result = pytester.runpytest_subprocess("-rxfX", "-p", "no:cacheprovider")
    names = len(testing.check_names(VALID_DENOISER))
    result.assert_outcomes(passed=2 * names - 2, xfailed=1, failed=1)
    result.stdout.fnmatch_lines(["XFAIL *denoiser 'loud': silence* - adds noise"])
    result.stdout.fnmatch_lines(["*XPASS(strict)*fails for one sample*"])
