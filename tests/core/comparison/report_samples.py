"""A synthetic comparison for the report (three variants, two clips, small videos), and a browser for its pages."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from filelock import FileLock
from retalkit.comparison.results import (
    ANCHOR,
    MISMATCHED,
    OWN,
    REAL,
    SILENCE,
    SPEECH,
    CellName,
    CellResult,
    MetricInfo,
    Results,
    VariantInfo,
)
from retalkit.metrics import Measure

RATE = 25
SECONDS = 2.0
SIZE = (160, 120)
COLOURS = ((40, 90, 160), (150, 70, 40), (40, 130, 70))
"""Background colours of the variants; the real video is grey."""
GREY = (110, 110, 110)
UNAVAILABLE = "no checkpoint syncnet: run `retalkit weights import FILE`"
FAILURE = "no face in 71% of the frames: choose another clip"
METRIC_FAILURE = "ValueError: frame 12 has no landmarks"

OPENING = Measure("opening_r", "opening r", "higher", 1.0, -1.0, 1.0, "", 3, "Pearson r of the lip opening.")
LAG = Measure("lag_ms", "lag", "nearer", 0.0, unit="ms", digits=0, summary="Best shift of the lips.")
LEAK = Measure("leak", "leak", "lower", 0.0, 0.0, unit="% of face height", digits=2, summary="Motion in silence.")
IDENTITY = Measure("identity", "identity", "higher", 1.0, -1.0, 1.0, "", 3, "Cosine of two face embeddings.")
SPEED = Measure("realtime_factor", "real-time factor", "higher", None, 0.0, unit="x", digits=2, summary="Speed.")
SYNC = Measure("lse_c", "LSE-C", "higher", None, 0.0, unit="", digits=2, summary="SyncNet's confidence.")


@dataclass
class SampleComparison:
    """Output directory of a comparison and its results."""

    folder: Path
    results: Results
    names: tuple[str, ...]
    clips: tuple[str, ...]


def make_video(path: Path, colour: tuple[int, int, int], seed: int, sound: bool = True) -> None:
    """Encode two seconds at 25 frames/s: a bright bar that moves three pixels per frame, and a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded_video(colour, seed, sound))


@lru_cache(maxsize=32)
def _encoded_video(colour: tuple[int, int, int], seed: int, sound: bool) -> bytes:
    width, height = SIZE
    file = BytesIO()
    with av.open(file, "w", format="mp4") as target:
        video = target.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "20"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = target.add_stream("aac", rate=16000, layout="mono") if sound else None
        ramp = np.linspace(0.6, 1.4, width)[None, :, None] * np.array(colour)[None, None, :]
        still = np.broadcast_to(ramp, (height, width, 3)).clip(0, 255).astype(np.uint8)
        for index in range(int(RATE * SECONDS)):
            image = still.copy()
            left = (3 * index) % (width - 12)
            image[30:90, left : left + 12] = 235
            image[96:110, 20 : 20 + 6 * (seed + 1)] = 20
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        if audio is not None:
            tone = 0.2 * np.sin(2 * np.pi * (220 + 60 * seed) * np.arange(int(16000 * SECONDS)) / 16000)
            for start in range(0, len(tone), 1024):
                piece = av.AudioFrame.from_ndarray(
                    tone[None, start : start + 1024].astype(np.float32), format="fltp", layout="mono"
                )
                piece.sample_rate, piece.pts, piece.time_base = 16000, start, Fraction(1, 16000)
                target.mux(audio.encode(piece))
            target.mux(audio.encode(None))
    return file.getvalue()


def make_results(
    folder: Path,
    names: tuple[str, str, str] = ("base", "warp", "warp+detail"),
    clips: tuple[str, ...] = ("anna", "boris"),
    videos: int = 2,
) -> SampleComparison:
    """Write the videos of the first ``videos`` clips below ``folder`` and generate all scores; the first name is the
    base.

    The second variant is better in opening r, the third equals the base up to noise; one cell failed.
    """
    generator = np.random.default_rng(3)
    cells: list[CellResult] = []
    for position, clip in enumerate(clips):
        number = position if position < videos else -1
        cells.append(_cell(folder, CellName(clip, REAL, "", ANCHOR), number, 1.0, generator, GREY))
        for name, gain, colour in zip(names, (0.0, 0.2, 0.01), COLOURS, strict=True):
            for arm, speech in ((OWN, ""), (SPEECH, "news"), (SILENCE, ""), ("noisy_10", "")):
                cells.append(_cell(folder, CellName(clip, arm, speech, name), number, 0.45 + gain, generator, colour))
            cells.append(
                _cell(
                    folder, CellName(clip, MISMATCHED, clips[position - 1], name), number, 0.03, generator, colour, OWN
                )
            )
        cells.append(_cell(folder, CellName(clip, OWN, "", names[0], rerun=1), number, 0.451, generator, COLOURS[0]))
    failed = next(cell for cell in cells if cell.name == CellName("boris", SILENCE, "", names[2]))
    failed.state, failed.failure, failed.scores, failed.video = "failed", FAILURE, {}, ""
    next(cell for cell in cells if cell.name.variant == names[1]).failed_metrics["mouth"] = METRIC_FAILURE
    results = Results(
        title="Reference faces, small check",
        created="2026-11-23T07:30:00Z",
        comparison={
            "title": "Reference faces, small check",
            "clips": {clip: f"clips/{clip}.mp4" for clip in clips},
            "speeches": {"news": "news.wav"},
            "arms": ["real", "own", "speech", "silence", "noisy_10", "mismatched"],
            "seeds": [0],
            "variants": {name: {} for name in names},
        },
        variants=[_variant(name, index) for index, name in enumerate(names)],
        metrics=[
            MetricInfo("mouth", "Lip motion.", "docs/speech-to-mouth.md", "Apache-2.0", "retalkit 0.1.0",
                       (OPENING, LAG, LEAK)),
            MetricInfo("identity", "Same person?", "Deng et al., ArcFace, CVPR 2019", "MIT", "retalkit 0.1.0",
                       (IDENTITY,)),
            MetricInfo("cost", "Cost of the run.", "the run record", "Apache-2.0", "retalkit 0.1.0", (SPEED,)),
            MetricInfo("syncnet", "Sync by SyncNet.", "Chung and Zisserman, Out of time, ACCV-W 2016", "MIT",
                       "retalkit 0.1.0", (SYNC,), unavailable=UNAVAILABLE),
        ],
        cells=cells,
        versions={"retalkit": "0.1.0", "numpy": "1.26.4", "av": "18.1.0"},
        machine={"system": "Linux 6.1", "processor": "x86-64", "cores": "2", "python": "3.11.9"},
        jobs=2,
    )  # fmt: skip
    return SampleComparison(folder, results, names, clips)


def _variant(name: str, index: int) -> VariantInfo:
    stages = {
        "detector": "mediapipe",
        "reconstructor": "shallow",
        "expression_editor": "first_frame" if index == 0 else "neutral_warp",
        "lip_syncer": "exemplar",
        "enhancers.0": "detail" if index == 2 else "none",
    }
    base = {"expression_editor": "first_frame", "enhancers.0": "none"}
    differences = {} if index == 0 else {key: stages[key] for key in base if stages[key] != base[key]}
    return VariantInfo(
        name=name,
        is_base=index == 0,
        stages=stages,
        differences=differences,
        configuration={"preset": "embedded", **{key: {"use": value} for key, value in stages.items()}, "seed": 0},
        weights=({"name": "exemplar", "bytes": 412_000, "licence": "Apache-2.0", "commercial_use": True},),
        licences=("Apache-2.0", "MIT") if index else ("Apache-2.0",),
    )


def _cell(
    folder: Path,
    name: CellName,
    number: int,
    quality: float,
    generator: np.random.Generator,
    colour: tuple[int, int, int],
    made_by: str = "",
) -> CellResult:
    key = f"{name.clip}-{made_by or name.arm}-{abs(hash_of(name.variant)):08x}-{name.rerun}"
    video = f"cells/{key}/video.mp4"
    if number < 0:
        video = ""
    elif not (folder / video).exists():
        make_video(folder / video, colour, number)
    quiet = name.arm == SILENCE
    scores: dict[str, float | None] = {
        "opening_r": None if quiet else float(quality + generator.normal(0, 0.01)),
        "lag_ms": None if quiet else float(np.round(generator.normal(8, 10))),
        "leak": float(abs(generator.normal(0.4, 0.1))) if quiet else None,
        "identity": float(0.9 + generator.normal(0, 0.01)),
    }
    if name.arm != REAL:
        scores["realtime_factor"] = float(1.2 - quality + generator.normal(0, 0.02))
    return CellResult(
        name=name,
        key=key + ("-mismatched" if made_by else ""),
        state="done",
        scores=scores,
        absent={"syncnet": UNAVAILABLE},
        video=video,
        record={} if name.arm == REAL else {"seconds": {"analyse": 1.0, "render": 2.0}, "realtime_factor": 0.7},
    )


def hash_of(text: str) -> int:
    """Return a hash that is the same in every process, unlike ``hash``."""
    return sum((index + 1) * ord(letter) for index, letter in enumerate(text))


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class BrowserPage:
    """A page in Chromium with its network requests and errors."""

    page: Any
    """``playwright.sync_api.Page``."""
    requests: list[str] = field(default_factory=list)
    """Requested URLs."""
    errors: list[str] = field(default_factory=list)
    """Console errors and warnings, uncaught exceptions, dialogs."""

    def wait_until(self, expression: str, seconds: float = 20.0) -> None:
        """Wait until a JavaScript expression is true.

        Playwright's ``wait_for_function`` is blocked by the page's content security policy.
        """
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            if time.monotonic() > end:
                shown = self.page.inner_text("body")[:400]
                raise AssertionError(f"never true: {expression}; errors: {self.errors}; the page shows: {shown}")
            self.page.wait_for_timeout(10)

    def assert_no_errors(self) -> None:
        """Fail if there was an error or a network request."""
        assert self.errors == []
        assert [each for each in self.requests if not each.startswith(("file:///", "data:", "blob:"))] == []
        assert self.requests, "no requests were recorded"


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start the installed Chromium (``playwright.sync_api.Browser``).

    Without a browser the test is skipped, or fails if ``RETALKIT_REQUIRE_BROWSER`` is set.
    """
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        text = f"no browser: none of {', '.join(BROWSERS)} is in PATH; install chromium"
        if os.environ.get("RETALKIT_REQUIRE_BROWSER"):
            pytest.fail(text)
        pytest.skip(text)
    from playwright.sync_api import sync_playwright

    # Videos are out of step if the workers of pytest-xdist run two browsers on two cores.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "alone")
    with FileLock(Path(tempfile.gettempdir()) / f"retalkit-browser-{run}.lock"), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_browser_page(browser: Any, width: int = 1280) -> Iterator[BrowserPage]:
    """Open a page with an empty storage."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    browser_page = BrowserPage(context.new_page())
    context.on("request", lambda request: browser_page.requests.append(request.url))
    browser_page.page.on(
        "console", lambda line: browser_page.errors.append(line.text) if line.type in ("error", "warning") else None
    )
    browser_page.page.on("pageerror", lambda error: browser_page.errors.append(str(error)))

    def dismiss(dialog: Any) -> None:
        browser_page.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    browser_page.page.on("dialog", dismiss)
    try:
        yield browser_page
    finally:
        context.close()
