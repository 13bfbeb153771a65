"""Report and voting page of a comparison, as two HTML files that do not require a network connection."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from PIL import Image

from retalkit.comparison.report import findings_text, formatting, views
from retalkit.comparison.report.blind import base64_text, blind_page
from retalkit.comparison.report.charts import colour_of, pair_plots, speed_plots
from retalkit.comparison.report.contact_sheets import Sheet, jpeg_copy, make_sheet
from retalkit.comparison.report.groups import (
    Group,
    Previews,
    arm_title,
    embedding_priority,
    make_previews,
    select_within_budget,
    video_groups,
)
from retalkit.comparison.report.missing_data import collect_missing_data
from retalkit.comparison.report.previews import Box, PreviewSettings
from retalkit.comparison.report.templating import render_page
from retalkit.comparison.results import ANCHOR, OWN, SILENCE, SPEECH, Results
from retalkit.comparison.stats.model import Analysis
from retalkit.comparison.votes import VOTED_ARMS, WinRate
from retalkit.errors import OutputError
from retalkit.observer import Observer, SilentObserver
from retalkit.storage.cache import Folder

REPORT_FILE: Final = "report.html"
BLIND_FILE: Final = "blind.html"
_SECTIONS: Final = (
    ("compared", "Compared variants"),
    ("findings", "Findings"),
    ("scores", "Scores"),
    ("contrasts", "Differences"),
    ("positions", "Chance and real video"),
    ("plots", "Plots"),
    ("videos", "Videos"),
    ("sheets", "Contact sheets"),
    ("votes", "Votes"),
    ("failures", "Failures"),
    ("metrics", "Metrics"),
    ("configuration", "Configuration"),
)


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """Options of the HTML pages."""

    budget: int = 60_000_000
    """Maximum total size in bytes of the videos and images embedded in each page. Additional files are linked."""
    preview: PreviewSettings = field(default_factory=PreviewSettings)
    fine: PreviewSettings = field(default_factory=lambda: PreviewSettings(height=720, crf=16))
    """Preview settings of the voting page. The quality is high, so that the effects of enhancers are visible."""
    quality: tuple[str, ...] = ()
    """Names of the measures to plot against speed. If empty, each metric's first suitable measure is plotted."""
    speed_plots: int = 4
    """Maximum number of charts of speed against quality, if ``quality`` is empty."""


def write_report(
    results: Results,
    analysis: Analysis,
    folder: Path,
    win_rates: Sequence[WinRate] = (),
    *,
    skipped_votes: Sequence[str] = (),
    faces: Mapping[str, Box] | None = None,
    settings: ReportSettings | None = None,
    observer: Observer | None = None,
) -> Path:
    """Write ``report.html`` and ``blind.html`` to ``folder`` and return the report's path.

    Previews are stored in ``folder/previews`` and contact sheets in ``folder/sheets``. Existing previews and contact
    sheets are reused. The pages are written atomically.

    Args:
        results: the results of a complete or incomplete comparison.
        analysis: statistical analysis of the results.
        folder: output directory. The cells' video paths are relative to this directory.
        win_rates: current win rates of the votes (``retalkit.comparison.votes.win_rates``).
        skipped_votes: one line for each vote that could not be counted, with the reason.
        faces: mapping from clip to the area (left, top, right, bottom in pixels) that contains the face in all frames.
            Previews and contact sheets are cropped to this area. Clips without an area are not cropped.
        settings: sizes and limits.
        observer: observer that is notified of the progress of the previews.

    Raises:
        OutputError: a page cannot be written.
    """
    settings = settings or ReportSettings()
    faces = faces or {}
    try:
        groups = video_groups(results)
        observer = observer or SilentObserver()
        previews, sheets = _media(groups, folder, settings, faces, observer)
        report = _report(results, analysis, folder, win_rates, skipped_votes, groups, previews, sheets, settings)
        fine = make_previews(_voting_groups(groups), folder, settings.fine, faces, observer, kind="fine")
        blind = _blind(results, fine, settings)
        for name, text in ((BLIND_FILE, blind), (REPORT_FILE, report)):
            with Folder(folder).write(name) as path:
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = (
            f"{folder}: cannot write the report: {error.strerror or error}: choose a different directory with --output"
        )
        raise OutputError(message, code="unwritable-output") from error
    return folder / REPORT_FILE


def _voting_groups(groups: Sequence[Group]) -> list[Group]:
    """Return the groups for the voting page, which do not contain the real video."""
    return [
        replace(group, cells=tuple(cell for cell in group.cells if cell.name.variant != ANCHOR))
        for group in groups
        if group.arm in VOTED_ARMS
    ]


def _media(
    groups: Sequence[Group], folder: Path, settings: ReportSettings, faces: Mapping[str, Box], observer: Observer
) -> tuple[Previews, list[Sheet]]:
    previews = make_previews(groups, folder, settings.preview, faces, observer)
    sheets = [sheet for group in groups if (sheet := make_sheet(group, folder, faces.get(group.clip))) is not None]
    return previews, sheets


def _report(
    results: Results,
    analysis: Analysis,
    folder: Path,
    win_rates: Sequence[WinRate],
    skipped_votes: Sequence[str],
    groups: Sequence[Group],
    previews: Previews,
    sheets: Sequence[Sheet],
    settings: ReportSettings,
) -> str:
    ranked = sorted(groups, key=embedding_priority)
    images = {str(sheet.path): jpeg_copy(sheet.path) for sheet in sheets}
    order = [[cell.key for cell in group.cells if cell.key in previews.found] for group in ranked]
    sizes = {key: preview.size for key, preview in previews.found.items()}
    sizes |= {path: len(data) for path, data in images.items()}
    # Images are embedded first, because images are small and remain visible if the report is shared without its
    # directory.
    embedded = select_within_budget(sizes, [*([path] for path in images), *order], settings.budget)
    names = {key: f"v{position}" for position, key in enumerate(previews.found)}
    colours = {variant.name: colour_of(position) for position, variant in enumerate(results.variants)}
    measures = {measure.name: measure for measure in results.measures()}
    positions = views.position_rows(results, analysis)
    return render_page(
        "report.html.j2",
        styles=("base.css", "report.css"),
        scripts=("sync.js", "player.js"),
        results=results,
        analysis=analysis,
        clips=list(dict.fromkeys(cell.name.clip for cell in results.cells)),
        failed=sum(cell.state == "failed" for cell in results.cells),
        sections=[each for each in _SECTIONS if each[0] != "positions" or positions],
        colours=colours,
        verdict_counts=findings_text.verdict_counts(analysis.contrasts),
        findings=findings_text.findings(results, analysis),
        position_shares=findings_text.position_shares(analysis, measures),
        verdicts=findings_text.VERDICTS,
        arms=views.arm_views(results, analysis),
        positions=positions,
        speed_plots=speed_plots(results, analysis, settings.quality, settings.speed_plots),
        plot_arm=arm_title(OWN).capitalize(),
        pair_plots=pair_plots(results, analysis),
        player=_player(groups, previews, embedded, names, colours, folder, settings),
        linked=sum(key not in embedded for key in previews.found),
        cut=any(preview.cut for preview in previews.found.values()),
        embedded=[(names[key], base64_text(previews.found[key].path)) for key in previews.found if key in embedded],
        # The arm ``own`` favours methods that leave the original mouth visible, so ``silence`` is also expanded.
        open_arms=(OWN, SPEECH, SILENCE),
        sheets_linked=sum(path not in embedded for path in images),
        sheets=_sheets(sheets, images, embedded, folder),
        win_rates=win_rates,
        skipped_votes=skipped_votes,
        missing=collect_missing_data(results, previews.failed),
    )


def _blind(results: Results, previews: Previews, settings: ReportSettings) -> str:
    votes = blind_page(results, previews, settings.budget)
    return render_page(
        "blind.html.j2",
        styles=("base.css", "blind.css"),
        scripts=("sync.js", "blind.js"),
        count=votes.count,
        height=settings.fine.height,
        identical=votes.identical,
        shown=votes.shown,
        hidden=votes.hidden,
        embedded=votes.embedded,
    )


def _player(
    groups: Sequence[Group],
    previews: Previews,
    embedded: set[str],
    names: Mapping[str, str],
    colours: Mapping[str, str],
    folder: Path,
    settings: ReportSettings,
) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for group in groups:
        found = [previews.found[cell.key] for cell in group.cells if cell.key in previews.found]
        if not found:
            continue
        # The shortest preview is the reference clock, so that all videos have a frame at every timestamp.
        clock = min(found, key=lambda each: (each.end, len(each.times)))
        tiles: list[dict[str, Any]] = []
        for cell in group.cells:
            tile: dict[str, Any] = {"name": cell.name.variant, "colour": colours.get(cell.name.variant, "")}
            preview = previews.found.get(cell.key)
            if preview is None:
                tile["problem"] = previews.failed[cell.key]
            else:
                tile |= {"id": names[cell.key], "width": preview.width, "height": preview.height}
                tile["sound"] = preview.has_sound
                if cell.key not in embedded:
                    tile["link"] = _link(preview.path, folder)
            tiles.append(tile)
        label = group.title.removeprefix(f"{group.clip} / ")
        entries.append(
            {
                "id": group.id,
                "clip": group.clip,
                "label": label,
                "times": clock.times,
                "end": clock.end,
                "tiles": tiles,
            }
        )
    return {"groups": entries, "height": settings.preview.height, "seconds": f"{settings.preview.seconds:g}"}


def _sheets(
    sheets: Sequence[Sheet], images: Mapping[str, bytes], embedded: set[str], folder: Path
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for sheet in sheets:
        link = _link(sheet.path, folder)
        is_embedded = str(sheet.path) in embedded
        data = base64.b64encode(images[str(sheet.path)]).decode("ascii") if is_embedded else ""
        with Image.open(sheet.path) as image:
            width, height = image.size
        rows = formatting.join_words([cell.name.variant for cell in sheet.group.cells])
        found.append(
            {
                "title": sheet.group.title,
                "link": link,
                "source": f"data:image/jpeg;base64,{data}" if is_embedded else link,
                "alt": f"{sheet.group.title}: rows {rows}, {len(sheet.times)} columns",
                "width": width,
                "height": height,
            }
        )
    return found


def _link(path: Path, folder: Path) -> str:
    return quote(path.relative_to(folder).as_posix())
