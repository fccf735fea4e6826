"""Scores of models on all benchmarks: every number under one name, and the tables of scores.

A name is a path such as ``corruptions.error.fog.3`` or ``imagenet_c.mce``. It names the images, so
generated corruptions and stored benchmark data never share a column.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisy_student.metrics.benchmarks import ATTACKS, BENCHMARKS, TITLES
from noisy_student.metrics.compare import published_order
from noisy_student.metrics.formatting import number
from noisy_student.report.tables import Table

# Xie et al., "Self-training with Noisy Student improves ImageNet classification" (CVPR 2020), arXiv
# v4, section 3.4 and tables 2 to 5 (their numbers from memory), in percent. mCE and mFR at 299
# pixels; at 224 they are 30.0 and 14.2. PGD has 10 steps. "Before" is the best published result.
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
RELATIVE = "teacher = 100"
_ERRORS = {
    "mean_error": "mean error",
    "mce": "mCE",
    "relative_mce": "relative mCE",
    "relative_to_alexnet": "percent of AlexNet's on ImageNet-C",
    "relative_to_teacher": RELATIVE,
}
_FLIPS = {
    "mean_flip_probability": "flip probability",
    "mfr": "mFR",
    "relative_to_teacher": RELATIVE,
    "mean_top5_distance": "mean top-5 distance (0 to 15)",
}


@dataclass(frozen=True)
class Column:
    """A column of numbers, in percent unless the header says otherwise."""

    group: str  # title of the benchmark
    header: str  # the measure
    key: str  # name of the number
    digits: int = 1  # number of decimals


def model_numbers(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns model -> name -> number, in the order of the report.

    All in percent, except for top-5 distances, which are 0..15.
    """
    return {model["name"]: _numbers_of(figures, model) for model in figures["models"]}


def own_columns(keys: Iterable[str]) -> list[Column]:
    """Returns the columns measured on the run's own test images, of those in ``keys``."""
    keys = set(keys)
    columns = [
        Column("Clean images", "top-1", "clean.top1"),
        *_columns(TITLES["corruptions"], "corruptions", _ERRORS),
        *_columns(TITLES["perturbations"], "perturbations", _FLIPS),
    ]
    for attack in ATTACKS:
        epsilons = [key for key in keys if key.startswith(f"{attack}.top1.")]
        if epsilons:
            largest = max(epsilons, key=_epsilon)
            columns.append(Column(TITLES[attack], f"top-1 at {_epsilon(largest):g}", largest))
    return [column for column in columns if column.key in keys]


def published_columns(keys: Iterable[str]) -> list[Column]:
    """Returns the columns of published benchmarks, of those in ``keys``.

    Leaves out means relative to the teacher where the published measure exists.
    """
    keys = set(keys)
    columns = [
        Column("ImageNet", "top-1", "imagenet.top1"),
        Column("ImageNet", "under PGD", "imagenet.pgd.16"),
        Column("ImageNet-A", "top-1", "imagenet_a.top1"),
        Column("ImageNet-A", "top-5", "imagenet_a.top5"),
        Column("ImageNet-R", "top-1", "imagenet_r.top1"),
        Column("ImageNetV2", "top-1", "imagenet_v2.top1"),
        *_columns("ImageNet-C", "imagenet_c", _ERRORS),
        *_columns(TITLES["imagenet2012_corrupted"], "imagenet2012_corrupted", _ERRORS),
        *_columns("ImageNet-P", "imagenet_p", _FLIPS),
        *_columns("CIFAR-10-C", "cifar10_c", _ERRORS),
        *_columns("CIFAR-10-P", "cifar10_p", _FLIPS),
    ]
    for measure in ("imagenet_c.mce", "imagenet_p.mfr", "cifar10_p.mfr"):
        if measure in keys:
            keys.discard(f"{measure.partition('.')[0]}.relative_to_teacher")
    return [column for column in columns if column.key in keys]


def own_scores(figures: Mapping[str, Any]) -> tuple[Table, list[Column]] | None:
    """Returns models by measures on the run's own test images; None if none is about robustness."""
    rows = _labeled(figures)
    columns = own_columns(key for _, row in rows for key in row)
    if {column.key for column in columns} <= {"clean.top1"}:
        return None
    return _scores(rows, columns), columns


def published_scores(figures: Mapping[str, Any]) -> tuple[Table, list[Column]] | None:
    """Returns models by published benchmarks; None if this run has none.

    Beside ImageNet's stand those of the paper's models that have one of the columns.
    """
    rows = [(label, row) for label, row in _labeled(figures) if published_columns(row)]
    if not rows:
        return None
    columns = published_columns(key for _, row in rows for key in row)
    keys = {column.key for column in columns}
    rows += [(f"{name} (paper)", row) for name, row in PAPER.items() if keys & set(row)]
    return _scores(rows, columns), columns


def column_notes(figures: Mapping[str, Any], columns: Iterable[Column]) -> list[str]:
    """Returns sentences that explain the columns of a table of scores."""
    columns = list(columns)
    notes = ["All in percent. Lower errors and flip probabilities are better."]
    if any("distance" in column.header for column in columns):
        notes.append(
            "The top-5 distance sums the rank changes of the top five classes from frame to frame:"
            " 0 means no change, 15 that all five are replaced every time."
        )
    names = dict.fromkeys(
        content["relative_to_teacher"]["name"].replace(" = 100", "")
        for column in columns
        if column.header == RELATIVE
        for content in figures[column.key.partition(".")[0]].values()
        if content["relative_to_teacher"]
    )
    for benchmark in dict.fromkeys(column.key.partition(".")[0] for column in columns):
        for content in figures.get(benchmark, {}).values():
            published = content.get("num_published_classes", 0)
            if content.get("num_classes", published) < published:
                notes.append(
                    f"{TITLES[benchmark]} has {content['num_classes']} of {published} classes here,"
                    " which makes the benchmark easier."
                )
                break
    if names:
        notes.append(f'"{RELATIVE}" is the {" or the ".join(names)}.')
    return notes


def key_order(key: str) -> int:
    """Returns the sort key of a number's name: the place of its benchmark."""
    return ("clean", *BENCHMARKS).index(key.partition(".")[0])


def _labeled(figures: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    return [(model["label"], _numbers_of(figures, model)) for model in figures["models"]]


def _scores(rows: Iterable[tuple[str, Mapping[str, float]]], columns: Sequence[Column]) -> Table:
    cells = [
        [label, *(number(row.get(column.key), f".{column.digits}f") for column in columns)]
        for label, row in rows
    ]
    headers = ["model", *(column.header for column in columns)]
    return Table(headers, cells, ["", *(column.group for column in columns)])


def _numbers_of(figures: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, float]:
    flat = {
        f"clean.{key}": model[key]
        for key in ("top1", "top5", "calibration_error")
        if model.get(key) is not None
    }
    for benchmark in BENCHMARKS:
        content = figures[benchmark].get(model["name"])
        if content:
            values = _flat(benchmark, content)
            flat |= {f"{benchmark}.{key}": value for key, value in values.items()}
    return flat


def _flat(benchmark: str, content: Mapping[str, Any]) -> dict[str, float]:
    """Returns a benchmark's numbers by name: means first, then setting by setting."""
    if benchmark in ATTACKS:
        pairs = zip(content["epsilons"], content["top1"], strict=True)
        return {f"top1.{size:g}": top1 for size, top1 in pairs}
    flat: dict[str, float] = {}
    for key in (*_ERRORS, *_FLIPS, "top1", "top5", "top1_all_classes"):
        value = content.get(key)
        if value is not None:
            flat[key] = value["percent"] if key == "relative_to_teacher" else value
    if "clean_error" in content:
        flat["clean_error"] = 100 * content["clean_error"]
    for name in published_order(set(content.get("errors", ()))):
        rates = content["errors"][name]
        flat |= {f"error.{name}.{level}": 100 * rates[level] for level in sorted(rates, key=int)}
    for name in published_order(set(content.get("flip_probability", ()))):
        flat[f"flip_probability.{name}"] = 100 * content["flip_probability"][name]
    distances = content.get("top5_distance") or {}
    for name in published_order(set(distances)):
        flat[f"top5_distance.{name}"] = distances[name]
    return flat


def _columns(group: str, benchmark: str, headers: Mapping[str, str]) -> list[Column]:
    return [
        Column(group, header, f"{benchmark}.{key}", 2 if key == "mean_top5_distance" else 1)
        for key, header in headers.items()
    ]


def _epsilon(key: str) -> float:
    """Returns the epsilon in a name such as fgsm.top1.0.5."""
    return float(key.split(".", 2)[2])
