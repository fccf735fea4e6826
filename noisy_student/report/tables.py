"""Tables of the report, as text cells: every output format shows the same ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from noisy_student.metrics import by_class
from noisy_student.metrics.benchmarks import CORRUPTED, PERTURBED
from noisy_student.metrics.by_class import ClassCounts
from noisy_student.metrics.compare import published_order
from noisy_student.metrics.formatting import NONE, interval, number

# Published accuracies in percent: measure, baseline, its accuracy, Noisy Student's. All are from
# Xie et al. except SVHN, which is the example of the paper's public code.
_IMAGENET_GAINS = (
    ("ImageNet top-1", "EfficientNet-L2, supervised", 85.5, 88.4),
    ("ImageNet top-1 after the second and third L2 round", "after the first", 87.6, 88.4),
)
_SVHN_GAINS = (("SVHN top-1, EfficientNet-B0", "supervised", 97.9, 98.6),)
_WORST_CLASSES = 10  # shown where there are many classes


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first column is text, the others are numbers."""

    headers: Sequence[str]  # one for each column
    rows: Sequence[Sequence[str]]  # cells, as many as headers
    # Empty, or one for each header: neighbors of one group share a heading.
    groups: Sequence[str] = ()

    @property
    def group_spans(self) -> list[tuple[str, int]]:
        """Headings above the headers, each with the number of its columns."""
        return [(name, len(list(members))) for name, members in groupby(self.groups)]


def dense(table: Table) -> Table:
    """Returns a table without the columns that have no value in any row."""
    kept = [
        column
        for column in range(len(table.headers))
        if column == 0 or any(row[column] != NONE for row in table.rows)
    ]
    return Table(
        [table.headers[column] for column in kept],
        [[row[column] for column in kept] for row in table.rows],
        [table.groups[column] for column in kept] if table.groups else (),
    )


def accuracy(results: Mapping[str, Any]) -> Table:
    """Returns accuracy, size and training time of all models."""
    seconds = results["provenance"]["seconds"]
    headers = ["model", "top-1", "95% interval", "top-5", "validation", "parameters", "images"]
    rows = [
        [
            model["label"],
            number(model["top1"], ".1f"),
            interval(model["top1_interval"]) if model["top1_interval"] else NONE,
            number(model["top5"], ".1f"),
            number(model["validation_top1"], ".1f"),
            number(model["parameters"], ","),
            number(model["images_seen"], ","),
            _batch(model),
            number(seconds.get(f"train {model['name']}"), ",.0f"),
        ]
        for model in results["figures"]["models"]
    ]
    return dense(Table([*headers, "batch", "seconds"], rows))


def accuracy_notes(headers: Sequence[str]) -> str:
    """Explains the columns of `accuracy` that are there."""
    notes = {
        "images": "Images: total seen in training, including copies.",
        "batch": "Batch: labeled + pseudo-labeled images per step.",
        "seconds": "Seconds: training time.",
    }
    known = [note for header, note in notes.items() if header in headers]
    return " ".join(["Accuracies in percent.", *known])


def classes(figures: Mapping[str, Any]) -> Table | None:
    """Returns accuracy by class of teacher and last student, all classes or the worst ones.

    Returns:
        Classes in their order, or, of more than `by_class.MOST_CLASSES`, the ten on which the
        student is worst, the worst first. None if no model has counts by class.
    """
    counts = shown_classes(figures)
    if not counts:
        return None
    labels = {model["name"]: model["label"] for model in figures["models"]}
    last = list(counts.values())[-1]
    shares = [list(map(_share, c["num_correct"], c["num_examples"])) for c in counts.values()]
    names, rows = last["names"], []
    for place in _shown_places(last, shares[-1]):
        other, cells = last["confused_with"][place], [number(s[place], ".1f") for s in shares]
        confused = NONE if other is None else f"{names[other]} ({last['num_confused'][place]:,})"
        rows.append([names[place], f"{last['num_examples'][place]:,}", *cells, confused])
    headers = ["class", "images", *(labels[name] for name in counts), "most often mistaken for"]
    return dense(Table(headers, rows))


def shown_classes(figures: Mapping[str, Any]) -> dict[str, ClassCounts]:
    """Returns counts by class of the teacher and the last student, or of any one model.

    Of models that are of no run: those of the second best and the best.
    """
    found, compared = figures["by_class"], figures["gain"] or {}
    if side_by_side := figures["side_by_side"]:
        best = {"before": None, "after": side_by_side["best"]}
        compared = side_by_side["differences"][0] if side_by_side["differences"] else best
    names = [compared[key] for key in ("before", "after") if compared.get(key) in found]
    if not names:
        names = list(found)[-1:]
    counts = {name: found[name] for name in names}
    same = [c for c in counts.values() if c["names"] == found[names[-1]]["names"]] if names else []
    return counts if len(same) == len(counts) else {names[-1]: found[names[-1]]}


def confusion_title(figures: Mapping[str, Any]) -> str:
    """Returns the title of `confusion`, with the label of its model."""
    labels = {model["name"]: model["label"] for model in figures["models"]}
    last = [labels[name] for name in shown_classes(figures)][-1:]
    return f"Images by true and predicted class: {''.join(last)}"


def confusion(figures: Mapping[str, Any]) -> Table | None:
    """Returns images by true and predicted class of the last student; None for many classes."""
    counts = list(shown_classes(figures).values())[-1:]
    if not counts or counts[0]["confusion"] is None:
        return None
    names = counts[0]["names"]
    rows = [
        [name, *(f"{count:,}" if count else "·" for count in row)]
        for name, row in zip(names, counts[0]["confusion"], strict=True)
    ]
    return Table(["true class", *names], rows)


def pseudo_labels(selections: Sequence[Mapping[str, Any]]) -> Table:
    """Returns number and accuracy of the pseudo labels, a row for each round."""
    groups = ["", "all", "all", "kept", "kept", "written", "written", ""]
    counted = ["images", "accuracy"]
    rows = [
        [
            str(selection["round"]),
            f"{selection['num_records']:,}",
            number(selection["accuracy_all"], ".1%"),
            f"{selection['num_kept']:,}",
            number(selection["accuracy_kept"], ".1%"),
            f"{selection['num_written']:,}",
            number(selection["accuracy_written"], ".1%"),
            number(selection["calibration_error"], ".3f"),
        ]
        for selection in selections
    ]
    return dense(Table(["round", *counted, *counted, *counted, "calibration error"], rows, groups))


def setting_values(
    figures: Mapping[str, Any], benchmark: str
) -> tuple[list[str], dict[str, list[float | None]]]:
    """Returns a benchmark's numbers by setting.

    Returns:
        Names of corruptions or perturbations, and model -> percent for each of them: the error
        averaged over the model's severities, or the flip probability. None: not measured.
    """

    def percents(content: Mapping[str, Any]) -> dict[str, float]:
        if benchmark in PERTURBED:
            return {name: 100 * flips for name, flips in content["flip_probability"].items()}
        errors = content["errors"].items()
        return {name: 100 * sum(rates.values()) / len(rates) for name, rates in errors}

    values = {model: percents(content) for model, content in figures[benchmark].items()}
    names = published_order(set().union(*values.values()))
    return names, {model: [row.get(name) for name in names] for model, row in values.items()}


def settings(figures: Mapping[str, Any], benchmark: str) -> Table:
    """Returns a benchmark's numbers with settings as rows and models as columns."""
    names, values = setting_values(figures, benchmark)
    labels = {model["name"]: model["label"] for model in figures["models"]}
    rows = [
        [title(name), *(number(row[place], ".1f") for row in values.values())]
        for place, name in enumerate(names)
    ]
    header = "corruption" if benchmark in CORRUPTED else "perturbation"
    return Table([header, *(labels[name] for name in values)], rows)


def epsilon_values(
    figures: Mapping[str, Any], attack: str
) -> tuple[list[float], dict[str, list[float | None]]]:
    """Returns all epsilons of an attack, and model -> top-1 at each; None: not measured."""
    sweeps = figures[attack]
    epsilons = sorted({size for sweep in sweeps.values() for size in sweep["epsilons"]})
    values = {}
    for name, sweep in sweeps.items():
        known = dict(zip(sweep["epsilons"], sweep["top1"], strict=True))
        values[name] = [known.get(size) for size in epsilons]
    return epsilons, values


def attack(figures: Mapping[str, Any], attack: str) -> Table:
    """Returns top-1 under an attack with models as rows and epsilons as columns."""
    epsilons, values = epsilon_values(figures, attack)
    labels = {model["name"]: model["label"] for model in figures["models"]}
    rows = [
        [labels[name], *(number(top1, ".1f") for top1 in values[name])]
        for name in labels
        if name in values
    ]
    return Table(["epsilon", *(f"{size:g}" for size in epsilons)], rows)


def paper_gains(figures: Mapping[str, Any], dataset: str) -> Table | None:
    """Returns this run's gain above those of the paper; None where it has none on the data set."""
    is_svhn = "svhn" in dataset.lower()
    gains = list(_IMAGENET_GAINS if figures["is_imagenet"] else _SVHN_GAINS if is_svhn else ())
    if not gains:
        return None
    if figures["gain"]:
        models = {model["name"]: model for model in figures["models"]}
        before, after = (models[figures["gain"][which]] for which in ("before", "after"))
        measure = f"This run: {dataset} top-1"
        gains.insert(0, (measure, before["label"].lower(), before["top1"], after["top1"]))
    rows = [
        [measure, baseline, f"{before:.1f}", f"{after:.1f}", f"{after - before:+.1f}"]
        for measure, baseline, before, after in gains
    ]
    return Table(["measure, percent", "compared with", "baseline", "Noisy Student", "points"], rows)


def seconds(provenance: Mapping[str, Any]) -> Table:
    """Returns the seconds of all stages, those of compilation where known, and their sums."""
    columns = [provenance["seconds"]]
    if compiling := provenance.get("compile_seconds"):
        columns.append(compiling)
    rows = [
        [stage, *(number(column.get(stage), ",.1f") for column in columns)] for stage in columns[0]
    ]
    rows.append(["total", *(f"{sum(column.values()):,.1f}" for column in columns)])
    return Table(["stage", "seconds", "of which compilation"][: 1 + len(columns)], rows)


def title(name: str) -> str:
    """Returns a corruption's name as text: gaussian_noise -> Gaussian noise."""
    words = name.replace("_", " ")
    return words.replace("jpeg", "JPEG") if "jpeg" in words else words[:1].upper() + words[1:]


def _share(correct: int, count: int) -> float | None:
    return 100 * correct / count if count else None


def _shown_places(counts: ClassCounts, shares: Sequence[float | None]) -> list[int]:
    """Returns the places of the classes to show."""
    places = range(len(counts["names"]))
    if len(places) <= by_class.MOST_CLASSES:
        return list(places)
    known = {place: share for place in places if (share := shares[place]) is not None}
    return sorted(known, key=lambda place: known[place])[:_WORST_CLASSES]


def _batch(model: Mapping[str, Any]) -> str:
    """Returns labeled and pseudo-labeled images per step, as in "16 + 64"."""
    labeled, unlabeled = model["labeled_batch_size"], model["unlabeled_batch_size"]
    if labeled is None:
        return NONE
    return f"{labeled} + {unlabeled}" if unlabeled else str(labeled)
