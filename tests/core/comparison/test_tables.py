from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retalkit.comparison.export import plain, read_results, write_csv, write_json
from retalkit.comparison.results import OWN
from retalkit.comparison.stats.analysis import analyse
from retalkit.comparison.votes import Vote, wilson, win_rates
from retalkit.errors import InputError, OutputError

from tests.core.comparison.made_results import LOSS, OFFSET, SCORE, cell, failed, real, results, row


def made() -> Any:
    broken = cell("new", "c1", {"score": -0.25, "loss": None})
    broken.failed_metrics["other"] = "no lips"
    broken.notes += ["first", "second"]
    broken.record = {"seconds": {"decode": 1.5}, "output": Path("a/b.mp4"), "seed": 3}
    cells = [*row("base", [0.1, 0.2]), cell("new", "c0", {"score": 1 / 3}), broken, failed("new", "c2"), *real([1.0])]
    return results(cells, [SCORE, LOSS, OFFSET])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_json_does_not_know_becomes_plain() -> None:
    data = {
        "a": math.nan,
        "b": (math.inf, np.float32(0.5), np.int64(3)),
        "c": Path("x/y"),
        "d": {"z", "y"},
        "e": np.array([1.0, np.nan]),
        "f": True,
        1: None,
    }
    assert plain(data) == {
        "a": None,
        "b": [None, 0.5, 3],
        "c": "x/y",
        "d": ["y", "z"],
        "e": [1.0, None],
        "f": True,
        "1": None,
    }


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    first = made()
    path = write_json(first, analyse(first), tmp_path)
    first.cells[3].record["output"] = "a/b.mp4"
    for place in (path, tmp_path):
        second = read_results(place)
        assert second == first
        assert analyse(second) == analyse(first) or plain(analyse(second)) == plain(analyse(first))
    assert second.metrics[0].measures[0].low == -math.inf
    assert second.base.name == "base"


def test_a_score_that_is_no_number_is_undefined_after_reading(tmp_path: Path) -> None:
    first = results([cell("base", "c0", {"score": math.nan})])
    write_json(first, analyse(first), tmp_path)
    assert read_results(tmp_path).cells[0].scores == {"score": None}


def test_the_json_is_strict_and_holds_the_analysis(tmp_path: Path) -> None:
    first = made()

    def refuse(text: str) -> None:
        raise AssertionError(text)

    data = json.loads(write_json(first, analyse(first), tmp_path).read_text(), parse_constant=refuse)
    summary = next(one for one in data["analysis"]["summaries"] if one["variant"] == "new" and one["arm"] == OWN)
    assert summary["clips"] == 2
    assert summary["low"] is None
    assert summary["failed"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a JSON file"),
        ("[]", "not the results of a comparison"),
        ('{"results": {}, "format": 99}', "another version"),
        ('{"results": {"metrics": 3}, "format": 1}', "title"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_results(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results .*nowhere.*cannot be read"):
        read_results(tmp_path / "nowhere")


def test_each_cell_has_a_row_with_all_measures(tmp_path: Path) -> None:
    first = made()
    cells, _, _, _ = write_csv(first, analyse(first), tmp_path)
    table = rows(cells)
    assert len(table) == len(first.cells)
    by_name = {(line["variant"], line["clip"]): line for line in table}
    assert float(by_name["new", "c0"]["score"]) == 1 / 3
    assert by_name["new", "c1"]["score"] == "-0.25"
    assert by_name["new", "c1"]["loss"] == by_name["new", "c1"]["offset"] == ""
    assert by_name["new", "c1"]["failed_metrics"] == "other: no lips"
    assert by_name["new", "c1"]["notes"] == "first; second"
    assert (by_name["new", "c2"]["state"], by_name["new", "c2"]["failure"]) == ("failed", "it broke")


def test_summaries_and_contrasts_are_tables(tmp_path: Path) -> None:
    first = made()
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
def test_a_name_never_becomes_a_formula(tmp_path: Path, name: str) -> None:
    first = results([cell("base", name, {"score": -1.0}), failed(name, "c1", '=HYPERLINK("http://x","y"), really')])
    paths = write_csv(first, analyse(first), tmp_path)
    table = rows(paths[0])
    assert table[0]["clip"] == f"'{name}"
    assert table[1]["failure"] == '\'=HYPERLINK("http://x","y"), really'
    # A number stays a number.
    assert table[0]["score"] == "-1.0"
    fields = [field for path in paths for line in rows(path) for field in line.values()]
    assert not [field for field in fields if field.startswith(("=", "+", "@", "\t")) or field == "-1"]


def test_files_are_replaced_and_never_written_over(tmp_path: Path) -> None:
    first = made()
    paths = [*write_csv(first, analyse(first), tmp_path), write_json(first, analyse(first), tmp_path)]
    before = [path.read_text() for path in paths]
    # Who reads a file meanwhile goes on with the old one, whole.
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


def test_a_file_name_that_is_no_text_is_written_and_read_back(tmp_path: Path) -> None:
    first = results([cell("base", "caf\udce9", {"score": 1.0})])
    write_csv(first, analyse(first), tmp_path)
    write_json(first, analyse(first), tmp_path)
    assert rows(tmp_path / "cells.csv")[0]["clip"] == "caf\\udce9"
    assert read_results(tmp_path) == first


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    first = made()
    with pytest.raises(OutputError, match=r"results\.json cannot be written"):
        write_json(first, analyse(first), tmp_path / "file")


def test_votes_stand_beside_the_other_numbers(tmp_path: Path) -> None:
    first = made()
    votes = [Vote("x", f"p{clip}", clip, "own", "base", "new", "right", "ann") for clip in ("c0", "c1")]
    rates = win_rates(votes)
    table = rows(write_csv(first, analyse(first), tmp_path, rates)[-1])
    [new] = [line for line in table if (line["variant"], line["against"]) == ("new", "base")]
    assert (new["wins"], new["losses"], new["votes"], new["clips"]) == ("2", "0", "2", "2")
    assert float(new["low"]) == pytest.approx(wilson(1.0, 2)[0])
    data = json.loads(write_json(first, analyse(first), tmp_path, rates).read_text())
    assert {(rate["variant"], rate["against"]): rate["wins"] for rate in data["win_rates"]}["new", "base"] == 2
    assert read_results(tmp_path).title == first.title


def test_distances_to_an_ideal_do_not_cancel(tmp_path: Path) -> None:
    moved = [cell("base", clip, {"offset": by, "score": 1.0}) for clip, by in (("c0", 3.0), ("c1", -3.0))]
    summaries = {one.measure: one for one in analyse(results(moved, [SCORE, OFFSET])).summaries}
    assert summaries["offset"].mean == 0.0 and summaries["offset"].distance == 3.0
    assert math.isnan(summaries["score"].distance)
