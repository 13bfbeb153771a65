"""Synthetic results of a comparison with hand-written scores, for tests with known expected values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retalkit.comparison.results import ANCHOR, OWN, REAL, CellName, CellResult, MetricInfo, Results, VariantInfo
from retalkit.metrics import Measure

SCORE = Measure("score", "score", "higher")
LOSS = Measure("loss", "loss", "lower")
OFFSET = Measure("offset", "offset", "nearer", ideal=0.0, unit="frames")


def cell(
    variant: str,
    clip: str,
    scores: Mapping[str, float | None],
    arm: str = OWN,
    speech: str = "",
    seed: int = 0,
    rerun: int = 0,
) -> CellResult:
    name = CellName(clip, arm, speech, variant, seed, rerun)
    key = "-".join(part.strip("()").replace(" ", "_") for part in name.label.split(" / "))
    return CellResult(name, key, "done", scores=dict(scores), video=f"cells/{key}/video.mp4")


def failed(
    variant: str, clip: str, why: str = "stage crashed", arm: str = OWN, speech: str = "", seed: int = 0
) -> CellResult:
    name = CellName(clip, arm, speech, variant, seed)
    return CellResult(name, f"failed-{variant}-{clip}-{speech}-{seed}", "failed", failure=why)


def row(variant: str, values: Sequence[float | None], measure: Measure = SCORE, arm: str = OWN) -> list[CellResult]:
    """Return one cell per value, on the clips c0, c1 and so on."""
    return [cell(variant, f"c{index}", {measure.name: value}, arm) for index, value in enumerate(values)]


def results(cells: Sequence[CellResult], measures: Sequence[Measure] = (SCORE,)) -> Results:
    """Return results whose base is the first variant of the cells; all measures belong to the metric ``sample``."""
    names = [name for name in dict.fromkeys(cell.name.variant for cell in cells) if name != ANCHOR]
    variants = [
        VariantInfo(name, index == 0, {"denoiser": name}, {} if index == 0 else {"denoiser": name}, {}, (), ())
        for index, name in enumerate(names)
    ]
    metric = MetricInfo("sample", "Sample metric.", "none", "Apache-2.0", "tests 1", tuple(measures))
    return Results(
        title="sample",
        created="2026-01-01T00:00:00Z",
        comparison={"clips": sorted({cell.name.clip for cell in cells})},
        variants=variants,
        metrics=[metric],
        cells=list(cells),
        versions={"retalkit": "0"},
        machine={"system": "none"},
    )


def real(values: Sequence[float | None], measure: Measure = SCORE) -> list[CellResult]:
    return row(ANCHOR, values, measure, REAL)
