"""Are test images among those that are learned from? Finds near duplicates and shows them.

    python -m data.leakage --dataset=folder --labeled_dir=train --unlabeled_dir=more \
        --test_dir=test --output_dir=leakage

writes `leakage.json` (what was compared, and every pair), `leakage.html` (the pairs as pictures)
and `exclude.txt` (the ids of the images to leave out, for `exclude` of `data.sources.load_splits`).

Found are copies that were re-encoded, resized, mirrored, or changed in brightness or contrast. Not
found are crops, rotations and other views of the same thing.
"""

import base64
import dataclasses
import html
import io
import json
import pathlib
import time
from collections.abc import Mapping

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
    """An image and the test image that it looks like.

    Attributes:
        index: of the image among those searched.
        test_index: of the test image.
        distance: between their hashes, in bits of 64.
        correlation: of their gray thumbnails, -1..1.
        mirrored: whether one is the mirror image of the other.
    """

    index: int
    test_index: int
    distance: int
    correlation: float
    mirrored: bool


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
        max_distance: of the hashes, in bits, 0..15.
        min_correlation: of the thumbnails, -1..1; decides on the pairs whose hashes are close.

    Returns:
        Pairs in the order of `examples`, the most alike first.

    Raises:
        ValueError: for a max_distance out of range.
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
    """The hashes of images, or of their mirror images, uint64 [N]."""
    parts = [np.zeros(0, np.uint64)]
    for batch in near_duplicates.thumbnails(examples):
        parts.append(near_duplicates.hashes(batch[:, :, ::-1] if mirrored else batch))
    return np.concatenate(parts)


def _correlations(
    examples: Examples, rows: np.ndarray, test: Examples, test_rows: np.ndarray, mirrored: bool
) -> np.ndarray:
    """How alike the images of each pair are, float32 [P]; only those in pairs are read."""
    first, second = _thumbnails(examples, rows), _thumbnails(test, test_rows)
    return near_duplicates.correlations(first, second[:, :, ::-1] if mirrored else second)


def _thumbnails(examples: Examples, rows: np.ndarray) -> np.ndarray:
    """The thumbnails of the images at `rows`, each read once."""
    unique, where = np.unique(rows, return_inverse=True)
    side = near_duplicates.SIDE
    parts = [np.zeros([0, side, side], np.float32)]
    return np.concatenate([*parts, *near_duplicates.thumbnails(examples.take(unique))])[where]


def check(splits: Splits, max_distance: int, min_correlation: float) -> dict[str, list[Pair]]:
    """The pairs of each split that is learned from, labeled, validation and unlabeled."""
    return {
        name: find(getattr(splits, name), splits.test, max_distance, min_correlation)
        for name in _LEARNED_FROM
    }


def summarize(splits: Splits, pairs: Mapping[str, list[Pair]]) -> dict:
    """What was compared and found, ready for JSON.

    Args:
        splits: the images.
        pairs: what `check` returned for them.

    Returns:
        "test_images", "test_fingerprint", "test_images_leaked" (how many are in a pair), "sets"
        (for each split "images", "fingerprint" and "near_duplicates") and "pairs".
    """
    leaked = {pair.test_index for found in pairs.values() for pair in found}
    return {
        "test_images": len(splits.test),
        "test_fingerprint": splits.test.fingerprint(),
        "test_images_leaked": len(leaked),
        "sets": {
            name: {
                "images": len(getattr(splits, name)),
                "fingerprint": getattr(splits, name).fingerprint(),
                "near_duplicates": len({pair.index for pair in found}),
            }
            for name, found in pairs.items()
        },
        "pairs": [
            {
                "set": name,
                "id": str(getattr(splits, name).ids[pair.index]),
                "test_id": str(splits.test.ids[pair.test_index]),
                "distance": pair.distance,
                "correlation": round(pair.correlation, 4),
                "mirrored": pair.mirrored,
            }
            for name, found in pairs.items()
            for pair in found
        ],
    }


def page(splits: Splits, pairs: Mapping[str, list[Pair]], max_pairs: int) -> str:
    """A self-contained HTML page of the pairs.

    Args:
        splits: the images.
        pairs: what `check` returned for them.
        max_pairs: of each split, how many are shown.

    Returns:
        HTML, with all pictures inside.
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
<p>Left the image that is learned from, right the test image.</p>
{body}
</html>
"""


def _row(examples: Examples, test: Examples, pair: Pair) -> str:
    """A pair as HTML."""
    mirrored = ", mirrored" if pair.mirrored else ""
    return (
        "<div>"
        + _figure(examples, pair.index)
        + _figure(test, pair.test_index)
        + f"correlation {pair.correlation:.3f}, {pair.distance} of 64 bits differ{mirrored}</div>"
    )


def _figure(examples: Examples, index: int) -> str:
    """A small picture of an image, under its id and class."""
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
) -> dict:
    """Compares all images learned from with the test images, and writes what was found.

    Args:
        splits: the images.
        output_dir: receives leakage.json, leakage.html and exclude.txt.
        max_distance: see `find`.
        min_correlation: see `find`.
        max_pairs: see `page`.

    Returns:
        What is in leakage.json: that of `summarize`, the two thresholds and "seconds".
    """
    start = time.perf_counter()
    pairs = check(splits, max_distance, min_correlation)
    summary = summarize(splits, pairs) | {
        "max_distance": max_distance,
        "min_correlation": min_correlation,
        "seconds": round(time.perf_counter() - start, 2),
    }
    folder = pathlib.Path(output_dir).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    excluded = sorted({pair["id"] for pair in summary["pairs"]})
    (folder / "exclude.txt").write_text("".join(f"{name}\n" for name in excluded))
    (folder / "leakage.html").write_text(page(splits, pairs, max_pairs))
    (folder / "leakage.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _main() -> None:
    values = flags.FLAGS.flag_values_dict()
    splits = sources.load_splits(**{name: values[name] for name in _SOURCE_FLAGS})
    summary = write(
        splits,
        values["output_dir"],
        values["max_distance"],
        values["min_correlation"],
        values["max_pairs"],
    )
    for name, found in summary["sets"].items():
        print(f"{name}: {found['near_duplicates']} of {found['images']} look like a test image")
    print(f"{summary['test_images_leaked']} of {summary['test_images']} test images are concerned")
    print(f"{values['output_dir']}/leakage.html shows them; exclude.txt lists what to leave out")


_SOURCE_FLAGS = {
    "dataset": "mnist5k | folder | records | tfds:NAME",
    "data_dir": "Directory of tensorflow-datasets (tfds:NAME only).",
    "labeled_dir": "Labeled images: a folder of class folders, or TFRecord files.",
    "unlabeled_dir": "Folder of unlabeled images, flat or nested.",
    "validation_dir": "Validation images; unset: held out of the labeled ones.",
    "test_dir": "Test images; unset: held out of the labeled ones.",
    "unlabeled_records": "Unlabeled images in TFRecord files: globs or folders.",
    "unlabeled_dataset": "Another data set (tfds:NAME) whose images are the unlabeled ones.",
    "labeled_split": "tfds:NAME: labeled split or slice; unset: train.",
    "test_split": "tfds:NAME: test split or slice; unset: test.",
    "unlabeled_split": "tfds:NAME: unlabeled split or slice.",
    "unlabeled_fraction": "Part of the unlabeled images kept.",
    "unlabeled_skew": "Long tail of the unlabeled images over their classes; 1: none.",
    "num_labeled": "Labeled training images kept; the rest is unlabeled. 0: all.",
    "num_validation": "Validation images held out of the labeled ones. -1: 10%.",
    "seed": "Decides the splits.",
    "splits_file": "Splits stored by a run (splits.json); unset: drawn from --seed, the same.",
}


def _define_flags() -> None:
    for name, text in _SOURCE_FLAGS.items():
        if name == "unlabeled_records":
            flags.DEFINE_list(name, [], text)
        elif name in ("num_labeled", "seed"):
            flags.DEFINE_integer(name, 0, text, lower_bound=0)
        elif name in ("unlabeled_fraction", "unlabeled_skew"):
            flags.DEFINE_float(name, 1.0, text)
        elif name == "num_validation":
            flags.DEFINE_integer(name, -1, text, lower_bound=-1)
        else:
            flags.DEFINE_string(name, "mnist5k" if name == "dataset" else None, text)
    flags.DEFINE_string("output_dir", None, "Where the report goes.", required=True)
    flags.DEFINE_integer("max_distance", MAX_DISTANCE, "Of hashes, in bits of 64.", 0, 15)
    flags.DEFINE_float("min_correlation", MIN_CORRELATION, "Of thumbnails.", -1.0, 1.0)
    flags.DEFINE_integer("max_pairs", 200, "Shown of each split.", lower_bound=0)


def command() -> None:
    """Runs the command."""
    _define_flags()
    cli.run(_main)
