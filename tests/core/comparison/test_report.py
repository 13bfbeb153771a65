"""Parts of the report: previews, contact sheets, charts, findings, and handling of missing data."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from retalkit.comparison.report import PreviewSettings, ReportSettings, write_report
from retalkit.comparison.report.charts import Estimate, paired_differences, speed_against_quality
from retalkit.comparison.report.contact_sheets import make_sheet
from retalkit.comparison.report.descriptive_summary import DescriptiveSummary
from retalkit.comparison.report.findings_text import findings, position_shares, verdict_counts
from retalkit.comparison.report.formatting import interval, number, probability, size, span
from retalkit.comparison.report.groups import safe_file_name, select_within_budget, video_groups
from retalkit.comparison.report.missing_data import collect_missing_data
from retalkit.comparison.report.previews import evenly_spaced_frames, face_crop, make_preview
from retalkit.comparison.report.views import arm_views, position_rows, quality_measures
from retalkit.comparison.results import ANCHOR, MISMATCHED, OWN, REAL, SILENCE, SPEECH, CellName, CellResult, Results
from retalkit.comparison.stats.analysis import analyse
from retalkit.comparison.stats.model import Analysis
from retalkit.comparison.votes import WinRate
from retalkit.errors import InputError, OutputError
from retalkit.media.sound import SILENT
from retalkit.media.sources import open_source
from retalkit.metrics import Measure

from tests.core.comparison.report_samples import LAG, OPENING, SPEED, SampleComparison, make_results, make_video
from tests.core.comparison.sample_results import LOSS, OFFSET, SCORE
from tests.core.comparison.sample_results import cell as sample_cell
from tests.core.comparison.sample_results import results as sample_results

EIGHT = ("anna", "boris", "c3", "d4", "e5", "f6", "g7", "h8")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> SampleComparison:
    """A comparison of eight clips, enough for significant differences; two of them have videos."""
    return make_results(tmp_path_factory.mktemp("parts"), clips=EIGHT)


@pytest.fixture(scope="module")
def analysis(sample: SampleComparison) -> Analysis:
    return analyse(sample.results)


@pytest.fixture(scope="module")
def page(sample: SampleComparison, analysis: Analysis) -> str:
    rates = [WinRate("warp", "", 6, 1, 1, 0.8125, 0.46, 0.96, 1, 2)]
    return write_report(sample.results, analysis, sample.folder, rates).read_text(encoding="utf-8")


def test_preview_keeps_frames_times_and_sound(tmp_path: Path) -> None:
    make_video(tmp_path / "long.mp4", (90, 60, 30), 0)
    preview = make_preview(tmp_path / "long.mp4", tmp_path / "out" / "p.mp4", PreviewSettings(height=60))
    assert (preview.width, preview.height) == (80, 60)
    assert preview.times == pytest.approx([index / 25 for index in range(50)], abs=1e-3)
    assert preview.end == pytest.approx(2.0, abs=1e-3)
    assert preview.has_sound
    assert not preview.cut
    data = preview.path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "the index must come first"
    # The bar moves by three of 160 pixels per frame.
    source = open_source(preview.path)
    for at, frame in source.read([0, 20, 40]):
        bright = np.flatnonzero(frame[30].min(axis=1) > 170)
        assert bright.mean() == pytest.approx((3 * at + 5.5) / 2, abs=1.5)
    source.close()
    assert [path.name for path in preview.path.parent.iterdir()] == ["p.mp4"]


def test_preview_is_reused_unless_settings_change(tmp_path: Path) -> None:
    make_video(tmp_path / "v.mp4", (90, 60, 30), 0)
    out = tmp_path / "p.mp4"
    first = make_preview(tmp_path / "v.mp4", out, PreviewSettings())
    stamp = out.stat().st_mtime_ns
    assert make_preview(tmp_path / "v.mp4", out, PreviewSettings()) == first
    assert out.stat().st_mtime_ns == stamp
    shorter = make_preview(tmp_path / "v.mp4", out, PreviewSettings(seconds=1.0))
    assert (len(shorter.times), shorter.cut) == (25, True)
    assert make_preview(tmp_path / "v.mp4", out, PreviewSettings(seconds=1.0)) == shorter
    face = make_preview(tmp_path / "v.mp4", out, PreviewSettings(), (60, 40, 100, 80))
    assert (face.width, face.height) == (68, 68)
    out.write_bytes(b"torn")
    assert make_preview(tmp_path / "v.mp4", out, PreviewSettings()) == first


def test_unreadable_video_leaves_no_preview(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"broken\.mp4") as error:
        make_preview(tmp_path / "broken.mp4", tmp_path / "out" / "p.mp4", PreviewSettings())
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").glob("*")) == []


def test_crop_stays_inside_the_frame() -> None:
    assert face_crop((60, 40, 100, 80), 160, 120) == (46, 26, 68, 68)
    assert face_crop((-20, -20, 40, 30), 160, 120) == (0, 0, 60, 50)
    assert face_crop((158, 118, 159, 119), 160, 120) == (0, 0, 160, 120)


def test_frames_are_evenly_spaced_in_time() -> None:
    assert evenly_spaced_frames([index / 10 for index in range(10)], 5) == [1, 3, 5, 7, 9]
    # Twenty frames in the first second, two in the second.
    assert evenly_spaced_frames([*(index / 20 for index in range(20)), 1.0, 1.5], 4) == [3, 11, 19, 20]
    assert evenly_spaced_frames([0.0], 4) == [0]
    assert evenly_spaced_frames([], 4) == []


def test_budget_selects_complete_sets_of_files() -> None:
    sizes = {"a": 30, "b": 30, "c": 30, "d": 3}
    assert select_within_budget(sizes, [["a", "b"], ["b", "c"], ["d"]], 120) == {"a", "b", "c"}
    assert select_within_budget(sizes, [["a", "b"], ["b", "c"], ["d"]], 119) == {"a", "b", "d"}
    assert select_within_budget(sizes, [["a"]], 0) == set()


def test_file_names_are_safe_and_distinct() -> None:
    assert safe_file_name("own-1a2b.3") == "own-1a2b.3"
    names = {safe_file_name(key) for key in ("../up", "a/b", "a_b", "..", ".hidden", "ä")}
    assert len(names) == 6
    assert not [name for name in names if "/" in name or name.startswith(".")]


def test_groups_contain_videos_of_the_same_speech(sample: SampleComparison) -> None:
    found = {
        (group.clip, group.arm): [cell.name.variant for cell in group.cells] for group in video_groups(sample.results)
    }
    assert found["anna", "own"] == [ANCHOR, "base", "warp", "warp+detail"]
    assert found["anna", "noisy_10"] == [ANCHOR, "base", "warp", "warp+detail"]
    assert found["anna", "speech"] == ["base", "warp", "warp+detail"]
    assert found["boris", "silence"] == ["base", "warp"], "the third one failed"
    assert {clip for clip, _ in found} == {"anna", "boris"}
    assert not [arm for _, arm in found if arm in ("mismatched", "real")]


def test_contact_sheet_has_a_row_per_variant(sample: SampleComparison) -> None:
    group = next(group for group in video_groups(sample.results) if (group.clip, group.arm) == ("anna", "own"))
    sheet = make_sheet(group, sample.folder)
    assert sheet is not None
    assert sheet.times == pytest.approx([0.16, 0.48, 0.84, 1.16, 1.48, 1.84], abs=0.05)
    with Image.open(sheet.path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    columns, rows = 6, 4
    assert pixels.shape[1] > columns * 200
    # The four rows have the colours of the four videos: grey, blue, red, green.
    wide = pixels.shape[1] // columns
    at = [int((row + 0.85) * pixels.shape[0] / rows) for row in range(rows)]
    tints = [pixels[y, wide + 150] for y in at]
    assert [int(np.argmax(tint)) for tint in tints[1:]] == [2, 0, 1]
    assert np.ptp(tints[0]) < 12
    stamp = sheet.path.stat().st_mtime_ns
    assert make_sheet(group, sample.folder) == sheet
    assert sheet.path.stat().st_mtime_ns == stamp


def test_contact_sheet_is_cropped_to_the_face(sample: SampleComparison) -> None:
    group = next(group for group in video_groups(sample.results) if (group.clip, group.arm) == ("anna", "own"))
    small = (60.0, 40.0, 100.0, 90.0)
    sheet = make_sheet(group, sample.folder, small)
    assert sheet is not None
    with Image.open(sheet.path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    # The bright bar is 12 pixels wide in the video, and inside the box at the third time.
    gap = 4
    wide = (pixels.shape[1] - gap) // 6
    third = pixels[int(0.4 * pixels.shape[0]), gap + 2 * wide : 3 * wide]
    bar = int((third.min(axis=-1) > 180).sum())
    assert 50 * bar / 12 > 240, "height of the face, which is 50 pixels high in the video"


def test_number_formatting() -> None:
    assert number(-0.12345, 2) == "\u22120.12"
    assert number(-0.0001, 2) == "0.00"
    assert number(0.5, 1, signed=True) == "+0.5"
    assert number(12345.6, 0) == "12\u202f346"
    assert number(float("nan")) == number(None) == "–"
    assert interval(-1, 2, 1) == "[\u22121.0, 2.0]"
    assert interval(float("nan"), 2) == ""
    assert (probability(0.0004), probability(0.0312), probability(0.25)) == ("< 0.001", "0.031", "0.25")
    assert (size(12), size(412_000), size(3 * 2**30)) == ("12 bytes", "402 KiB", "3.0 GiB")
    assert span(LAG) == "\u2212∞ to ∞"


def test_findings_list_only_significant_differences(sample: SampleComparison, analysis: Analysis) -> None:
    warp, detail = findings(sample.results, analysis)
    assert warp.variant == "warp"
    better = next(line for line in warp.lines if line.verdict == "better")
    assert better.arms[0][0] == "own audio"
    assert re.fullmatch(r"opening r \+0\.(19|20|21)\d \[\+0\.\d+, \+0\.\d+\]", better.arms[0][1][0])
    assert not [line for line in detail.lines if line.verdict == "better"]
    no_difference = next(line for line in detail.lines if line.verdict == "no difference shown")
    assert "opening r" in dict(no_difference.arms)["own audio"]
    assert dict(verdict_counts(analysis.contrasts))["better"] == 3
    titles, rows = position_shares(analysis, {measure.name: measure for measure in sample.results.measures()})
    assert titles == ["opening r"], "no other measure separates the real video from chance"
    assert [name for name, _ in rows] == ["base", "warp", "warp+detail"]
    assert [int(row[0].removesuffix(" %")) for _, row in rows] == pytest.approx([43, 64, 45], abs=3)


def test_findings_with_two_clips_cannot_show_differences(tmp_path: Path) -> None:
    results = make_results(tmp_path, videos=0).results
    for finding in findings(results, analyse(results)):
        assert "cannot be shown with 2 clips" in finding.summary
        assert {line.verdict for line in finding.lines} <= {"cannot be shown", "identical"}
        assert any("at least 7 clips" in reason for reason in finding.reasons)


def test_descriptive_summary_of_too_few_clips() -> None:
    other = Measure("other", "other", "higher")
    values = {
        "base": [(0.1, 0.5, -3.0, 0.1), (0.2, 0.5, 3.0, 0.2)],
        "new": [(0.3, 0.9, 1.0, 0.3), (0.4, 0.8, -1.0, 0.1)],
    }
    names = ("score", "loss", "offset", "other")
    cells = [
        sample_cell(variant, f"c{number}", dict(zip(names, each, strict=True)))
        for variant, clips in values.items()
        for number, each in enumerate(clips)
    ]
    measures = (SCORE, LOSS, OFFSET, other)

    def shown(cells: list[CellResult]) -> DescriptiveSummary:
        sample = sample_results(cells, measures)
        (finding,) = findings(sample, analyse(sample))
        assert finding.descriptive is not None
        return finding.descriptive

    summary = shown(cells)
    # Offsets of -3 and 3 against 1 and -1: closer to 0 in both clips, although the means are equal.
    assert summary.lines == [
        ("ahead in every clip", [("own audio", ["score", "offset"])]),
        ("behind in every clip", [("own audio", ["loss"])]),
    ]
    assert (summary.clips, summary.rest) == (2, "mixed: 1")
    rerun = sample_cell("base", "c0", {"score": 0.5, "loss": 0.5, "offset": -3.0, "other": 0.1}, rerun=1)
    summary = shown([*cells, rerun])
    assert summary.lines[0] == ("ahead in every clip", [("own audio", ["offset"])])
    assert summary.rest == "mixed: 1; within rerun variation: 1"
    one = [each for each in cells if each.name.clip == "c0"]
    summary = shown(one)
    assert summary.lines[0] == ("ahead in the only clip", [("own audio", ["score", "offset", "other"])])
    assert (summary.clips, summary.rest) == (1, "")
    cells[1].scores["score"] = None
    assert shown(cells).rest == "mixed: 1; in one clip only: 1"
    third = [sample_cell(name, "c2", {"loss": loss}) for name, loss in (("base", 0.1), ("new", 0.2))]
    assert shown([*cells, *third]).lines[0] == ("ahead in every clip", [("own audio", ["offset (2 clips)"])])


def test_descriptive_summary_is_marked_as_untested(
    sample: SampleComparison, analysis: Analysis, tmp_path: Path
) -> None:
    few = make_results(tmp_path, videos=0)
    for each in few.results.cells:
        if each.name.arm == MISMATCHED:
            each.scores["opening_r"] = 0.0 if each.name.variant == "base" else 0.1
    warp = findings(few.results, analyse(few.results))[0]
    summary = warp.descriptive
    assert summary is not None
    listed = {title: measures for side in (summary.ahead, summary.behind) for title, measures in side}
    assert "opening r" in listed["other speech"]
    assert "mismatched speech" not in listed, "no direction is better there"
    assert "real-time factor" not in str(summary.lines), "slower in every clip, but a cost"
    text = write_report(few.results, analyse(few.results), tmp_path).read_text(encoding="utf-8")
    found = text[text.index('id="findings"') : text.index('id="scores"')]
    assert "<em>Not statistically tested.</em>" in found
    assert "these 2 clips; other clips may show the opposite" in found
    assert "<td>ahead in every clip</td>" in found
    # With enough clips for a test there is only its verdict.
    assert [finding.descriptive for finding in findings(sample.results, analysis)] == [None, None]


def test_identical_costs_are_omitted_from_the_findings(tmp_path: Path) -> None:
    results = make_results(tmp_path, videos=0).results
    for each in results.cells:
        each.scores |= {name: 1.0 for name in ("realtime_factor", "identity") if name in each.scores}
    analysis = analyse(results)
    warp = findings(results, analysis)[0]
    (line,) = [line for line in warp.lines if line.verdict == "identical"]
    assert dict(line.arms)["own audio"] == ["identity"]
    assert warp.same_costs == len(
        [each for each in analysis.contrasts if each.variant == "warp" and each.measure == "realtime_factor"]
    )
    own = next(view for view in arm_views(results, analysis) if view.arm == OWN)
    assert ("real-time factor", "identical") in [(row.measure, row.verdict) for row in own.contrasts]
    text = write_report(results, analysis, tmp_path).read_text(encoding="utf-8")
    assert f"Identical costs ({warp.same_costs})" in text


def test_own_sound_and_silence_are_expanded(page: str) -> None:
    closed = {
        title.strip(): not shown
        for shown, title in re.findall(r'<details class="arm"( open)?><summary>([\w ,]+)', page)
    }
    assert [closed[title] for title in ("Own audio", "Silence", "Noisy speech, 10 dB")] == [False, False, True]


def test_silence_note_is_omitted_in_the_silence_arm() -> None:
    note = f"silence-1f.wav {SILENT}, so the mouth stays at rest"
    cells = [sample_cell("base", "c0", {}, arm) for arm in (SILENCE, SPEECH)]
    cells[0].notes += [note, "something else"]
    cells[1].notes += ["news.wav " + note.partition(" ")[2]]
    notes = [line for line, _ in collect_missing_data(sample_results(cells), {}).notes]
    assert notes == ["something else", f"news.wav {SILENT}, so the mouth stays at rest"]


def test_score_tables_include_real_video_and_chance(sample: SampleComparison, analysis: Analysis) -> None:
    views = {view.arm: view for view in arm_views(sample.results, analysis)}
    table = views[OWN].tables[0]
    assert [row.name for row in table.rows] == [
        "real video",
        "base",
        "warp",
        "warp+detail",
        "chance: base, mismatched",
    ]
    column = [measure.name for measure in table.columns].index("opening_r")
    means = [float(row.cells[column].mean) for row in table.rows]
    assert means == pytest.approx([1.0, 0.45, 0.65, 0.46, 0.03], abs=0.02)
    assert [row.cells[column].verdict for row in table.rows] == [None, None, "better", "no difference shown", None]
    assert table.rows[2].cells[column].failed == 1
    assert all(row.cells[column].interval for row in table.rows)
    assert (views["silence"].failed, views["silence"].cells) == (1, 24)
    assert [row.name for row in views[REAL].tables[0].rows] == ["real video"]
    assert "opening r" in {row.measure for row in position_rows(sample.results, analysis)}


def test_charts_have_titles_unique_ids_and_css_colours(sample: SampleComparison, analysis: Analysis) -> None:
    contrasts = [
        (position, each)
        for position, name in enumerate(sample.names)
        for each in analysis.contrasts
        if (each.variant, each.arm, each.measure) == (name, OWN, "opening_r")
    ]
    contrasts[0] = (contrasts[0][0], replace(contrasts[0][1], variant="$a$ <b>"))
    estimate = Estimate(0.5, 0.4, 0.6)
    plots = [
        paired_differences("one", OPENING, contrasts),
        paired_differences("two", OPENING, contrasts),
        speed_against_quality("three", SPEED, OPENING, [(1, "$a$ <b>", estimate, estimate)], 0.9),
        speed_against_quality("four", SPEED, OPENING, [(1, "x", estimate, Estimate(0.5, float("nan"), float("nan")))]),
    ]
    ids = [name for plot in plots for name in re.findall(r'\bid="([^"]+)"', plot)]
    assert len(ids) == len(set(ids))
    used = [name for plot in plots for name in re.findall(r'(?:href="#|url\(#)([^")]+)', plot)]
    assert set(used) <= set(ids)
    for plot in plots:
        assert plot.startswith("<svg ")
        assert "<title" in plot
        assert "var(--ink)" in plot
        assert "var(--v1)" in plot
        assert not re.search(r"#0[1-5]0[1-5]0", plot), "a placeholder colour was not replaced"
        assert not re.search(r"#(000000|ffffff)", plot), "black or white is invisible in one of the colour schemes"
    assert ">0.0</text>" in plots[2], "speed starts at 0"
    assert "$a$ &lt;b&gt;</text>" in plots[0]
    assert "$a$ &lt;b&gt;</text>" in plots[2]


class UrlParser(HTMLParser):
    """Collects every URL that a page links or loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "poster", "srcset", "action")]


@pytest.mark.parametrize("name", ["report.html", "blind.html"])
def test_pages_are_self_contained(sample: SampleComparison, page: str, name: str) -> None:
    assert page
    text = (sample.folder / name).read_text(encoding="utf-8")
    parser = UrlParser()
    parser.feed(text)
    outside = [each for each in parser.found if not each.startswith(("data:", "#"))]
    assert [each for each in outside if ":" in each] == []
    assert [each for each in outside if not (sample.folder / each).is_file()] == []
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_report_lists_versions_stages_and_weights(sample: SampleComparison, page: str) -> None:
    for text in (
        "Linux 6.1",
        "numpy: 1.26.4",
        "neutral_warp",
        "Apache-2.0, MIT",
        "exemplar (402 KiB",
        "news: news.wav",
    ):
        assert text in page
    assert "computed in parallel" in page
    assert "ArcFace, CVPR 2019" in page
    assert "81 %" in page, "the win rate"


def test_user_strings_are_escaped(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    sample = make_results(tmp_path, ("base", evil, "x"), videos=1)
    sample.results.title = evil
    sample.results.cells[3].notes.append(evil)
    next(cell for cell in sample.results.cells if cell.state == "failed").failure = evil
    sample.results.comparison["title"] = evil
    path = write_report(sample.results, analyse(sample.results), tmp_path)
    for page in (path, tmp_path / "blind.html"):
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        data = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
        assert data is not None
        assert json.loads(data[1])
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in path.read_text(encoding="utf-8")


def test_unreadable_video_affects_only_its_own_tile(tmp_path: Path) -> None:
    sample = make_results(tmp_path, videos=1)
    cell = next(cell for cell in sample.results.cells if cell.name == CellName("anna", "speech", "news", "warp"))
    (tmp_path / cell.video).write_bytes(b"no video")
    text = write_report(sample.results, analyse(sample.results), tmp_path).read_text(encoding="utf-8")
    assert "Videos that cannot be shown" in text
    assert "anna / speech / news / warp" in text
    data = re.search(r'id="player-data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    group = next(
        group
        for group in json.loads(data[1])["groups"]
        if (group["clip"], group["label"]) == ("anna", "other speech: news")
    )
    assert ["problem" in tile for tile in group["tiles"]] == [False, True, False]


def test_empty_comparison_has_pages(tmp_path: Path) -> None:
    results = Results("", "2026-11-23T00:00:00Z", {}, [], [], [], {}, {})
    text = write_report(results, analyse(results), tmp_path).read_text(encoding="utf-8")
    assert "No cell has a video" in text
    assert "no pair of videos" in (tmp_path / "blind.html").read_text(encoding="utf-8")


def test_report_with_all_cells_failed(tmp_path: Path) -> None:
    results = make_results(tmp_path, videos=0).results
    results.cells = [
        CellResult(cell.name, cell.key, "failed", "no face in any frame: choose another clip") for cell in results.cells
    ]
    text = write_report(results, analyse(results), tmp_path).read_text(encoding="utf-8")
    assert f"{len(results.cells)} cells failed" in text
    assert text.count("no face in any frame") > len(results.cells)


def test_unwritable_directory_is_an_error(sample: SampleComparison, analysis: Analysis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="file") as error:
        write_report(replace(sample.results, cells=[]), analysis, tmp_path / "file", settings=ReportSettings())
    assert error.value.code == "unwritable-output"
    assert "\n" not in str(error.value)


def test_pages_are_written_atomically(
    sample: SampleComparison, analysis: Analysis, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *_: object, **__: object) -> int:
        self.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    blind = (sample.folder / "blind.html").read_text(encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="No space left") as error:
            write_report(sample.results, analysis, sample.folder)
        assert error.value.code == "unwritable-output"
    assert (sample.folder / "report.html").read_text(encoding="utf-8") == page
    assert (sample.folder / "blind.html").read_text(encoding="utf-8") == blind
    assert [path.name for path in sample.folder.iterdir() if "partial" in path.name] == []


def test_measures_of_a_metric_stay_in_one_table(sample: SampleComparison) -> None:
    many = tuple(Measure(f"m{index}", f"m{index}", "higher") for index in range(7))
    metrics = [sample.results.metrics[0], replace(sample.results.metrics[1], name="many", measures=many)]
    cells = [
        replace(cell, scores=cell.scores | {each.name: 0.5 for each in many}) if cell.scores else cell
        for cell in sample.results.cells
        if cell.name.arm in (REAL, OWN)
    ]
    results = replace(sample.results, metrics=metrics, cells=cells)
    view = next(view for view in arm_views(results, analyse(results)) if view.arm == OWN)
    assert [table.metrics for table in view.tables] == [[("mouth", 3)], [("many", 7)]]


def test_constant_measure_is_not_plotted_against_speed(sample: SampleComparison, analysis: Analysis) -> None:
    results = deepcopy(sample.results)
    plotted = [measure.name for measure in quality_measures(results, analysis, OWN, (), 4)]
    assert plotted[0] == "opening_r"
    for cell in results.cells:
        if "opening_r" in cell.scores and cell.name.variant != ANCHOR:
            cell.scores["opening_r"] = 0.5
    results.cells = [cell for cell in results.cells if cell.name.arm in (REAL, OWN)]
    analysis = analyse(results)
    plotted = [measure.name for measure in quality_measures(results, analysis, OWN, (), 4)]
    assert "opening_r" not in plotted and plotted
    assert [measure.name for measure in quality_measures(results, analysis, OWN, ("opening_r",), 4)]
