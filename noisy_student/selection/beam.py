r"""Makes the decision of `selection` with Apache Beam, for predictions spread over a cluster.

    python -m noisy_student.selection.beam --predictions_dir=runs/labels --output_dir=runs/chosen \
        --min_confidence=0.3 --images_per_class=130000 --runner=DirectRunner

Other flags are passed to Beam: runner, workers, temporary locations. The predictions may be in
several directories, given by a pattern such as 'runs/labels/*'. Writes the same bytes as
`selection`: the index of the selected images (`artifacts.decision_index`) and a `decision.json`,
from which `selection` writes a student set for each of the directories.

Each pass of `radix` is one pipeline: workers count the records of their shards, the counts are
summed, and the next pass refines the bins that contain the cuts. Every worker then applies the
decision to its shards, and the selected images are sorted by ranges of their id hash. The machines
exchange tables of 32 MiB, the few records around the cuts, and the selected rows.

Requires the packages of requirements-beam.txt, which conflict with those of requirements.txt, but
not TensorFlow.
"""

import argparse
import functools
import glob
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ModuleNotFoundError:
    if __name__ == "__main__":
        sys.exit(
            "error: the package apache_beam is not installed. It needs an environment of its own: "
            "python -m venv beam && beam/bin/pip install -r requirements-beam.txt"
        )
    raise

from noisy_student.artifacts import decision_index, predictions
from noisy_student.artifacts.decision import Decision
from noisy_student.artifacts.files import atomic_write, write_json
from noisy_student.selection import radix, rule


class _Merged(beam.CombineFn):
    """Merges statistics: `radix.Histogram` or `radix.CutStatistics`."""

    def __init__(self, empty: Callable[[], Any]):
        self._empty = empty

    def create_accumulator(self) -> Any:
        return self._empty()

    def add_input(self, accumulator: Any, value: Any) -> Any:
        accumulator.merge(value)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        merged = self._empty()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator: Any) -> Any:
        return accumulator


def write_decision(
    predictions_dir: str | Path,
    output_dir: str | Path,
    *,
    min_confidence: float,
    images_per_class: int | str,
    max_copies: int | None = None,
    beam_args: Iterable[str] = (),
) -> Decision:
    """Decides, and writes `decision.json` and the index of `artifacts.decision_index`.

    Args:
        predictions_dir: has all shards of predictions, visible to all workers; or a pattern of
            several such directories, of one model.
        output_dir: receives the files, visible to all workers.
        min_confidence: pseudo labels below it are dropped.
        images_per_class: target per class, or "auto", or "none", see `rule.decide`.
        max_copies: largest number of copies of an image; None: no limit.
        beam_args: Beam's own flags.

    Raises:
        ValueError: see `radix.decide`; or shards are missing.
    """
    folders = sorted(glob.glob(str(predictions_dir)))
    if not folders:
        raise ValueError(f"{predictions_dir} matches no directory")
    files = [file for folder in folders for file in predictions.shard_files(folder)]
    num_classes = len(predictions.read_card(files[0])["class_names"])
    options = PipelineOptions(list(beam_args))
    merged = Path(output_dir) / ".merged"

    def gather_all(empty: Callable[[], Any]) -> Any:
        return _gather_all(files, num_classes, merged, options, empty)

    decision = radix.decide_merged(
        gather_all, num_classes, min_confidence, images_per_class, max_copies
    )
    merged.unlink()
    _write_index(files, decision, output_dir, options)
    write_json(Path(output_dir) / "decision.json", decision.to_dict())
    return decision


def _write_index(
    files: list[Path], decision: Decision, output_dir: str | Path, options: PipelineOptions
) -> None:
    """Applies the decision to all shards, and writes the selected rows in ranges of id hashes."""
    bits = decision_index.file_bits(decision)
    with beam.Pipeline(options=options) as pipeline:
        rows = (
            pipeline
            | "shards" >> beam.Create(files)
            | "spread" >> beam.Reshuffle()
            | "apply" >> beam.FlatMap(_selected_rows, decision, bits)
        )
        # A range without any image gets a file too.
        ranges = pipeline | "ranges" >> beam.Create([(number, b"") for number in range(2**bits)])
        (
            (rows, ranges)
            | beam.Flatten()
            | beam.GroupByKey()
            | "write" >> beam.Map(_write_range, output_dir, bits)
        )


def _gather_all(
    files: list[Path],
    num_classes: int,
    merged: Path,
    options: PipelineOptions,
    empty: Callable[[], Any],
) -> Any:
    """Returns the statistics of all shards; workers gather, merge and write them to a file."""
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | beam.Create(files)
            | beam.Reshuffle()
            | "gather" >> beam.Map(_gather_shard, num_classes, empty)
            | beam.CombineGlobally(_Merged(empty))
            | "write" >> beam.Map(_write_pickle, merged)
        )
    return pickle.loads(merged.read_bytes())


def _gather_shard(file: Path, num_classes: int, empty: Callable[[], Any]) -> Any:
    read = functools.partial(predictions.decision_columns, [file], num_classes)
    return radix.gather(read, empty)


def _write_pickle(value: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(value))


def _selected_rows(file: Path, decision: Decision, bits: int) -> Iterator[tuple[int, bytes]]:
    """Yields the index rows of one shard, by the range of id hashes that they belong to."""
    names = ["label", "confidence", "id_hash"]
    for columns in predictions.read([file], names):
        labels, confidences, ids = (columns[name] for name in names)
        copies = rule.copies_for(labels, confidences, ids, decision)
        rows = decision_index.selected_rows(ids, labels, copies)
        numbers = decision_index.file_of(rows["id_hash"], bits)
        for number in np.unique(numbers):
            yield int(number), rows[numbers == number].tobytes()


def _write_range(grouped: tuple[int, Iterable[bytes]], output_dir: str | Path, bits: int) -> None:
    number, pieces = grouped
    rows = np.frombuffer(b"".join(pieces), decision_index.DTYPE)
    decision_index.write(output_dir, number, bits, rows[np.argsort(rows["id_hash"])])


def main(arguments: list[str]) -> None:
    """Runs the command; flags that it does not know go to Beam."""
    parser = argparse.ArgumentParser(
        prog="noisy_student.selection.beam",
        description="Makes the decision of noisy_student.selection with Apache Beam.",
        epilog="All other flags are passed to Beam, such as --runner.",
    )
    for name in ("predictions_dir", "output_dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument(
        "--min_confidence",
        type=float,
        default=0.3,
        help="minimum confidence to keep, 0..1 (default: %(default)s)",
    )
    parser.add_argument(
        "--images_per_class", default="auto", help="a number, auto or none (default: %(default)s)"
    )
    parser.add_argument("--max_copies", type=int, help="maximum number of copies of an image")
    given, beam_args = parser.parse_known_args(arguments)
    target = given.images_per_class
    decision = write_decision(
        given.predictions_dir,
        given.output_dir,
        min_confidence=given.min_confidence,
        images_per_class=int(target) if target.isdigit() else target,
        max_copies=given.max_copies,
        beam_args=beam_args,
    )
    print(
        f"{decision.distinct.sum()} of {decision.before.sum()} images kept, "
        f"{decision.after.sum()} with copies, {len(decision.empty_classes)} classes empty: "
        f"{given.output_dir}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
