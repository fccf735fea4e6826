r"""Makes a student's training set of pseudo labels: filters, balances and shuffles them.

    python -m noisy_student.selection --predictions_dir=runs/labels --output_dir=runs/selected \
        --dataset=... --min_confidence=0.3 --images_per_class=130000

Reads the predictions twice: once for the statistics that the decision of `balance` needs, once to
apply it. Writes TFRecords as the published code does (plus id and copy), in an order that depends
on the seed and the images alone, and `selection.json`, which says what was taken.

The chosen images' distributions are in memory while writing: 2 C bytes an image.
"""

import dataclasses
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data import sources, tfrecord
from noisy_student import config, manifest, predictions
from noisy_student.balance import ClassStatistics, Decision, copies_for, decide, select

__all__ = ["ClassStatistics", "Decision", "copies_for", "decide", "run", "select", "write_selected"]

_HISTOGRAM_EDGES = np.linspace(0.0, 1.0, 21)
_RELIABILITY_EDGES = np.linspace(0.0, 1.0, 11)


def run(
    predictions_dir: str | Path,
    output_dir: str | Path,
    examples: sources.Examples,
    settings: config.SelectionConfig,
) -> dict[str, Any]:
    """Selects, or returns at once where `output_dir` is finished.

    Args:
        predictions_dir: finished output of `pseudo_label` for the same examples.
        output_dir: of this stage alone; receives records, `selection.json` and `done.json`.
        examples: the images.
        settings: filter, balance and files.

    Returns:
        The content of `selection.json`.

    Raises:
        ValueError: unfinished predictions, or those of other images; nothing reaches the
            confidence; an output_dir made to another request.
    """
    output_dir = Path(output_dir)
    labeled = Path(predictions_dir) / manifest.DONE
    if not labeled.exists():
        raise ValueError(f"{predictions_dir} has no {manifest.DONE}: not finished")
    inputs = {"predictions": manifest.read_json(labeled)["predictions"]}
    request = {"stage": "selection", "settings": dataclasses.asdict(settings), "inputs": inputs}
    if manifest.begin(output_dir, request):
        return manifest.read_json(output_dir / "selection.json")
    start = time.perf_counter()
    files = write_selected(
        predictions_dir,
        output_dir,
        examples,
        min_confidence=settings.min_confidence,
        images_per_class=settings.images_per_class,
        hard_labels=settings.hard_labels,
        num_shards=settings.num_shards,
        seed=settings.seed,
    )
    hashes = "".join(manifest.file_hash(file) for file in files)
    records_hash = hashlib.sha256(hashes.encode()).hexdigest()[:16]
    manifest.finish(output_dir, request, time.perf_counter() - start, records_hash=records_hash)
    return manifest.read_json(output_dir / "selection.json")


def write_selected(
    predictions_dir: str | Path,
    output_dir: str | Path,
    examples: sources.Examples,
    *,
    min_confidence: float,
    images_per_class: int | str,
    hard_labels: bool = False,
    num_shards: int = 4,
    seed: int = 0,
) -> list[Path]:
    """Writes student-ready records and then `selection.json`.

    Args:
        predictions_dir: with all shards of predictions.
        output_dir: of the records.
        examples: the images that the predictions are of.
        min_confidence: pseudo labels below it are dropped (paper: 0.3).
        images_per_class: target per class (paper: 130 000), or "auto": the largest class's count.
        hard_labels: store one-hot probabilities in place of the teacher's.
        num_shards: record files.
        seed: of the order.

    Returns:
        The record files.

    Raises:
        ValueError: predictions of other images; nothing reaches min_confidence; other record files
            are in output_dir.
    """
    files = predictions.shard_files(predictions_dir)
    class_names = _class_names(files, examples)
    statistics, tally = _gather(files, len(class_names), min_confidence)
    if not statistics.above.any():
        raise ValueError(
            f"min_confidence = {min_confidence} drops all {statistics.before.sum()} pseudo labels; "
            f"the largest confidence is {tally.largest:.3f}"
        )
    decision = decide(statistics, images_per_class)
    chosen = _choose(files, decision)
    _check_ids(chosen, examples)
    _refuse_other_records(Path(output_dir), num_shards)
    if hard_labels:
        chosen["probabilities"] = np.eye(len(class_names), dtype=np.float16)[chosen["label"]]
    num_written = int(chosen["copies"].sum())
    records = tqdm(
        _records(chosen, examples, seed),
        "selected",
        num_written,
        unit="image",
        leave=False,
        disable=None,
    )
    written = tfrecord.write_shards(records, output_dir, num_written, num_shards)
    report = _report(class_names, decision, chosen, tally)
    manifest.write_json(Path(output_dir) / "selection.json", report)
    return written


class Tally:
    """Confidences of all predictions, and how often they are right where the truth is known."""

    def __init__(self):
        """Starts without predictions."""
        bins = len(_RELIABILITY_EDGES) - 1
        self.histogram = np.zeros(len(_HISTOGRAM_EDGES) - 1, np.int64)
        self.known = np.zeros(bins, np.int64)
        self.right = np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins)
        self.largest = 0.0

    def add(self, columns: predictions.Columns) -> None:
        """Counts columns label, confidence and true_label."""
        confidences = columns["confidence"]
        self.histogram += _histogram(confidences)
        self.largest = max(self.largest, float(confidences.max(initial=0.0)))
        known = columns["true_label"] >= 0
        right = columns["label"] == columns["true_label"]
        bins = np.digitize(confidences, _RELIABILITY_EDGES[1:-1])[known]
        count = len(self.known)
        self.known += np.bincount(bins, minlength=count)
        self.right += np.bincount(bins[right[known]], minlength=count)
        self.confidence += np.bincount(bins, confidences[known], minlength=count)

    def reliability(self) -> list[dict[str, float]]:
        """Mean confidence beside accuracy, both 0..1, for each tenth that has known labels."""
        return [
            {
                "low": round(float(_RELIABILITY_EDGES[i]), 6),
                "high": round(float(_RELIABILITY_EDGES[i + 1]), 6),
                "count": int(self.known[i]),
                "accuracy": float(self.right[i] / self.known[i]),
                "confidence": float(self.confidence[i] / self.known[i]),
            }
            for i in np.flatnonzero(self.known)
        ]


def _class_names(files: list[Path], examples: sources.Examples) -> list[str]:
    """Class names of the predictions, which must all be one model's, of these examples."""
    card = predictions.read_card(files[0])
    for file in files:
        other = predictions.read_card(file)
        if other != card:
            raise ValueError(f"{file} was made by another model or of other images: {other}")
    if card["examples"] != examples.fingerprint():
        raise ValueError(f"{files[0].parent} has predictions of other images than those given")
    return card["class_names"]


def _gather(
    files: list[Path], num_classes: int, min_confidence: float
) -> tuple[ClassStatistics, Tally]:
    """The first pass over the predictions."""
    statistics, tally = ClassStatistics(num_classes, min_confidence), Tally()
    for columns in predictions.read(files, ["label", "confidence", "id_hash", "true_label"]):
        statistics.update(columns["label"], columns["confidence"], columns["id_hash"])
        tally.add(columns)
    return statistics, tally


def _choose(files: list[Path], decision: Decision) -> predictions.Columns:
    """The second pass: rows taken at least once and their `copies`, in the examples' order."""
    names = ["id", "id_hash", "index", "label", "confidence", "probabilities", "true_label"]
    pieces = []
    for columns in predictions.read(files, names):
        copies = copies_for(columns["label"], columns["confidence"], columns["id_hash"], decision)
        taken = copies > 0
        pieces.append({name: columns[name][taken] for name in names} | {"copies": copies[taken]})
    chosen = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    order = np.argsort(chosen["index"])
    return {name: column[order] for name, column in chosen.items()}


def _check_ids(chosen: predictions.Columns, examples: sources.Examples) -> None:
    wrong = np.flatnonzero(examples.ids[chosen["index"]] != chosen["id"])
    if len(wrong):
        index = chosen["index"][wrong[0]]
        raise ValueError(
            f"the prediction of image {index} is of {chosen['id'][wrong[0]]!r}, "
            f"but that image is {examples.ids[index]!r}"
        )


def _refuse_other_records(output_dir: Path, num_shards: int) -> None:
    """Files of an earlier selection with another number of shards would be trained on too."""
    files = output_dir.glob("*.tfrecord")
    others = sorted(f.name for f in files if not f.stem.endswith(f"-of-{num_shards:05d}"))
    if others:
        raise ValueError(f"{output_dir} has other records ({others[0]}, ...); remove them first")


def _records(chosen: predictions.Columns, examples: sources.Examples, seed: int) -> Iterator[bytes]:
    """Every copy of every chosen image as its own record, in random order."""
    copies = chosen["copies"]
    rows = np.repeat(np.arange(len(copies)), copies)
    copy = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
    for position in np.random.default_rng(seed).permutation(len(rows)):
        row = rows[position]
        probabilities = chosen["probabilities"][row].astype(np.float32)
        yield tfrecord.serialize(
            examples.encoded(int(chosen["index"][row])),
            int(chosen["label"][row]),
            float(chosen["confidence"][row]),
            probabilities / probabilities.sum(),  # float16 sums to 1 only roughly
            chosen["id"][row],
            int(copy[position]),
        )


def _report(
    class_names: list[str], decision: Decision, chosen: predictions.Columns, tally: Tally
) -> dict[str, Any]:
    """The content of `selection.json`; accuracies are 0..1, None where no truth is known."""
    known = chosen["true_label"] >= 0
    right = chosen["label"] == chosen["true_label"]
    num_kept, num_written = int(decision.distinct.sum()), int(decision.after.sum())
    return {
        "num_records": int(decision.before.sum()),
        "num_kept": num_kept,
        "num_written": num_written,
        "num_duplicates": num_written - num_kept,
        "min_confidence": decision.min_confidence,
        "images_per_class": decision.images_per_class,
        "per_class": {
            "names": class_names,
            "before": decision.before.tolist(),
            "above_threshold": decision.above.tolist(),
            "distinct": decision.distinct.tolist(),
            "after": decision.after.tolist(),
            "accuracy": _accuracies(chosen["label"], right, known, len(class_names)),
        },
        "confidence_histogram": {
            "edges": _HISTOGRAM_EDGES.round(6).tolist(),
            "all": tally.histogram.tolist(),
            "kept": _histogram(chosen["confidence"]).tolist(),
        },
        "accuracy_all": float(tally.right.sum() / tally.known.sum()) if tally.known.any() else None,
        "accuracy_kept": _share(right, known),
        "accuracy_written": _share(right, known * chosen["copies"]),
        "empty_classes": [class_names[label] for label in decision.empty_classes],
        "reliability": tally.reliability(),
    }


def _accuracies(
    labels: np.ndarray, right: np.ndarray, known: np.ndarray, num_classes: int
) -> list[float | None]:
    """Accuracy of the pseudo labels of each class."""
    counts = np.bincount(labels[known], minlength=num_classes)
    rights = np.bincount(labels[right], minlength=num_classes)
    return [float(r / n) if n else None for r, n in zip(rights, counts, strict=True)]


def _share(right: np.ndarray, weights: np.ndarray) -> float | None:
    return float(np.average(right, weights=weights)) if weights.any() else None


def _histogram(confidences: np.ndarray) -> np.ndarray:
    return np.histogram(confidences, _HISTOGRAM_EDGES)[0]


def _main(settings: config.Config) -> None:
    flags = config.FLAGS
    splits = sources.load_splits(**dataclasses.asdict(settings.data), splits_file=flags.splits_file)
    predictions_dir = config.required("predictions_dir")
    if flags.dry_run:
        files = predictions.shard_files(predictions_dir)
        print(
            f"{predictions_dir}: {len(files)} shards, {len(splits.unlabeled)} images\n"
            f"{settings.selection}"
        )
        return
    output_dir = config.required("output_dir")
    report = run(predictions_dir, output_dir, splits.unlabeled, settings.selection)
    print(
        f"{report['num_kept']} of {report['num_records']} images kept, "
        f"{report['num_written']} records written: {output_dir}"
    )


if __name__ == "__main__":
    config.run(
        _main,
        ["predictions_dir", "output_dir", "min_confidence", "images_per_class", "hard_labels",
         "num_shards", "splits_file", "dataset", "data_dir", "labeled_dir", "unlabeled_dir",
         "num_labeled", "seed", "dry_run"],
    )  # fmt: skip
