"""Folders of images, and what was read out of them."""

import collections

import numpy as np
from PIL import Image


def write_image(path, value=0, side=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((side, side, 3), value % 256, np.uint8)
    Image.fromarray(image).save(path)


def write_classes(root, counts, side=8):
    """Writes {class name: number of images}."""
    for name, count in counts.items():
        for i in range(count):
            write_image(root / name / f"{i:03d}.png", i, side)
    return str(root)


def ids(examples):
    return list(examples.ids)


def class_counts(examples):
    return collections.Counter(examples.labels.tolist())


def parts(splits):
    return {
        "labeled": splits.labeled,
        "validation": splits.validation,
        "unlabeled": splits.unlabeled,
        "test": splits.test,
    }


def all_ids(splits):
    return [name for split in parts(splits).values() for name in split.ids]
