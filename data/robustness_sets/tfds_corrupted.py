"""Reader of ImageNet-C as prepared by tensorflow-datasets: one configuration per setting.

Only prepared configurations are read, because tensorflow-datasets makes them from files that users
download by hand.
"""

import os
import pathlib
from collections.abc import Sequence

from data.examples import Examples
from data.optional import require
from data.robustness_sets.corrupted import SETTINGS, CorruptedImages
from data.sources import tfds as tfds_sets

_SPLIT = "validation"


def imagenet_c(
    name: str = "imagenet2012_corrupted", data_dir: str | None = None
) -> CorruptedImages:
    """Opens the prepared configurations of a data set of tensorflow-datasets.

    Args:
        name: "imagenet2012_corrupted", or a data set whose configurations are also called
            CORRUPTION_SEVERITY, such as fog_3.
        data_dir: folder of tensorflow-datasets; None: its default.

    Raises:
        ValueError: no configuration is prepared.
    """
    tfds = require("tensorflow_datasets")

    root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser() / name
    prepared = (
        {entry.name for entry in os.scandir(root) if entry.is_dir()} if root.is_dir() else set()
    )
    configs = {setting: f"{setting[0]}_{setting[1]}" for setting in SETTINGS}
    found = tuple(setting for setting, config in configs.items() if config in prepared)
    if not found:
        raise ValueError(f"{root} has no prepared configuration such as {root}/fog_3.")

    def count(corruption: str, severity: int) -> int:
        return tfds_sets.count(f"{name}/{configs[corruption, severity]}", _SPLIT, data_dir)

    def read(corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        dataset = f"{name}/{configs[corruption, severity]}"
        examples = tfds_sets.read(dataset, _SPLIT, data_dir)
        return examples.with_classes(class_names, f"tfds:{dataset}")

    return CorruptedImages(
        settings=found,
        unknown=tuple(sorted(str(root / entry) for entry in prepared - set(configs.values()))),
        _read=read,
        _count=count,
    )
