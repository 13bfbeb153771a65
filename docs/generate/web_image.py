"""Render the image of the web page for ``docs`` from the demo's portrait and speech, which are in the public domain."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from retalkit.testing.fixtures.material import make_clip

from tests.core.comparison.report_samples import open_browser
from tests.web.running_server import RunningServer

REPOSITORY = Path(__file__).resolve().parent.parent.parent
IMAGE = REPOSITORY / "docs" / "images" / "web_page.jpg"


WIDTH = 720
LARGEST_BYTES = 60_000


def store(screenshot: bytes) -> None:
    """Store a reduced JPEG image of at most ``LARGEST_BYTES``. ``screenshot``: PNG file."""
    image = Image.open(BytesIO(screenshot)).convert("RGB")
    image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    for quality in range(80, 20, -5):
        stored = BytesIO()
        image.save(stored, "JPEG", quality=quality, optimize=True, progressive=True)
        if stored.tell() <= LARGEST_BYTES:
            IMAGE.write_bytes(stored.getvalue())
            return
    raise ValueError(f"the image of the page needs more than {LARGEST_BYTES} bytes")


def main() -> None:
    """Dub the demo clip in the browser, and store a screenshot."""
    with TemporaryDirectory() as folder, open_browser() as browser:
        clip = Path(folder, "talk.mp4")
        make_clip(clip)
        server = RunningServer(Path(folder, "web"))
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(300_000)
            page.goto(server.url)
            page.wait_for_selector("body[data-ready]")
            page.set_input_files("#file-video", clip)
            page.set_input_files("#file-speech", REPOSITORY / "examples" / "speech.wav")
            page.wait_for_selector("#timeline .track.speech")
            page.wait_for_selector(".person .face")
            page.click("#render-button")
            page.wait_for_selector(".variant.current")
            page.click("#motion-show")
            page.wait_for_selector("#motion .point")
            page.click("#runfile summary")
            page.wait_for_selector("#runfile-text:not(:empty)")
            # The viewport is as high as the page, so that no part of the page scrolls under the buttons. The players
            # grow with the viewport.
            for _ in range(2):
                height = page.evaluate("document.documentElement.scrollHeight")
                page.set_viewport_size({"width": 1280, "height": height})
            page.wait_for_timeout(2000)
            page.evaluate("document.activeElement.blur()")
            store(page.screenshot(type="png", full_page=True))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
