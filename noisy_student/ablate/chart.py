"""Chart of a study: seeds and mean of every arm, and differences with their intervals."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisy_student.ablate import statistics
from noisy_student.ablate.tables import Table, comparison_name, metric_name
from noisy_student.artifacts.files import atomic_write
from noisy_student.report import charts

COLORS = {
    statistics.SUPPORTED: charts.BLUE,
    statistics.CONTRADICTED: charts.RED,
    statistics.INCONCLUSIVE: charts.MUTED,
    statistics.NOT_REFUTED: charts.MUTED,
    statistics.TOO_FEW: charts.GREY,
}
_ROW_HEIGHT, _MARGIN = 0.42, 1.1  # inches: of an arm or difference; of axes and title
_WRAP = 34  # characters of a label's line


@matplotlib.rc_context(charts.STYLE)
def write(table: Table, path: Path) -> None:
    """Writes a PNG of a study; the same rows give the same bytes on one machine."""
    rows = max(len(table.arms) + len(table.baseline_arms), len(table.study.comparisons))
    figure = Figure(figsize=(11, _MARGIN + _ROW_HEIGHT * rows), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_arms(left, table)
    _draw_differences(right, table)
    seeds = ", ".join(map(str, table.seeds))
    figure.suptitle(f"{table.study.name}, {table.recipe}, seeds {seeds}", x=0.01, ha="left")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_arms(axes: Axes, table: Table) -> None:
    metric, colors = table.study.metrics[0], dict.fromkeys(table.arms, charts.BLUE)
    colors |= dict.fromkeys(table.baseline_arms, charts.BROWN)
    for row, (arm, color) in enumerate(colors.items()):
        values = table.values(arm, metric)
        mean, _ = statistics.mean_sd(values)
        axes.plot(list(values.values()), [row] * len(values), "o", color=charts.GREY, ms=5)
        axes.plot([mean], [row], "o", color=color, ms=8)
        _annotate(axes, f"{mean:.1f}", mean, row, charts.INK)
    _label_rows(axes, list(colors), f"{metric_name(metric)}, percent: seeds and mean")


def _draw_differences(axes: Axes, table: Table) -> None:
    axes.axvline(0, color=charts.INK, linewidth=0.8)
    for row, comparison in enumerate(table.study.comparisons):
        found = table.difference(comparison)
        if not found:
            _annotate(axes, "not measured", 0, row, charts.MUTED)
            continue
        color = COLORS[found.verdict]
        axes.plot([found.mean], [row], "o", color=color, ms=7)
        if not math.isnan(found.low):
            axes.plot([found.low, found.high], [row, row], color=color, linewidth=2.4)
        _annotate(axes, found.verdict, found.mean, row, color)
    names = list(map(comparison_name, table.study.comparisons))
    _label_rows(axes, names, "difference in points, 95% interval")


def _annotate(axes: Axes, text: str, x: float, row: int, color: str) -> None:
    """Writes a text above the mark of a row."""
    axes.annotate(
        text, (x, row), (0, 7), textcoords="offset points", ha="center", fontsize=8, color=color
    )


def _label_rows(axes: Axes, names: Sequence[str], label: str) -> None:
    """Labels the rows, from the top, and the horizontal axis."""
    axes.set_yticks(range(len(names)), [textwrap.fill(name, _WRAP) for name in names])
    axes.tick_params("y", labelcolor=charts.INK, labelsize=8)
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel(label)
