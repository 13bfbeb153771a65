"""Inspection of a planned run: its data agree with the record of the run, and its page needs no network."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import retalkit
from retalkit.config import RunConfig
from retalkit.cues.command_line import sheet_from_options
from retalkit.errors import OutputError
from retalkit.inspection.inspect import inspect
from retalkit.inspection.model import Inspection, to_json
from retalkit.inspection.page import check_folder, seconds_text, write_inspection
from retalkit.plugins import StageSpec
from retalkit.plugins.discovery import discover
from retalkit.plugins.registry import FoundStage
from retalkit.stages import FrameResult, PassedThrough, StageKind, SyncBatch
from retalkit.testing.fixtures.material import moving_portrait, portrait

from tests.core.comparison.report_samples import open_browser, open_browser_page

RATE = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots: 20 frames of the portrait, 12 frames of a picture without a face, 20 frames of the portrait."""
    path, image = tmp_path_factory.mktemp("clips") / "three shots.mp4", portrait()
    wall = np.full((320, 320, 3), 30, np.uint8)
    wall[160:, 80:240] = (250, 180, 60)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width = stream.height = 320
        for index in range(52):
            frame = wall if 20 <= index < 32 else np.ascontiguousarray(moving_portrait(image, index / RATE)[::2, ::2])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inspection")


@pytest.fixture(scope="module")
def inspection(clip: Path, short_speech: Path, folder: Path) -> Inspection:
    return inspect(clip, short_speech, cache=folder / "cache", stages=True)


def frame_counts(inspection: Inspection) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for span in inspection.spans:
        found[span.outcome, span.reason] += round(span.seconds * RATE)
    return found


def test_outcomes_agree_with_the_run(inspection: Inspection, clip: Path, short_speech: Path, folder: Path) -> None:
    counts = frame_counts(inspection)
    record = retalkit.dub(clip, short_speech, folder / "out.mp4", cache=folder / "cache")
    # The speech is two seconds long, so the last two frames are not used.
    assert counts["unused", ""] == 2
    assert counts["passed", "no face"] == record.frames_passed["no face"] == 12
    assert sum(count for (outcome, _), count in counts.items() if outcome == "faded") == sum(
        record.frames_faded.values()
    )
    assert counts["edited", ""] == record.frames_edited - sum(record.frames_faded.values())
    # The run does not repeat the analysis.
    assert {"faces", "tracks", "coefficients", "speech"} <= set(record.cached_steps)


def test_shots_persons_and_speech_are_described(inspection: Inspection) -> None:
    assert [(shot.frames, shot.faces) for shot in inspection.shots] == [(20, 1), (12, 0), (20, 1)]
    assert [span.reason for span in inspection.shots[1].spans] == ["no face"]
    (person,) = inspection.persons
    assert (person.id, person.name, person.shots) == ("p1", "largest", (1, 3))
    assert person.visible == pytest.approx(40 / RATE, abs=0.05)
    assert 60 < person.face_width < 160
    assert person.opening is not None and sum(person.openings) == pytest.approx(1)
    (speech,) = inspection.speeches
    assert inspection.length is not None
    assert speech.duration == pytest.approx(2.0)
    assert 0 < speech.speaking <= 2.0 and max(speech.levels) > 0.05
    assert inspection.length.output == pytest.approx(2.0)
    assert inspection.estimate.measured_frames >= 1
    assert inspection.estimate.fresh_seconds > inspection.estimate.seconds > 0
    (stages,) = inspection.stages
    assert stages.person == "p1"
    titles = [view.title for view in stages.views]
    assert titles == ["Landmarks", "Eyes and nose", "Aligned faces", "Canonical expression", "Lip-synced", "Enhanced"]
    assert [curve.label for curve in stages.curves][::2] == ["left eye, x", "right eye, x", "nose, x"]


def test_data_are_plain_json_with_image_files(inspection: Inspection, folder: Path) -> None:
    page = write_inspection(inspection, folder / "out")
    data = json.loads((folder / "out" / "inspect.json").read_text(encoding="utf-8"))
    assert data == to_json(inspection)
    assert data["format"] == 1 and data["configuration"]["lip_syncer"]["use"] == "exemplar"
    picture = data["persons"][0]["picture"]
    assert (page.parent / picture["file"]).read_bytes().startswith(b"\xff\xd8")
    with pytest.raises(OutputError) as error:
        check_folder(page.parent)
    assert error.value.code == "output-exists"
    check_folder(page.parent, force=True)


def test_page_is_self_contained_and_fits_a_phone(inspection: Inspection, folder: Path) -> None:
    named = replace(inspection, video=replace(inspection.video, name="<b>a&b</b>.mp4"))
    page = write_inspection(named, folder / "page")
    with open_browser() as browser:
        for width in (1280, 390):
            with open_browser_page(browser, width) as opened:
                opened.page.goto(page.as_uri())
                opened.assert_no_errors()
                assert opened.page.inner_text("h1") == "<b>a&b</b>.mp4"
                assert opened.page.evaluate("document.documentElement.scrollWidth") == width
                spans = opened.page.locator(".timeline .span")
                assert [spans.nth(number).get_attribute("class") for number in range(spans.count())][0] == "span edited"
                assert opened.page.evaluate("[...document.images].every(each => each.naturalWidth > 0)")


def test_cues_have_one_result_per_person(clip: Path, short_speech: Path, folder: Path) -> None:
    sheet = sheet_from_options(short_speech, cues=None, start="0.2", stop="0.6", persons=[])
    found = inspect(clip, cues=sheet, cache=folder / "cache")
    (result,) = found.shots[0].results
    assert result.person == found.persons[0].id == "p1" and found.persons[0].name
    spans = [
        (span.outcome, round(span.start, 2), round(span.end, 2)) for span in result.spans if span.outcome != "faded"
    ]
    # The edit eases in, so the first frame of the cue is unchanged.
    assert spans == [("outside", 0.0, 0.24), ("edited", 0.24, 0.6), ("outside", 0.6, 0.8)]
    record = retalkit.dub(clip, None, folder / "cued.mp4", cues=sheet, cache=folder / "cache")
    assert record.persons[0]["id"] == "p1"
    assert record.edits[0]["ranges"] == [[0.24, 0.6]]


class Reluctant:
    """A lip syncer without a forecast that edits no frame."""

    def open(self, *given: object) -> Reluctant:
        return self

    def sync(self, batch: SyncBatch) -> list[FrameResult]:
        return [PassedThrough("not today")] * len(batch.positions)

    def close(self) -> None: ...


def test_lip_syncer_without_forecast_is_sampled(clip: Path, folder: Path) -> None:
    registry = discover()
    spec = StageSpec(
        kind=StageKind.LIP_SYNCER,
        name="reluctant",
        summary="Edits no frame.",
        build=lambda config, runtime: Reluctant(),
        api=2,
        licence="MIT",
        needs=frozenset({"frames"}),
        gives=frozenset({"face:edit"}),
    )
    registry.stages.append(FoundStage(spec, "tests", "0", "tests"))
    config = RunConfig.from_preset(registry=registry, overrides=["lip_syncer=reluctant", "enhancers=[]"])
    found = inspect(clip, config=config, registry=registry, cache=folder / "cache")
    counts = frame_counts(found)
    assert counts["passed", "not today"] == 40 and counts["passed", "no face"] == 12
    assert found.speeches == () and found.length is None
    assert found.estimate.measured_frames == 0


def test_hardware_encoder_is_checked_before_the_analysis(clip: Path, tmp_path: Path) -> None:
    registry = discover()
    encoder = "videotoolbox" if sys.platform != "darwin" else "qsv"
    config = RunConfig.from_preset("embedded", registry=registry, overrides=[f"output.encoder={encoder}"])
    with pytest.raises(OutputError, match=r"output\.encoder: .*; remove output\.encoder") as error:
        inspect(clip, config=config, registry=registry, cache=tmp_path / "cache")
    assert error.value.code == "encoder-not-available" and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (9.99, "10 s"), (80.4, "1 min 20 s"), (3700, "1 h 1 min")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
