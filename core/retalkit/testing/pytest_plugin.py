"""pytest plugin. ``pytest --retalkit-stages`` checks installed stages and metrics.

pytest imports this module at every start, so this module must not import heavy packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from retalkit.plugins.registry import FoundMetric, FoundStage, Registry
    from retalkit.testing.fixtures.kit_material import Material

_OPTION = "--retalkit-stages"
_EXPECTED = "retalkit_expected_failures"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line option and the ini setting."""
    group = parser.getgroup("retalkit", "Retalkit")
    group.addoption(
        _OPTION,
        nargs="?",
        const="",
        default=None,
        metavar="NAME,...",
        help="run the contract checks of all installed Retalkit stages and metrics, with one test per stage and check; "
        f"pass names to select stages and metrics, such as {_OPTION}=mine,theirs",
    )
    parser.addini(
        _EXPECTED,
        f"expected failures of {_OPTION}, one per line, in the form KIND.NAME.CHECK: REASON",
        type="linelist",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add one item per stage and check, and one failing item for each plugin that cannot be used."""
    requested: str | None = session.config.getoption(_OPTION)
    if requested is None:
        return
    from retalkit.plugins.discovery import discover

    registry = discover()
    names = [name.strip() for name in requested.split(",") if name.strip()]
    expected = _expected_failures(session.config)
    for found in _selected(registry, names):
        items += _items_of(session, found, expected)
    if expected and not names:
        raise pytest.UsageError(f"{_EXPECTED}: no stage or metric is named '{next(iter(expected))}'")
    for problem in registry.problems if not names else ():
        name = f"plugin {problem.owner}"
        items.append(ProblemItem.from_parent(session, name=name, reason=f"{problem.owner}: {problem.reason}"))


def _expected_failures(config: pytest.Config) -> dict[str, dict[str, str]]:
    """Return the reasons for expected failures, by ``KIND.NAME`` and check name."""
    expected: dict[str, dict[str, str]] = {}
    for line in config.getini(_EXPECTED):
        path, separator, reason = line.partition(":")
        owner, _, check = path.strip().rpartition(".")
        if not separator or not reason.strip() or owner.count(".") != 1:
            raise pytest.UsageError(f"{_EXPECTED}: expected KIND.NAME.CHECK: REASON, got '{line}'")
        expected.setdefault(owner, {})[check] = reason.strip()
    return expected


def _selected(registry: Registry, names: list[str]) -> list[FoundStage | FoundMetric]:
    """Return the stages and metrics named in ``names``, or all stages and metrics if ``names`` is empty.

    Raises UsageError for an unknown name.
    """
    offered = [*registry.stages, *registry.metrics]
    if unknown := sorted(set(names) - {found.spec.name for found in offered}):
        # A problem that mentions the name is the likely cause. Otherwise, any recorded problem may be the cause.
        mentioned = [problem for problem in registry.problems if f"'{unknown[0]}'" in problem.reason]
        why = "".join(f"; {problem.owner}: {problem.reason}" for problem in mentioned or registry.problems)
        raise pytest.UsageError(
            f"{_OPTION}: no stage or metric is named '{unknown[0]}': run `retalkit plugins` for a list of names, and "
            f"pass test directories before the option{why}"
        )
    return [found for found in offered if not names or found.spec.name in names]


def _items_of(
    session: pytest.Session, found: FoundStage | FoundMetric, expected: dict[str, dict[str, str]]
) -> list[pytest.Item]:
    from retalkit.testing.parametrize import SharedExamination, expected_failure_marks

    examination = SharedExamination(found)
    own = expected.pop(f"{getattr(found.spec, 'kind', 'metric')}.{found.spec.name}", {})
    if unknown := examination.unknown_check(own):
        raise pytest.UsageError(f"{_EXPECTED}: {unknown}")
    items: list[pytest.Item] = []
    for check in examination.checks():
        item = CheckItem.from_parent(session, name=str(check), check=check)
        for mark in expected_failure_marks(check.name, own):
            item.add_marker(mark)
        items.append(item)
    return items


class ProblemItem(pytest.Item):
    """Test item that fails because an installed plugin or plugin component cannot be used."""

    def __init__(self, *, reason: str, **others: Any) -> None:
        super().__init__(**others)
        self.reason = reason

    def runtest(self) -> None:
        """Fail the test with the reason."""
        raise AssertionError(self.reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | Any:
        """Return the reason instead of a traceback."""
        return self.reason

    def reportinfo(self) -> tuple[str, int | None, str]:
        """Return the test name for the list of failures."""
        return ("retalkit", None, self.name)


class CheckItem(pytest.Item):
    """Test item for one check of a stage or metric."""

    def __init__(self, *, check: Any, **others: Any) -> None:
        super().__init__(**others)
        self.check = check

    def runtest(self) -> None:
        """Run the check. The test fails if the check found problems, and is skipped if the check could not run."""
        self.check()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | Any:
        """Return the problems instead of a traceback."""
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, int | None, str]:
        """Return the test name for the list of failures."""
        return ("retalkit", None, self.name)


@pytest.fixture(scope="session")
def retalkit_material() -> Material:
    """Provide images and audio for plugin tests. No download is required."""
    from retalkit.testing.fixtures.kit_material import Material

    return Material()
