"""ImageNet-C as tensorflow-datasets keeps it: one configuration for each corruption and severity.

Only what is prepared is read: every configuration is made from a download by hand.
"""

import os
import pathlib
from collections.abc import Sequence

from data.corruptions import CORRUPTIONS, SEVERITIES, TEST_CORRUPTIONS
from data.examples import Examples
from data.robustness_sets.readers import CorruptedImages
from data.sources import builtin
from data.sources import tfds as tfds_sets

_SPLIT = "validation"


def imagenet_c(
    name: str = "imagenet2012_corrupted", data_dir: str | None = None
) -> CorruptedImages:
    """Looks for the prepared configurations of a set of tensorflow-datasets.

    Args:
        name: "imagenet2012_corrupted", or another whose configurations are called
            CORRUPTION_SEVERITY, such as fog_3.
        data_dir: where tensorflow-datasets keeps its data; None: its default.

    Raises:
        ValueError: none is prepared.
    """
    import tensorflow_datasets as tfds  # A late import: only these data sets need it.

    root = pathlib.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser() / name
    settings = {(c, severity): f"{c}_{severity}" for c in CORRUPTIONS for severity in SEVERITIES}
    there = {entry.name for entry in os.scandir(root) if entry.is_dir()} if root.is_dir() else set()
    found = tuple(setting for setting, config in settings.items() if config in there)
    if not found:
        raise ValueError(f"{root} has no folder such as fog_3, as tensorflow-datasets makes them.")

    def count(corruption: str, severity: int) -> int:
        return tfds_sets.count(f"{name}/{settings[corruption, severity]}", _SPLIT, data_dir)

    def read(corruption: str, severity: int, class_names: Sequence[str]) -> Examples:
        dataset = f"tfds:{name}/{settings[corruption, severity]}"
        examples = builtin.read(dataset, _SPLIT, data_dir)
        return builtin.with_classes(examples, class_names, dataset)

    return CorruptedImages(
        settings=found,
        missing=tuple(s for s in settings if s[0] in TEST_CORRUPTIONS and s not in found),
        unknown=tuple(sorted(str(root / name) for name in there - set(settings.values()))),
        _read=read,
        _count=count,
    )
