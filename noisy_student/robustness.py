"""Robustness as numbers: corruption errors, flip rates and top-5 distance.

Pure NumPy on what a model predicted; nothing here knows of models, images or files.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), sections 4.1 and 4.3, which the paper's tables follow.

Errors and probabilities go in as 0..1; what is divided by a baseline comes out in percent of it, so
that the baseline itself has 100. The names mCE and mFR stand for the mean over the complete
benchmark and nothing else: where some of it is missing, those functions raise, and
`partial_corruption_error` and `partial_flip_rate` say what they averaged.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

SEVERITIES = 5

# AlexNet's error rate on each corruption of ImageNet-C, averaged over the five severities: the
# baseline of the published mCE (code of Hendrycks and Dietterich).
ALEXNET_CORRUPTION_ERROR = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.92264,
    "defocus_blur": 0.81988,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.79836,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.71784,
    "jpeg_compression": 0.6065,
}
# AlexNet's error rate on clean ImageNet (Hendrycks and Dietterich, table 1).
ALEXNET_CLEAN_ERROR = 0.435
# AlexNet's flip probability on each sequence of ImageNet-P (Hendrycks and Dietterich, table 2 gives
# them in percent): the baseline of the published mFR.
ALEXNET_FLIP_PROBABILITY = {
    "gaussian_noise": 0.2365,
    "shot_noise": 0.3006,
    "motion_blur": 0.0930,
    "zoom_blur": 0.0594,
    "snow": 0.1193,
    "brightness": 0.0489,
    "translate": 0.1101,
    "rotate": 0.1310,
    "tilt": 0.0705,
    "scale": 0.2353,
}
CORRUPTIONS = tuple(ALEXNET_CORRUPTION_ERROR)
PERTURBATIONS = tuple(ALEXNET_FLIP_PROBABILITY)
# CIFAR-10-P is evaluated with spatter where ImageNet-P has snow.
SMALL_PERTURBATIONS = tuple("spatter" if name == "snow" else name for name in PERTURBATIONS)


@dataclasses.dataclass(frozen=True)
class PartialMean:
    """A mean over what is there of a benchmark: never an mCE or mFR.

    Attributes:
        percent: the mean, in percent of the baseline.
        present: the names averaged over, in the benchmark's order.
        missing: the names that were not there.
    """

    percent: float
    present: tuple[str, ...]
    missing: tuple[str, ...]


# Corruptions.


def corruption_error(
    errors: Sequence[float], baseline: float | Sequence[float], clean: tuple[float, float] = (0, 0)
) -> float:
    """CE of one corruption: the error summed over severities, divided by the baseline's.

    Args:
        errors: five error rates, 0..1, by severity.
        baseline: five error rates, or their mean.
        clean: error rates on clean images of model and baseline, to be subtracted first, which
            gives the relative CE.

    Returns:
        Percent; 100 is as bad as the baseline.

    Raises:
        ValueError: not five rates, one outside 0..1, or a baseline without (additional) errors.
    """
    rates = _rates("errors", errors, (SEVERITIES,))
    reference = _rates("baseline", baseline, (SEVERITIES,), ())
    model_clean, baseline_clean = _rates("clean", clean, (2,))
    divisor = reference.mean() - baseline_clean
    if divisor <= 0:
        raise ValueError(
            f"The baseline's error {reference.mean():g} must be above {baseline_clean:g} to be "
            f"divided by."
        )
    return float(100 * (rates.mean() - model_clean) / divisor)


def mean_corruption_error(
    errors: Mapping[str, Sequence[float]],
    baseline: Mapping[str, float | Sequence[float]] | None = None,
) -> float:
    """mCE: the mean of `corruption_error` over the 15 test corruptions.

    Args:
        errors: corruption -> five error rates, 0..1, by severity. Further corruptions, such as the
            four of the validation set, do not count.
        baseline: corruption -> error rates of another model, or their mean; None: AlexNet's on
            ImageNet-C.

    Returns:
        Percent; the published mCE where the baseline is None and the images are ImageNet-C's.

    Raises:
        ValueError: naming the corruptions that are missing, or a value that is no error rate.
    """
    _refuse_missing("mCE", CORRUPTIONS, errors, "corruptions")
    return partial_corruption_error(errors, baseline).percent


def partial_corruption_error(
    errors: Mapping[str, Sequence[float]],
    baseline: Mapping[str, float | Sequence[float]] | None = None,
) -> PartialMean:
    """The mean of `corruption_error` over those of the 15 test corruptions that are there.

    Arguments as `mean_corruption_error`.

    Raises:
        ValueError: none is there, a baseline is missing, or a value is no error rate.
    """
    baseline = ALEXNET_CORRUPTION_ERROR if baseline is None else baseline
    present = _present(CORRUPTIONS, errors, "corruptions")
    _refuse_missing("baseline", present, baseline, "corruptions")
    values = [corruption_error(errors[name], baseline[name]) for name in present]
    return _partial(CORRUPTIONS, present, values)


def relative_mean_corruption_error(
    errors: Mapping[str, Sequence[float]],
    clean_error: float,
    baseline: Mapping[str, float | Sequence[float]] | None = None,
    baseline_clean_error: float | None = None,
) -> float:
    """Relative mCE: as mCE, of the errors that corruption adds to those on clean images.

    Args:
        errors: as `mean_corruption_error`.
        clean_error: the model's error rate on clean images, 0..1.
        baseline: as `mean_corruption_error`.
        baseline_clean_error: the baseline's error rate on clean images; needed where a baseline is
            given, None else.

    Returns:
        Percent.

    Raises:
        ValueError: as `mean_corruption_error`, or one of the last two is given without the other.
    """
    if (baseline is None) != (baseline_clean_error is None):
        raise ValueError("Give baseline and baseline_clean_error together, or neither.")
    if baseline is None:
        baseline, baseline_clean_error = ALEXNET_CORRUPTION_ERROR, ALEXNET_CLEAN_ERROR
    _refuse_missing("relative mCE", CORRUPTIONS, errors, "corruptions")
    _refuse_missing("baseline", CORRUPTIONS, baseline, "corruptions")
    clean = (clean_error, baseline_clean_error)
    values = [corruption_error(errors[name], baseline[name], clean) for name in CORRUPTIONS]
    return float(np.mean(values))


def mean_error(errors: Mapping[str, Sequence[float]]) -> float:
    """The mean error over the 15 test corruptions and five severities, divided by no baseline.

    Arguments and errors as `mean_corruption_error`; percent of the images.
    """
    _refuse_missing("mean error", CORRUPTIONS, errors, "corruptions")
    rates = [_rates(f"errors[{name!r}]", errors[name], (SEVERITIES,)) for name in CORRUPTIONS]
    return float(100 * np.mean(rates))


# Perturbations.


def flip_probability(predictions: np.ndarray, noise: bool) -> float:
    """How often the prediction changes in the course of a sequence.

    Args:
        predictions: int [videos, frames], the predicted class of every frame, at least two frames.
        noise: whether this is a noise sequence: there every frame is compared with the first, which
            is the clean image; in all others with the frame before it.

    Returns:
        0..1, the mean over frames and videos.

    Raises:
        ValueError: predictions of another kind or shape.
    """
    flips = flips_by_video(predictions, noise)
    return float(flips.sum() / (len(flips) * (np.shape(predictions)[1] - 1)))


def flips_by_video(predictions: np.ndarray, noise: bool) -> np.ndarray:
    """How many of a video's frames but the first are flips: int64 [videos].

    Arguments and errors as `flip_probability`.
    """
    predictions = _videos("predictions", predictions, 2)
    before, after = _compared(predictions, noise)
    return np.sum(before != after, axis=1)


def mean_flip_rate(
    probabilities: Mapping[str, float], baseline: Mapping[str, float] | None = None
) -> float:
    """mFR: the mean over the ten perturbations of flip probability divided by the baseline's.

    Args:
        probabilities: perturbation -> `flip_probability`. The ten of ImageNet-P, or, with a
            baseline, those of CIFAR-10-P, which has spatter instead of snow; others do not count.
        baseline: the same of another model; None: AlexNet's on ImageNet-P.

    Returns:
        Percent; the published mFR where the baseline is None and the videos are ImageNet-P's.

    Raises:
        ValueError: naming the perturbations that are missing, or a value outside 0..1.
    """
    _refuse_missing("mFR", _perturbations(probabilities, baseline), probabilities, "perturbations")
    return partial_flip_rate(probabilities, baseline).percent


def partial_flip_rate(
    probabilities: Mapping[str, float], baseline: Mapping[str, float] | None = None
) -> PartialMean:
    """As `mean_flip_rate`, over those perturbations that are there.

    Raises:
        ValueError: none is there, a baseline is missing or 0, or a value is outside 0..1.
    """
    names = _perturbations(probabilities, baseline)
    baseline = ALEXNET_FLIP_PROBABILITY if baseline is None else baseline
    present = _present(names, probabilities, "perturbations")
    _refuse_missing("baseline", present, baseline, "perturbations")
    values = []
    for name in present:
        probability = _rates(f"probabilities[{name!r}]", probabilities[name], ())
        reference = _rates(f"baseline[{name!r}]", baseline[name], ())
        if reference == 0:
            raise ValueError(f"The baseline never flips on {name}: nothing can be divided by that.")
        values.append(100 * probability / reference)
    return _partial(names, present, values)


def top5_distance(rankings: np.ndarray, noise: bool) -> float:
    """How far the five best classes move between frames.

    The distance of two frames is the sum over i = 1..5 of |i - min(r(i), 6)|, where r(i) is the
    rank in the later frame of the class that the earlier one ranks i-th. It is 0 where the first
    five are the same in the same order, and 15 where none is shared. It matters which frame is the
    earlier one: if one class comes in at the top, 5; if the top class goes out, 9.

    Args:
        rankings: int [videos, frames, classes], the classes of every frame, best first; all of
            them, or the first five or more, since what follows does not matter.
        noise: as `flip_probability`.

    Returns:
        0..15, the mean over frames and videos.

    Raises:
        ValueError: rankings of another kind or shape, or fewer than five classes.
    """
    rankings = _videos("rankings", rankings, 3)
    if rankings.shape[2] < 5:
        raise ValueError(
            f"Top-5 distance needs five classes or more, but the rankings are {rankings.shape}."
        )
    before, after = _compared(rankings[..., :5], noise)
    same = before[..., :, np.newaxis] == after[..., np.newaxis, :]
    ranks = np.where(same.any(-1), same.argmax(-1), 5)  # from 0, those beyond the fifth alike
    return float(np.mean(np.abs(ranks - np.arange(5)).sum(-1)))


def mean_top5_distance(distances: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """mT5D: the mean over the ten perturbations of `top5_distance` divided by the baseline's.

    Arguments and errors as `mean_flip_rate`, with distances of 0..15; percent.
    """
    names = _perturbations(distances, baseline)
    _refuse_missing("mT5D", names, distances, "perturbations")
    _refuse_missing("baseline", names, baseline, "perturbations")
    values = np.array([distances[name] for name in names], np.float64)
    references = np.array([baseline[name] for name in names], np.float64)
    if not (references > 0).all():
        raise ValueError(f"Distances of the baseline must be above 0, not {references.tolist()}.")
    return float(100 * np.mean(values / references))


# What the above share.


def _compared(frames: np.ndarray, noise: bool) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of frames that are compared, of arrays [videos, frames, ...]."""
    return (frames[:, :1] if noise else frames[:, :-1]), frames[:, 1:]


def _videos(what: str, values: np.ndarray, ndim: int) -> np.ndarray:
    """Values of videos, checked: integers of `ndim` axes, of one video and two frames or more."""
    values = np.asarray(values)
    shape = values.shape
    if values.dtype.kind not in "iu" or len(shape) != ndim or shape[0] < 1 or shape[1] < 2:
        axes = ("videos", "frames", "classes")[:ndim]
        raise ValueError(
            f"{what} must be integers [{', '.join(axes)}] of at least one video and two frames, "
            f"not {values.dtype} {shape}."
        )
    return values


def _rates(what: str, values: float | Sequence[float], *shapes: tuple[int, ...]) -> np.ndarray:
    """Values as float64, checked: of one of the shapes, and all in 0..1."""
    rates = np.asarray(values, np.float64)
    if rates.shape not in shapes:
        valid = " or ".join(str(list(shape)) if shape else "one number" for shape in shapes)
        raise ValueError(f"{what} must be {valid}, not {list(rates.shape)}: {values}.")
    outside = rates[~((rates >= 0) & (rates <= 1))]
    if outside.size:
        raise ValueError(f"{what} must be in 0..1, not {outside.flat[0]:g}.")
    return rates


def _perturbations(
    probabilities: Mapping[str, float], baseline: Mapping[str, float] | None
) -> tuple[str, ...]:
    """The ten names that count: CIFAR-10-P's where a baseline of one's own goes with them."""
    is_small = "spatter" in probabilities and "snow" not in probabilities
    return SMALL_PERTURBATIONS if is_small and baseline is not None else PERTURBATIONS


def _present(names: tuple[str, ...], values: Mapping, kind: str) -> tuple[str, ...]:
    """Those of `names` that are in `values`."""
    present = tuple(name for name in names if name in values)
    if not present:
        raise ValueError(f"None of the {kind} {', '.join(names)} in {sorted(values)}.")
    return present


def _refuse_missing(what: str, names: tuple[str, ...], values: Mapping, kind: str) -> None:
    """Raises ValueError unless all `names` are in `values`."""
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(
            f"{what} needs all of {len(names)} {kind}, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )


def _partial(names: tuple[str, ...], present: tuple[str, ...], values: list) -> PartialMean:
    """The mean of the values of those present."""
    missing = tuple(name for name in names if name not in present)
    return PartialMean(float(np.mean(values)), present, missing)
