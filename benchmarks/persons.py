"""Processor time of the analysis of a run that edits two persons, relative to a run that edits one of them.

In both runs, the detector searches each frame once and fits the landmarks of every visible face, because persons are
told apart by the tracks of all faces. The analysis should therefore cost at most 1.1 times as much. The coefficients of
the second person are counted, but the edits are not.

With ``--single``, the detector also runs on a video that shows only one person. The difference is the cost of fitting
the landmarks of another face.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from retalkit.config import RunConfig
from retalkit.cues.command_line import sheet_from_options
from retalkit.cues.validation import check_cues
from retalkit.media.sources import open_source
from retalkit.media.timeline import build_timeline
from retalkit.observer import SilentObserver
from retalkit.pipeline.analysis_store import LimitedSource, analysed_part
from retalkit.pipeline.clip_persons import find_persons
from retalkit.pipeline.cue_run import prepare_cues
from retalkit.pipeline.keys import analysis_keys, speech_key
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.stages import ObjectPool
from retalkit.storage.cache import Cache, content_hash


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, help="video of two people, without changes of place")
    parser.add_argument("speech", type=Path)
    parser.add_argument("--single", type=Path, help="video of the same size and duration that shows one person")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    registry, pool = discover(), ObjectPool()
    chosen = plan(RunConfig.from_preset("embedded", registry=registry), registry)
    seconds: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    # The first round loads the stages and is not counted.
    for number in range(given.rounds + 1):
        for persons in (["left"], ["left", "right"]):
            with TemporaryDirectory(prefix="retalkit-") as folder:
                steps = ClipSteps(chosen, Cache(Path(folder)), SilentObserver(), pool)
                measured = analyse(steps, given.video, given.speech, persons)
            for step, value in measured.items():
                if number:
                    seconds[step, len(persons)].append(value)
        for count, video in ((1, given.single), (2, given.video)) if given.single else ():
            with TemporaryDirectory(prefix="retalkit-") as folder:
                value = detect(ClipSteps(chosen, Cache(Path(folder)), SilentObserver(), pool), video)
            if number:
                seconds["detection, one or two visible faces", count].append(value)
    print("| step | one person, s | two persons, s | two / one |")
    print("|---|---|---|---|")
    for step in dict.fromkeys(step for step, _ in seconds):
        one, two = (statistics.median(seconds[step, count]) for count in (1, 2))
        print(f"| {step} | {one:.2f} | {two:.2f} | {two / one:.3f} |")


def analyse(steps: ClipSteps, video: Path, speech: Path, persons: list[str]) -> dict[str, float]:
    """Return the processor time in seconds of each part of the analysis. The speech is analysed beforehand."""
    source = open_source(video)
    sheet = sheet_from_options(speech, start="0", stop=f"{source.info.duration:.3f}", persons=persons)
    assert sheet is not None
    checked = check_cues(sheet, source.info.duration)
    timeline = build_timeline(source, checked.last, "video")
    limited = analysed_part(source, timeline.until(checked.last), steps.plan.config.analysis_seconds)
    steps.speech(checked.sounds[speech], speech_key(steps.plan, content_hash(speech)))
    began = processor_time()
    find_persons(steps, limited, content_hash(video))
    detected = processor_time()
    prepare_cues(steps, source, limited, checked, timeline, video)
    ended = processor_time()
    return {
        "detection and persons": detected - began,
        "tracks and coefficients": ended - detected,
        "total": ended - began,
    }


def detect(steps: ClipSteps, video: Path) -> float:
    """Return the processor time in seconds of the detector."""
    source = open_source(video)
    limited = LimitedSource(source, source.info.frame_count)
    began = processor_time()
    steps.detect(limited, analysis_keys(steps.plan, content_hash(video), limited.info.frame_count))
    return processor_time() - began


def processor_time() -> float:
    """Return the processor time of this process and of its children in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
