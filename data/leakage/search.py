r"""Finds near duplicates of test images among the images that a model trains on.

    python -m data.leakage --dataset=folder --labeled_dir=train --unlabeled_dir=more \
        --test_dir=test --output_dir=leakage
    python -m data.leakage --dataset=mnist5k --num_labeled=100 --output_dir=leakage
    python -m data.leakage --dataset=tfds:cifar10 --num_labeled=4000 --max_distance=4 \
        --output_dir=leakage

Writes `leakage.json` (the compared sets, and every pair), `leakage.html` (the pairs as pictures)
and `exclude.txt` (the ids of the images to leave out, for `exclude` of `data.sources.Draw`).

Detects copies that were re-encoded, resized, mirrored, or changed in brightness or contrast. Does
not detect crops, rotations, or different photographs of the same object.
"""

import base64
import dataclasses
import html
import io
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import PIL.Image
from absl import flags

from data import cli, sources
from data.examples import Examples
from data.leakage import near_duplicates
from data.sources.splits import Splits

# Of 1000 ImageNet photographs, no two are closer than 12 bits or correlate more than 0.88. From 8
# bits on the search looks at eight times as many candidates.
MAX_DISTANCE, MIN_CORRELATION = 7, 0.95
_PICTURE = 160  # longer side in the report, in pixels
_LEARNED_FROM = ("labeled", "validation", "unlabeled")


@dataclasses.dataclass(frozen=True)
class Pair:
    """An image and the test image that it looks like."""

    index: int  # position of the image among those searched
    test_index: int  # position of the test image
    distance: int  # number of the 64 bits in which their hashes differ
    correlation: float  # correlation of their gray thumbnails, -1..1
    mirrored: bool  # True if one is the mirror image of the other


def find(
    examples: Examples,
    test: Examples,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> list[Pair]:
    """Finds the images that look like a test image.

    Args:
        examples: the images to search.
        test: the test images.
        max_distance: largest distance of hashes, in bits, 0..15.
        min_correlation: smallest correlation of thumbnails, -1..1, of pairs with close hashes.

    Returns:
        Pairs in the order of `examples`, the most alike first.

    Raises:
        ValueError: max_distance is out of range.
    """
    hashes = _hashes(examples)
    best: dict[tuple[int, int], Pair] = {}
    for mirrored in (False, True):
        test_rows, rows, distances = near_duplicates.close_pairs(
            _hashes(test, mirrored), hashes, max_distance
        )
        alike = _correlations(examples, rows, test, test_rows, mirrored)
        for found in zip(rows, test_rows, distances, alike, strict=True):
            row, test_row, distance, correlation = (value.item() for value in found)
            pair = Pair(row, test_row, distance, correlation, mirrored)
            rival = best.get((row, test_row))
            if correlation >= min_correlation and (
                rival is None or correlation > rival.correlation
            ):
                best[row, test_row] = pair
    return sorted(best.values(), key=lambda pair: (pair.index, -pair.correlation))


def _hashes(examples: Examples, mirrored: bool = False) -> np.ndarray:
    """Computes the hashes of images, or of their mirror images, uint64 [N]."""
    parts = [np.zeros(0, np.uint64)]
    for batch in near_duplicates.thumbnails(examples):
        parts.append(near_duplicates.hashes(batch[:, :, ::-1] if mirrored else batch))
    return np.concatenate(parts)


def _correlations(
    examples: Examples, rows: np.ndarray, test: Examples, test_rows: np.ndarray, mirrored: bool
) -> np.ndarray:
    """Correlates the images of each pair, float32 [P]; reads only images in pairs."""
    first, second = _thumbnails(examples, rows), _thumbnails(test, test_rows)
    return near_duplicates.correlations(first, second[:, :, ::-1] if mirrored else second)


def _thumbnails(examples: Examples, rows: np.ndarray) -> np.ndarray:
    """Makes the thumbnails of the images at `rows`; reads each image once."""
    unique, where = np.unique(rows, return_inverse=True)
    side = near_duplicates.SIDE
    parts = [np.zeros([0, side, side], np.float32)]
    return np.concatenate([*parts, *near_duplicates.thumbnails(examples.take(unique))])[where]


def check(splits: Splits, max_distance: int, min_correlation: float) -> dict[str, list[Pair]]:
    """Finds the pairs of each split that a model learns from: labeled, validation, unlabeled."""
    return {
        name: find(getattr(splits, name), splits.test, max_distance, min_correlation)
        for name in _LEARNED_FROM
    }


class Leakage(TypedDict):
    """The content of leakage.json."""

    test_images: int
    test_fingerprint: str
    test_images_leaked: int  # number of test images in a pair
    sets: dict[str, dict[str, Any]]  # of each split "images", "fingerprint" and "near_duplicates"
    # Fields of `Pair`, with the "set" and the ids in place of the positions.
    pairs: list[dict[str, Any]]
    max_distance: int  # see `find`
    min_correlation: float  # see `find`
    seconds: float


def _set_summary(examples: Examples, found: list[Pair]) -> dict[str, Any]:
    return {
        "images": len(examples),
        "fingerprint": examples.fingerprint(),
        "near_duplicates": len({pair.index for pair in found}),
    }


def _found_pair(name: str, splits: Splits, pair: Pair) -> dict[str, Any]:
    return {
        "set": name,
        "id": str(getattr(splits, name).ids[pair.index]),
        "test_id": str(splits.test.ids[pair.test_index]),
        "distance": pair.distance,
        "correlation": round(pair.correlation, 4),
        "mirrored": pair.mirrored,
    }


def page(splits: Splits, pairs: Mapping[str, list[Pair]], max_pairs: int) -> str:
    """Renders the pairs as a self-contained HTML page.

    Args:
        splits: the images.
        pairs: result of `check` for them.
        max_pairs: number of pairs to show of each split.

    Returns:
        HTML with all pictures inside.
    """
    sections = []
    for name, found in pairs.items():
        examples = getattr(splits, name)
        title = f"{name}: {len({p.index for p in found})} of {len(examples)} images"
        rows = [_row(examples, splits.test, pair) for pair in found[:max_pairs]]
        if len(found) > max_pairs:
            rows.append(f"<p>and {len(found) - max_pairs} more pairs in leakage.json</p>")
        sections.append(f"<h2>{html.escape(title)}</h2>" + "".join(rows))
    return _PAGE.format(count=len(splits.test), body="".join(sections))


_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Near duplicates of test images</title>
<style>body {{font: 14px sans-serif; margin: 2em}} figure {{display: inline-block; margin: 4px}}
img {{max-width: 160px; display: block}} figcaption {{max-width: 160px; overflow-wrap: anywhere;
font-size: 11px}} div {{border-top: 1px solid #ccc; padding: 4px}}</style>
<h1>Near duplicates of {count} test images</h1>
<p>Left: the image that a model learns from. Right: the test image.</p>
{body}
</html>
"""


def _row(examples: Examples, test: Examples, pair: Pair) -> str:
    """Renders a pair as HTML."""
    mirrored = ", mirrored" if pair.mirrored else ""
    return (
        "<div>"
        + _figure(examples, pair.index)
        + _figure(test, pair.test_index)
        + f"correlation {pair.correlation:.3f}, {pair.distance} of 64 bits differ{mirrored}</div>"
    )


def _figure(examples: Examples, index: int) -> str:
    """Renders a small picture of an image with its id and class."""
    label = int(examples.labels[index])
    name = f" ({examples.class_names[label]})" if label >= 0 else ""
    with PIL.Image.open(io.BytesIO(examples.encoded(index))) as image:
        small = image.convert("RGB")
        small.thumbnail((_PICTURE, _PICTURE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    caption = html.escape(str(examples.ids[index]) + name)
    return (
        f'<figure><img src="data:image/jpeg;base64,{picture}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def write(
    splits: Splits,
    output_dir: str,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
    max_pairs: int = 200,
) -> Leakage:
    """Compares the images that a model learns from with the test images, and writes the pairs.

    Args:
        splits: the images.
        output_dir: receives leakage.json, leakage.html and exclude.txt.
        max_distance: see `find`.
        min_correlation: see `find`.
        max_pairs: see `page`.

    Returns:
        The content of leakage.json.
    """
    start = time.perf_counter()
    pairs = check(splits, max_distance, min_correlation)
    result: Leakage = {
        "test_images": len(splits.test),
        "test_fingerprint": splits.test.fingerprint(),
        "test_images_leaked": len({pair.test_index for found in pairs.values() for pair in found}),
        "sets": {name: _set_summary(getattr(splits, name), pairs[name]) for name in pairs},
        "pairs": [_found_pair(name, splits, pair) for name in pairs for pair in pairs[name]],
        "max_distance": max_distance,
        "min_correlation": min_correlation,
        "seconds": round(time.perf_counter() - start, 2),
    }
    folder = pathlib.Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    excluded = sorted({pair["id"] for pair in result["pairs"]})
    (folder / "exclude.txt").write_text("".join(f"{name}\n" for name in excluded))
    (folder / "leakage.html").write_text(page(splits, pairs, max_pairs))
    (folder / "leakage.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def _main() -> None:
    values = flags.FLAGS.flag_values_dict()
    source, draw = sources.from_options({name: values[name] for name in _SOURCE_FLAGS})
    splits = sources.load_splits(source, draw, values["splits_file"])
    limits = [values[name] for name in ("max_distance", "min_correlation", "max_pairs")]
    result = write(splits, values["output_dir"], *limits)
    for name, found in result["sets"].items():
        print(f"{name}: {found['near_duplicates']} of {found['images']} look like a test image")
    print(f"{result['test_images_leaked']} of {result['test_images']} test images are affected")
    print(f"{values['output_dir']}/leakage.html shows them; exclude.txt lists the ids to exclude")


_SOURCE_FLAGS: dict[str, tuple[Any, str]] = {
    "dataset": ("mnist5k", "mnist5k | folder | records | tfds:NAME"),
    "data_dir": (None, "Directory where tensorflow-datasets stores its data (tfds:NAME only)."),
    "labeled_dir": (
        None,
        "Labeled images: a folder with one subfolder per class, or TFRecord files.",
    ),
    "unlabeled_dir": (None, "Folder of unlabeled images, flat or nested."),
    "validation_dir": (None, "Validation images; unset: held out from the labeled images."),
    "test_dir": (None, "Test images; unset: held out from the labeled images."),
    "unlabeled_records": ([], "Unlabeled images in TFRecord files: globs or folders."),
    "unlabeled_dataset": (None, "Data set (tfds:NAME) to take unlabeled images from."),
    "labeled_split": (None, "Labeled split or slice of tfds:NAME; unset: train."),
    "test_split": (None, "Test split or slice of tfds:NAME; unset: test."),
    "unlabeled_split": (None, "Unlabeled split or slice of tfds:NAME."),
    "unlabeled_fraction": (1.0, "Fraction of the unlabeled images to keep."),
    "unlabeled_skew": (1.0, "Imbalance of the unlabeled images (long tail over classes); 1: none."),
    "num_labeled": (0, "Training images that keep their labels; the others are unlabeled. 0: all."),
    "num_validation": (-1, "Validation images held out from the labeled images. -1: 10%."),
    "seed": (0, "Seed of the splits."),
}


def _define_flags() -> None:
    define = {
        list: flags.DEFINE_list,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        type(None): flags.DEFINE_string,
    }
    for name, (default, text) in _SOURCE_FLAGS.items():
        define[type(default)](name, default, text)
    flags.DEFINE_string(
        "splits_file", None, "Splits stored by a run (splits.json); unset: drawn from --seed."
    )
    flags.DEFINE_string("output_dir", None, "Directory to write the report to.", required=True)
    flags.DEFINE_integer("max_distance", MAX_DISTANCE, "Maximum distance of hashes in bits.", 0, 15)
    flags.DEFINE_float(
        "min_correlation", MIN_CORRELATION, "Minimum correlation of thumbnails.", -1.0, 1.0
    )
    flags.DEFINE_integer(
        "max_pairs", 200, "Maximum number of pairs to show per split.", lower_bound=0
    )


def command() -> None:
    """Runs the command."""
    _define_flags()
    cli.run(_main)
