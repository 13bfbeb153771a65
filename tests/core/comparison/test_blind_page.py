"""The page for blind votes in a real browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from retalkit.comparison.report import ReportSettings, write_report
from retalkit.comparison.stats.analysis import analyse
from retalkit.comparison.votes import comparison_id, pairs, read_votes, win_rates

from tests.core.comparison.report_fixture import Made, Watched, make_results, watched_page

NAMES = ("zebra", "walrus", "yak+ibex")
PAIRS = 2 * 2 * 3
"""Clips, arms with a vote, pairs of variants."""
SEEN = """[document.title, document.body.innerText, ...[...document.querySelectorAll('body *')]
  .filter(one => one.tagName !== 'SCRIPT')
  .flatMap(one => [...one.attributes].map(each => each.name + '=' + each.value))].join(' | ')"""
"""All that the page shows: texts and attributes."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make_results(tmp_path_factory.mktemp("blind"), NAMES)
    made.results.title = "zebra against walrus"
    write_report(made.results, analyse(made.results), made.folder)
    return made


@pytest.fixture
def blind(made: Made, tmp_path: Path) -> Iterator[Watched]:
    """The page in a browser that has never seen it."""
    with watched_page(tmp_path / "profile") as watched:
        watched.page.goto((made.folder / "blind.html").as_uri())
        yield watched
        watched.calm()


def start(blind: Watched, voter: str = "Ada Lovelace") -> None:
    blind.page.fill("#voter", voter)
    blind.page.keyboard.press("Enter")
    blind.page.wait_for_selector("#vote:not([hidden])")


def order(blind: Watched) -> list[Any]:
    """Pairs and sides as the page will show them."""
    kept = "Object.entries(localStorage).find(([key]) => key.includes('/voter '))[1]"
    return [(each["pair"], each["swapped"]) for each in json.loads(blind.page.evaluate(kept))["order"]]


def test_no_name_is_seen_before_the_end(blind: Watched) -> None:
    start(blind)
    for number in range(PAIRS):
        assert f"Pair {number + 1} of {PAIRS}" in blind.page.inner_text("#progress")
        seen = blind.page.evaluate(SEEN).lower()
        assert "blind comparison" in seen
        assert not [name for name in ("zebra", "walrus", "yak", "ibex", "anna-", "cells/") if name in seen]
        blind.page.keyboard.press("120"[number % 3])
    assert blind.page.is_visible("#end")
    assert all(name in blind.page.inner_text("#end") for name in NAMES)


def test_the_source_does_not_show_names_either(made: Made) -> None:
    text = (made.folder / "blind.html").read_text(encoding="utf-8")
    assert [name for name in ("zebra", "walrus", "ibex") if name in text] == []


def test_both_videos_play_and_space_starts_them_again(blind: Watched) -> None:
    start(blind)
    both = "['left', 'right'].map(id => document.getElementById(id).currentTime)"
    blind.until(f"Math.min(...{both}) > 0.5")
    times = blind.page.evaluate(both)
    assert abs(times[0] - times[1]) <= 1 / 25
    blind.page.keyboard.press("Space")
    blind.until(f"Math.max(...{both}) < 0.4")
    blind.until(f"Math.min(...{both}) > 0.5")
    assert blind.page.evaluate("document.getElementById('right').muted && !document.getElementById('left').muted")


def test_votes_outlive_a_reload_and_are_read_by_the_comparison(made: Made, blind: Watched, tmp_path: Path) -> None:
    start(blind)
    planned = order(blind)
    known = {pair.id: pair.variants for pair in pairs(made.results)}
    assert sorted(pair for pair, _ in planned) == sorted(known)
    for key in "120":
        blind.page.keyboard.press(key)
    blind.page.reload()
    assert f"Pair 4 of {PAIRS}" in blind.page.inner_text("#progress")
    assert order(blind) == planned
    # The walrus wins whatever it meets; the rest are ties.
    blind.page.keyboard.press("u")
    blind.page.keyboard.press("u")
    blind.page.keyboard.press("u")
    for _ in range(PAIRS):
        shown = blind.page.inner_text("#progress")
        voted = json.loads(
            blind.page.evaluate("Object.entries(localStorage).find(([key]) => key.includes('/voter '))[1]")
        )
        done = {vote["pair"] for vote in voted["votes"]}
        now = next(each for each in voted["order"] if each["pair"] not in done)
        first, second = known[now["pair"]]
        left, right = (second, first) if now["swapped"] else (first, second)
        blind.page.keyboard.press("1" if left == "walrus" else "2" if right == "walrus" else "0")
        assert blind.page.inner_text("#progress") != shown or blind.page.is_visible("#end")
    with blind.page.expect_download() as waiting:
        blind.page.click("#save")
    folder = tmp_path / "votes"
    folder.mkdir()
    saved = folder / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    assert saved.suffix == ".json"
    assert json.loads(saved.read_text(encoding="utf-8"))["comparison"] == comparison_id(made.results)
    votes = read_votes(folder, made.results).votes
    assert len(votes) == PAIRS
    assert {vote.voter for vote in votes} == {"Ada Lovelace"}
    rates = {(rate.variant, rate.against): rate for rate in win_rates(votes)}
    assert (rates["walrus", ""].wins, rates["walrus", ""].losses) == (8, 0)
    assert (rates["zebra", "yak+ibex"].ties, rates["zebra", ""].losses) == (4, 4)
    # The page comes to the same numbers by itself.
    rows = [row.split("\t") for row in blind.page.inner_text("#rates").splitlines() if row.strip()]
    assert len(rows) == len(rates)
    for variant, against, rate, interval, wins, ties, losses in rows:
        found = rates[variant, "" if against == "all others" else against]
        assert rate == f"{100 * found.rate:.0f} %"
        assert interval == f"{100 * found.low:.0f} % to {100 * found.high:.0f} %"
        assert (int(wins), int(ties), int(losses)) == (found.wins, found.ties, found.losses)
    # And the report shows them.
    path = write_report(made.results, analyse(made.results), made.folder, win_rates(votes))
    blind.page.goto(path.as_uri())
    assert "100 %" in blind.page.inner_text("#votes")
    assert "Nobody has voted" not in blind.page.inner_text("#votes")


def test_order_and_sides_are_drawn_anew_for_each_voter(blind: Watched) -> None:
    start(blind, "one")
    first = order(blind)
    blind.page.evaluate("localStorage.clear()")
    blind.page.reload()
    start(blind, "one")
    second = order(blind)
    assert sorted(pair for pair, _ in first) == sorted(pair for pair, _ in second)
    assert first != second
    assert [pair for pair, _ in first] != [pair for pair, _ in second]
    assert {swapped for _, swapped in first + second} == {True, False}


def test_whoever_has_seen_the_names_votes_no_more(blind: Watched) -> None:
    start(blind)
    blind.page.keyboard.press("1")
    blind.page.click("#finish")
    assert f"1 of {PAIRS} pairs" in blind.page.inner_text("#thanks")
    blind.page.reload()
    assert blind.page.is_visible("#end")
    assert not blind.page.is_visible("#vote")
    blind.page.click("#another")
    start(blind, "Grace")
    assert f"Pair 1 of {PAIRS}" in blind.page.inner_text("#progress")


def test_beyond_the_budget_files_have_neutral_names(made: Made, blind: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    write_report(made.results, analyse(made.results), folder, settings=ReportSettings(budget=0))
    blind.page.goto((folder / "blind.html").as_uri())
    start(blind)
    blind.until("document.getElementById('right').currentTime > 0.2")
    assert "/previews/blind/" in blind.page.evaluate("document.getElementById('left').src")
    seen = blind.page.evaluate(SEEN).lower()
    assert [name for name in ("zebra", "walrus", "ibex", "anna-") if name in seen] == []
    assert len(list((folder / "previews" / "blind").iterdir())) == 2 * 2 * 3
    write_report(made.results, analyse(made.results), folder)
    assert list((folder / "previews" / "blind").iterdir()) == []


def test_pairs_of_the_same_video_are_left_out(made: Made, blind: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    twin = {cell.name: cell.video for cell in made.results.cells if cell.name.variant == "zebra"}
    results = replace(
        made.results,
        cells=[
            replace(cell, key=f"{cell.key}-twin", video=twin[replace(cell.name, variant="zebra")])
            if cell.name.variant == "walrus"
            else cell
            for cell in made.results.cells
        ],
    )
    write_report(results, analyse(results), folder)
    blind.page.goto((folder / "blind.html").as_uri())
    text = blind.page.inner_text("#start")
    assert "8 pairs of videos" in text
    assert "4 more pairs are left out" in text


def test_another_comparison_of_the_same_name_takes_no_votes_away(made: Made, blind: Watched, tmp_path: Path) -> None:
    start(blind)
    for key in "120":
        blind.page.keyboard.press(key)
    other = make_results(tmp_path / "other", NAMES)
    other.results.title = made.results.title
    for cell in other.results.cells:
        cell.key = f"{cell.key}-other"
    write_report(other.results, analyse(other.results), other.folder)
    blind.page.goto((other.folder / "blind.html").as_uri())
    # Nobody has voted here: it begins with the name.
    assert blind.page.is_visible("#start")
    start(blind)
    assert f"Pair 1 of {PAIRS}" in blind.page.inner_text("#progress")
    blind.page.keyboard.press("1")
    blind.page.goto((made.folder / "blind.html").as_uri())
    assert f"Pair 4 of {PAIRS}" in blind.page.inner_text("#progress")


def test_voters_see_more_than_the_previews_of_the_report(made: Made) -> None:
    fine = sorted((made.folder / "previews").glob("*-fine.mp4"))
    assert fine
    for path in fine:
        coarse = path.with_name(path.name.replace("-fine", ""))
        assert path.stat().st_size > coarse.stat().st_size
