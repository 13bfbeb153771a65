"""Places of the speeches of a run with cues in the sound of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from retalkit.cues.validation import CheckedCues
from retalkit.media.sound_mix import Span
from retalkit.pipeline.output_sound import PlacedSpeech
from retalkit.speech.speech_track import SpeechTrack


def sound_placements(checked: CheckedCues, speeches: Mapping[Path, SpeechTrack]) -> list[PlacedSpeech]:
    """Return the part of each speech that is audible, in order of time.

    With ``listeners: rest``, cues that continue one recording at its own times are one placement, so that its room tone
    does not stop between the cues.
    """
    placements: list[PlacedSpeech] = []
    for cue in sorted(checked.sheet.cues, key=lambda cue: cue.start):
        stop = checked.last if cue.stop is None else cue.stop
        placed = PlacedSpeech(
            source=checked.sounds[cue.speech],
            start=cue.start,
            offset=cue.offset,
            duration=stop - cue.start,
            gain=cue.gain,
            speech=speeches.get(cue.speech),
        )
        number = next((number for number, each in enumerate(placements) if _continues(each, placed)), None)
        if checked.sheet.listeners != "rest" or number is None:
            placements.append(placed)
            continue
        before = placements[number]
        end = max(stop, before.start + (before.duration or 0.0))
        placements[number] = replace(before, duration=end - before.start)
    return placements


def replaced_spans(checked: CheckedCues) -> tuple[Span, ...]:
    """Return the time ranges in seconds in which the original sound is replaced."""
    if checked.sheet.listeners == "rest":
        return ((checked.first, checked.last),)
    return tuple((cue.start, checked.last if cue.stop is None else cue.stop) for cue in checked.sheet.cues)


def cue_entries(checked: CheckedCues) -> list[dict[str, Any]]:
    """Return the cues for the run record."""
    return [
        {
            "person": cue.person,
            "from": cue.start,
            "to": cue.stop,
            "speech": str(cue.speech),
            "offset": cue.offset,
            "gain": cue.gain,
        }
        for cue in checked.sheet.cues
    ]


def _continues(before: PlacedSpeech, after: PlacedSpeech) -> bool:
    same = before.source.path == after.source.path and before.gain == after.gain
    return same and abs((before.start - before.offset) - (after.start - after.offset)) < 1e-3
