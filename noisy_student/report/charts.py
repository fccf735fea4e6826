"""The charts of the report, each an SVG element for an HTML page.

Text stays text in the font of the page, so that a chart is sharp at any size, searchable and small.
A chart fills one column of the page, about 300 CSS pixels wide.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

INK, MUTED, RULE = "#1d2126", "#646b74", "#dfe2e6"
GREY, BLUE, RED, BROWN = "#b9bec6", "#1b5faa", "#b3261e", "#c77324"
_TEACHER = "#7d848e"
# Readable on white and on black: first and last student in red, green, blue; then other models.
_STUDENTS = ((0x7F, 0xB3, 0xE6), (0x2A, 0x6C, 0xB8))
_OTHERS = (BROWN, "#8a8d2f", "#a8527f")

STYLE = {
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "text.parse_math": False,  # a class name may hold a dollar sign
    "svg.fonttype": "none",
    "svg.hashsalt": "noisy_student",
}
_PERCENT = FuncFormatter(lambda value, _: f"{value:g}%")  # also where all values are below 1%
_styled = matplotlib.rc_context(STYLE)


def colors(models: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns model -> color: gray teacher, light to dark blue students, others in other hues."""
    students = [model["name"] for model in models if model["role"] in ("student", "fixres")]
    others = [model["name"] for model in models if model["role"] in ("control", "")]
    hues = _OTHERS if len(others) < len(models) else (BLUE, *_OTHERS, _TEACHER)
    palette = {model["name"]: _TEACHER for model in models}
    for position, name in enumerate(students):
        share = position / (len(students) - 1) if len(students) > 1 else 1.0
        mixed = (round(a + share * (b - a)) for a, b in zip(*_STUDENTS, strict=True))
        palette[name] = "#" + "".join(f"{value:02x}" for value in mixed)
    for position, name in enumerate(others):
        palette[name] = hues[position % len(hues)]
    return palette


@_styled
def accuracy(models: Sequence[Mapping[str, Any]]) -> str:
    """Draws top-1 of every evaluated model with its 95% interval, and the validation accuracy."""
    models = [model for model in models if model["top1"] is not None]
    palette = colors(models)
    axes = _axes(height=3.0, width=max(4.8, 0.8 * len(models)))
    rounds = [model["top1"] for model in models if model["role"] not in ("control", "")]
    axes.plot(range(len(rounds)), rounds, color=RULE, zorder=1)
    for x, model in enumerate(models):
        low, high = model["top1_interval"]
        color = palette[model["name"]]
        axes.plot([x, x], [low, high], color=color, linewidth=2.4)
        axes.plot(x, model["top1"], "o", color=color, markersize=8)
        axes.annotate(
            f"{model['top1']:.1f}",
            (x, model["top1"]),
            (9, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            weight="bold",
        )
        if model["validation_top1"] is not None:
            axes.plot(
                x - 0.14,
                model["validation_top1"],
                "o",
                color=color,
                markersize=5,
                markerfacecolor="white",
            )
    axes.set_xticks(range(len(models)), [textwrap.fill(m["label"], 12) for m in models])
    axes.set_xlim(-0.5, len(models) - 0.3)
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    return _svg(axes)


@_styled
def confidence_histogram(selection: Mapping[str, Any]) -> str:
    """Draws the confidence of all labels and of those kept."""
    histogram = selection["confidence_histogram"]
    edges = histogram["edges"]
    total = max(1, sum(histogram["all"]))
    axes = _axes(height=2.5, width=3.5)
    for counts, color in ((histogram["all"], GREY), (histogram["kept"], BLUE)):
        axes.bar(
            edges[:-1],
            [100 * count / total for count in counts],
            width=[0.86 * (high - low) for low, high in pairwise(edges)],
            align="edge",
            color=color,
        )
    axes.set_xlabel("confidence of the teacher")
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return _svg(axes)


@_styled
def reliability(selection: Mapping[str, Any]) -> str:
    """Draws accuracy by confidence; calibrated confidence is on the diagonal."""
    bins = [b for b in selection["reliability"] if b["count"] and b["accuracy"] is not None]
    largest = max((b["count"] for b in bins), default=1)
    axes = _axes(height=2.5, width=3.5)
    axes.plot([0, 1], [0, 100], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    confidences = [b["confidence"] for b in bins]
    accuracies = [100 * b["accuracy"] for b in bins]
    axes.plot(confidences, accuracies, color=BLUE, linewidth=1.2, alpha=0.6)
    axes.scatter(
        confidences,
        accuracies,
        s=[14 + 90 * b["count"] / largest for b in bins],
        color=BLUE,
        zorder=3,
        linewidths=0,
    )
    axes.set(xlabel="confidence (dot size: number of images)", xlim=(0, 1.04), ylim=(0, 106))
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    return _svg(axes)


@_styled
def class_balance(selection: Mapping[str, Any]) -> str:
    """Draws images per class before and after the selection; sorts many classes by size."""
    classes = selection["per_class"]
    names, before, after = classes["names"], classes["before"], classes["after"]
    few = len(names) <= 12
    if not few:
        order = sorted(range(len(names)), key=lambda i: -before[i])
        before, after = [before[i] for i in order], [after[i] for i in order]
    axes = _axes(height=2.5, width=3.5)
    positions = range(len(names))
    if few:
        axes.bar([x - 0.2 for x in positions], before, width=0.38, color=GREY)
        axes.bar([x + 0.2 for x in positions], after, width=0.38, color=BLUE)
        crowded = max(map(len, names)) * len(names) > 40
        axes.set_xticks(positions, names, rotation=90 if crowded else 0)
        axes.tick_params("x", length=0)
    else:
        axes.fill_between(positions, before, step="mid", color=GREY, linewidth=0)
        axes.step(positions, after, where="mid", color=BLUE)
        axes.set_xlabel(f"{len(names)} classes, largest first")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return _svg(axes)


@_styled
def bars(
    names: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    palette: Mapping[str, str],
    xlabel: str,
) -> str:
    """Draws percents by name as horizontal bars, one for each model.

    `values` has a number for each of `names`, from the top; None: not measured.
    """
    thickness = 0.8 / max(1, len(values))
    axes = _axes(height=0.7 + len(names) * (0.14 + 0.1 * len(values)))
    for position, (model, percents) in enumerate(values.items()):
        known = [(row, value) for row, value in enumerate(percents) if value is not None]
        rows = [row - 0.4 + thickness * (position + 0.5) for row, _ in known]
        axes.barh(rows, [value for _, value in known], 0.86 * thickness, color=palette[model])
    axes.set_yticks(range(len(names)), names)
    axes.tick_params("y", labelcolor=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_xlabel(xlabel)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return _svg(axes)


@dataclass(frozen=True)
class Scale:
    """Size and axes of a line chart."""

    xlabel: str  # meaning of the horizontal axis
    height: float = 3.0  # inches
    width: float = 4.8  # inches
    # Positions on the horizontal axis, where points are marked; empty: automatic.
    ticks: Sequence[float] = ()
    percent: bool = True  # whether values are percentages
    from_zero: bool = True  # whether the vertical axis begins at 0
    # Its upper end, so that several charts share one scale; None: automatic.
    top: float | None = None


@_styled
def lines(
    curves: Mapping[str, Mapping[float, float]], palette: Mapping[str, str], scale: Scale
) -> str:
    """Draws one line for each model; `curves` are model -> x -> y."""
    axes = _axes(scale.height, scale.width)
    style = "o-" if scale.ticks else "-"
    for name, curve in curves.items():
        x, y = list(curve), list(curve.values())
        axes.plot(x, y, style, color=palette[name], markersize=4.2)
    axes.set_xlabel(scale.xlabel)
    if scale.ticks:
        axes.set_xticks(scale.ticks, [f"{tick:g}" for tick in scale.ticks])
    else:
        axes.set_xlim(left=0)
    if scale.percent:
        axes.yaxis.set_major_formatter(_PERCENT)
    if scale.from_zero:
        axes.set_ylim(0, None if scale.top is None else 1.06 * scale.top or 1)
    axes.yaxis.set_major_locator(MaxNLocator(4 if scale.height < 2 else 6, steps=[1, 2, 5, 10]))
    return _svg(axes)


def _axes(height: float, width: float = 4.8) -> Axes:
    """Returns an empty chart; sizes are in inches, each 72 units of the SVG."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def _svg(axes: Axes) -> str:
    """Returns the chart as one <svg> element that takes width and font from the page around it."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the page's font may have it
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'font-family: [^;"]*;?', "", svg)
    svg = re.sub(r' id="[A-Za-z.]+[0-9]*_[0-9]+"', "", svg)  # of groups, which nothing refers to
    svg = re.sub(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
