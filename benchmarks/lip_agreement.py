"""Compare the lip motion in dubbed videos with the lip motion of the original speakers.

Each video is dubbed with the audio track of each other video. The run's detector tracks the lips of the output and of
the original speaker. For each pair, the benchmark prints Pearson's correlation of opening and width at lag 0 and at the
lag that maximises the sum of the two correlations. A positive lag means that the dubbed lips are late.

    python benchmarks/lip_agreement.py talk_man.mp4 talk_woman.mp4 --set denoiser=none
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import retalkit
from retalkit.config.model import RunConfig
from retalkit.motion_eval.agreement import Lips, correlation
from retalkit.motion_eval.clips import measure_lips, track
from retalkit.observer import SilentObserver
from retalkit.pipeline.plan import plan
from retalkit.pipeline.steps import ClipSteps
from retalkit.plugins.discovery import discover
from retalkit.storage.cache import Cache

LAGS = range(-3, 4)


def scores_by_lag(dubbed: Lips, real: Lips) -> dict[int, tuple[float, float]]:
    """Return the correlation of opening and of width for each lag of the dubbed lips in frames at 25 Hz."""
    count = min(len(dubbed.opening), len(real.opening))
    found: dict[int, tuple[float, float]] = {}
    for lag in LAGS:
        late, early = slice(max(0, lag), count + min(0, lag)), slice(max(0, -lag), count - max(0, lag))
        found[lag] = (
            correlation(dubbed.opening[late], real.opening[early]),
            correlation(dubbed.width[late], real.width[early]),
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, help="videos of people speaking, with the original audio")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="override of the preset"
    )
    parser.add_argument("--keep", type=Path, help="directory in which the dubbed videos are kept")
    options = parser.parse_args(arguments)
    registry = discover()
    config = RunConfig.from_preset("embedded", registry=registry, overrides=options.overrides)
    chosen = plan(config, registry)
    rows: list[tuple[float, ...]] = []
    print("video                speech               opening  width   best lag  opening  width")
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        steps = ClipSteps(chosen, Cache(Path(name) / "cache"), SilentObserver())
        lips = {video: measure_lips(track(video, steps)) for video in options.videos}
        for video in options.videos:
            for speaker in options.videos:
                if video == speaker:
                    continue
                output = folder / f"{video.stem}-{speaker.stem}.mp4"
                retalkit.dub(video, speaker, output, config=config, registry=registry, cache=Path(name) / "cache")
                scores = scores_by_lag(measure_lips(track(output, steps)), lips[speaker])
                best = max(LAGS, key=lambda lag: sum(scores[lag]))
                rows.append((*scores[0], best, *scores[best]))
                print(
                    f"{video.stem[:20]:20s} {speaker.stem[:20]:20s} {scores[0][0]:7.2f} {scores[0][1]:6.2f} "
                    f"{best:+8d}  {scores[best][0]:9.2f} {scores[best][1]:6.2f}",
                    flush=True,
                )
    mean = np.mean(rows, axis=0)
    print(f"{'mean':41s} {mean[0]:7.2f} {mean[1]:6.2f} {mean[2]:+8.1f}  {mean[3]:9.2f} {mean[4]:6.2f}")


if __name__ == "__main__":
    main()
