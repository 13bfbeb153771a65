"""The report in a real browser: what it shows, and whether its videos keep step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from retalkit.comparison.report import ReportSettings, write_report
from retalkit.comparison.stats.analysis import analyse

from tests.core.comparison.report_fixture import (
    FAILURE,
    METRIC_FAILURE,
    RATE,
    UNAVAILABLE,
    Made,
    Watched,
    make_results,
    watched_page,
)

EVIL = "<script>alert(1)</script>"
TIMES = "[...document.querySelectorAll('#tiles video')].filter(v => !v.dataset.off).map(v => v.currentTime)"
"""Seconds of all videos that are shown, read at once."""
BARS = """[...document.querySelectorAll('#tiles video')].map(video => {
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  const pen = canvas.getContext('2d');
  pen.drawImage(video, 0, 0);
  const row = pen.getImageData(0, 60, canvas.width, 1).data;
  let sum = 0, count = 0;
  for (let x = 0; x < canvas.width; x += 1)
    if (Math.min(row[4 * x], row[4 * x + 1], row[4 * x + 2]) > 180) { sum += x; count += 1; }
  return count ? sum / count : -1;
})"""
"""Where each video shows its bright bar, in pixels: three to the right for every frame."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = make_results(tmp_path_factory.mktemp("report"), ("base", "warp", EVIL))
    write_report(made.results, analyse(made.results), made.folder)
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_page(tmp_path_factory.mktemp("profile")) as watched:
        yield watched


@pytest.fixture
def report(made: Made, browser: Watched) -> Iterator[Watched]:
    """The report, freshly opened, all videos of the first group ready."""
    browser.requests.clear()
    browser.troubles.clear()
    browser.page.goto((made.folder / "report.html").as_uri())
    ready(browser)
    yield browser
    browser.calm()


def ready(browser: Watched) -> None:
    browser.until(
        "[...document.querySelectorAll('#tiles video')].every(v => v.readyState >= 2 && !v.seeking)"
        " && document.querySelectorAll('#tiles video').length > 0"
    )


def at_frame(browser: Watched, frame: int) -> None:
    """Waits until all videos stand on a frame."""
    browser.until(
        f"{TIMES}.every(time => Math.floor(time * {RATE} + 1e-6) === {frame})"
        " && [...document.querySelectorAll('#tiles video')].every(v => !v.seeking)"
    )


def test_nothing_is_fetched_and_nothing_goes_wrong(report: Watched) -> None:
    assert report.page.title() == "Reference faces, small check"
    for heading in ("What was compared", "Findings", "Scores", "Plots", "Videos", "Failures and gaps"):
        assert report.page.get_by_role("heading", name=heading, exact=True).is_visible()
    assert report.page.locator("figure.chart svg").count() >= 4


def test_a_name_that_looks_like_markup_is_text(report: Watched) -> None:
    # The fixture's check at the end would see the dialog; here the name must be readable in every part.
    for part in ("compared", "findings", "scores", "contrasts", "videos", "configuration"):
        assert EVIL in report.page.locator(f"#{part}").inner_text(), part
    assert report.page.locator("#tiles figure").nth(3).inner_text().startswith(EVIL)
    labels = report.page.locator("figure.chart svg text").all_text_contents()
    assert EVIL in labels


def test_what_failed_is_there_to_read(report: Watched) -> None:
    failures = report.page.locator("#failures")
    assert failures.is_visible()
    text = failures.inner_text()
    for line in (FAILURE, METRIC_FAILURE, UNAVAILABLE, "1 cell failed"):
        assert line in text
    assert "1 failed" in report.page.locator("p.meta").inner_text()
    assert "1 of 6 cells failed" in report.page.locator("#scores").inner_text()


def test_too_few_clips_is_a_result(report: Watched) -> None:
    assert "cannot be shown with 2 clips" in report.page.locator("#findings").inner_text()


def test_one_button_plays_all_videos_in_step(report: Watched) -> None:
    report.page.click("#play")
    report.until(f"Math.min(...{TIMES}) > 0.2")
    spreads = []
    for _ in range(12):
        times = report.page.evaluate(TIMES)
        assert len(times) == 4
        spreads.append(max(times) - min(times))
        report.page.wait_for_timeout(60)
    # A machine that does ten other things may miss a beat; a player without a common clock misses most.
    assert sorted(spreads)[6] <= 1 / RATE, spreads
    assert max(spreads) <= 3 / RATE, spreads
    assert report.page.inner_text("#play") == "Pause"
    report.page.click("#play")
    report.until("retalkitPlayer.videos.every(v => v.paused && !v.seeking)")
    stopped = report.page.evaluate(TIMES)
    assert max(stopped) - min(stopped) < 1e-3
    assert 0.2 < stopped[0] < 1.95


def test_a_video_that_fell_behind_catches_up(report: Watched) -> None:
    report.page.select_option("#speed", "0.25")
    report.page.click("#play")
    report.until(f"Math.min(...{TIMES}) > 0.1")
    report.page.evaluate(
        "const [, one, other] = retalkitPlayer.videos.filter(v => v !== retalkitPlayer.leader);"
        "one.pause(); other.currentTime += 0.4; other.playbackRate = 1"
    )
    spread = f"Math.max(...{TIMES}) - Math.min(...{TIMES})"
    report.until(f"{spread} > 0.2")
    report.until(f"{spread} < {1 / RATE} && retalkitPlayer.videos.every(v => !v.paused && !v.seeking)", seconds=4)
    report.page.click("#play")


def test_playing_to_the_end_stops_and_starts_over(report: Watched) -> None:
    report.page.evaluate("document.getElementById('scrubber').value = 44")
    report.page.dispatch_event("#scrubber", "input")
    at_frame(report, 44)
    report.page.click("#play")
    report.until("document.getElementById('play').textContent === 'Play'")
    at_frame(report, 49)
    report.page.click("#play")
    report.until(f"Math.max(...{TIMES}) < 1 && Math.min(...{TIMES}) > 0.1")
    report.page.click("#play")


def test_stepping_moves_every_video_by_one_frame(report: Watched) -> None:
    report.page.evaluate("document.getElementById('scrubber').value = 10")
    report.page.dispatch_event("#scrubber", "input")
    at_frame(report, 10)
    for button, frame in (("#forward", 11), ("#forward", 12), ("#back", 11)):
        before = report.page.evaluate(TIMES)
        report.page.click(button)
        at_frame(report, frame)
        after = report.page.evaluate(TIMES)
        by = 1 / RATE if button == "#forward" else -1 / RATE
        assert [now - then for now, then in zip(after, before, strict=True)] == pytest.approx([by] * 4, abs=2e-3)
        # What is seen is that frame, too, in each of them.
        assert report.page.evaluate(BARS) == pytest.approx([3 * frame + 5.5] * 4, abs=1.2)
        assert f"frame {frame + 1} of 50" in report.page.inner_text("#clock")


def test_keys_step_and_play(report: Watched) -> None:
    report.page.focus("#player")
    report.page.keyboard.press(".")
    at_frame(report, 1)
    report.page.keyboard.press("ArrowRight")
    at_frame(report, 2)
    report.page.keyboard.press(",")
    at_frame(report, 1)
    report.page.keyboard.press("Space")
    report.until(f"Math.min(...{TIMES}) > 0.2")
    report.page.keyboard.press("Space")
    assert report.page.inner_text("#play") == "Play"


def test_keys_work_without_a_click_while_the_videos_are_in_view(report: Watched) -> None:
    report.page.evaluate("window.scrollTo(0, 0)")
    report.until("scrollY === 0")
    report.page.evaluate("void addEventListener('scrollend', () => { window.moved = scrollY; })")
    report.page.keyboard.press(".")
    report.page.keyboard.press("Space")
    # Its end, since a movement that goes on would take the videos out of view again.
    report.until("window.moved > 0")
    assert report.page.inner_text("#play") == "Play", "the page moves as everywhere"
    assert "frame 1 of" in report.page.inner_text("#clock")
    report.page.evaluate("document.getElementById('videos').scrollIntoView()")
    at = report.page.evaluate("scrollY")
    report.page.keyboard.press("ArrowRight")
    at_frame(report, 1)
    report.page.keyboard.press(".")
    at_frame(report, 2)
    report.page.keyboard.press(",")
    at_frame(report, 1)
    report.page.keyboard.press("Space")
    report.until(f"Math.min(...{TIMES}) > 0.2")
    report.page.keyboard.press("Space")
    assert report.page.inner_text("#play") == "Play"
    assert report.page.evaluate("scrollY") == at


def test_a_field_keeps_its_keys(report: Watched) -> None:
    report.page.evaluate("document.getElementById('videos').scrollIntoView()")
    report.page.focus("#clip")
    report.page.keyboard.press(".")
    report.page.focus("#loop")
    report.page.keyboard.press("Space")
    assert report.page.is_checked("#loop")
    report.page.focus("#shown input")
    report.page.keyboard.press("ArrowRight")
    report.page.wait_for_timeout(100)
    assert "frame 1 of" in report.page.inner_text("#clock")
    assert report.page.inner_text("#play") == "Play"


def test_videos_are_as_large_as_one_row_holds(report: Watched) -> None:
    tops = "new Set([...document.querySelectorAll('#tiles figure:not([hidden])')].map(each => each.offsetTop)).size"
    chosen = "document.getElementById('tile').selectedOptions[0].text"
    assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "medium"]
    report.page.get_by_role("checkbox", name="warp").uncheck()
    assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "large"]
    report.page.get_by_role("checkbox", name="base").uncheck()
    assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "largest"]
    report.page.set_viewport_size({"width": 600, "height": 900})
    try:
        report.until(f"{chosen} === 'medium'")
        report.page.get_by_role("checkbox", name="base").check()
        assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "small"]
        report.page.get_by_role("checkbox", name="warp").check()
        assert report.page.evaluate(f"[{tops}, {chosen}]") == [2, "small"], "what does not fit wraps"
    finally:
        report.page.set_viewport_size({"width": 1280, "height": 900})
    report.until(f"{chosen} === 'medium'")
    report.page.select_option("#tile", label="small")
    report.page.get_by_role("checkbox", name="warp").uncheck()
    assert report.page.evaluate(chosen) == "small", "what was chosen stays"


def test_slow_motion_is_slow_in_all_videos(report: Watched) -> None:
    report.page.select_option("#speed", "0.25")
    report.page.click("#play")
    report.until(f"Math.min(...{TIMES}) > 0.1")
    heard = report.page.evaluate("retalkitPlayer.leader.playbackRate")
    rates = report.page.evaluate("retalkitPlayer.videos.map(v => v.playbackRate)")
    report.page.click("#play")
    assert heard == 0.25
    # The others may be bent by half of it to keep step.
    assert max(rates) < 0.4


def test_only_one_video_is_heard(report: Watched) -> None:
    heard = "[...document.querySelectorAll('#tiles video')].filter(v => !v.muted).map(v => v.dataset.name)"
    assert report.page.evaluate(heard) == ["base"]
    report.page.locator("#tiles figure").nth(2).get_by_role("radio").check()
    assert report.page.evaluate(heard) == ["warp"]


def test_an_unchecked_variant_is_hidden_and_comes_back_in_step(report: Watched) -> None:
    tile = report.page.locator("#tiles figure").nth(2)
    assert tile.is_visible()
    report.page.get_by_role("checkbox", name="warp").uncheck()
    assert not tile.is_visible()
    assert len(report.page.evaluate(TIMES)) == 3
    report.page.click("#forward")
    at_frame(report, 1)
    report.page.get_by_role("checkbox", name="warp").check()
    assert tile.is_visible()
    assert len(report.page.evaluate(TIMES)) == 4
    at_frame(report, 1)


def test_every_group_can_be_chosen(report: Watched) -> None:
    report.page.select_option("#clip", "boris")
    report.page.select_option("#arm", label="silence")
    ready(report)
    # One of the three failed, and the real video does not belong to silence.
    assert report.page.locator("#tiles video").count() == 2


def test_contact_sheets_are_pictures(report: Watched) -> None:
    width = report.page.locator("#sheets img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width > 1000


def test_beyond_the_budget_videos_lie_beside_the_page(made: Made, browser: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made.folder, folder)
    browser.troubles.clear()
    path = write_report(made.results, analyse(made.results), folder, settings=ReportSettings(budget=1_400_000))
    text = path.read_text(encoding="utf-8")
    assert 0 < text.count('class="video"') < 20
    browser.page.goto(path.as_uri())
    assert "beside this page" in browser.page.locator("#videos").inner_text()
    browser.page.select_option("#clip", "boris")
    browser.page.select_option("#arm", label="noisy speech, 10 dB")
    ready(browser)
    sources = browser.page.evaluate("[...document.querySelectorAll('#tiles video')].map(v => v.src)")
    assert all("/previews/" in source for source in sources)
    browser.page.click("#forward")
    at_frame(browser, 1)
    browser.calm()


def test_a_narrow_window_cuts_nothing_off(report: Watched) -> None:
    report.page.set_viewport_size({"width": 390, "height": 800})
    try:
        assert report.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        report.page.set_viewport_size({"width": 1280, "height": 900})
