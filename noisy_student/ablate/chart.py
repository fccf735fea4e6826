"""A study as a picture: every arm's seeds and mean, and the differences with their intervals."""

import math
import textwrap
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisy_student.ablate import statistics, wording
from noisy_student.ablate.tables import Table
from noisy_student.artifacts.files import atomic_write
from noisy_student.report import charts

_COLORS = {
    statistics.HOLDS: charts.BLUE,
    statistics.FAILS: charts.RED,
    statistics.OPEN: charts.MUTED,
    statistics.UNREFUTED: charts.MUTED,
    statistics.FEW: charts.GREY,
}
_LINE, _FRAME = 0.42, 1.1  # inches: an arm or difference, and what is around them
_WRAP = 34  # characters of a label's line


@matplotlib.rc_context(charts.STYLE)
def write(table: Table, path: Path) -> None:
    """Writes a PNG of a study; the same bytes from the same rows on one machine."""
    arms = len(table.arms) + len(table.shown_controls)
    count = max(arms, len(table.study.comparisons))
    figure = Figure(figsize=(11, _FRAME + _LINE * count), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    _arms(left, table)
    _differences(right, table)
    seeds = ", ".join(map(str, table.seeds))
    figure.suptitle(f"{table.study.name}, {table.rows[0].recipe}, seeds {seeds}", x=0.01, ha="left")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _arms(axes: Axes, table: Table) -> None:
    metric, colors = table.study.metrics[0], dict.fromkeys(table.arms, charts.BLUE)
    colors |= dict.fromkeys(table.shown_controls, charts.BROWN)
    for place, (arm, color) in enumerate(colors.items()):
        values = table.values(arm, metric)
        mean, _ = statistics.mean_sd(values)
        axes.plot(list(values.values()), [place] * len(values), "o", color=charts.GREY, ms=5)
        axes.plot([mean], [place], "o", color=color, ms=8)
        axes.annotate(
            f"{mean:.1f}",
            (mean, place),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=charts.INK,
        )
    _rows(axes, list(colors), f"{wording.metric(metric)}, percent: seeds and mean")


def _differences(axes: Axes, table: Table) -> None:
    axes.axvline(0, color=charts.INK, linewidth=0.8)
    for place, comparison in enumerate(table.study.comparisons):
        found = table.difference(comparison)
        mean, text, color = 0.0, "not measured", charts.MUTED
        if found:
            mean, text, color = found.mean, found.verdict, _COLORS[found.verdict]
            axes.plot([mean], [place], "o", color=color, ms=7)
            if not math.isnan(found.low):
                axes.plot([found.low, found.high], [place, place], color=color, linewidth=2.4)
        axes.annotate(
            text,
            (mean, place),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=color,
        )
    names = list(map(wording.comparison, table.study.comparisons))
    _rows(axes, names, "difference in points, 95% interval")


def _rows(axes: Axes, names: list[str], label: str) -> None:
    """One line a name, from the top."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, _WRAP) for name in names])
    axes.tick_params("y", labelcolor=charts.INK, labelsize=8)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel(label)
