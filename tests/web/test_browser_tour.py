"""Everything that users do, in a real Chromium with a real server and real clips."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.core.comparison.report_samples import open_browser
from tests.docs.pages import blocks
from tests.web.running_server import ApiClient, RunningServer, wait_until

# Not `importorskip`, because the import takes two seconds in every process that collects the tests.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("gradio") is None, reason="the page needs the extra: pip install 'retalkit[web]'"),
]

SHOTS = os.environ.get("RETALKIT_WEB_SHOTS", "")
"""Directory in which the tour stores screenshots of every state."""
FIRST_FRAME_SECONDS = 3.0
LOG = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    started = RunningServer(tmp_path_factory.mktemp("web"), "--max-upload", "30", "--max-minutes", "2")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as started:
        yield started


class Tab:
    """Page of one session, with everything that the browser reports."""

    def __init__(self, browser: Any, url: str, *, width: int = 1280, dark: bool = False) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 860}, color_scheme="dark" if dark else "light", accept_downloads=True
        )
        self.page = self.context.new_page()
        self.url = url
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.texts: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.context.on("request", lambda request: self._check(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("body[data-ready]")

    def _check(self, url: str) -> None:
        if not url.startswith((self.url, "data:", "blob:")):
            self.foreign.append(url)

    def add(self, video: Path | None = None, speech: Path | None = None) -> None:
        if video is not None:
            self.page.set_input_files("#file-video", video)
            self.page.wait_for_selector("body.has-video", timeout=60000)
        if speech is not None:
            self.page.set_input_files("#file-speech", speech)
            self.page.wait_for_selector("#speeches .quiet", timeout=60000)

    def inspected(self) -> None:
        self.page.wait_for_selector("#timeline .track.speech", timeout=240000)
        self.page.wait_for_selector(".person .face")

    def shot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=f"{SHOTS}/{name}.png", full_page=True)

    def seek(self, time: float) -> None:
        self.value(f"document.querySelector('#seek').value = {time}")
        self.page.locator("#seek").dispatch_event("input")

    def value(self, script: str) -> Any:
        return self.page.evaluate(script)

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def tab(browser: Any, server: RunningServer) -> Iterator[Tab]:
    opened = Tab(browser, server.url)
    yield opened
    opened.close()
    assert opened.foreign == []
    assert opened.errors == []


def media_of(shared_media: Path) -> tuple[Path, Path]:
    return shared_media / "talk_woman_590p25.mp4", shared_media / "speech_16k_mono.wav"


def test_dub_preview_render_and_compare(tab: Tab, shared_media: Path, tmp_path: Path) -> None:
    page = tab.page
    tab.shot("empty")
    tab.add(*media_of(shared_media))
    tab.inspected()
    assert page.locator(".person.on").count() == 1
    assert page.locator("#timeline .shot").count() == 1
    assert "100 %" in page.text_content("#summary")
    tab.shot("inspected")

    # The second preview uses a warm worker and a warm cache.
    seconds: list[float] = []
    for time_of_preview in (1.0, 3.5):
        tab.seek(time_of_preview)
        source = page.get_attribute("#right video", "src")
        begin = time.monotonic()
        page.click("#preview-button")
        wait_until(lambda before=source: page.get_attribute("#right video", "src") not in (None, before))
        wait_until(lambda: tab.value("document.querySelector('#right video').readyState >= 2"))
        seconds.append(time.monotonic() - begin)
    LOG.info("first preview frame after %s s at load %.1f", seconds, os.getloadavg()[0])
    assert page.text_content("#right .caption").startswith("Preview")
    assert tab.value("document.querySelector('#right video').videoWidth") == 590

    page.click("#render-button")
    page.wait_for_selector("#progress [data-kind=render]")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.wait_for_selector(".variant", timeout=240000)
    page.wait_for_selector(".variant.current")
    tab.shot("finished")
    for name, pattern in (
        ("Video", r"\.mp4$"),
        ("Record", r"\.json$"),
        ("Credentials", r"\.json$"),
        ("Run file", r"\.yaml$"),
    ):
        with page.expect_download() as waiting:
            page.locator(".variant .links a", has_text=name).click()
        file = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(file)
        assert re.search(pattern, file.name)
        if name != "Video":
            assert "/tmp" not in file.read_text(encoding="utf-8")
            assert str(Path.home()) not in file.read_text(encoding="utf-8")
    from retalkit.provenance.verification import State, verify

    assert verify(tmp_path / "Variant 1.mp4").state in (State.VALID, State.TRUSTED)

    # Players: frame steps, synchronisation and mouth zoom.
    wait_until(lambda: tab.value("document.querySelector('#right video').readyState >= 2"))
    page.keyboard.press("ArrowRight")
    tab.seek(0.0)
    tab.value("document.activeElement.blur()")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    wait_until(lambda: abs(tab.value("document.querySelector('#left video').currentTime") - 0.2) < 0.02)
    assert abs(tab.value("document.querySelector('#right video').currentTime") - 0.2) < 0.02
    page.keyboard.press("z")
    assert "scale(" in tab.value("document.querySelector('#right video').style.transform")
    tab.shot("zoomed")
    page.keyboard.press("z")

    # Mouth motion: a moved point changes the preview.
    page.click("#motion-show")
    page.wait_for_selector("#motion .point", timeout=120000)
    point = page.locator("#motion .point").nth(8)
    before = float(point.get_attribute("aria-valuenow"))
    point.focus()
    page.keyboard.press("PageUp")
    assert float(page.locator("#motion .point").nth(8).get_attribute("aria-valuenow")) > before
    tab.shot("motion")
    page.click("text=Use and preview")
    wait_until(lambda: page.text_content("#right .caption").startswith("Preview"))
    assert not page.locator("#progress .error").count()
    assert "in use" in page.text_content("#motion-note")
    assert page.locator("#motion-discard").is_visible()

    # A second variant, side by side and in the blind test.
    page.locator("#basic input[type=range]").fill("0.5")
    page.click("#render-button")
    wait_until(lambda: page.locator(".variant").count() == 2)
    for box in page.locator(".variant input[type=checkbox]").all():
        box.check()
    page.click("text=Side by side")
    assert page.text_content("#left .caption").startswith("Variant")
    page.click("text=Blind test")
    link = page.locator("#compare-row a")
    link.wait_for(timeout=240000)
    with page.expect_popup() as opening:
        link.click()
    blind = opening.value
    blind.wait_for_selector("#voter")
    assert not re.search(r"Variant \d", blind.inner_text("body"))
    tab.shot("variants")

    # A range: the speech starts with it, the focus stays on the handle, and a blind test is refused.
    page.locator(".handle[data-end=start]").focus()
    page.keyboard.press("PageUp")
    wait_until(lambda: "Range" in page.text_content("#timeline") and page.locator(".span.outside").count())
    assert tab.value("document.activeElement.dataset.end") == "start"
    assert "starts at 1 s" in page.text_content("#range-note")
    assert page.locator("#timeline .pause").first.get_attribute("title").startswith("1 - ")
    page.locator("#runfile summary").click()
    page.locator("#runfile-text", has_text="--from 1").wait_for()
    assert "add 1 s to the times" in page.text_content("#runfile-text")
    page.click("#render-button")
    wait_until(lambda: page.locator(".variant").count() == 3)
    page.locator(".variant input[type=checkbox]").nth(1).uncheck()
    page.locator(".variant input[type=checkbox]").first.check()
    assert page.locator("#compare-row button", has_text="Blind test").is_disabled()
    assert "range" in page.text_content("#compare-note")
    page.locator("#playhead").focus()
    page.keyboard.press("Home")
    assert page.get_attribute("#playhead", "aria-valuetext") == "0 s"
    tab.shot("range")
    assert seconds[1] < FIRST_FRAME_SECONDS or os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


def test_cancel_and_resume(tab: Tab, shared_media: Path) -> None:
    page = tab.page
    tab.add(shared_media / "sitting_woman_1080x1920p25_hevc.mp4", media_of(shared_media)[1])
    tab.inspected()
    # Browsers do not play HEVC, so the page shows a converted copy.
    wait_until(lambda: "playable" in (page.get_attribute("#left video", "src") or ""))
    page.click("#render-button")
    page.locator("#progress [data-kind=render] .line", has_text="Rendering").wait_for(timeout=240000)
    tab.shot("rendering")
    page.locator("#progress [data-kind=render] button").click()
    page.locator("#progress", has_text="Cancelled").wait_for(timeout=60000)
    page.click("#progress >> text=Resume")
    page.wait_for_selector(".variant", timeout=400000)


def test_two_sessions_see_only_their_own_files(browser: Any, server: RunningServer, shared_media: Path) -> None:
    video, speech = media_of(shared_media)
    first, second = Tab(browser, server.url), Tab(browser, server.url)
    first.add(video, speech)
    second.add(shared_media / "cuts_and_faceless_640x360p2997.mp4", speech)
    first.inspected()
    second.inspected()
    assert second.page.locator("#timeline .shot").count() > 1
    assert second.page.locator("#timeline .span.passed").count() > 0
    second.shot("cuts")
    stolen = [
        first.value("document.querySelector('#left video').src"),
        first.value("document.querySelector('.person img').src"),
    ]
    for url in stolen:
        assert first.page.request.get(url).status == 200
        assert second.page.request.get(url).status == 404
    first.close()
    second.close()


def test_unusable_files_are_explained(tab: Tab, tmp_path: Path, shared_media: Path) -> None:
    page = tab.page
    text = tmp_path / "notes.mp4"
    text.write_text("no video\n" * 100, encoding="utf-8")
    page.set_input_files("#file-video", text)
    page.locator("#toast.bad").wait_for()
    assert "notes.mp4" in page.text_content("#toast")
    assert "/" not in page.text_content("#toast").replace("/s", "")
    huge = tmp_path / "huge.mp4"
    with huge.open("wb") as file:
        file.truncate(31_000_000)
    page.set_input_files("#file-video", huge)
    page.locator("#toast", has_text="30 MB").wait_for()
    tab.shot("error")
    assert not page.locator("body.has-video").count()
    # The browser reports the rejected request as an error.
    assert all("400" in error for error in tab.errors)
    tab.errors.clear()


def test_a_killed_server_resumes_its_jobs(tmp_path: Path, shared_media: Path) -> None:
    video, speech = shared_media / "talk_man_700p22.mp4", media_of(shared_media)[1]
    server = RunningServer(tmp_path / "web")
    try:
        api = ApiClient(server.url)
        run = {"video": api.upload("video", video), "people": [{"speech": api.upload("sound", speech)}]}
        job = api.start("render", **run)
        wait_until(lambda: api.job(job["id"])["step"] == "render")
        server.kill()
        server.start()
        again = ApiClient(server.url, api.session)
        done = again.wait(job["id"])
        assert done["status"] == "done", done["error"]
        assert done["result"]["seconds"] == pytest.approx(9.6, abs=0.1)
        record = again.http.get(f"/media/jobs/{job['id']}/record.json").json()
        assert {"faces", "speech"} <= set(record["cached_steps"])
    finally:
        server.stop()


def test_memory_is_flat_over_20_renders(server: RunningServer, shared_media: Path) -> None:
    video, speech = media_of(shared_media)
    api = ApiClient(server.url)
    run = {"video": api.upload("video", video), "people": [{"speech": api.upload("sound", speech)}]}
    memory: list[float] = []
    for number in range(20):
        # Another quality makes another key, so that all frames are rendered. Another seed repeats all other steps.
        config = {"output": {"crf": 18 + number}, "seed": number // 4}
        done = api.wait(api.start("render", **run, config=config)["id"])
        assert done["status"] == "done", done["error"]
        memory.append(server.worker_memory()["render0"] / 2**20)
        api.call("delete", done["id"], api.session)
    LOG.info("MiB of the render worker: %s", [round(each) for each in memory])
    assert max(memory[10:]) < 1.15 * max(memory[3:10])


def test_documented_client(server: RunningServer, shared_media: Path, tmp_path: Path) -> None:
    code = next(block.text for block in blocks("docs/web.md") if block.language == "python")
    values: dict[str, Any] = {}
    exec(code, values)
    video, speech = media_of(shared_media)
    values["dub_on_server"](server.url, str(video), str(speech), str(tmp_path / "out.mp4"))
    import av

    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].frames == 240


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_axe_finds_no_serious_fault(
    browser: Any, server: RunningServer, shared_media: Path, width: int, dark: bool, axe: str
) -> None:
    tab = Tab(browser, server.url, width=width, dark=dark)
    states = {"empty": check_axe(tab, axe)}
    tab.add(*media_of(shared_media))
    tab.inspected()
    tab.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    tab.page.click("#motion-show")
    tab.page.wait_for_selector("#motion .point", timeout=120000)
    states["inspected"] = check_axe(tab, axe)
    tab.page.click("#render-button")
    tab.page.wait_for_selector("#progress [data-kind=render]")
    states["rendering"] = check_axe(tab, axe)
    tab.page.wait_for_selector(".variant", timeout=240000)
    tab.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    states["finished"] = check_axe(tab, axe)
    tab.shot(f"axe-{width}-{'dark' if dark else 'light'}")
    assert tab.value("document.documentElement.scrollWidth <= innerWidth")
    tab.close()
    assert states == dict.fromkeys(states, [])


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Source of axe-core, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("axe-core needs npm")
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "axe-core@4"], cwd=folder, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("axe-core cannot be installed with npm")
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


def check_axe(tab: Tab, axe: str) -> list[str]:
    """Return the serious and critical faults of the page."""
    tab.page.evaluate(axe)
    found = tab.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {node['html'][:120]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_login(browser: Any, tmp_path: Path) -> None:
    from gradio_client import Client

    server = RunningServer(tmp_path / "web", "--auth", "anna:correct-horse")
    try:
        page = browser.new_context().new_page()
        page.goto(server.url)
        page.wait_for_selector("#login")
        page.fill("[name=username]", "anna")
        page.fill("[name=password]", "wrong")
        page.click("#login button")
        page.locator("#message", has_text="wrong").wait_for()
        page.fill("[name=password]", "correct-horse")
        page.click("#login button")
        page.wait_for_selector("body[data-ready]")
        with pytest.raises(Exception, match=r"(?i)auth|401|403|login"):
            Client(server.url, verbose=False)
        client = Client(server.url, auth=("anna", "correct-horse"), verbose=False)
        assert len(client.predict(api_name="/open_session")) == 32
    finally:
        server.stop()


def test_two_persons_a_range_and_a_photo(server: RunningServer, shared_media: Path, tmp_path: Path) -> None:
    import cv2
    from retalkit.testing.fixtures.material import portrait

    from tests.composed_clips import compose

    woman, speech = media_of(shared_media)
    clip = compose(tmp_path / "two.mp4", shared_media / "talk_man_700p22.mp4", woman, lambda index: (0.0, 1.0))
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), cv2.cvtColor(portrait(), cv2.COLOR_RGB2BGR))
    api = ApiClient(server.url)
    first, second = api.upload("sound", speech), api.upload("sound", woman)
    people = [{"person": "p1", "speech": first}, {"person": "p2", "speech": second}]
    run = {"video": api.upload("video", clip), "people": people, "start": 0.4, "stop": 2.4}
    found = api.wait(api.start("inspect", **run)["id"])
    assert found["status"] == "done", found["error"]
    inspected = found["result"]
    assert [each["name"] for each in inspected["persons"]] == ["p1", "p2"]
    assert len(inspected["shots"][0]["results"]) == 2
    assert set(inspected["mouths"]) == {"p1", "p2"}
    done = api.wait(api.start("render", **run)["id"])
    assert done["status"] == "done", done["error"]
    record = api.http.get(f"/media/jobs/{done['id']}/record.json").json()
    assert [(cue["person"], cue["from"], cue["to"]) for cue in record["cues"]] == [("p1", 0.4, 2.4), ("p2", 0.4, 2.4)]
    still = {"video": api.upload("video", photo), "people": [{"speech": first}]}
    shown = api.wait(api.start("preview", **still, at=2.0, seconds=1.0)["id"])
    assert shown["status"] == "done", shown["error"]
    assert shown["result"]["seconds"] == pytest.approx(1.0, abs=0.05)


def test_record_a_speech(browser: Any, server: RunningServer) -> None:
    from tests.core.comparison.report_samples import BROWSERS, FLAGS

    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("no browser; install chromium")
    microphone = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    recording = browser.browser_type.launch(executable_path=executable, args=[*FLAGS, *microphone])
    page = recording.new_page()
    page.goto(server.url)
    page.wait_for_selector("body[data-ready]")
    button = page.locator("#drop-speech .record")
    button.click()
    page.wait_for_timeout(2500)
    assert "Stop recording" in button.text_content()
    button.click()
    wait_until(lambda: page.locator("#drop-speech").is_hidden(), 60)
    state = page.evaluate("fetch('/api/state').then((response) => response.json())")
    assert [each["kind"] for each in state["files"]] == ["sound"]
    assert 1.5 < state["files"][0]["seconds"] < 5
    recording.close()
