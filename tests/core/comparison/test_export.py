from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit.comparison.export import to_plain_data, write_csv, write_json
from retalkit.comparison.results import OWN
from retalkit.comparison.stats.analysis import analyse
from retalkit.comparison.votes import Vote, wilson, win_rates
from retalkit.errors import OutputError

from tests.core.comparison.sample_results import LOSS, OFFSET, SCORE, cell, failed, real, results, row


def sample() -> Any:
    broken = cell("new", "c1", {"score": -0.25, "loss": None})
    broken.failed_metrics["other"] = "no lips"
    broken.notes += ["first", "second"]
    broken.record = {"seconds": {"decode": 1.5}, "output": Path("a/b.mp4"), "seed": 3}
    cells = [*row("base", [0.1, 0.2]), cell("new", "c0", {"score": 1 / 3}), broken, failed("new", "c2"), *real([1.0])]
    return results(cells, [SCORE, LOSS, OFFSET])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_conversion_to_plain_data() -> None:
    data = {
        "a": math.nan,
        "b": (math.inf, np.float32(0.5), np.int64(3)),
        "c": Path("x/y"),
        "d": {"z", "y"},
        "e": np.array([1.0, np.nan]),
        "f": True,
        1: None,
    }
    assert to_plain_data(data) == {
        "a": None,
        "b": [None, 0.5, 3],
        "c": "x/y",
        "d": ["y", "z"],
        "e": [1.0, None],
        "f": True,
        "1": None,
    }


def test_json_contains_all_results(tmp_path: Path) -> None:
    first = sample()
    data = json.loads(write_json(first, analyse(first), tmp_path).read_text(encoding="utf-8"))
    assert data["format"] == 1
    assert data["results"] == to_plain_data(first)
    assert data["analysis"] == to_plain_data(analyse(first))
    assert data["results"]["cells"][3]["record"]["output"] == "a/b.mp4"
    assert data["results"]["metrics"][0]["measures"][0]["low"] is None, "minus infinity is not valid JSON"


def test_score_nan_is_exported_as_null(tmp_path: Path) -> None:
    first = results([cell("base", "c0", {"score": math.nan})])
    data = json.loads(write_json(first, analyse(first), tmp_path).read_text(encoding="utf-8"))
    assert data["results"]["cells"][0]["scores"] == {"score": None}


def test_json_is_strict_and_contains_the_analysis(tmp_path: Path) -> None:
    first = sample()

    def refuse(text: str) -> None:
        raise AssertionError(text)

    data = json.loads(write_json(first, analyse(first), tmp_path).read_text(), parse_constant=refuse)
    summary = next(one for one in data["analysis"]["summaries"] if one["variant"] == "new" and one["arm"] == OWN)
    assert summary["clips"] == 2
    assert summary["low"] is None
    assert summary["failed"] == 1


def test_cells_csv_has_one_row_per_cell_with_all_measures(tmp_path: Path) -> None:
    first = sample()
    cells, _, _, _ = write_csv(first, analyse(first), tmp_path)
    table = rows(cells)
    assert len(table) == len(first.cells)
    by_name = {(line["variant"], line["clip"]): line for line in table}
    assert float(by_name["new", "c0"]["score"]) == 1 / 3
    assert by_name["new", "c1"]["score"] == "-0.25"
    assert by_name["new", "c1"]["loss"] == by_name["new", "c1"]["offset"] == ""
    assert by_name["new", "c1"]["failed_metrics"] == "other: no lips"
    assert by_name["new", "c1"]["notes"] == "first; second"
    assert (by_name["new", "c2"]["state"], by_name["new", "c2"]["failure"]) == ("failed", "stage crashed")


def test_summary_and_contrast_tables(tmp_path: Path) -> None:
    first = sample()
    _, summaries, contrasts, _ = write_csv(first, analyse(first), tmp_path)
    [base] = [
        line for line in rows(summaries) if (line["variant"], line["arm"], line["measure"]) == ("base", OWN, "score")
    ]
    assert float(base["mean"]) == pytest.approx(0.15)
    assert (base["clips"], base["low"], base["failed"]) == ("2", "", "0")
    [contrast] = [line for line in rows(contrasts) if line["measure"] == "score"]
    assert contrast["verdict"] == "cannot be shown"
    assert float(contrast["mean"]) == pytest.approx(((1 / 3 - 0.1) + (-0.25 - 0.2)) / 2)


@pytest.mark.parametrize("name", ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_strings_are_never_exported_as_formulas(tmp_path: Path, name: str) -> None:
    first = results([cell("base", name, {"score": -1.0}), failed(name, "c1", '=HYPERLINK("http://x","y"), really')])
    paths = write_csv(first, analyse(first), tmp_path)
    table = rows(paths[0])
    assert table[0]["clip"] == f"'{name}"
    assert table[1]["failure"] == '\'=HYPERLINK("http://x","y"), really'
    # Numbers are not prefixed.
    assert table[0]["score"] == "-1.0"
    fields = [field for path in paths for line in rows(path) for field in line.values()]
    assert not [field for field in fields if field.startswith(("=", "+", "@", "\t")) or field == "-1"]


def test_files_are_replaced_atomically(tmp_path: Path) -> None:
    first = sample()
    paths = [*write_csv(first, analyse(first), tmp_path), write_json(first, analyse(first), tmp_path)]
    before = [path.read_text() for path in paths]
    # A reader that opened a file before keeps the complete old version.
    readers = [path.open() for path in paths]
    second = results(row("base", [0.5]))
    rates = win_rates([Vote("x", "p", "c0", "own", "base", "new", "right", "ann")])
    write_csv(second, analyse(second), tmp_path, rates)
    write_json(second, analyse(second), tmp_path)
    for path, reader, text in zip(paths, readers, before, strict=True):
        with reader:
            assert reader.read() == text
        assert path.read_text() != text
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_non_utf8_file_names_are_escaped(tmp_path: Path) -> None:
    first = results([cell("base", "caf\udce9", {"score": 1.0})])
    write_csv(first, analyse(first), tmp_path)
    write_json(first, analyse(first), tmp_path)
    assert rows(tmp_path / "cells.csv")[0]["clip"] == "caf\\udce9"
    data = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert data["results"]["cells"][0]["name"]["clip"] == "caf\udce9"


def test_unwritable_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    first = sample()
    with pytest.raises(OutputError, match=r"file.results\.json") as error:
        write_json(first, analyse(first), tmp_path / "file")
    assert error.value.code == "unwritable-output"


def test_win_rates_are_exported(tmp_path: Path) -> None:
    first = sample()
    votes = [Vote("x", f"p{clip}", clip, "own", "base", "new", "right", "ann") for clip in ("c0", "c1")]
    rates = win_rates(votes)
    table = rows(write_csv(first, analyse(first), tmp_path, rates)[-1])
    [new] = [line for line in table if (line["variant"], line["against"]) == ("new", "base")]
    assert (new["wins"], new["losses"], new["votes"], new["clips"]) == ("2", "0", "2", "2")
    assert float(new["low"]) == pytest.approx(wilson(1.0, 2)[0])
    data = json.loads(write_json(first, analyse(first), tmp_path, rates).read_text())
    assert {(rate["variant"], rate["against"]): rate["wins"] for rate in data["win_rates"]}["new", "base"] == 2


def test_distances_to_an_ideal_do_not_cancel(tmp_path: Path) -> None:
    moved = [cell("base", clip, {"offset": by, "score": 1.0}) for clip, by in (("c0", 3.0), ("c1", -3.0))]
    summaries = {one.measure: one for one in analyse(results(moved, [SCORE, OFFSET])).summaries}
    assert summaries["offset"].mean == 0.0 and summaries["offset"].distance == 3.0
    assert math.isnan(summaries["score"].distance)
