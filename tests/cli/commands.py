"""Run the command line in the test process, as the console script does."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from retalkit.cli.main import main


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The single error line of a failed command."""
        lines = [line for line in self.err.splitlines() if line.startswith("retalkit: ")]
        assert len(lines) == 1, self.err
        # The other faults of a list are indented below the error line.
        assert [line for line in self.err.splitlines() if not line.startswith("  ")][-1] == lines[0]
        return lines[0]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Done:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Done(int(end.value.code or 0), captured.out, captured.err)
