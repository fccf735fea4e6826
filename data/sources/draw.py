"""The seeded draw that splits a pool of labeled images."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from data.examples import Examples
from data.sources import subset
from data.sources.source import Unlabeled
from data.sources.splits import drawable, stratified

# Shares of the labeled pool held out, where a data set has no such split: of mnist5k 1000 and 500.
TEST_SHARE = 0.2
_VALIDATION_SHARE, _VALIDATION_LIMIT = 0.1, 10_000
_KEPT = 1  # images of each class that are for training


@dataclasses.dataclass(frozen=True)
class Draw:
    """Split of the labeled images, and the unlabeled images added to the rest.

    Attributes:
        num_labeled: number of labeled images to keep; 0: all that are not held out. The rest of the
            labeled images is unlabeled.
        num_validation: number of images to hold out for validation; -1: a tenth of the labeled
            ones, at most 10 000 and at least one per class.
        least_validation: the automatic number is 0 if it were smaller than this.
        seed: decides the draw.
        unlabeled: unlabeled images of another place; None: those that the source has itself.
        unlabeled_fraction: fraction of the unlabeled images to keep (`data.sources.subset`).
        unlabeled_skew: ratio of kept images of the first class to those of the last, by true label
            (`data.sources.subset`); 1: all are kept.
        exclude: text file with the id of an image to leave out on every line, as `data.leakage`
            writes it. They are left out after the draw, so that test images stay the same.
    """

    num_labeled: int = 0
    num_validation: int = -1
    least_validation: int = 0
    seed: int = 0
    unlabeled: Unlabeled | None = None
    unlabeled_fraction: float = 1.0
    unlabeled_skew: float = 1.0
    exclude: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        subset.check(self.unlabeled_fraction, self.unlabeled_skew)
        if self.num_labeled < 0:
            raise ValueError(f"num_labeled must be 0 (all) or above, not {self.num_labeled}.")
        if self.num_validation < -1:
            raise ValueError(
                f"num_validation must be -1 (automatic) or above, not {self.num_validation}."
            )

    def request(self) -> dict[str, Any]:
        """Returns what identifies the draw in a file of splits, JSON values only."""
        return {
            **(self.unlabeled.unlabeled_request() if self.unlabeled else {}),
            "unlabeled_fraction": None if self.unlabeled_fraction == 1 else self.unlabeled_fraction,
            "unlabeled_skew": None if self.unlabeled_skew == 1 else self.unlabeled_skew,
            "num_labeled": self.num_labeled,
            "num_validation": self.num_validation,
            **({"least_validation": self.least_validation} if self.least_validation else {}),
            "seed": self.seed,
        }

    def ids(self, pool: Examples, fixed: Mapping[str, Examples]) -> dict[str, list[str]]:
        """Draws test, validation and labeled images from the pool, in this order.

        An image of each class is left for training, however few there are.

        Args:
            pool: the labeled images.
            fixed: images by split that are not of the pool. Of these splits none are drawn, except
                that the rest of the pool joins the "unlabeled" ones.

        Returns:
            Ids by split; with a fraction or skew also those of the unlabeled images "left_out".

        Raises:
            ValueError: there are too few images.
        """
        rng = np.random.default_rng(self.seed)
        rest = np.arange(len(pool))
        drawn = {}
        for name in ("test", "validation", "labeled"):
            drawn[name] = np.zeros(0, np.int64)
            if name not in fixed:
                count = self._count(name, len(pool), pool.labels[rest])
                keep = 0 if name == "labeled" else _KEPT
                drawn[name] = rest[stratified(pool.labels[rest], count, rng, keep)]
                rest = np.setdiff1d(rest, drawn[name], assume_unique=True)
        drawn["unlabeled"] = rest
        ids = {
            name: [*pool.ids[where], *(fixed[name].ids if name in fixed else ())]
            for name, where in drawn.items()
        }
        if self.unlabeled_fraction < 1 or self.unlabeled_skew > 1:
            labels = pool.labels[rest]
            if "unlabeled" in fixed:
                labels = np.concatenate([labels, fixed["unlabeled"].labels])
            names = np.array(ids["unlabeled"], object)
            where = subset.kept(
                names,
                labels,
                len(pool.class_names),
                fraction=self.unlabeled_fraction,
                skew=self.unlabeled_skew,
                seed=self.seed,
            )
            ids["unlabeled"] = names[where].tolist()
            ids["left_out"] = np.delete(names, where).tolist()
        return ids

    def _count(self, name: str, pool_size: int, labels: np.ndarray) -> int:
        """Returns the size of a split; `labels` are those that are left of the pool."""
        num_classes = len(np.unique(labels))
        left = len(labels) if name == "labeled" else drawable(labels, _KEPT)
        if name == "test":
            if not left:
                raise ValueError(
                    f"The {pool_size} labeled images, one per class, are all needed for training: "
                    "give --test_dir."
                )
            return min(max(round(TEST_SHARE * pool_size), num_classes), left)
        if name == "validation" and self.num_validation < 0:
            share = min(round(_VALIDATION_SHARE * pool_size), _VALIDATION_LIMIT)
            found = min(max(share, num_classes), left)
            return found if found >= self.least_validation else 0
        count = self.num_validation if name == "validation" else self.num_labeled
        if name == "labeled" and count == 0:
            return left
        if count > left:
            kept = "" if name == "labeled" else ": one image of each class is kept for training"
            raise ValueError(
                f"--num_{name}={count}: only {left} of the {pool_size} labeled images are "
                f"available{kept}."
            )
        return count
