"""Labels images and selects some, for tests that also run it in processes of their own.

    python labeling_in_parts.py FOLDER TASK SHARD

TASK is label, or select, which labels first. SHARD is all, or the first of every other shard.
"""

import sys
from pathlib import Path

import tensorflow as tf

from noisy_student import config, pseudo_label
from noisy_student.runtime.devices import Devices
from noisy_student.selection import write
from tests.helpers.toy_batches import textured

SHARDS = 12


def main(folder: str | Path, task: str, shard: str = "all") -> None:
    """Labels with the folder's `model.keras`; skips what is finished."""
    folder, examples = Path(folder), textured(600)
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    teacher = pseudo_label.Teacher(folder / "model.keras", devices, batch_size=25)
    for index in [None] if shard == "all" else range(int(shard), SHARDS, 2):
        pseudo_label.run(teacher, examples, folder / "labels", num_shards=SHARDS, shard_index=index)
    if task == "select":
        settings = config.SelectionConfig(0.25, 700, hard_labels=False, num_shards=4, seed=1)
        write.run(folder / "labels", folder / "selected", examples, settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
