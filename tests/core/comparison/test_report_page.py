"""The report in Chromium: content, and synchronization of the videos."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from retalkit.comparison.report import ReportSettings, write_report
from retalkit.comparison.stats.analysis import analyse

from tests.core.comparison.report_samples import (
    FAILURE,
    METRIC_FAILURE,
    RATE,
    UNAVAILABLE,
    BrowserPage,
    SampleComparison,
    make_results,
    open_browser,
    open_browser_page,
)

EVIL = "<script>alert(1)</script>"
TIMES = "[...document.querySelectorAll('#tiles video')].filter(v => !v.dataset.off).map(v => v.currentTime)"
"""Current times of all visible videos, read in one call."""
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
"""Position of the bright bar in each video, in pixels; it moves three pixels per frame."""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleComparison:
    sample = make_results(tmp_path_factory.mktemp("report"), ("base", "warp", EVIL))
    write_report(sample.results, analyse(sample.results), sample.folder)
    return sample


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserPage]:
    with open_browser() as started, open_browser_page(started) as browser_page:
        yield browser_page


@pytest.fixture
def report(sample: SampleComparison, browser: BrowserPage) -> Iterator[BrowserPage]:
    """The reloaded report with all videos of the first group ready."""
    browser.requests.clear()
    browser.errors.clear()
    browser.page.goto((sample.folder / "report.html").as_uri())
    ready(browser)
    yield browser
    browser.assert_no_errors()


def ready(browser: BrowserPage) -> None:
    browser.wait_until(
        "[...document.querySelectorAll('#tiles video')].every(v => v.readyState >= 2 && !v.seeking)"
        " && document.querySelectorAll('#tiles video').length > 0"
    )


def at_frame(browser: BrowserPage, frame: int) -> None:
    """Wait until all videos show a frame."""
    browser.wait_until(
        f"{TIMES}.every(time => Math.floor(time * {RATE} + 1e-6) === {frame})"
        " && [...document.querySelectorAll('#tiles video')].every(v => !v.seeking)"
    )


def test_page_loads_without_network_or_errors(report: BrowserPage) -> None:
    assert report.page.title() == "Reference faces, small check"
    for heading in ("Compared variants", "Findings", "Scores", "Plots", "Videos", "Failures and missing values"):
        assert report.page.get_by_role("heading", name=heading, exact=True).is_visible()
    assert report.page.locator("figure.chart svg").count() >= 4


def test_markup_in_names_is_escaped(report: BrowserPage) -> None:
    # The fixture would report the dialog of an executed script. Here the name must be readable in every section.
    for part in ("compared", "findings", "scores", "contrasts", "videos", "configuration"):
        assert EVIL in report.page.locator(f"#{part}").inner_text(), part
    assert report.page.locator("#tiles figure").nth(3).inner_text().startswith(EVIL)
    labels = report.page.locator("figure.chart svg text").all_text_contents()
    assert EVIL in labels


def test_failures_are_listed(report: BrowserPage) -> None:
    failures = report.page.locator("#failures")
    assert failures.is_visible()
    text = failures.inner_text()
    for line in (FAILURE, METRIC_FAILURE, UNAVAILABLE, "1 cell failed"):
        assert line in text
    assert "1 failed" in report.page.locator("p.meta").inner_text()
    assert "1 of 6 cells failed" in report.page.locator("#scores").inner_text()


def test_findings_report_too_few_clips(report: BrowserPage) -> None:
    assert "cannot be shown with 2 clips" in report.page.locator("#findings").inner_text()


def test_play_button_plays_all_videos_in_sync(report: BrowserPage) -> None:
    report.page.click("#play")
    report.wait_until(f"Math.min(...{TIMES}) > 0.2")
    spreads = []
    for _ in range(12):
        times = report.page.evaluate(TIMES)
        assert len(times) == 4
        spreads.append(max(times) - min(times))
        report.page.wait_for_timeout(60)
    # Under load single samples may be off; a player without a common clock is off in most.
    assert sorted(spreads)[6] <= 1 / RATE, spreads
    assert max(spreads) <= 3 / RATE, spreads
    assert report.page.inner_text("#play") == "Pause"
    report.page.click("#play")
    report.wait_until("retalkitPlayer.videos.every(v => v.paused && !v.seeking)")
    stopped = report.page.evaluate(TIMES)
    assert max(stopped) - min(stopped) < 1e-3
    assert 0.2 < stopped[0] < 1.95


def test_lagging_video_catches_up(report: BrowserPage) -> None:
    report.page.select_option("#speed", "0.25")
    report.page.click("#play")
    report.wait_until(f"Math.min(...{TIMES}) > 0.1")
    spread = f"Math.max(...{TIMES}) - Math.min(...{TIMES})"
    # Recorded in the page: the player may catch up between two questions of this test.
    report.page.evaluate(
        f"window.widest = 0; setInterval(() => {{ widest = Math.max(widest, {spread}) }}, 5);"
        "const [, one, other] = retalkitPlayer.videos.filter(v => v !== retalkitPlayer.leader);"
        "one.pause(); other.currentTime += 0.4; other.playbackRate = 1"
    )
    report.wait_until("widest > 0.2")
    report.wait_until(f"{spread} < {1 / RATE} && retalkitPlayer.videos.every(v => !v.paused && !v.seeking)", seconds=4)
    report.page.click("#play")


def test_playback_stops_at_the_end_and_restarts(report: BrowserPage) -> None:
    report.page.evaluate("document.getElementById('scrubber').value = 44")
    report.page.dispatch_event("#scrubber", "input")
    at_frame(report, 44)
    report.page.click("#play")
    report.wait_until("document.getElementById('play').textContent === 'Play'")
    at_frame(report, 49)
    report.page.click("#play")
    report.wait_until(f"Math.max(...{TIMES}) < 1 && Math.min(...{TIMES}) > 0.1")
    report.page.click("#play")


def test_step_buttons_move_all_videos_by_one_frame(report: BrowserPage) -> None:
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
        # The displayed image is that frame in every video.
        assert report.page.evaluate(BARS) == pytest.approx([3 * frame + 5.5] * 4, abs=1.2)
        assert f"frame {frame + 1} of 50" in report.page.inner_text("#clock")


def test_keyboard_steps_and_plays(report: BrowserPage) -> None:
    report.page.focus("#player")
    report.page.keyboard.press(".")
    at_frame(report, 1)
    report.page.keyboard.press("ArrowRight")
    at_frame(report, 2)
    report.page.keyboard.press(",")
    at_frame(report, 1)
    report.page.keyboard.press("Space")
    report.wait_until(f"Math.min(...{TIMES}) > 0.2")
    report.page.keyboard.press("Space")
    assert report.page.inner_text("#play") == "Play"


def test_keys_work_without_focus_while_videos_are_in_view(report: BrowserPage) -> None:
    report.page.evaluate("window.scrollTo(0, 0)")
    report.wait_until("scrollY === 0")
    report.page.evaluate("void addEventListener('scrollend', () => { window.moved = scrollY; })")
    report.page.keyboard.press(".")
    report.page.keyboard.press("Space")
    # Wait for the end of the scroll animation, which would otherwise move the videos out of view again.
    report.wait_until("window.moved > 0")
    assert report.page.inner_text("#play") == "Play", "space scrolls the page"
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
    report.wait_until(f"Math.min(...{TIMES}) > 0.2")
    report.page.keyboard.press("Space")
    assert report.page.inner_text("#play") == "Play"
    assert report.page.evaluate("scrollY") == at


def test_form_controls_keep_their_keys(report: BrowserPage) -> None:
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


def test_tile_size_fits_one_row(report: BrowserPage) -> None:
    tops = "new Set([...document.querySelectorAll('#tiles figure:not([hidden])')].map(each => each.offsetTop)).size"
    chosen = "document.getElementById('tile').selectedOptions[0].text"
    assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "medium"]
    report.page.get_by_role("checkbox", name="warp").uncheck()
    assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "large"]
    report.page.get_by_role("checkbox", name="base").uncheck()
    assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "largest"]
    report.page.set_viewport_size({"width": 600, "height": 900})
    try:
        report.wait_until(f"{chosen} === 'medium'")
        report.page.get_by_role("checkbox", name="base").check()
        assert report.page.evaluate(f"[{tops}, {chosen}]") == [1, "small"]
        report.page.get_by_role("checkbox", name="warp").check()
        assert report.page.evaluate(f"[{tops}, {chosen}]") == [2, "small"], "tiles wrap"
    finally:
        report.page.set_viewport_size({"width": 1280, "height": 900})
    report.wait_until(f"{chosen} === 'medium'")
    report.page.select_option("#tile", label="small")
    report.page.get_by_role("checkbox", name="warp").uncheck()
    assert report.page.evaluate(chosen) == "small", "a chosen size is kept"


def test_playback_speed_applies_to_all_videos(report: BrowserPage) -> None:
    report.page.select_option("#speed", "0.25")
    report.page.click("#play")
    report.wait_until(f"Math.min(...{TIMES}) > 0.1")
    leader = report.page.evaluate("retalkitPlayer.leader.playbackRate")
    rates = report.page.evaluate("retalkitPlayer.videos.map(v => v.playbackRate)")
    report.page.click("#play")
    assert leader == 0.25
    # The rates of the others may be corrected by up to half to stay in sync.
    assert max(rates) < 0.4


def test_only_one_video_is_audible(report: BrowserPage) -> None:
    audible = "[...document.querySelectorAll('#tiles video')].filter(v => !v.muted).map(v => v.dataset.name)"
    assert report.page.evaluate(audible) == ["base"]
    report.page.locator("#tiles figure").nth(2).get_by_role("radio").check()
    assert report.page.evaluate(audible) == ["warp"]


def test_hidden_variant_returns_in_sync(report: BrowserPage) -> None:
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


def test_clip_and_arm_selection(report: BrowserPage) -> None:
    report.page.select_option("#clip", "boris")
    report.page.select_option("#arm", label="silence")
    ready(report)
    # One of the three variants failed, and the real video is not part of the arm silence.
    assert report.page.locator("#tiles video").count() == 2


def test_contact_sheets_are_decodable(report: BrowserPage) -> None:
    width = report.page.locator("#sheets img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert width > 1000


@pytest.mark.slow
def test_videos_beyond_the_budget_are_linked(sample: SampleComparison, browser: BrowserPage, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(sample.folder, folder)
    browser.errors.clear()
    path = write_report(sample.results, analyse(sample.results), folder, settings=ReportSettings(budget=1_400_000))
    text = path.read_text(encoding="utf-8")
    assert 0 < text.count('class="video"') < 20
    browser.page.goto(path.as_uri())
    assert "next to this page" in browser.page.locator("#videos").inner_text()
    browser.page.select_option("#clip", "boris")
    browser.page.select_option("#arm", label="noisy speech, 10 dB")
    ready(browser)
    sources = browser.page.evaluate("[...document.querySelectorAll('#tiles video')].map(v => v.src)")
    assert all("/previews/" in source for source in sources)
    browser.page.click("#forward")
    at_frame(browser, 1)
    browser.assert_no_errors()


def test_narrow_window_has_no_horizontal_overflow(report: BrowserPage) -> None:
    report.page.set_viewport_size({"width": 390, "height": 800})
    try:
        assert report.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        report.page.set_viewport_size({"width": 1280, "height": 900})
