"""The page for blind votes in Chromium."""

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

from tests.core.comparison.report_samples import (
    BrowserPage,
    SampleComparison,
    make_results,
    open_browser,
    open_browser_page,
)

NAMES = ("zebra", "walrus", "yak+ibex")
PAIRS = 2 * 2 * 3
"""Number of pairs: clips x voted arms x pairs of variants."""
SEEN = """[document.title, document.body.innerText, ...[...document.querySelectorAll('body *')]
  .filter(one => one.tagName !== 'SCRIPT')
  .flatMap(one => [...one.attributes].map(each => each.name + '=' + each.value))].join(' | ')"""
"""Everything visible on the page: text and attributes."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleComparison:
    sample = make_results(tmp_path_factory.mktemp("blind"), NAMES)
    sample.results.title = "zebra against walrus"
    write_report(sample.results, analyse(sample.results), sample.folder)
    return sample


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as started:
        yield started


@pytest.fixture
def blind(sample: SampleComparison, browser: Any) -> Iterator[BrowserPage]:
    """The page in a browser without stored votes."""
    with open_browser_page(browser) as browser_page:
        browser_page.page.goto((sample.folder / "blind.html").as_uri())
        yield browser_page
        browser_page.assert_no_errors()


def start(blind: BrowserPage, voter: str = "Ada Lovelace") -> None:
    blind.page.fill("#voter", voter)
    blind.page.keyboard.press("Enter")
    blind.page.wait_for_selector("#vote:not([hidden])")


def order(blind: BrowserPage) -> list[Any]:
    """Return the pairs and sides in the order of the page."""
    stored = "Object.entries(localStorage).find(([key]) => key.includes('/voter '))[1]"
    return [(each["pair"], each["swapped"]) for each in json.loads(blind.page.evaluate(stored))["order"]]


def test_variant_names_are_hidden_until_the_end(blind: BrowserPage) -> None:
    start(blind)
    for number in range(PAIRS):
        assert f"Pair {number + 1} of {PAIRS}" in blind.page.inner_text("#progress")
        seen = blind.page.evaluate(SEEN).lower()
        assert "blind comparison" in seen
        assert not [name for name in ("zebra", "walrus", "yak", "ibex", "anna-", "cells/") if name in seen]
        blind.page.keyboard.press("120"[number % 3])
    assert blind.page.is_visible("#end")
    assert all(name in blind.page.inner_text("#end") for name in NAMES)


def test_page_source_does_not_contain_names(sample: SampleComparison) -> None:
    text = (sample.folder / "blind.html").read_text(encoding="utf-8")
    assert [name for name in ("zebra", "walrus", "ibex") if name in text] == []


def test_both_videos_play_and_space_restarts_them(blind: BrowserPage) -> None:
    start(blind)
    both = "['left', 'right'].map(id => document.getElementById(id).currentTime)"
    blind.wait_until(f"Math.min(...{both}) > 0.5")
    times = blind.page.evaluate(both)
    assert abs(times[0] - times[1]) <= 1 / 25
    blind.page.keyboard.press("Space")
    blind.wait_until(f"Math.max(...{both}) < 0.4")
    blind.wait_until(f"Math.min(...{both}) > 0.5")
    assert blind.page.evaluate("document.getElementById('right').muted && !document.getElementById('left').muted")


def test_votes_survive_a_reload_and_are_counted(sample: SampleComparison, blind: BrowserPage, tmp_path: Path) -> None:
    start(blind)
    planned = order(blind)
    known = {pair.id: pair.variants for pair in pairs(sample.results)}
    assert sorted(pair for pair, _ in planned) == sorted(known)
    for key in "120":
        blind.page.keyboard.press(key)
    blind.page.reload()
    blind.wait_until("document.getElementById('progress')?.checkVisibility()")
    assert f"Pair 4 of {PAIRS}" in blind.page.inner_text("#progress")
    assert order(blind) == planned
    # The variant "walrus" wins every pair; all other votes are ties.
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
    assert json.loads(saved.read_text(encoding="utf-8"))["comparison"] == comparison_id(sample.results)
    votes = read_votes(folder, sample.results).votes
    assert len(votes) == PAIRS
    assert {vote.voter for vote in votes} == {"Ada Lovelace"}
    rates = {(rate.variant, rate.against): rate for rate in win_rates(votes)}
    assert (rates["walrus", ""].wins, rates["walrus", ""].losses) == (8, 0)
    assert (rates["zebra", "yak+ibex"].ties, rates["zebra", ""].losses) == (4, 4)
    # The page computes the same numbers.
    rows = [row.split("\t") for row in blind.page.inner_text("#rates").splitlines() if row.strip()]
    assert len(rows) == len(rates)
    for variant, against, rate, interval, wins, ties, losses in rows:
        found = rates[variant, "" if against == "all others" else against]
        assert rate == f"{100 * found.rate:.0f} %"
        assert interval == f"{100 * found.low:.0f} % to {100 * found.high:.0f} %"
        assert (int(wins), int(ties), int(losses)) == (found.wins, found.ties, found.losses)
    # The report shows them.
    path = write_report(sample.results, analyse(sample.results), sample.folder, win_rates(votes))
    blind.page.goto(path.as_uri())
    assert "100 %" in blind.page.inner_text("#votes")
    assert "no votes yet" not in blind.page.inner_text("#votes")


def test_order_and_sides_are_random(blind: BrowserPage) -> None:
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


def test_voting_ends_after_the_results_are_shown(blind: BrowserPage) -> None:
    start(blind)
    blind.page.keyboard.press("1")
    blind.page.click("#finish")
    assert f"1 of {PAIRS} pairs" in blind.page.inner_text("#thanks")
    blind.page.reload()
    blind.wait_until("document.getElementById('end')?.checkVisibility()")
    assert not blind.page.is_visible("#vote")
    blind.page.click("#another")
    start(blind, "Grace")
    assert f"Pair 1 of {PAIRS}" in blind.page.inner_text("#progress")


@pytest.mark.slow
def test_linked_videos_have_neutral_names(sample: SampleComparison, blind: BrowserPage, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sample.folder, folder)
    write_report(sample.results, analyse(sample.results), folder, settings=ReportSettings(budget=0))
    blind.page.goto((folder / "blind.html").as_uri())
    start(blind)
    blind.wait_until("document.getElementById('right').currentTime > 0.2")
    assert "/previews/blind/" in blind.page.evaluate("document.getElementById('left').src")
    seen = blind.page.evaluate(SEEN).lower()
    assert [name for name in ("zebra", "walrus", "ibex", "anna-") if name in seen] == []
    assert len(list((folder / "previews" / "blind").iterdir())) == 2 * 2 * 3
    write_report(sample.results, analyse(sample.results), folder)
    assert list((folder / "previews" / "blind").iterdir()) == []


def test_pairs_of_identical_videos_are_omitted(sample: SampleComparison, blind: BrowserPage, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sample.folder, folder)
    twin = {cell.name: cell.video for cell in sample.results.cells if cell.name.variant == "zebra"}
    results = replace(
        sample.results,
        cells=[
            replace(cell, key=f"{cell.key}-twin", video=twin[replace(cell.name, variant="zebra")])
            if cell.name.variant == "walrus"
            else cell
            for cell in sample.results.cells
        ],
    )
    write_report(results, analyse(results), folder)
    blind.page.goto((folder / "blind.html").as_uri())
    text = blind.page.inner_text("#start")
    assert "8 pairs of videos" in text
    assert "4 more pairs" in text


@pytest.mark.slow
def test_votes_are_separate_for_comparisons_of_one_title(
    sample: SampleComparison, blind: BrowserPage, tmp_path: Path
) -> None:
    start(blind)
    for key in "120":
        blind.page.keyboard.press(key)
    other = make_results(tmp_path / "other", NAMES)
    other.results.title = sample.results.title
    for cell in other.results.cells:
        cell.key = f"{cell.key}-other"
    write_report(other.results, analyse(other.results), other.folder)
    blind.page.goto((other.folder / "blind.html").as_uri())
    # This page has no votes, so it asks for the name.
    assert blind.page.is_visible("#start")
    start(blind)
    assert f"Pair 1 of {PAIRS}" in blind.page.inner_text("#progress")
    blind.page.keyboard.press("1")
    blind.page.goto((sample.folder / "blind.html").as_uri())
    assert f"Pair 4 of {PAIRS}" in blind.page.inner_text("#progress")


def test_voting_videos_are_larger_than_report_previews(sample: SampleComparison) -> None:
    fine = sorted((sample.folder / "previews").glob("*-fine.mp4"))
    assert fine
    for path in fine:
        coarse = path.with_name(path.name.replace("-fine", ""))
        assert path.stat().st_size > coarse.stat().st_size
