r"""Selects pseudo labels and writes a student's training set: filtered, balanced, shuffled.

    python -m noisy_student.selection --flagfile=recipes/mnist5k.flags \
        --predictions_dir=runs/labels --output_dir=runs/selected
    python -m noisy_student.selection --flagfile=recipes/mnist5k.flags \
        --predictions_dir=runs/labels --output_dir=runs/all --min_confidence=0 \
        --images_per_class=none --index_only
    python -m noisy_student.selection --adopt_records='published/train-*' --output_dir=runs/adopted

The output is TFRecords in the published format (plus id and copy; --published_names also uses the
published file names) or, with --index_only, an index that training joins with the images, so that
no image is copied. Both lead to the same training. Their order depends only on the seed and the
images. Also written: the decision (`decision.json` and its index `chosen-*`), the report
`selection.json`, and `samples.json` with pictures. --adopt_records uses records written by the
published code unchanged (`adopt`).

The predictions are read in several passes until the decision is found (`radix`), once to apply it,
and once for the distributions of the selected images (`artifacts.student_set`).
"""

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np

from data import record_schema, sources
from data.sources import digests
from noisy_student import config
from noisy_student.artifacts import (
    decision_index,
    disk,
    predictions,
    sample_sheets,
    selection_report,
    student_set,
)
from noisy_student.artifacts.decision import Decision
from noisy_student.artifacts.files import file_hash, files_hash, read_json, write_json
from noisy_student.artifacts.json_files import Done, SelectionReport
from noisy_student.artifacts.stage import open_stage, read_done
from noisy_student.config import derived, schema
from noisy_student.selection import adopt, radix, rule

_RULES = {"auto": "auto: the largest class", "none": "none: no balance"}


def run(
    predictions_dir: str | Path,
    output_dir: str | Path,
    examples: sources.Examples,
    settings: config.SelectionConfig,
    decision_file: str | Path | None = None,
    trial: bool = False,
) -> SelectionReport:
    """Selects; returns at once if `output_dir` is finished.

    Args:
        predictions_dir: finished output of `pseudo_label` for the same examples.
        output_dir: of this stage alone; receives records, `selection.json` and `done.json`.
        examples: the images.
        settings: filter, balance and files.
        decision_file: `decision.json` of a selection from a larger set that has these predictions;
            replaces the settings of filter and balance.
        trial: If all predictions are below min_confidence, lowers it to 0 instead of failing: a
            teacher of a few steps is sure of nothing.

    Returns:
        The content of `selection.json`.

    Raises:
        ValueError: see `write_selected`; or the predictions are not finished, or output_dir holds
            the result of another request.
    """
    output_dir = Path(output_dir)
    inputs: dict[str, object] = {"predictions": _labeled(predictions_dir, examples)["predictions"]}
    decision = None
    if decision_file:
        inputs["decision"] = file_hash(decision_file)
        decision = Decision.read(decision_file)
    request = {"stage": "selection", "settings": dataclasses.asdict(settings), "inputs": inputs}
    stage = open_stage(output_dir, request)
    if not stage.done:
        with stage.locked():
            files = write_selected(predictions_dir, output_dir, examples, settings, decision, trial)
            outputs = [*files, *output_dir.glob("*.json"), *output_dir.glob("chosen-*.npy")]
            stage.finish(outputs, records_hash=files_hash(files))
    report: SelectionReport = read_json(output_dir / "selection.json", SelectionReport)
    if not stage.done and (empty := report["empty_classes"]):
        threshold = report["min_confidence"]
        reason = f"with a confidence of at least {threshold:g}" if threshold else "at all"
        print(f"selection: no image was labeled {', '.join(empty)} {reason}")
    return report


def _labeled(predictions_dir: str | Path, examples: sources.Examples) -> Done:
    """Returns the result of labeling; a ValueError if the images are no longer those labeled."""
    done = read_done(predictions_dir, "predictions")
    before = done["request"].get("inputs", {}).get("images", {}).get("unlabeled")
    if before not in (None, digests.content(examples)):
        raise ValueError(
            f"{predictions_dir}: images have changed since they were labeled. Put the old ones "
            "back, or label again in another directory."
        )
    return done


def write_selected(
    predictions_dir: str | Path,
    output_dir: str | Path,
    examples: sources.Examples,
    settings: config.SelectionConfig,
    decision: Decision | None = None,
    trial: bool = False,
) -> list[Path]:
    """Writes the student's records or an index of images, and then `selection.json`.

    Args:
        predictions_dir: has all shards of predictions.
        output_dir: receives the files.
        examples: the images that were labeled.
        settings: filter, balance and files.
        decision: a decision on a larger set that has these predictions; replaces min_confidence,
            images_per_class and max_copies.
        trial: see `run`.

    Returns:
        The files of records or of the index.

    Raises:
        ValueError: the predictions are of other images, have a value out of range or are all below
            min_confidence; or output_dir has records of another form or number.
    """
    files = predictions.shard_files(predictions_dir)
    class_names = _class_names(files, examples)
    images_rule = "decision file"
    if decision is None:
        images_rule = _RULES.get(str(settings.images_per_class), "given")
        decision = _decide(files, len(class_names), settings, trial)
    output_dir = Path(output_dir)
    _refuse_other_files(output_dir, settings)
    copies, report, sheets = _apply(files, decision, len(examples), output_dir)
    form = student_set.Form(
        settings.num_shards, settings.index_only, settings.hard_labels, settings.published_names
    )
    positions = student_set.random_positions(copies, settings.seed)
    written = student_set.write(files, examples, copies, positions, output_dir, form)
    content = report.build(class_names, decision.images_per_class)
    content["images_per_class_rule"] = images_rule
    content["max_copies"] = decision.max_copies
    content["index_only"] = settings.index_only
    content["noised_labels"] = predictions.are_noised(files[0])
    sheets.write(output_dir / "samples.json", examples)
    write_json(output_dir / "decision.json", decision.to_dict())
    write_json(output_dir / "selection.json", content)
    return written


def _decide(
    files: list[Path], num_classes: int, settings: config.SelectionConfig, trial: bool
) -> Decision:
    """Returns the decision on the predictions in `files`; ValueError if it selects none."""
    highest = settings.max_confidence
    read = functools.partial(predictions.decision_columns, files, num_classes, highest=highest)

    def decide(min_confidence: float) -> Decision:
        limits = (min_confidence, settings.images_per_class, settings.max_copies)
        decision = radix.decide(read, num_classes, *limits)
        return dataclasses.replace(decision, max_confidence=highest)

    decision = decide(settings.min_confidence)
    if decision.above.any():
        return decision
    largest = max(float(confidences.max(initial=0.0)) for _, confidences, _ in read(False))
    limit = f" up to max_confidence = {highest:g}" if highest < 1 else ""
    reason = (
        f"min_confidence = {settings.min_confidence} drops all {decision.before.sum()} pseudo "
        f"labels{limit}; the largest confidence is {largest:.3f}"
    )
    if not trial:
        raise ValueError(f"{reason}: train the teacher longer, or lower --min_confidence")
    print(f"selection: {reason}; this trial (--max_steps) continues with min_confidence = 0")
    return decide(0.0)


def _class_names(files: list[Path], examples: sources.Examples) -> list[str]:
    """Returns the class names of predictions, which must be of one teacher and these examples."""
    card = predictions.read_card(files[0])
    for file in files:
        other = predictions.read_card(file)
        if other != card:
            raise ValueError(f"{file} was made by another model or from other images: {other}")
    if card["examples"] != examples.fingerprint():
        raise ValueError(f"{files[0].parent} has predictions for other images than those given")
    return card["class_names"]


def _refuse_other_files(output_dir: Path, settings: config.SelectionConfig) -> None:
    """Refuses files of an earlier selection that training would read too."""
    published = record_schema.PUBLISHED_PREFIX
    prefixes = ("records", "index", published)
    files = [file for prefix in prefixes for file in output_dir.glob(f"{prefix}-*")]
    name = published if settings.published_names else "records"
    name = "index" if settings.index_only else name
    ours = re.compile(rf"{name}-\d+-of-{settings.num_shards:05d}(\..*)?")
    others = sorted(file.name for file in files if not ours.fullmatch(file.name))
    if others:
        raise ValueError(f"{output_dir} has other records ({others[0]}, ...); remove them first")


def _apply(
    files: list[Path], decision: Decision, num_examples: int, output_dir: Path
) -> tuple[np.ndarray, selection_report.ReportBuilder, sample_sheets.Sheets]:
    """Writes the decision's index; returns the copies of each example, int32 [N], and reports."""
    num_classes = len(decision.above)
    report = selection_report.ReportBuilder(num_classes, decision.min_confidence)
    sheets = sample_sheets.Sheets(num_classes)
    index = decision_index.Writer(output_dir, decision)
    copies = np.zeros(num_examples, np.int32)
    for columns in predictions.read(files, selection_report.COLUMNS):
        labels, confidences, ids = (columns[n] for n in ("label", "confidence", "id_hash"))
        selected = rule.copies_for(labels, confidences, ids, decision)
        copies[columns["index"]] = selected
        index.add(ids, labels, selected)
        report.add(columns, selected)
        sheets.add(columns, selected)
    index.close()
    return copies, report, sheets


def _main(settings: config.Config) -> None:
    given = settings.group(schema.SelectCommandConfig)
    splits = derived.load_splits(settings.data, given.splits_file)
    output_dir = settings.required("output_dir")
    disk.check_writable("output_dir", output_dir)
    if given.adopt_records:
        report = adopt.run(given.adopt_records, output_dir, splits.class_names, given.dry_run)
        print(f"{report['num_written']} records of {report['num_kept']} images: {output_dir}")
        return
    predictions_dir = settings.required("predictions_dir")
    _labeled(predictions_dir, splits.unlabeled)
    files = predictions.shard_files(predictions_dir)
    _class_names(files, splits.unlabeled)
    _refuse_other_files(Path(output_dir), settings.selection)
    if given.decision_file:
        Decision.from_dict(read_json(given.decision_file))
    if given.dry_run:
        print(
            f"{predictions_dir}: {len(files)} shards, {len(splits.unlabeled)} images\n"
            f"{settings.selection}"
        )
        return
    report = run(
        predictions_dir, output_dir, splits.unlabeled, settings.selection, given.decision_file
    )
    print(
        f"{report['num_kept']} of {report['num_records']} images kept, "
        f"{report['num_written']} records written: {output_dir}"
    )


def command() -> None:
    """Runs ``python -m noisy_student.selection``."""
    config.run(_main, schema.SelectCommandConfig, schema.SelectionConfig, schema.DataConfig)
