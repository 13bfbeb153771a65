"""Writes the report of a comparison and its page for blind votes: two HTML files that open offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from PIL import Image

from retalkit.comparison.report import findings_text, formatting, views
from retalkit.comparison.report.blind import blind_page, encoded
from retalkit.comparison.report.charts import colour_of
from retalkit.comparison.report.contact_sheets import Sheet, make_sheet, small_copy
from retalkit.comparison.report.gaps import gaps_of
from retalkit.comparison.report.groups import (
    Group,
    Previews,
    arm_title,
    groups,
    importance,
    make_previews,
    within_budget,
)
from retalkit.comparison.report.plots import pair_plots, speed_plots
from retalkit.comparison.report.previews import Box, PreviewSettings
from retalkit.comparison.report.templating import page
from retalkit.comparison.results import ANCHOR, OWN, SILENCE, SPEECH, Results
from retalkit.comparison.stats.model import Analysis
from retalkit.comparison.votes import VOTED_ARMS, WinRate
from retalkit.errors import OutputError
from retalkit.observer import Observer, SilentObserver
from retalkit.storage.cache import Folder

REPORT_FILE: Final = "report.html"
BLIND_FILE: Final = "blind.html"
_SECTIONS: Final = (
    ("compared", "What was compared"),
    ("findings", "Findings"),
    ("scores", "Scores"),
    ("contrasts", "Differences"),
    ("positions", "Real and chance"),
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
    """What may be chosen of the pages."""

    budget: int = 60_000_000
    """Bytes of videos and pictures inside each page; what is beyond lies beside it."""
    preview: PreviewSettings = field(default_factory=PreviewSettings)
    fine: PreviewSettings = field(default_factory=lambda: PreviewSettings(height=720, crf=16))
    """For the page of blind votes: what an enhancer does must be seen."""
    quality: tuple[str, ...] = ()
    """Measures that are plotted against speed; empty: the first one of each metric."""
    speed_plots: int = 4
    """Plots of speed against quality at most, where ``quality`` is empty."""


def write_report(
    results: Results,
    analysis: Analysis,
    folder: Path,
    win_rates: Sequence[WinRate] = (),
    *,
    left_out: Sequence[str] = (),
    faces: Mapping[str, Box] | None = None,
    settings: ReportSettings | None = None,
    observer: Observer | None = None,
) -> Path:
    """Writes ``report.html`` and ``blind.html`` into ``folder``; gives the path of the first.

    Previews are kept in ``folder/previews`` and contact sheets in ``folder/sheets``; those that are there are not made
    again. Each page is there whole or not at all.

    Args:
        results: the comparison, finished or not.
        analysis: what its numbers say.
        folder: where the paths of the cells' videos start.
        win_rates: of the votes so far (``retalkit.comparison.votes.win_rates``).
        left_out: votes that could not be counted and why, one line each.
        faces: clip -> the part of its frames (left, top, right, bottom in pixels) that holds the face in all of them;
            previews and sheets show that part. Clips without one are shown whole.
        settings: sizes.
        observer: hears how far the previews are.

    Raises:
        OutputError: the folder cannot be written.
    """
    settings = settings or ReportSettings()
    faces = faces or {}
    try:
        shown = groups(results)
        observer = observer or SilentObserver()
        previews, sheets = _pictures(shown, folder, settings, faces, observer)
        report = _report(results, analysis, folder, win_rates, left_out, shown, previews, sheets, settings)
        fine = make_previews(_voted(shown), folder, settings.fine, faces, observer, kind="fine")
        blind = _blind(results, fine, settings)
        for name, text in ((BLIND_FILE, blind), (REPORT_FILE, report)):
            with Folder(folder).write(name) as path:
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written ({error.strerror or error})") from error
    return folder / REPORT_FILE


def _voted(shown: Sequence[Group]) -> list[Group]:
    """What voters see: no real video, which stands against nothing."""
    return [
        replace(group, cells=tuple(cell for cell in group.cells if cell.name.variant != ANCHOR))
        for group in shown
        if group.arm in VOTED_ARMS
    ]


def _pictures(
    shown: Sequence[Group], folder: Path, settings: ReportSettings, faces: Mapping[str, Box], observer: Observer
) -> tuple[Previews, list[Sheet]]:
    previews = make_previews(shown, folder, settings.preview, faces, observer)
    sheets = [sheet for group in shown if (sheet := make_sheet(group, folder, faces.get(group.clip))) is not None]
    return previews, sheets


def _report(
    results: Results,
    analysis: Analysis,
    folder: Path,
    win_rates: Sequence[WinRate],
    left_out: Sequence[str],
    shown: Sequence[Group],
    previews: Previews,
    sheets: Sequence[Sheet],
    settings: ReportSettings,
) -> str:
    ranked = sorted(shown, key=importance)
    pictures = {str(sheet.path): small_copy(sheet.path) for sheet in sheets}
    order = [[cell.key for cell in group.cells if cell.key in previews.found] for group in ranked]
    sizes = {key: preview.size for key, preview in previews.found.items()}
    sizes |= {path: len(data) for path, data in pictures.items()}
    # Pictures first: they are small, and a report that was passed on alone still shows something.
    held = within_budget(sizes, [*([path] for path in pictures), *order], settings.budget)
    names = {key: f"v{position}" for position, key in enumerate(previews.found)}
    colours = {variant.name: colour_of(position) for position, variant in enumerate(results.variants)}
    measures = {measure.name: measure for measure in results.measures()}
    positions = views.positions_of(results, analysis)
    return page(
        "report.html.j2",
        styles=("base.css", "report.css"),
        scripts=("sync.js", "player.js"),
        results=results,
        analysis=analysis,
        clips=list(dict.fromkeys(cell.name.clip for cell in results.cells)),
        failed=sum(cell.state == "failed" for cell in results.cells),
        sections=[each for each in _SECTIONS if each[0] != "positions" or positions],
        colours=colours,
        totals=findings_text.totals(analysis.contrasts),
        findings=findings_text.findings(results, analysis),
        standing=findings_text.standing(analysis, measures),
        verdicts=findings_text.VERDICTS,
        arms=views.arms_of(results, analysis),
        positions=positions,
        speed_plots=speed_plots(results, analysis, settings.quality, settings.speed_plots),
        plot_arm=arm_title(OWN).capitalize(),
        pair_plots=pair_plots(results, analysis),
        player=_player(results, shown, previews, held, names, colours, folder, settings),
        linked=sum(key not in held for key in previews.found),
        cut=any(preview.cut for preview in previews.found.values()),
        inside=[(names[key], encoded(previews.found[key].path)) for key in previews.found if key in held],
        open_arms=(OWN, SPEECH, SILENCE),  # own alone flatters a mouth that goes on talking
        sheets_linked=sum(path not in held for path in pictures),
        sheets=_sheets(sheets, pictures, held, folder),
        win_rates=win_rates,
        votes_left_out=left_out,
        failures=gaps_of(results, previews.failed),
    )


def _blind(results: Results, previews: Previews, settings: ReportSettings) -> str:
    votes = blind_page(results, previews, settings.budget)
    return page(
        "blind.html.j2",
        styles=("base.css", "blind.css"),
        scripts=("sync.js", "blind.js"),
        count=votes.count,
        height=settings.fine.height,
        identical=votes.identical,
        shown=votes.shown,
        hidden=votes.hidden,
        inside=votes.inside,
    )


def _player(
    results: Results,
    shown: Sequence[Group],
    previews: Previews,
    held: set[str],
    names: Mapping[str, str],
    colours: Mapping[str, str],
    folder: Path,
    settings: ReportSettings,
) -> dict[str, Any]:
    listed: list[dict[str, Any]] = []
    for group in shown:
        found = [previews.found[cell.key] for cell in group.cells if cell.key in previews.found]
        if not found:
            continue
        # The shortest one: no video is asked for a frame that it does not have.
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
                if cell.key not in held:
                    tile["link"] = _link(preview.path, folder)
            tiles.append(tile)
        label = group.title.removeprefix(f"{group.clip} / ")
        listed.append(
            {
                "id": group.id,
                "clip": group.clip,
                "label": label,
                "times": clock.times,
                "end": clock.end,
                "tiles": tiles,
            }
        )
    return {"groups": listed, "height": settings.preview.height, "seconds": f"{settings.preview.seconds:g}"}


def _sheets(
    sheets: Sequence[Sheet], pictures: Mapping[str, bytes], held: set[str], folder: Path
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for sheet in sheets:
        link = _link(sheet.path, folder)
        inside = str(sheet.path) in held
        data = base64.b64encode(pictures[str(sheet.path)]).decode("ascii") if inside else ""
        with Image.open(sheet.path) as picture:
            width, height = picture.size
        rows = formatting.listed([cell.name.variant for cell in sheet.group.cells])
        found.append(
            {
                "title": sheet.group.title,
                "link": link,
                "source": f"data:image/jpeg;base64,{data}" if inside else link,
                "alt": f"{sheet.group.title}: rows {rows}, columns {len(sheet.times)} moments",
                "width": width,
                "height": height,
            }
        )
    return found


def _link(path: Path, folder: Path) -> str:
    return quote(path.relative_to(folder).as_posix())
