"""HTML page and JSON file of an inspection. Both files require no network connection."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from retalkit.comparison.report import formatting, views
from retalkit.comparison.report.templating import render_page
from retalkit.errors import OutputError
from retalkit.inspection.model import (
    Inspection,
    LandmarkCurve,
    Outcome,
    PersonInfo,
    ShotInfo,
    Span,
    SpeechInfo,
    StageViews,
    reasons_of,
    seconds_of,
    to_json,
)
from retalkit.inspection.persons import OPENING_STEP, TYPICAL_OPENING
from retalkit.storage.cache import Folder

PAGE_FILE: Final = "inspect.html"
JSON_FILE: Final = "inspect.json"
IMAGES: Final = "images"
_WORDS: Final[dict[Outcome, str]] = {
    "edited": "edited",
    "faded": "edit fades",
    "passed": "unchanged",
    "outside": "outside the cues",
    "unused": "not in the output",
}
_STEP_NAMES: Final = {"faces": "face detection", "lips": "lip sync planning", "join": "output file"}
_TICKS: Final = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


def check_folder(folder: Path, force: bool = False) -> None:
    """Check that an inspection can be written to ``folder``, which may be missing.

    Raises OutputError if ``folder`` is a file, or if it contains an inspection and ``force`` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: not a directory; choose a directory with --output", code="not-a-directory")
    found = next((name for name in (PAGE_FILE, JSON_FILE) if (folder / name).exists()), None)
    if found is not None and not force:
        raise OutputError(
            f"{folder / found}: the file already exists; use --force to replace the inspection, or choose another "
            "directory with --output",
            code="output-exists",
        )


def write_inspection(inspection: Inspection, folder: Path) -> Path:
    """Write ``inspect.html``, ``inspect.json`` and the images to ``folder`` and return the path of the page.

    Each file is written atomically. Raises OutputError if a file cannot be written.
    """
    data = json.dumps(to_json(inspection, IMAGES), indent=1, ensure_ascii=False) + "\n"
    try:
        (folder / IMAGES).mkdir(parents=True, exist_ok=True)
        images = Folder(folder / IMAGES)
        for picture in inspection.pictures():
            with images.write(f"{picture.name}.jpg") as path:
                path.write_bytes(picture.data)
        for name, text in ((JSON_FILE, data), (PAGE_FILE, inspection_page(inspection))):
            with Folder(folder).write(name) as path:
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write the inspection: {error.strerror or error}; choose another directory with --output",
            code="unwritable-output",
        ) from error
    return folder / PAGE_FILE


def inspection_page(inspection: Inspection) -> str:
    """Return the HTML page, which contains all images."""
    end = max(inspection.video.duration, *(speech.duration for speech in inspection.speeches), 0.04)
    sources = {
        each.name: f"data:image/jpeg;base64,{base64.b64encode(each.data).decode('ascii')}"
        for each in inspection.pictures()
    }
    sections = [
        ("timeline", "Timeline"),
        ("shots", "Photo" if inspection.video.is_photo else "Shots"),
        ("persons", "Persons"),
        ("speech", "Speech"),
        ("time", "Estimated time"),
        ("stages", "Stages"),
        ("configuration", "Run file"),
    ]
    hidden = {"speech": not inspection.speeches, "stages": not inspection.stages}
    return render_page(
        "inspect.html.j2",
        styles=("base.css", "report.css", "inspect.css"),
        scripts=(),
        folder=files("retalkit.inspection") / "templates",
        version=inspection.retalkit,
        sources=sources,
        sections=[each for each in sections if not hidden.get(each[0], False)],
        video={"name": inspection.video.name, "text": _video_text(inspection), "is_photo": inspection.video.is_photo},
        speeches=[_speech_view(inspection, speech) for speech in inspection.speeches],
        tiles=_tiles(inspection),
        notes=inspection.notes,
        timeline=_timeline(inspection, end, sources),
        sampled=inspection.sampled,
        shots=[_shot_view(shot, inspection) for shot in inspection.shots],
        persons=[_person_view(person, inspection) for person in inspection.persons],
        typical_opening=f"{TYPICAL_OPENING:g}",
        time=_time_view(inspection),
        stages=[_stages_view(each, len(inspection.stages) > 1) for each in inspection.stages],
        run_file=views.as_yaml(inspection.configuration),
    )


def seconds_text(seconds: float) -> str:
    """Format a duration for reading: ``4.2 s``, ``3 min 20 s`` or ``1 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def summary(inspection: Inspection) -> list[str]:
    """Return the main results as lines of text for the terminal."""
    used = _used(inspection)
    edited = inspection.seconds("edited") + inspection.seconds("faded")
    lines = [f"edited     {edited:.1f} of {used:.1f} s"]
    reasons = _reasons(inspection, "passed")
    if reasons:
        lines.append("unchanged  " + ", ".join(f"{reason}: {seconds:.1f} s" for reason, seconds in reasons))
    shots, persons = len(inspection.shots), len(inspection.persons)
    lines.append(
        f"contents   {formatting.pluralize(shots, 'shot')}, {formatting.pluralize(persons, 'person', 'persons')}"
    )
    estimate = inspection.estimate
    lines.append(
        f"time       about {seconds_text(estimate.seconds)} with the cached analysis, "
        f"{seconds_text(estimate.fresh_seconds)} without"
    )
    return lines


def _used(inspection: Inspection) -> float:
    unused = inspection.seconds("unused") + inspection.seconds("outside")
    return sum(shot.end - shot.start for shot in inspection.shots) - unused


def _reasons(inspection: Inspection, outcome: Outcome) -> list[tuple[str, float]]:
    return list(reasons_of(inspection.spans, outcome).items())


def _video_text(inspection: Inspection) -> str:
    video = inspection.video
    size = f"{video.width} × {video.height} pixels"
    if video.is_photo:
        return f"Photo, {size}"
    return f"{size}, {video.rate:g} frames/s, {video.duration:.2f} s"


def _tiles(inspection: Inspection) -> list[dict[str, str]]:
    used, edited = _used(inspection), inspection.seconds("edited") + inspection.seconds("faded")
    faded, passed = inspection.seconds("faded"), inspection.seconds("passed")
    reasons = [text for text, _ in _reasons(inspection, "passed")]
    estimate, length = inspection.estimate, inspection.length
    if length is None:
        more = "the output is as long as the video" if inspection.speeches else "without a speech"
        third = {"label": "Video", "value": f"{inspection.video.duration:.1f}", "unit": "s", "more": more}
    else:
        difference = length.speech - length.video
        more = "as long as the video" if abs(difference) < 0.05 else ""
        if not more and not inspection.video.is_photo:
            more = f"the speech is {abs(difference):.1f} s {'longer' if difference > 0 else 'shorter'} than the video"
        third = {
            "label": "Output",
            "value": f"{length.output:.1f}",
            "unit": "s",
            "more": more or "as long as the speech",
        }
    return [
        {
            "label": "Edited",
            "value": formatting.share(edited / used if used else 0.0),
            "unit": f"{edited:.1f} of {used:.1f} s",
            "more": f"{faded:.1f} s of them with a faded edit" if faded >= 0.05 else "with full confidence",
        },
        {
            "label": "Unchanged",
            "value": f"{passed:.1f}",
            "unit": "s",
            "more": ", ".join(reasons[:3]) if reasons else "every frame shows a usable face",
        },
        third,
        {
            "label": "Estimated time",
            "value": seconds_text(estimate.seconds),
            "unit": "",
            "more": f"{seconds_text(estimate.fresh_seconds)} without the cached analysis",
        },
    ]


def _percent(value: float, end: float) -> float:
    return round(100 * value / end, 3)


def _blocks(spans: Iterable[Span], start: float, end: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for span in spans:
        text = _WORDS[span.outcome]
        if span.reason:
            text += f": {span.reason}" + (f" ({span.detail})" if span.detail else "")
        found.append(
            {
                "outcome": span.outcome,
                "left": _percent(span.start - start, end - start),
                "width": _percent(span.seconds, end - start),
                "title": f"{span.start:.2f} to {span.end:.2f} s: {text}",
            }
        )
    return found


def _timeline(inspection: Inspection, end: float, sources: dict[str, str]) -> dict[str, Any]:
    shots = [
        {
            "number": shot.number,
            "left": _percent(shot.start, end),
            "width": _percent(shot.end - shot.start, end),
            "title": f"shot {shot.number}: {shot.start:.2f} to {shot.end:.2f} s",
            "source": sources[shot.picture.name] if shot.picture else "",
        }
        for shot in inspection.shots
    ]
    lanes: list[dict[str, Any]] = []
    for row, first in enumerate(inspection.shots[0].results):
        spans = [span for shot in inspection.shots for span in shot.results[row].spans]
        label = first.person if len(inspection.shots[0].results) > 1 else "result"
        lanes.append({"label": label, "spans": _blocks(spans, 0.0, end)})
    step = next((each for each in _TICKS if end / each <= 8), _TICKS[-1])
    ticks = [
        {"left": _percent(number * step, end), "text": f"{number * step:g}"}
        for number in range(int(end / step + 1e-6) + 1)
        if number * step < 0.985 * end
    ]
    length, video = inspection.length, inspection.video
    sounds = [_sound_view(speech, end, len(inspection.speeches) > 1) for speech in inspection.speeches]
    beyond: dict[str, Any] | None = None
    if length is not None and not video.is_photo and length.speech > length.video + 0.3:
        text = "the video continues" if length.output > length.video else "no video"
        beyond = {"left": _percent(length.video, end), "width": _percent(end - length.video, end), "text": text}
    outcomes = ", ".join(
        f"{inspection.seconds(outcome):.1f} s {word}" for outcome, word in _WORDS.items() if inspection.seconds(outcome)
    )
    return {
        "shots": shots,
        "lanes": lanes,
        "sounds": sounds,
        "ticks": ticks,
        "beyond": beyond,
        "has_unused": _occurs(inspection, "unused"),
        "has_outside": _occurs(inspection, "outside"),
        "description": f"Timeline of {end:.1f} s: {outcomes}",
    }


def _occurs(inspection: Inspection, outcome: Outcome) -> bool:
    return any(seconds_of(each.spans, outcome) > 0 for shot in inspection.shots for each in shot.results)


def _sound_view(speech: SpeechInfo, end: float, named: bool) -> dict[str, Any]:
    return {
        "label": speech.name if named else "speech",
        "count": len(speech.levels),
        "path": _envelope(speech.levels),
        "width": _percent(speech.duration, end),
        "pauses": [
            {
                "left": _percent(start, end),
                "width": _percent(stop - start, end),
                "title": f"pause: {start:.2f} to {stop:.2f} s",
            }
            for start, stop in _pauses(speech)
        ],
    }


def _pauses(speech: SpeechInfo) -> list[tuple[float, float]]:
    edges = [0.0, *(time for part in speech.active for time in part), speech.duration]
    return [(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True) if stop - start > 0.02]


def _envelope(levels: Sequence[float]) -> str:
    """Return an SVG path that is symmetric about the middle and fills the height of 100."""
    loudest = max([*levels, 1e-3])
    heights = [max(48 * level / loudest, 0.6) for level in levels]
    upper = " ".join(f"L{number + 0.5:g} {50 - height:.1f}" for number, height in enumerate(heights))
    lower = " ".join(f"L{number + 0.5:g} {50 + height:.1f}" for number, height in reversed([*enumerate(heights)]))
    return f"M0 50 {upper} L{len(levels)} 50 {lower} Z"


def _shot_view(shot: ShotInfo, inspection: Inspection) -> dict[str, Any]:
    is_photo = inspection.video.is_photo
    faces = formatting.pluralize(shot.faces, "face") if shot.faces else "no face"
    text = faces if is_photo else f"{shot.start:.2f} to {shot.end:.2f} s, {shot.frames} frames, {faces}"
    results = [
        {
            "person": each.person if len(shot.results) > 1 else "",
            "spans": _blocks(each.spans, shot.start, shot.end),
            "rows": [(text, f"{seconds:.2f}") for text, seconds in _outcome_rows(each.spans)],
        }
        for each in shot.results
    ]
    return {
        "picture": shot.picture,
        "title": "Photo" if is_photo else f"Shot {shot.number}",
        "text": text,
        "results": results,
    }


def _outcome_rows(spans: Sequence[Span]) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    for outcome, word in _WORDS.items():
        reasons = reasons_of(spans, outcome)
        rows += [(f"{word}: {text}", seconds) for text, seconds in reasons.items()]
        rest = seconds_of(spans, outcome) - sum(reasons.values())
        if rest > 1e-6:
            rows.append((word, rest))
    return rows


def _person_view(person: PersonInfo, inspection: Inspection) -> dict[str, Any]:
    shots = "shot" if len(person.shots) == 1 else "shots"
    facts = [
        (
            "Visible",
            f"{person.visible:.1f} s" + ("" if inspection.video.is_photo else f", {shots} {_ranges(person.shots)}"),
        ),
        ("Face width", f"{person.face_width:.0f} pixels"),
        ("Face height", f"{formatting.share(person.face_share)} of the frame"),
    ]
    if person.largest_yaw:
        facts.append(("Head yaw", f"up to {person.largest_yaw:.0f}°"))
    if person.opening is not None:
        facts.append(("Mouth opens to", f"{person.opening:.2f} of the eye distance"))
    if person.confidence < 1:
        facts.append(("Recognition", f"confidence {formatting.share(person.confidence)} or more"))
    if person.uncertain:
        facts.append(("Uncertain", f"{person.uncertain:.1f} s are not edited"))
    highest = max([*person.openings, 1e-6])
    titles = [
        f"{number * OPENING_STEP:.2f} to {(number + 1) * OPENING_STEP:.2f}: {formatting.share(share)}"
        for number, share in enumerate(person.openings)
    ]
    bars = [
        {"height": round(100 * share / highest, 1), "title": title}
        for share, title in zip(person.openings, titles, strict=True)
    ]
    return {
        "id": person.id,
        "name": person.name,
        "picture": person.picture,
        "facts": facts,
        "bars": [] if inspection.video.is_photo else bars,
        "last": f"{(len(bars) - 1) * OPENING_STEP:.2f}",
        "description": "; ".join(titles),
    }


def _ranges(numbers: Sequence[int]) -> str:
    """Return ``1 to 3, 5`` for (1, 2, 3, 5)."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs) or "none"


def _speech_view(inspection: Inspection, speech: SpeechInfo) -> dict[str, Any]:
    pauses = _pauses(speech)
    facts = [
        ("Duration", f"{speech.duration:.2f} s"),
        ("Loudness", f"{formatting.number(speech.loudness, 1)} LUFS"),
        ("Speech", f"{speech.speaking:.1f} s ({formatting.share(speech.speaking / max(speech.duration, 1e-6))})"),
        ("Pauses", f"{len(pauses)}, the longest {speech.longest_pause:.1f} s"),
    ]
    length = inspection.length
    if length is not None and not inspection.video.is_photo:
        facts.append(("Video", f"{length.video:.2f} s"))
        facts.append(("Output", f"{length.output:.2f} s"))
    if length is not None and length.note:
        facts.append(("Length", length.note))
    if speech.note:
        facts.append(("Note", speech.note))
    return {"name": speech.name, "duration": f"{speech.duration:.2f}", "facts": facts}


def _time_view(inspection: Inspection) -> dict[str, Any]:
    estimate = inspection.estimate
    longest = max([*estimate.steps.values(), 1e-6])
    text = (
        f"The run takes about {seconds_text(estimate.seconds)}, because the inspection has cached the analysis. "
        f"Without the cache, it takes about {seconds_text(estimate.fresh_seconds)}."
    )
    if estimate.measured_frames:
        frames = formatting.pluralize(estimate.measured_frames, "frame")
        basis = (
            f"The rendering rate of {estimate.render_rate:.0f} frames/s was measured on {frames} on this machine. The "
            "speech is processed in parallel with the video."
        )
    else:
        basis = "No frame can be edited, so the rendering rate was not measured."
    steps = [
        {
            "name": _STEP_NAMES.get(step, step),
            "seconds": f"{seconds:.1f}",
            "width": round(100 * seconds / longest, 1),
        }
        for step, seconds in estimate.steps.items()
    ]
    return {"text": text, "basis": basis, "steps": steps}


def _stages_view(stages: StageViews, several: bool) -> dict[str, Any]:
    """``several``: whether the page shows the stages of several persons, so that each person needs a heading."""
    name = f": {stages.name}" if stages.name not in ("", stages.person) else ""
    return {
        "title": f"{stages.person}{name}" if several else "",
        "views": stages.views,
        "curves": [_curve_view(curve) for curve in stages.curves],
        "curves_text": _curves_text(stages.curves),
    }


def _curve_view(curve: LandmarkCurve) -> dict[str, str]:
    values = [*curve.raw, *curve.smoothed]
    low, high = min(values), max(values)
    scale = 92 / max(high - low, 1e-6)
    step = 1000 / max(len(curve.times) - 1, 1)

    def path(row: Sequence[float]) -> str:
        points = (f"{number * step:.1f} {96 - (value - low) * scale:.1f}" for number, value in enumerate(row))
        return "M" + " L".join(points)

    return {
        "label": curve.label,
        "raw": path(curve.raw),
        "smoothed": path(curve.smoothed),
        "range": f"{formatting.number(low, 1, signed=True)} to {formatting.number(high, 1, signed=True)}",
    }


def _curves_text(curves: Sequence[LandmarkCurve]) -> str:
    if not curves:
        return ""
    times = curves[0].times
    return f"Each curve shows {times[0]:.2f} to {times[-1]:.2f} s of the video."
