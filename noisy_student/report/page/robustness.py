"""Charts, tables and notes of each robustness benchmark, for the page."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisy_student.metrics import compare
from noisy_student.metrics.benchmarks import ATTACKS, CORRUPTED, PERTURBED, TITLES
from noisy_student.report import charts, phrases, tables
from noisy_student.report.page.captioned import Chart, chart

# Groups of the fifteen corruptions, as Hendrycks and Dietterich (ICLR 2019) show them.
_FAMILIES = {
    "Noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "Blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "Weather": ("snow", "frost", "fog", "brightness"),
    "Digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
_ATTACKS = {
    "fgsm": "Every pixel changes by epsilon in the direction of the sign of the loss gradient.",
    "pgd": "Many small steps in that direction, always within epsilon of the image.",
    "square": "A random search within epsilon that uses logits, not gradients: a model that "
    "resists FGSM and PGD but not this attack has masked gradients and is not robust.",
}
Errors = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]  # `compare.shared_errors`


@dataclass(frozen=True)
class Benchmark:
    """A benchmark on the page."""

    title: str
    facts: list[str]  # sentences on the images and the conditions
    missing: list[str]  # settings that were not measured
    labels: list[str]  # labels of the models, for the legend; empty where the table is the legend
    charts: list[Chart]  # one or two large charts: by setting or epsilon, and by severity
    families: list[Chart]  # small charts: by severity, for each family of corruptions
    table: tables.Table
    is_folded: bool = False  # whether the table is folded up


def benchmarks(figures: Mapping[str, Any], palette: Mapping[str, str]) -> list[Benchmark]:
    """Returns the benchmarks that have charts."""
    found = [_corruptions(figures, name, palette) for name in CORRUPTED if figures[name]]
    found += [_perturbations(figures, name, palette) for name in PERTURBED if figures[name]]
    found += [_attack(figures, name, palette) for name in ATTACKS if figures[name]]
    return found


def _corruptions(
    figures: Mapping[str, Any], benchmark: str, palette: Mapping[str, str]
) -> Benchmark:
    """Bars by corruption, and curves by severity: of all corruptions and of each family."""
    shared = compare.shared_errors(figures[benchmark])
    large, families = [], []
    if any(shared.values()):
        labels = _labels(figures)
        names = list(next(iter(shared.values())))
        means = {
            model: [100 * sum(rate for _, rate in rates) / len(rates) for rates in errors.values()]
            for model, errors in _without_baselines(shared, figures).items()
        }
        bars = charts.bars(
            list(map(tables.title, names)), means, palette, "error, mean over severities"
        )
        title = "Error by corruption"
        large.append(
            chart(title + _whose(means, figures), bars, f"Mean error: {_means(means, labels)}.")
        )
        overall = _curves(shared, names)
        curves = {
            family: _curves(shared, present)
            for family, members in _FAMILIES.items()
            if (present := [name for name in members if name in names])
        }
        groups = (overall, *curves.values())
        top = max(max(curve.values()) for models in groups for curve in models.values())
        ticks = sorted({severity for curve in overall.values() for severity in curve})
        scale = charts.Scale("severity", ticks=ticks, top=top)
        svg = charts.lines(overall, palette, scale)
        large.append(chart("Error by severity", svg, _ends("Error", overall, labels)))
        small = dataclasses.replace(scale, height=1.8, width=2.4)
        families = [
            chart(
                family,
                charts.lines(models, palette, small),
                _ends(f"Error on {family.lower()} corruptions", models, labels),
            )
            for family, models in curves.items()
        ]
    table = tables.settings(figures, benchmark)
    return _benchmark(figures, benchmark, large, families, table, is_folded=True)


def _perturbations(
    figures: Mapping[str, Any], benchmark: str, palette: Mapping[str, str]
) -> Benchmark:
    names, values = tables.setting_values(figures, benchmark)
    shown = _without_baselines(values, figures)
    svg = charts.bars(list(map(tables.title, names)), shown, palette, "flip probability")
    alt = f"Mean flip probability: {_means(shown, _labels(figures))}."
    bars = chart("How often the prediction changes" + _whose(shown, figures), svg, alt)
    table = tables.settings(figures, benchmark)
    return _benchmark(figures, benchmark, [bars], [], table)


def _attack(figures: Mapping[str, Any], attack: str, palette: Mapping[str, str]) -> Benchmark:
    epsilons, values = tables.epsilon_values(figures, attack)
    curves = {
        model: {size: top1 for size, top1 in zip(epsilons, row, strict=True) if top1 is not None}
        for model, row in values.items()
    }
    labels = _labels(figures)
    scale = charts.Scale("epsilon: maximum change of a pixel (0 to 255)", 3.4, ticks=epsilons)
    svg = charts.lines(curves, palette, scale)
    drawn = chart(f"Top-1 under {TITLES[attack]}", svg, _ends("Top-1", curves, labels))
    count = max(sweep["num_examples"] for sweep in figures[attack].values())
    facts = [_ATTACKS[attack], f"{count:,} images; at epsilon 0 the image is unchanged."]
    if attack == "pgd":
        facts.append(phrases.describe_pgd(figures[attack], labels))
    if attack == "square":
        queries = sorted({sweep["num_queries"] for sweep in figures[attack].values()})
        facts.append(f"{' or '.join(f'{count:,}' for count in queries)} queries per image.")
    return Benchmark(TITLES[attack], facts, [], [], [drawn], [], tables.attack(figures, attack))


def _benchmark(
    figures: Mapping[str, Any],
    benchmark: str,
    large: list[Chart],
    families: list[Chart],
    table: tables.Table,
    is_folded: bool = False,
) -> Benchmark:
    contents, labels = figures[benchmark], _labels(figures)
    facts: dict[str, None] = {}
    missing: dict[str, None] = {}
    for content in contents.values():
        fact = f"{content['num_examples']:,} images"
        if content.get("image_size"):
            fact += f" at {content['image_size']} pixels"
        if content.get("native_size") not in (None, content.get("image_size")):
            fact += f", with the parameters published for {content['native_size']} pixels"
        if content.get("provenance"):
            fact += f"; {content['provenance']}"
        facts[f"{fact}."] = None
        missing |= dict.fromkeys(map(str, content.get("missing") or ()))
    if len({repr(compare.settings(content)) for content in contents.values()}) > 1:
        facts["The models were measured on different settings: their means are not comparable."] = (
            None
        )
    shown = [labels[name] for name in labels if name in contents]
    title = TITLES[benchmark]
    return Benchmark(title, list(facts), list(missing), shown, large, families, table, is_folded)


def _curves(shared: Errors, names: Sequence[str]) -> dict[str, dict[float, float]]:
    """Returns model -> severity -> percent, averaged over those of ``names`` that have it."""
    curves = {}
    for model, errors in shared.items():
        by_severity: dict[float, list[float]] = {}
        for name in names:
            for severity, rate in errors[name]:
                by_severity.setdefault(severity, []).append(100 * rate)
        curves[model] = {
            severity: sum(rates) / len(rates) for severity, rates in sorted(by_severity.items())
        }
    return curves


def _without_baselines(values: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns teacher and students if there are any, else all; the tables show all models."""
    others = {model["name"] for model in figures["models"] if model["role"] in ("control", "")}
    chain = {name: value for name, value in values.items() if name not in others}
    return chain or dict(values)


def _whose(shown: Collection[str], figures: Mapping[str, Any]) -> str:
    """Returns the end of a title of a chart of teacher and students alone; "" for others."""
    roles = {model["role"] for model in figures["models"] if model["name"] in shown}
    return "" if roles & {"control", ""} else ", teacher and students"


def _labels(figures: Mapping[str, Any]) -> dict[str, str]:
    return {model["name"]: model["label"] for model in figures["models"]}


def _means(values: Mapping[str, Sequence[float | None]], labels: Mapping[str, str]) -> str:
    texts = []
    for model, percents in values.items():
        known = [value for value in percents if value is not None]
        if known:
            texts.append(f"{labels[model]} {sum(known) / len(known):.1f}%")
    return ", ".join(texts)


def _ends(
    measure: str, curves: Mapping[str, Mapping[Any, float]], labels: Mapping[str, str]
) -> str:
    """Describes curves by their first and last points."""
    texts = [
        f"{labels[model]} {curve[min(curve)]:.1f}% to {curve[max(curve)]:.1f}%"
        for model, curve in curves.items()
        if curve
    ]
    return f"{measure} from the smallest to the largest setting: {', '.join(texts)}."
