r"""The decision of `selection` as an Apache Beam pipeline, for predictions spread over a cluster.

    python -m noisy_student.selection.beam --predictions_dir=runs/labels --output_dir=runs/chosen \
        --min_confidence=0.3 --images_per_class=130000 --runner=DirectRunner

What is not a flag of this command goes to Beam: runner, workers, temporary places. The predictions
may be in several directories, as of a pattern such as 'runs/labels/*'. Writes the same bytes as
`selection` under the names of `decision_index`, which images are taken and how often, and the
`decision.json` by which `selection` makes a student's set of each of the directories.

Each pass of `narrowing` is a pipeline: workers count the records of their shards, the counts are
added, and the next pass looks at the part in which the cuts lie. Then every worker applies the
decision to its shards, and the chosen images are sorted in ranges of their id hash. What travels
between machines are tables of 32 MiB, the few records around the cuts, and the chosen rows.

Needs the packages of requirements-beam.txt, which do not go together with those of
requirements.txt; TensorFlow is not needed.
"""

import argparse
import functools
import glob
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from noisy_student.artifacts import decision_index, predictions
from noisy_student.artifacts.files import atomic_write, write_json
from noisy_student.selection import radix, rule


class _Merged(beam.CombineFn):
    """Adds up mergeable statistics: `narrowing.Counts` or `balance.ClassStatistics`."""

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
) -> rule.Decision:
    """Decides and writes the index of `noisy_student.artifacts.decision_index`.

    Args:
        predictions_dir: with all shards of predictions, where all workers see them; or a pattern
            of several such directories, of one model.
        output_dir: of the index, likewise.
        min_confidence: pseudo labels below it are dropped.
        images_per_class: target per class, or "auto", or "none".
        max_copies: how often an image is taken at most.
        beam_args: Beam's own flags.

    Raises:
        ValueError: as `narrowing.decide`; shards are missing.
    """
    folders = sorted(glob.glob(str(predictions_dir)))
    if not folders:
        raise ValueError(f"{predictions_dir} matches no directory")
    files = [file for folder in folders for file in predictions.shard_files(folder)]
    num_classes = len(predictions.read_card(files[0])["class_names"])
    options = PipelineOptions(list(beam_args))
    passing = Path(output_dir) / ".merged"
    decision = radix.decide_merged(
        functools.partial(_gather_all, files, num_classes, passing, options),
        num_classes,
        min_confidence,
        images_per_class,
        max_copies,
    )
    passing.unlink()
    bits = decision_index.file_bits(decision)
    with beam.Pipeline(options=options) as pipeline:
        rows = (
            pipeline
            | "shards" >> beam.Create(files)
            | "spread" >> beam.Reshuffle()
            | "apply" >> beam.FlatMap(_chosen_rows, decision, bits)
        )
        # A range without any image gets a file, too.
        ranges = pipeline | "ranges" >> beam.Create([(number, b"") for number in range(2**bits)])
        (
            (rows, ranges)
            | beam.Flatten()
            | beam.GroupByKey()
            | "write" >> beam.Map(_write_range, output_dir, bits)
        )
    write_json(Path(output_dir) / "decision.json", decision.to_dict())
    return decision


def _gather_all(
    files: list[Path],
    num_classes: int,
    passing: Path,
    options: PipelineOptions,
    empty: Callable[[], radix.Statistics],
) -> radix.Statistics:
    """The statistics of all shards, which workers gather, merge and pass on in a file."""
    with beam.Pipeline(options=options) as pipeline:
        (
            pipeline
            | beam.Create(files)
            | beam.Reshuffle()
            | "gather" >> beam.Map(_gather_shard, num_classes, empty)
            | beam.CombineGlobally(_Merged(empty))
            | "pass on" >> beam.Map(_write_pickle, passing)
        )
    return pickle.loads(passing.read_bytes())


def _gather_shard(
    file: Path, num_classes: int, empty: Callable[[], radix.Statistics]
) -> radix.Statistics:
    read = functools.partial(predictions.decision_columns, [file], num_classes)
    return radix.gather(read, empty)


def _write_pickle(value: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(value))


def _chosen_rows(file: Path, decision: rule.Decision, bits: int) -> Iterator[tuple[int, bytes]]:
    """Rows of `chosen` of one shard, by the range of id hashes that they belong to."""
    for labels, confidences, ids in predictions.decision_columns([file], len(decision.above)):
        copies = rule.copies_for(labels, confidences, ids, decision)
        rows = decision_index.rows_of(ids, labels, copies)
        numbers = decision_index.file_of(rows["id_hash"], bits)
        for number in np.unique(numbers):
            yield int(number), rows[numbers == number].tobytes()


def _write_range(grouped: tuple[int, Iterable[bytes]], output_dir: str | Path, bits: int) -> None:
    number, parts = grouped
    rows = np.frombuffer(b"".join(parts), decision_index.DTYPE)
    decision_index.write(output_dir, number, bits, rows[np.argsort(rows["id_hash"])])


def main(arguments: list[str]) -> None:
    """Reads the command line; what it does not know is Beam's."""
    parser = argparse.ArgumentParser(
        prog="noisy_student.selection.beam",
        description="The decision of noisy_student.selection on Apache Beam.",
        epilog="Other flags are Beam's own, such as --runner.",
    )
    for name in ("predictions_dir", "output_dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--min_confidence", type=float, default=0.3, help="as of selection")
    parser.add_argument("--images_per_class", default="auto", help="a number, auto or none")
    parser.add_argument("--max_copies", type=int, help="as of selection")
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
