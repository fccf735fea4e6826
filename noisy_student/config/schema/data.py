"""Options of the images."""

from dataclasses import dataclass

from noisy_student.config.option import option

MAX_SEED = 2_000_000  # a training's seed, 1000 * seed + round, must fit an int32
MAX_ROUNDS = 999
LEAST_VALIDATION = 100  # images; enough to know an accuracy to within 10 points


@dataclass(frozen=True)
class DataConfig:
    """Data and splits."""

    dataset: str = option("mnist5k", "Data set: mnist5k, folder, records or tfds:NAME.")
    data_dir: str | None = option(
        None,
        "Directory where tensorflow-datasets stores its data (tfds:NAME only).",
        changes_result=False,
        remote=True,
    )
    labeled_dir: str | None = option(
        None,
        "Labeled training images: a folder with one subfolder per class (--dataset=folder), or a "
        "folder or glob of TFRecord files (--dataset=records).",
    )
    unlabeled_dir: str | None = option(
        None, "Folder of unlabeled images, flat or nested (--dataset=folder)."
    )
    validation_dir: str | None = option(
        None, "Validation images, laid out like --labeled_dir. Unset: held out from --labeled_dir."
    )
    test_dir: str | None = option(
        None, "Test images, laid out like --labeled_dir. Unset: 20% of --labeled_dir."
    )
    unlabeled_records: tuple[str, ...] = option(
        (), "Unlabeled images as TFRecord files: globs or folders."
    )
    label_offset: int | None = option(
        None,
        "Index of the first class in image/class/label of TFRecord files. Unset: 0 if any record "
        "has label 0, else 1, as in the published format.",
        low=0,
        high=1,
    )
    unlabeled_dataset: str | None = option(
        None, "Data set (tfds:NAME) to take the unlabeled images from, if not --dataset."
    )
    labeled_split: str | None = option(
        None, "Labeled split or slice of tfds:NAME, for example train[:10%]. Unset: train."
    )
    test_split: str | None = option(None, "Test split or slice of tfds:NAME. Unset: test.")
    unlabeled_split: str | None = option(
        None, "Unlabeled split or slice of tfds:NAME. Unset: train."
    )
    exclude: str | None = option(
        None, "File with ids of images to leave out, as written by python -m data.leakage."
    )
    num_labeled: int = option(
        0,
        "Number of training images that keep their labels, stratified by class. The others are "
        "used as unlabeled images. 0: all.",
        low=0,
    )
    num_validation: int = option(
        -1,
        "Number of validation images to hold out from the labeled images, stratified by class. "
        "-1: 10%, at most 10,000 (mnist5k: 500); with --auto, none if 10% is fewer than 100 "
        "images. 0: none, and no validation accuracy.",
        low=-1,
    )
    least_validation: int = 0
    seed: int = option(0, "Seed of all random numbers.", low=0, high=MAX_SEED)
    unlabeled_fraction: float = option(
        1.0,
        "Fraction of the unlabeled images to keep, drawn from --seed and the image id. A smaller "
        "fraction keeps a subset of what a larger one keeps.",
        low=1e-6,
        high=1,
    )
    unlabeled_skew: float = option(
        1.0,
        "Make the unlabeled images long-tailed: ratio of the images kept from the first class to "
        "those kept from the last. Applied before --unlabeled_fraction. 1: off.",
        low=1,
        high=10_000,
    )
