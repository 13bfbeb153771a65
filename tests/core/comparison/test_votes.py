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

from tests.core.comparison.sample_results import cell, failed, real, results


def sample() -> Results:
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


def test_pairs_contain_finished_videos_of_the_same_speech() -> None:
    found = pairs(sample())
    assert {(one.clip, one.variants) for one in found} == {
        (clip, both) for clip in ("c0", "c1") for both in [("base", "new"), ("base", "third"), ("new", "third")]
    }
    assert len(found) == 6


def test_different_arms_speeches_and_seeds_are_not_paired() -> None:
    cells = [cell("base", "c0", {}, speech="a"), cell("new", "c0", {}, speech="b")]
    cells += [cell("base", "c1", {}, seed=1), cell("new", "c1", {}, seed=2)]
    cells += [cell("base", "c2", {}, arm=SILENCE), cell("new", "c2", {}, arm=SILENCE)]
    assert pairs(results(cells)) == []
    assert len(pairs(results(cells), (SILENCE,))) == 1


def test_pair_id_hides_variants_and_depends_on_the_videos() -> None:
    first, second = sample(), sample()
    assert [one.id for one in pairs(first)] == [one.id for one in pairs(second)]
    assert not [one for one in pairs(first) if any(name in one.id for name in one.variants)]
    second.cells[0].key = "made again"
    changed = {one.id for one in pairs(second)} - {one.id for one in pairs(first)}
    assert len(changed) == 2


def test_variants_with_equal_keys_have_distinct_pairs() -> None:
    found = sample()
    for one in found.cells:
        one.key = "same"
    assert len({one.id for one in pairs(found)}) == 6


def test_votes_stay_valid_when_a_variant_is_added(tmp_path: Path) -> None:
    found = sample()
    save(tmp_path, found, [line(found, "left")])
    before = read_votes(tmp_path, found).votes
    larger = sample()
    larger.cells.insert(0, cell("another", "c0", {}))
    larger.variants.insert(0, replace(larger.variants[0], name="another", is_base=False))
    larger.comparison["clips"] = ["c0", "c1", "c2", "c3"]
    assert read_votes(tmp_path, larger).votes == before
    larger.title = "something else"
    other = read_votes(tmp_path, larger)
    assert other.votes == [] and "different comparison" in other.skipped[0]


def test_votes_are_read_with_sides_and_time(tmp_path: Path) -> None:
    found = sample()
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


def test_latest_vote_of_a_voter_on_a_pair_counts(tmp_path: Path) -> None:
    found = sample()
    save(tmp_path, found, [line(found, "left"), line(found, "tie"), line(found, "right", clip="c1")])
    save(tmp_path, found, [line(found, "left")], voter="bob", name="b.json")
    votes = read_votes(tmp_path, found).votes
    assert [(one.voter, one.clip, one.choice) for one in votes] == [
        ("ann", "c0", "tie"),
        ("ann", "c1", "right"),
        ("bob", "c0", "left"),
    ]


def test_latest_vote_is_determined_by_its_time(tmp_path: Path) -> None:
    found = sample()
    # 10:00 at UTC+3 is earlier than 08:00 UTC.
    save(tmp_path, found, [line(found, "left", time="2026-01-02T08:00:00Z")], name="a.json")
    save(tmp_path, found, [line(found, "right", time="2026-01-02T10:00:00+03:00")], name="b.json")
    assert [one.choice for one in read_votes(tmp_path, found).votes] == ["left"]
    save(tmp_path, found, [line(found, "tie")], name="0.json", time="2026-01-03T08:00:00Z")
    assert [one.choice for one in read_votes(tmp_path, found).votes] == ["tie"]


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"comparison": "comparison-other"}, "different comparison"),
        ({"voter": ""}, "voter"),
        ({"voter": "  "}, "voter"),
        ({"votes": 3}, "votes"),
        ({"votes": [{"pair": "x"}]}, "left"),
        (
            {"votes": [{"pair": "x", "left": "base", "right": "new", "choice": "left"}]},
            "1 of 1 votes",
        ),
        ({"votes": [{"pair": "x", "left": "base", "right": "new", "choice": "both"}]}, "choice"),
    ],
)
def test_invalid_file_is_skipped_and_others_count(tmp_path: Path, change: dict[str, Any], fact: str) -> None:
    found = sample()
    save(tmp_path, found, [line(found, "left")], voter="bob", name="right.json")
    data = {"comparison": comparison_id(found), "voter": "ann", "votes": [], **change}
    (tmp_path / "wrong.json").write_text(json.dumps(data))
    ballot = read_votes(tmp_path, found)
    assert [vote.voter for vote in ballot.votes] == ["bob"]
    (text,) = ballot.skipped
    assert fact in text
    assert "wrong.json" in text
    assert "\n" not in text


def test_vote_on_an_unknown_pair_is_skipped_and_others_count(tmp_path: Path) -> None:
    found = sample()
    save(tmp_path, found, [line(found, "left"), {**line(found, "right"), "pair": "gone"}])
    ballot = read_votes(tmp_path, found)
    assert [vote.choice for vote in ballot.votes] == ["left"]
    assert "1 of 2 votes" in ballot.skipped[0]


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff", "null"])
def test_invalid_json_is_skipped_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "wrong.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    ballot = read_votes(tmp_path, sample())
    assert ballot.votes == []
    assert "wrong.json" in ballot.skipped[0] and "\n" not in ballot.skipped[0]


def test_directory_named_like_a_vote_file_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    assert "folder.json" in read_votes(tmp_path, sample()).skipped[0]


def test_vote_for_other_variants_than_the_pair_is_skipped(tmp_path: Path) -> None:
    found = sample()
    wrong = {**line(found, "left"), "right": "third"}
    save(tmp_path, found, [wrong])
    ballot = read_votes(tmp_path, found)
    assert ballot.votes == [] and "'base' and 'new', not 'base' and 'third'" in ballot.skipped[0]


def test_missing_or_unrelated_files_contain_no_votes(tmp_path: Path) -> None:
    assert read_votes(tmp_path / "nowhere", sample()) == Ballot([], [])
    (tmp_path / "notes.txt").write_text("not votes")
    assert read_votes(tmp_path, sample()) == Ballot([], [])


def test_wilson_matches_published_intervals() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998, table I.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.mark.parametrize(("wins", "count"), [(0, 1), (1, 1), (8, 10), (50, 100), (3, 7)])
def test_wilson_matches_scipy(wins: int, count: int) -> None:
    interval = stats.binomtest(wins, count).proportion_ci(0.95, "wilson")
    assert wilson(wins / count, count) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_wilson_without_votes_is_nan() -> None:
    assert all(math.isnan(edge) for edge in wilson(0.5, 0))


def test_wins_count_on_both_sides() -> None:
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


def test_win_rate_against_all_others() -> None:
    votes = [vote("base", "new", "left"), vote("third", "base", "right"), vote("new", "third", "tie")]
    overall = {one.variant: one for one in win_rates(votes) if not one.against}
    assert (overall["base"].wins, overall["base"].votes, overall["base"].rate) == (2, 2, 1.0)
    assert (overall["new"].losses, overall["new"].ties, overall["new"].rate) == (1, 1, 0.25)
    assert win_rates([]) == []


def test_always_voting_left_yields_equal_rates() -> None:
    votes = [
        vote(left, right, "left", clip=f"c{index}") for index, (left, right) in enumerate([("a", "b"), ("b", "a")] * 5)
    ]
    assert [one.rate for one in win_rates(votes)] == [0.5] * 4
