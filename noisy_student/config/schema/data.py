"""Options of the images."""

from dataclasses import dataclass

from noisy_student.config.option import option

MAX_SEED = 2_000_000  # a training's seed is 1000 times it plus the round, an int32
MAX_ROUNDS = 999
LEAST_VALIDATION = 100  # images, whose accuracy is known to 10 points


@dataclass(frozen=True)
class DataConfig:
    """Images and how they are split."""

    dataset: str = option("mnist5k", "Data set: mnist5k, folder, records or tfds:NAME.")
    data_dir: str | None = option(
        None,
        "Directory of tensorflow-datasets (tfds:NAME only).",
        changes_result=False,
        remote=True,
    )
    labeled_dir: str | None = option(
        None,
        "Labeled training images: a folder with one sub-folder per class (--dataset=folder), or "
        "TFRecord files as a folder or glob (--dataset=records).",
    )
    unlabeled_dir: str | None = option(
        None, "Folder of unlabeled images, flat or nested (--dataset=folder)."
    )
    validation_dir: str | None = option(
        None, "Validation images, in the form of --labeled_dir. Unset: held out of --labeled_dir."
    )
    test_dir: str | None = option(
        None, "Test images, in the form of --labeled_dir. Unset: 20% of --labeled_dir."
    )
    unlabeled_records: tuple[str, ...] = option(
        (), "Unlabeled images in TFRecord files: globs or folders."
    )
    label_offset: int | None = option(
        None,
        "Number of the first class in image/class/label of TFRecord files. Unset: 0 where a record "
        "has 0, else 1, as published.",
        low=0,
        high=1,
    )
    unlabeled_dataset: str | None = option(
        None, "Another data set (tfds:NAME) whose images serve as the unlabeled ones."
    )
    labeled_split: str | None = option(
        None, "Labeled split or slice of tfds:NAME, such as train[:10%]. Unset: train."
    )
    test_split: str | None = option(None, "Test split or slice of tfds:NAME. Unset: test.")
    unlabeled_split: str | None = option(
        None, "Unlabeled split or slice of tfds:NAME. Unset: train."
    )
    exclude: str | None = option(
        None, "File of image ids to leave out, as written by python -m data.leakage."
    )
    num_labeled: int = option(
        0,
        "Number of labeled training images to keep, stratified by class. The rest becomes "
        "unlabeled. 0: all.",
        low=0,
    )
    num_validation: int = option(
        -1,
        "Number of validation images held out of the labeled ones, stratified by class. -1: 10%, "
        "at most 10,000 (mnist5k: 500). 0: none, and no validation accuracy. "
        "With --auto, -1 is 0 where 10% are fewer than 100.",
        low=-1,
    )
    least_validation: int = 0
    seed: int = option(0, "Seed of everything random.", low=0, high=MAX_SEED)
    unlabeled_fraction: float = option(
        1.0,
        "Fraction of the unlabeled images to keep. The draw depends on --seed and the image; a "
        "smaller fraction is a subset of a larger one.",
        low=1e-6,
        high=1,
    )
    unlabeled_skew: float = option(
        1.0,
        "Long-tailed class distribution of the unlabeled images: ratio of images kept of the first "
        "class to images kept of the last. Applied before --unlabeled_fraction. 1: off.",
        low=1,
        high=10_000,
    )
