"""Curves of the recorded runs, as CSV and SVG files for ``docs/training``.

python -m training.recipes.plot_runs RUNS -o docs/training/curves
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from retalkit_training.loop.logs import read_scalars

CURVES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "lnet": {"mean absolute difference": ("generator/l1", "validation/l1", "validation/reference_l1")},
    "dnet": {
        "loss": ("generator/warp", "generator/final"),
        "mean absolute difference": ("validation/l1", "validation/source_l1"),
    },
    "enet": {"mean absolute difference": ("generator/l1", "validation/l1", "validation/enlarged_l1")},
    "wav2lip": {
        "mean absolute difference": ("generator/l1", "validation/l1", "validation/reference_l1"),
        "loss": ("generator/quality", "discriminator/logistic"),
    },
    "expert": {
        "loss": ("expert/contrastive", "expert/cross_entropy", "validation/loss"),
        "area under the ROC curve": ("validation/auc", "talk_woman_590p25/auc", "talk_man_700p22/auc"),
    },
}
"""Scalars of each diagram, by run and label of the vertical axis."""

Series = dict[str, list[tuple[int, float]]]


def read(run: Path) -> Series:
    """Return the scalars of a run, with those of ``judged.csv``."""
    found: Series = {}
    for step, name, value in read_scalars(run / "scalars.csv"):
        found.setdefault(name, []).append((step, value))
    judged = run / "judged.csv"
    if judged.is_file():
        with judged.open(encoding="utf-8", newline="") as file:
            for step, person, auc, offset in csv.reader(file):
                found.setdefault(f"{person}/auc", []).append((int(step), float(auc)))
                found.setdefault(f"{person}/offset", []).append((int(step), float(offset)))
    return found


def write_csv(series: Series, path: Path) -> None:
    """Write rows with the step, the name and the value with four digits."""
    rows = [(step, name, f"{value:.4g}") for name, values in series.items() for step, value in values]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("step", "name", "value"))
        writer.writerows(row for row in sorted(rows) if not row[1].endswith("learning_rate"))


def plot(series: Series, axes: Mapping[str, Sequence[str]], path: Path) -> None:
    """Draw one diagram for each label of the vertical axis."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    # Fixed identifiers make the file reproducible, and text instead of outlines makes it small.
    matplotlib.rcParams.update({"svg.hashsalt": "retalkit", "svg.fonttype": "none"})
    axes = {label: [name for name in names if name in series] for label, names in axes.items()}
    axes = {label: names for label, names in axes.items() if names}
    figure, plots = pyplot.subplots(1, len(axes), figsize=(4.5 * len(axes), 2.8), squeeze=False)
    for diagram, (label, names) in zip(plots[0], axes.items(), strict=True):
        for name in names:
            steps, values = zip(*series[name], strict=True)
            diagram.plot(steps, values, label=name, marker="." if len(steps) < 30 else None, linewidth=1)
        diagram.set_xlabel("step")
        diagram.set_ylabel(label)
        diagram.legend(fontsize=7)
        diagram.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(runs: Path, output: Annotated[Path, typer.Option("--output", "-o")]) -> None:
    """Write the curves of all runs in RUNS."""
    output.mkdir(parents=True, exist_ok=True)
    for name, axes in CURVES.items():
        if (runs / name / "scalars.csv").is_file():
            series = read(runs / name)
            write_csv(series, output / f"{name}.csv")
            plot(series, axes, output / f"{name}.svg")
            typer.echo(output / f"{name}.svg")


if __name__ == "__main__":
    typer.run(main)
