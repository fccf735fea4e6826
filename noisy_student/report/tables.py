"""Models x benchmarks: every figure of a model under one name, and the tables made of them.

A name is a path such as ``corruptions.error.fog.3`` or ``imagenet_c.mce``. It says what the figure
was measured on, so what is made on the fly and what comes from stored benchmark data never share a
column.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisy_student.metrics import benchmarks, compare
from noisy_student.report import markup

# Xie et al., "Self-training with Noisy Student improves ImageNet classification" (CVPR 2020),
# tables 2 to 5 and section 3.3, in percent. mCE and mFR at 299 pixels; at 224 they are 30.0 and
# 14.2. PGD has 10 steps. "Before" is the best published result on each benchmark.
PAPER = {
    "Best published before": {
        "imagenet.top1": 86.4,
        "imagenet_a.top1": 61.0,
        "imagenet_c.mce": 45.7,
        "imagenet_p.mfr": 27.8,
    },
    "EfficientNet-L2, supervised": {"imagenet.top1": 85.5, "imagenet.pgd.16": 1.1},
    "EfficientNet-L2, Noisy Student": {
        "imagenet.top1": 88.4,
        "imagenet_a.top1": 83.7,
        "imagenet_c.mce": 28.3,
        "imagenet_p.mfr": 12.2,
        "imagenet.pgd.16": 4.4,
    },
}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        group: the benchmark, over all its columns.
        header: what is measured, in percent unless it says another thing.
        key: the name of the figure.
        digits: of its decimals.
    """

    group: str
    header: str
    key: str
    digits: int = 1

    def of(self, row: Mapping[str, float]) -> str:
        """The figure of a model, as text."""
        return markup.number(row.get(self.key), f".{self.digits}f")


RELATIVE = "teacher = 100"
_ERRORS = {
    "mean_error": "mean error",
    "mce": "mCE",
    "relative_mce": "relative mCE",
    "relative_to_teacher": RELATIVE,
}
_FLIPS = {
    "mean_flip_probability": "flip probability",
    "mfr": "mFR",
    "relative_to_teacher": RELATIVE,
    "mean_top5_distance": "mean top-5 distance (0 to 15)",
}
_DIGITS = {"mean_top5_distance": 2}


def of_model(figures: Mapping[str, Any], name: str) -> dict[str, float]:
    """All of a model's figures by name: percent, but for distances, which are 0..15.

    Args:
        figures: the "figures" of results.json.
        name: of the model.
    """
    model = next(model for model in figures["models"] if model["name"] == name)
    flat = {
        f"clean.{key}": model[key]
        for key in ("top1", "top5", "calibration_error")
        if model.get(key) is not None
    }
    for benchmark in benchmarks.BENCHMARKS:
        content = figures[benchmark].get(name)
        if content:
            values = _flat(benchmark, content)
            flat |= {f"{benchmark}.{key}": value for key, value in values.items()}
    return flat


def of_models(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Model -> `of_model`, in the order of the report."""
    return {model["name"]: of_model(figures, model["name"]) for model in figures["models"]}


def own_columns(keys: Iterable[str]) -> list[Column]:
    """The columns of what was measured on the run's own test images, as far as it is there."""
    keys = set(keys)
    columns = [Column("Clean images", "top-1", "clean.top1")]
    columns += _columns("Corruptions, made here", "corruptions", _ERRORS)
    columns += _columns("Perturbations, made here", "perturbations", _FLIPS)
    for attack in benchmarks.ATTACKS:
        sizes = [key for key in keys if key.startswith(f"{attack}.top1.")]
        if sizes:
            largest = max(sizes, key=_size)
            header = f"top-1 at {_size(largest):g}"
            columns.append(Column(benchmarks.TITLES[attack], header, largest))
    return [column for column in columns if column.key in keys]


def published_columns(keys: Iterable[str]) -> list[Column]:
    """The columns of the published benchmarks, as far as any row has something there.

    What is relative to the teacher is left out where the published measure is there.
    """
    keys = set(keys)
    columns = [
        Column("ImageNet", "top-1", "imagenet.top1"),
        Column("ImageNet", "under PGD", "imagenet.pgd.16"),
        Column("ImageNet-A", "top-1", "imagenet_a.top1"),
        Column("ImageNet-R", "top-1", "imagenet_r.top1"),
        Column("ImageNetV2", "top-1", "imagenet_v2.top1"),
        *_columns("ImageNet-C", "imagenet_c", _ERRORS),
        *_columns("ImageNet-P", "imagenet_p", _FLIPS),
        *_columns("CIFAR-10-C", "cifar10_c", _ERRORS),
        *_columns("CIFAR-10-P", "cifar10_p", _FLIPS),
    ]
    for benchmark, published in (
        ("imagenet_c", "mce"),
        ("imagenet_p", "mfr"),
        ("cifar10_p", "mfr"),
    ):
        if f"{benchmark}.{published}" in keys:
            keys.discard(f"{benchmark}.relative_to_teacher")
    return [column for column in columns if column.key in keys]


def to_csv(figures: Mapping[str, Any]) -> str:
    """One row a model, one column a figure, empty where a model has none."""
    rows = of_models(figures)
    keys = list(dict.fromkeys(key for row in rows.values() for key in row))
    keys.sort(key=_position)  # keeps the order within a benchmark
    labels = {model["name"]: model["label"] for model in figures["models"]}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "label", *keys])
    for name, row in rows.items():
        writer.writerow([name, labels[name], *(_rounded(row.get(key)) for key in keys)])
    return text.getvalue()


def by_setting(
    figures: Mapping[str, Any], benchmark: str
) -> tuple[list[str], list[list[float | None]]]:
    """A benchmark's figures with models as columns.

    Returns:
        The names of corruptions (errors, averaged over a model's severities) or perturbations (flip
        probabilities), and for each of them a row of percents, one a model, None where it has none.
    """
    models = figures[benchmark].values()
    if benchmark in benchmarks.CORRUPTED:
        values = [
            {name: 100 * sum(rates.values()) / len(rates) for name, rates in m["errors"].items()}
            for m in models
        ]
    else:
        values = [
            {name: 100 * flips for name, flips in m["flip_probability"].items()} for m in models
        ]
    names = compare.published_order(set().union(*values))
    return names, [[value.get(name) for value in values] for name in names]


def by_epsilon(figures: Mapping[str, Any], attack: str) -> tuple[list[float], dict[str, list]]:
    """All step sizes of an attack, and model -> top-1 at each, None where there is none."""
    sweeps = figures[attack]
    sizes = sorted({size for sweep in sweeps.values() for size in sweep["epsilons"]})
    values = {}
    for name, sweep in sweeps.items():
        known = dict(zip(sweep["epsilons"], sweep["top1"], strict=True))
        values[name] = [known.get(size) for size in sizes]
    return sizes, values


def _flat(benchmark: str, content: Mapping[str, Any]) -> dict[str, float]:
    """A benchmark's figures: the summary first, then setting by setting."""
    flat: dict[str, float] = {}
    if benchmark in benchmarks.ATTACKS:
        pairs = zip(content["epsilons"], content["top1"], strict=True)
        return {f"top1.{size:g}": top1 for size, top1 in pairs}
    for key in (*_ERRORS, *_FLIPS, "top1", "top1_all_classes"):
        value = content.get(key)
        if value is not None:
            flat[key] = value["percent"] if key == "relative_to_teacher" else value
    if "clean_error" in content:
        flat["clean_error"] = 100 * content["clean_error"]
    for name in compare.published_order(set(content.get("errors", ()))):
        rates = content["errors"][name]
        flat |= {f"error.{name}.{level}": 100 * rates[level] for level in sorted(rates, key=int)}
    for name in compare.published_order(set(content.get("flip_probability", ()))):
        flat[f"flip_probability.{name}"] = 100 * content["flip_probability"][name]
    distances = content.get("top5_distance") or {}
    for name in compare.published_order(set(distances)):
        flat[f"top5_distance.{name}"] = distances[name]
    return flat


def _columns(group: str, benchmark: str, headers: Mapping[str, str]) -> list[Column]:
    return [
        Column(group, header, f"{benchmark}.{key}", _DIGITS.get(key, 1))
        for key, header in headers.items()
    ]


def _position(key: str) -> int:
    """Of a figure's benchmark."""
    order: Sequence[str] = ("clean", *benchmarks.BENCHMARKS)
    return order.index(key.partition(".")[0])


def _size(key: str) -> float:
    """The step size in a name such as fgsm.top1.0.5."""
    return float(key.split(".", 2)[2])


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
