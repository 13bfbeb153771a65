from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from retalkit.comparison.results import SILENCE, Results
from retalkit.comparison.votes import Ballot, Vote, comparison_id, pairs, read_votes, wilson, win_rates
from scipy import stats

from tests.core.comparison.made_results import cell, failed, real, results


def made() -> Results:
    cells = [cell(variant, clip, {"score": 1.0}) for clip in ("c0", "c1") for variant in ("base", "new", "third")]
    return results(
        [*cells, cell("base", "c0", {}, rerun=1), failed("third", "c2"), cell("new", "c2", {}), *real([1.0])]
    )


def pair(found: Results, clip: str, first: str, second: str) -> str:
    [one] = [one for one in pairs(found) if one.clip == clip and one.variants == (first, second)]
    return one.id


def line(
    found: Results, choice: str, left: str = "base", right: str = "new", clip: str = "c0", **more: str
) -> dict[str, str]:
    first, second = sorted([left, right])
    return {"pair": pair(found, clip, first, second), "left": left, "right": right, "choice": choice, **more}


def save(
    folder: Path, found: Results, votes: list[dict[str, str]], voter: str = "ann", name: str = "a.json", **more: Any
) -> None:
    data = {"comparison": comparison_id(found), "voter": voter, "votes": votes, **more}
    (folder / name).write_text(json.dumps(data))


def vote(left: str, right: str, choice: Any, voter: str = "ann", clip: str = "c0") -> Vote:
    return Vote("x", f"{clip}{left}{right}", clip, "own", left, right, choice, voter)


def test_pairs_are_finished_videos_of_the_same_words() -> None:
    found = pairs(made())
    assert {(one.clip, one.variants) for one in found} == {
        (clip, both) for clip in ("c0", "c1") for both in [("base", "new"), ("base", "third"), ("new", "third")]
    }
    assert len(found) == 6


def test_other_arms_speeches_and_seeds_are_not_paired() -> None:
    cells = [cell("base", "c0", {}, speech="a"), cell("new", "c0", {}, speech="b")]
    cells += [cell("base", "c1", {}, seed=1), cell("new", "c1", {}, seed=2)]
    cells += [cell("base", "c2", {}, arm=SILENCE), cell("new", "c2", {}, arm=SILENCE)]
    assert pairs(results(cells)) == []
    assert len(pairs(results(cells), (SILENCE,))) == 1


def test_the_name_of_a_pair_hides_the_variants_and_follows_the_videos() -> None:
    first, second = made(), made()
    assert [one.id for one in pairs(first)] == [one.id for one in pairs(second)]
    assert not [one for one in pairs(first) if any(name in one.id for name in one.variants)]
    second.cells[0].key = "made again"
    changed = {one.id for one in pairs(second)} - {one.id for one in pairs(first)}
    assert len(changed) == 2


def test_variants_that_share_a_video_make_pairs_of_their_own() -> None:
    found = made()
    for one in found.cells:
        one.key = "same"
    assert len({one.id for one in pairs(found)}) == 6


def test_votes_stay_good_when_a_variant_is_added(tmp_path: Path) -> None:
    found = made()
    save(tmp_path, found, [line(found, "left")])
    before = read_votes(tmp_path, found).votes
    larger = made()
    larger.cells.insert(0, cell("another", "c0", {}))
    larger.variants.insert(0, replace(larger.variants[0], name="another", is_base=False))
    larger.comparison["clips"] = ["c0", "c1", "c2", "c3"]
    assert read_votes(tmp_path, larger).votes == before
    larger.title = "something else"
    other = read_votes(tmp_path, larger)
    assert other.votes == [] and "belongs to another comparison" in other.left_out[0]


def test_votes_are_read_with_what_they_were_shown(tmp_path: Path) -> None:
    found = made()
    save(tmp_path, found, [line(found, "left", "new", "base", time="2026-01-02T10:00:00+02:00")], page=3)
    assert read_votes(tmp_path, found).votes == [
        Vote(
            comparison_id(found),
            pair(found, "c0", "base", "new"),
            "c0",
            "own",
            "new",
            "base",
            "left",
            "ann",
            "2026-01-02T08:00:00.000000+00:00",
        )
    ]


def test_the_last_vote_of_a_voter_on_a_pair_counts(tmp_path: Path) -> None:
    found = made()
    save(tmp_path, found, [line(found, "left"), line(found, "tie"), line(found, "right", clip="c1")])
    save(tmp_path, found, [line(found, "left")], voter="bob", name="b.json")
    votes = read_votes(tmp_path, found).votes
    assert [(one.voter, one.clip, one.choice) for one in votes] == [
        ("ann", "c0", "tie"),
        ("ann", "c1", "right"),
        ("bob", "c0", "left"),
    ]


def test_the_last_is_told_by_time_where_there_is_one(tmp_path: Path) -> None:
    found = made()
    # Ten o'clock in Moscow is before eight in Greenwich, whatever the digits say.
    save(tmp_path, found, [line(found, "left", time="2026-01-02T08:00:00Z")], name="a.json")
    save(tmp_path, found, [line(found, "right", time="2026-01-02T10:00:00+03:00")], name="b.json")
    assert [one.choice for one in read_votes(tmp_path, found).votes] == ["left"]
    save(tmp_path, found, [line(found, "tie")], name="0.json", time="2026-01-03T08:00:00Z")
    assert [one.choice for one in read_votes(tmp_path, found).votes] == ["tie"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"comparison": "comparison-other"}, "belongs to another comparison"),
        ({"voter": ""}, "voter"),
        ({"voter": "  "}, "voter"),
        ({"votes": 3}, "votes"),
        ({"votes": [{"pair": "x"}]}, "left"),
        (
            {"votes": [{"pair": "x", "left": "base", "right": "new", "choice": "left"}]},
            "1 of 1 are on videos that were made again since",
        ),
        ({"votes": [{"pair": "x", "left": "base", "right": "new", "choice": "both"}]}, "choice"),
    ],
)
def test_a_wrong_file_is_left_out_in_one_line_and_takes_no_other_with_it(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    found = made()
    save(tmp_path, found, [line(found, "left")], voter="bob", name="right.json")
    data = {"comparison": comparison_id(found), "voter": "ann", "votes": [], **change}
    (tmp_path / "wrong.json").write_text(json.dumps(data))
    ballot = read_votes(tmp_path, found)
    assert [vote.voter for vote in ballot.votes] == ["bob"]
    (text,) = ballot.left_out
    assert said in text
    assert "wrong.json" in text
    assert "\n" not in text


def test_one_vote_on_a_video_that_is_gone_takes_no_other_with_it(tmp_path: Path) -> None:
    found = made()
    save(tmp_path, found, [line(found, "left"), {**line(found, "right"), "pair": "gone"}])
    ballot = read_votes(tmp_path, found)
    assert [vote.choice for vote in ballot.votes] == ["left"]
    assert "1 of 2 are on videos that were made again since" in ballot.left_out[0]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff", "null"])
def test_broken_json_is_left_out_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    ballot = read_votes(tmp_path, made())
    assert ballot.votes == []
    assert "wrong.json" in ballot.left_out[0] and "\n" not in ballot.left_out[0]


def test_a_folder_that_is_called_like_a_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    assert "folder.json" in read_votes(tmp_path, made()).left_out[0]


def test_a_vote_for_variants_that_the_pair_does_not_show_is_refused(tmp_path: Path) -> None:
    found = made()
    wrong = {**line(found, "left"), "right": "third"}
    save(tmp_path, found, [wrong])
    ballot = read_votes(tmp_path, found)
    assert ballot.votes == [] and "shows 'base' and 'new', not 'base' and 'third'" in ballot.left_out[0]


def test_there_are_no_votes_where_none_were_saved(tmp_path: Path) -> None:
    assert read_votes(tmp_path / "nowhere", made()) == Ballot([], [])
    (tmp_path / "notes.txt").write_text("not votes")
    assert read_votes(tmp_path, made()) == Ballot([], [])


def test_wilson_of_published_numbers() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998, table I.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.mark.parametrize(("wins", "count"), [(0, 1), (1, 1), (8, 10), (50, 100), (3, 7)])
def test_wilson_is_the_interval_of_scipy(wins: int, count: int) -> None:
    interval = stats.binomtest(wins, count).proportion_ci(0.95, "wilson")
    assert wilson(wins / count, count) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_wilson_of_nothing_is_nothing() -> None:
    assert all(math.isnan(edge) for edge in wilson(0.5, 0))


def test_wins_count_whichever_side_they_were_on() -> None:
    votes = [
        vote("base", "new", "right"),
        vote("new", "base", "left", "bob"),
        vote("new", "base", "right", "cid"),
        vote("base", "new", "tie", "dan", "c1"),
    ]
    rates = {(one.variant, one.against): one for one in win_rates(votes)}
    new, base = rates["new", "base"], rates["base", "new"]
    assert (new.wins, new.losses, new.ties, new.votes) == (2, 1, 1, 4)
    assert (base.wins, base.losses, base.ties) == (1, 2, 1)
    assert new.rate == pytest.approx(2.5 / 4)
    assert new.rate + base.rate == pytest.approx(1.0)
    assert (new.voters, new.clips) == (4, 2)
    assert (new.low, new.high) == pytest.approx((1 - base.high, 1 - base.low))
    assert new.low < new.rate < new.high


def test_a_variant_is_also_counted_against_all_others() -> None:
    votes = [vote("base", "new", "left"), vote("third", "base", "right"), vote("new", "third", "tie")]
    overall = {one.variant: one for one in win_rates(votes) if not one.against}
    assert (overall["base"].wins, overall["base"].votes, overall["base"].rate) == (2, 2, 1.0)
    assert (overall["new"].losses, overall["new"].ties, overall["new"].rate) == (1, 1, 0.25)
    assert win_rates([]) == []


def test_one_that_always_picks_the_left_prefers_nobody() -> None:
    votes = [
        vote(left, right, "left", clip=f"c{index}") for index, (left, right) in enumerate([("a", "b"), ("b", "a")] * 5)
    ]
    assert [one.rate for one in win_rates(votes)] == [0.5] * 4
