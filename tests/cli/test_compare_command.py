"""``retalkit compare``: printed summary, output files and errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.commands import call
from tests.core.plugin_packages import install


@pytest.fixture(scope="module")
def comparison(talking_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("comparison") / "one.yaml"
    text = f"clips: {{head: {talking_head}}}\narms: [own]\nvariants: {{plain: {{enhancers.0: none}}}}\n"
    path.write_text(text + "metrics: [lips, cost, syncnet]\nreruns: 0\nseconds: 0.8\n", encoding="utf-8")
    return path


def test_summary_lists_the_outputs_and_a_second_call_is_cached(
    capsys: pytest.CaptureFixture[str], comparison: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("compare", comparison, "-o", out, "--cache", tmp_path / "cache")
    done = call(capsys, *options)
    assert done.code == 0, done.err
    assert "cells    2 done, 0 failed; 2 videos" in done.out
    for name in ("report.html", "blind.html", "cells.csv", "summary.csv", "contrasts.csv", "results.json"):
        assert (out / name).stat().st_size > 0, name
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    text = json.dumps(results)
    assert "retalkit weights pull" in text, "a metric without weights is reported"
    again = call(capsys, *options, "-j", 2)
    assert "all results were cached" in again.out
    assert call(capsys, *options, "-q").out == ""


def test_user_errors_are_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], comparison: Path, tmp_path: Path
) -> None:
    missing = call(capsys, "compare", tmp_path / "none.yaml", "-o", tmp_path / "out")
    assert missing.code == 2
    assert "none.yaml" in missing.error
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    full = call(capsys, "compare", comparison, "-o", tmp_path / "full")
    assert full.code == 2
    assert str(tmp_path / "full") in full.error
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert call(capsys, "compare", comparison).code == 2


BRIGHTNESS = """
from retalkit.metrics import FRAMES, Measure, MetricSpec
from retalkit.plugins import hookimpl

class Brightness:
    def open(self, scene):
        self.values = []
        return self

    def add(self, frame):
        self.values.append(frame.image.mean())

    def result(self):
        return {"brightness": sum(self.values) / len(self.values)}

@hookimpl
def retalkit_metrics():
    measure = Measure("brightness", "third-party brightness", "nearer", ideal=128.0, low=0, high=255)
    return [MetricSpec("brightness", "Mean grey level.", (measure,), Brightness, "arithmetic mean",
                       needs=frozenset({FRAMES}))]
"""


def test_metric_of_a_third_party_package_is_in_the_report(
    capsys: pytest.CaptureFixture[str],
    comparison: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    install(packages, "third-party-brightness", BRIGHTNESS)
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.setenv("PYTHONPATH", str(packages), prepend=os.pathsep)
    file = tmp_path / "two.yaml"
    file.write_text(comparison.read_text(encoding="utf-8").replace("syncnet", "brightness"), encoding="utf-8")
    out = tmp_path / "out"
    done = call(capsys, "compare", file, "-o", out, "--cache", tmp_path / "cache")
    assert done.code == 0, done.err
    assert "third-party brightness" in (out / "report.html").read_text(encoding="utf-8")
    header, *rows = (out / "cells.csv").read_text(encoding="utf-8").splitlines()
    column = header.split(",").index("brightness")
    assert [20 < float(row.split(",")[column]) < 235 for row in rows] == [True, True]
    assert "brightness" in call(capsys, "plugins").out
