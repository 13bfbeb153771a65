"""The pytest plugin: ``pytest --retalkit-stages`` checks every stage and metric that is installed.

Light, since pytest loads it at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from retalkit.testing.fixtures.kit_material import Material

_OPTION = "--retalkit-stages"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    group = parser.getgroup("retalkit", "Retalkit")
    group.addoption(
        _OPTION,
        nargs="?",
        const="",
        default=None,
        metavar="NAME,...",
        help="check every installed stage and metric of Retalkit against its contract, or those named only "
        f"({_OPTION}=mine,theirs)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Adds one test item for each stage and metric, and a failing one for each plugin that cannot be used."""
    wanted: str | None = session.config.getoption(_OPTION)
    if wanted is None:
        return
    from retalkit.plugins.discovery import discover

    registry = discover()
    offered = [*registry.stages, *registry.metrics]
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if unknown := sorted(set(names) - {found.spec.name for found in offered}):
        # Why a name is not there stands in the problem that speaks of it; else any of them may be why.
        speaking = [problem for problem in registry.problems if f"'{unknown[0]}'" in problem.reason]
        why = "".join(f"; {problem.owner}: {problem.reason}" for problem in speaking or registry.problems)
        raise pytest.UsageError(
            f"{_OPTION}: no stage or metric is named '{unknown[0]}' (`retalkit plugins` lists them; folders of tests "
            f"stand before the option){why}"
        )
    for found in offered:
        if not names or found.spec.name in names:
            kind = getattr(found.spec, "kind", "metric")
            items.append(KitItem.from_parent(session, name=f"retalkit[{kind}-{found.spec.name}]", found=found))
    for problem in registry.problems if not names else ():
        name = f"retalkit[plugin-{problem.owner}]"
        items.append(ProblemItem.from_parent(session, name=name, reason=f"{problem.owner}: {problem.reason}"))


class ProblemItem(pytest.Item):
    """Fails: something of an installed plugin cannot be used."""

    def __init__(self, *, reason: str, **others: Any) -> None:
        super().__init__(**others)
        self.reason = reason

    def runtest(self) -> None:
        """Fails with the reason."""
        raise AssertionError(self.reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | Any:
        """The reason instead of a traceback."""
        return self.reason

    def reportinfo(self) -> tuple[str, int | None, str]:
        """What the list of failures calls it."""
        return ("retalkit", None, self.name)


class KitItem(pytest.Item):
    """Checks one stage or metric."""

    def __init__(self, *, found: Any, **others: Any) -> None:
        super().__init__(**others)
        self.found = found

    def runtest(self) -> None:
        """Fails with the words of the report; skips what cannot run here."""
        from retalkit.plugins.registry import FoundStage
        from retalkit.testing import check_metric, check_stage

        report = check_stage(self.found) if isinstance(self.found, FoundStage) else check_metric(self.found)
        self.add_report_section("call", "retalkit", str(report))
        report.raise_if_broken()
        if report.unavailable:
            pytest.skip(report.unavailable)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | Any:
        """The report's words instead of a traceback."""
        if isinstance(excinfo.value, AssertionError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, int | None, str]:
        """What the list of failures calls it."""
        return ("retalkit", None, self.name)


@pytest.fixture(scope="session")
def retalkit_material() -> Material:
    """Pictures and sound for tests of a plugin, made without any download."""
    from retalkit.testing.fixtures.kit_material import Material

    return Material()
