"""Run by tests, also in processes of their own: labels images, and selects of them.

    python labeling_in_parts.py FOLDER TASK SHARD

TASK is label, or select: label and then select. SHARD is all, or the first of every other one.
"""

import sys
from pathlib import Path

import tensorflow as tf

from noisy_student import pseudo_label
from noisy_student.config import settings
from noisy_student.runtime.devices import Devices
from noisy_student.selection import write
from tests.helpers.toy_batches import textured

SHARDS = 12


def main(folder: str | Path, task: str, shard: str = "all") -> None:
    """Labels with the folder's ``model.keras``; what is there is not made again."""
    folder, examples = Path(folder), textured(600)
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    for index in [None] if shard == "all" else range(int(shard), SHARDS, 2):
        pseudo_label.run(
            folder / "model.keras",
            examples,
            folder / "labels",
            devices,
            batch_size=25,
            num_shards=SHARDS,
            shard_index=index,
        )
    if task == "select":
        config = settings.SelectionConfig(0.25, 700, False, 4, 1)
        write.run(folder / "labels", folder / "selected", examples, config)


if __name__ == "__main__":
    main(*sys.argv[1:])
