"""A study as a picture: every arm's seeds and mean, and the differences with their intervals."""

import math
import textwrap
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisy_student import figures, manifest
from noisy_student.study import statistics, words
from noisy_student.study.tables import Table

_COLORS = {
    statistics.HOLDS: figures.BLUE,
    statistics.FAILS: figures.RED,
    statistics.OPEN: figures.MUTED,
    statistics.FEW: figures.GREY,
}
_LINE, _FRAME = 0.42, 1.1  # inches: an arm or difference, and what is around them
_WRAP = 34  # characters of a label's line


@matplotlib.rc_context(figures.STYLE)
def write(table: Table, path: Path) -> None:
    """Writes a PNG of a study; the same bytes from the same rows on one machine."""
    count = max(len(table.arms), len(table.study.comparisons))
    figure = Figure(figsize=(11, _FRAME + _LINE * count), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    _arms(left, table)
    _differences(right, table)
    seeds = ", ".join(map(str, table.seeds))
    figure.suptitle(f"{table.study.name}, {table.rows[0].recipe}, seeds {seeds}", x=0.01, ha="left")
    with manifest.appearing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _arms(axes: Axes, table: Table) -> None:
    metric = table.study.metrics[0]
    for place, arm in enumerate(table.arms):
        values = table.values(arm, metric)
        mean, _ = statistics.mean_sd(values)
        axes.plot(list(values.values()), [place] * len(values), "o", color=figures.GREY, ms=5)
        axes.plot([mean], [place], "o", color=figures.BLUE, ms=8)
        axes.annotate(
            f"{mean:.1f}", (mean, place), (0, 7), textcoords="offset points", ha="center",
            fontsize=8, color=figures.INK,
        )  # fmt: skip
    _rows(axes, table.arms, f"{words.metric(metric)}, percent: seeds and mean")


def _differences(axes: Axes, table: Table) -> None:
    names = []
    axes.axvline(0, color=figures.INK, linewidth=0.8)
    for comparison in table.study.comparisons:
        name = f"{comparison.first} - {comparison.second}"
        if comparison.metric != "clean.top1":
            name += f": {words.metric(comparison.metric)}"
        found = table.difference(comparison)
        place, color = len(names), _COLORS[found.verdict] if found else figures.GREY
        names.append(name)
        if found:
            if not math.isnan(found.low):
                axes.plot([found.low, found.high], [place, place], color=color, linewidth=2.4)
            axes.plot([found.mean], [place], "o", color=color, ms=7)
            axes.annotate(
                found.verdict, (found.mean, place), (0, 7), textcoords="offset points",
                ha="center", fontsize=8, color=color,
            )  # fmt: skip
    _rows(axes, names, "difference in points, 95% interval")


def _rows(axes: Axes, names: list[str], label: str) -> None:
    """One line a name, from the top."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, _WRAP) for name in names])
    axes.tick_params("y", labelcolor=figures.INK, labelsize=8)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel(label)
