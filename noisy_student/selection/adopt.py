"""Turns student records of the published code into a finished selection without copying them.

Their file names differ from ours, and they have neither ids nor `done.json`. Every record is
checked and counted. The output directory receives links under our names, the report
`selection.json`, and `done.json`; training on it takes nothing else.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from data import record_schema, tfrecord_file
from data.sources import image_check, records
from noisy_student.artifacts import selection_report
from noisy_student.artifacts.files import files_hash, read_json, write_json
from noisy_student.artifacts.json_files import SelectionReport
from noisy_student.artifacts.stage import open_stage

_FIELDS = ("image/encoded", "label", "prob", "probabilities")
_TOLERANCE = 1e-2  # of sums and maxima: the published code computes in bfloat16
_ROW = np.dtype([("label", np.int32), ("confidence", np.float32), ("image", np.uint64)])


def run(
    patterns: Sequence[str], output_dir: str | Path, class_names: Sequence[str], dry: bool = False
) -> SelectionReport:
    """Checks and links records; returns at once if `output_dir` is finished.

    Args:
        patterns: globs or folders of the records, see `data.sources.records.find_files`.
        output_dir: of this stage alone; receives links, `selection.json` and `done.json`.
        class_names: C names, in the order of the records' labels.
        dry: whether to check and count only.

    Returns:
        The content of `selection.json`. Records with equal bytes of the image count as copies.

    Raises:
        ValueError: names file and record that is damaged or does not fit; no file matches; or
            output_dir holds the records themselves or the result of another request.
    """
    files, output_dir = [Path(f).resolve() for f in records.find_files(patterns)], Path(output_dir)
    if output_dir.resolve() in {file.parent for file in files}:
        raise ValueError(
            f"--output_dir={output_dir} holds the records themselves: choose another directory."
        )
    if dry:
        return _report(files, class_names)
    content = files_hash(files)
    request = {"stage": "adopt_records", "records": content, "classes": list(class_names)}
    stage = open_stage(output_dir, request)
    if not stage.done:
        report = output_dir / "selection.json"
        with stage.locked():
            write_json(report, _report(files, class_names))
            links = record_schema.shard_paths(output_dir, len(files), "records", ".tfrecord")
            for link, file in zip(links, files, strict=True):
                if link.is_symlink():  # of a run that was interrupted
                    link.unlink()
                link.symlink_to(file)
            stage.finish([*links, report], records_hash=content)
    return read_json(output_dir / "selection.json", SelectionReport)


def _report(files: Sequence[Path], class_names: Sequence[str]) -> SelectionReport:
    parts = [np.fromiter(_rows(file, len(class_names)), _ROW) for file in files]
    rows = np.concatenate(parts)
    if not len(rows):
        raise ValueError(f"--adopt_records: no records in {len(files)} files.")
    _, first, copies = np.unique(rows["image"], return_index=True, return_counts=True)
    columns = {name: rows[name][first] for name in ("label", "confidence")}
    columns["true_label"] = np.full(len(first), -1, np.int32)
    builder = selection_report.ReportBuilder(len(class_names), float(columns["confidence"].min()))
    builder.add(columns, copies.astype(np.int32))
    report = builder.build(class_names, None)
    report["images_per_class_rule"] = "adopted records"
    return report


def _rows(file: Path, num_classes: int) -> Iterator[tuple[int, float, int]]:
    """Yields label, confidence and a hash of the image of every record, once it is checked."""
    with tfrecord_file.damage_named([file]):
        stream = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
        for number, serialized in enumerate(stream):
            try:
                features = tf.train.Example.FromString(serialized).features.feature
                problem = _problem(features, num_classes)
            except DecodeError:
                problem = "is not a tf.train.Example"
            if problem:
                raise ValueError(f"{file}, record {number}: {problem}.")
            label, prob = features["label"].int64_list.value[0], _floats(features, "prob")[0]
            image = features["image/encoded"].bytes_list.value[0]
            digest = hashlib.blake2b(image, digest_size=8).digest()
            yield label, min(prob, 1.0), int.from_bytes(digest)


def _problem(features: dict[str, tf.train.Feature], num_classes: int) -> str:
    """Returns what keeps a record from being a student's, or ""."""
    if missing := [name for name in _FIELDS if name not in features]:
        return f"has no {', '.join(missing)}"
    images, labels = features["image/encoded"].bytes_list.value, features["label"].int64_list.value
    prob, probabilities = _floats(features, "prob"), _floats(features, "probabilities")
    if [len(images), len(labels), len(prob)] != [1, 1, 1]:
        return "needs one image/encoded (bytes), one label (int64) and one prob (float)"
    if image := image_check.problem(memoryview(images[0]), skim=True):
        return f"image/encoded {image}"
    if len(probabilities) != num_classes:
        return f"has {len(probabilities)} probabilities for {num_classes} classes"
    if not 0 <= labels[0] < num_classes:
        return f"label {labels[0]} is not in 0..{num_classes - 1}"
    if not (probabilities.min() >= 0 and abs(probabilities.sum() - 1) <= _TOLERANCE):
        return f"probabilities sum to {probabilities.sum():g}, or one is below 0"
    if not 0 <= prob[0] <= 1 + _TOLERANCE:
        return f"prob {prob[0]:g} is not in 0..1"
    if probabilities[labels[0]] < probabilities.max() - _TOLERANCE:
        return f"label {labels[0]} is not the most likely class, {probabilities.argmax()}"
    return ""


def _floats(features: dict[str, tf.train.Feature], name: str) -> np.ndarray:
    return np.array(features[name].float_list.value, np.float32)
