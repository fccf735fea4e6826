"""Robustness metrics: corruption errors, flip rates and top-5 distance.

Pure NumPy functions of what a model predicted.

Source: Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019), sections 4.1 and 4.3. Xie et al. (CVPR 2020) report the same metrics.

Errors and probabilities are in 0..1. Metrics relative to a baseline are in percent: the baseline
itself has 100. mCE and mFR are defined for the complete benchmark only. For a part of it, use
`partial_corruption_error` and `partial_flip_rate`, which report what they average.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

SEVERITIES = 5

# AlexNet's error rate on each corruption of ImageNet-C, averaged over the five severities. The
# baseline of the published mCE. Its six digits are those of AugMix's code (Hendrycks et al., 2020).
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
# AlexNet's flip probability on each sequence of ImageNet-P. The baseline of the published mFR
# (Hendrycks and Dietterich, table 2, in percent).
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
# CIFAR-10-P is evaluated with spatter in place of snow.
SMALL_PERTURBATIONS = tuple("spatter" if name == "snow" else name for name in PERTURBATIONS)
_TOP = 5  # classes that the top-5 distance compares


@dataclasses.dataclass(frozen=True)
class PartialMean:
    """A mean over the available part of a benchmark: not an mCE or mFR."""

    percent: float  # the mean, in percent of the baseline
    present: tuple[str, ...]  # the names averaged over, in the benchmark's order
    missing: tuple[str, ...]  # the names that were not available


def corruption_error(
    errors: Sequence[float], baseline: float | Sequence[float], clean: tuple[float, float] = (0, 0)
) -> float:
    """Computes the CE of one corruption: its summed error divided by the baseline's.

    Args:
        errors: five error rates, 0..1, by severity.
        baseline: five error rates, or their mean.
        clean: error rates of model and baseline on clean images, subtracted for the relative CE.

    Returns:
        Percent; 100 is as bad as the baseline.

    Raises:
        ValueError: a rate is missing or outside 0..1, or the baseline has no (additional) errors.
    """
    rates = _rates("errors", errors, (SEVERITIES,))
    reference = _rates("baseline", baseline, (SEVERITIES,), ())
    model_clean, baseline_clean = _rates("clean", clean, (2,))
    divisor = reference.mean() - baseline_clean
    if divisor <= 0:
        raise ValueError(
            f"The baseline's error {reference.mean():g} must be above {baseline_clean:g} to divide "
            "by their difference."
        )
    return float(100 * (rates.mean() - model_clean) / divisor)


def mean_corruption_error(
    errors: Mapping[str, Sequence[float]],
    baseline: Mapping[str, float | Sequence[float]] | None = None,
) -> float:
    """Computes mCE, the mean of `corruption_error` over the 15 test corruptions.

    Args:
        errors: corruption -> five error rates, 0..1, by severity. Other corruptions, such as the
            four of the validation set, are ignored.
        baseline: corruption -> error rates of another model, or their mean; None: AlexNet's on
            ImageNet-C.

    Returns:
        Percent; the published mCE if the baseline is None and the images are ImageNet-C's.

    Raises:
        ValueError: a corruption is missing or a rate invalid; the message names it.
    """
    _require("mCE", CORRUPTIONS, errors, "corruptions")
    return partial_corruption_error(errors, baseline).percent


def partial_corruption_error(
    errors: Mapping[str, Sequence[float]],
    baseline: Mapping[str, float | Sequence[float]] | None = None,
) -> PartialMean:
    """Computes the mean of `corruption_error` over the available test corruptions.

    Args:
        errors: as for `mean_corruption_error`.
        baseline: as for `mean_corruption_error`.

    Raises:
        ValueError: no corruption is available, a baseline is missing, or a rate is invalid.
    """
    baseline = ALEXNET_CORRUPTION_ERROR if baseline is None else baseline
    present = _present(CORRUPTIONS, errors, "corruptions")
    _require("baseline", present, baseline, "corruptions")
    values = [corruption_error(errors[name], baseline[name]) for name in present]
    return _partial_mean(CORRUPTIONS, present, values)


def relative_mean_corruption_error(
    errors: Mapping[str, Sequence[float]], clean_error: float
) -> float:
    """Computes relative mCE: mCE of the errors that corruption adds to those on clean images.

    Args:
        errors: as for `mean_corruption_error`.
        clean_error: the model's error rate on clean images, 0..1.

    Returns:
        Percent of AlexNet's.

    Raises:
        ValueError: as for `mean_corruption_error`.
    """
    _require("relative mCE", CORRUPTIONS, errors, "corruptions")
    clean = (clean_error, ALEXNET_CLEAN_ERROR)
    baseline = ALEXNET_CORRUPTION_ERROR
    return float(np.mean([corruption_error(errors[n], baseline[n], clean) for n in CORRUPTIONS]))


def flip_probability(predictions: np.ndarray, noise: bool) -> float:
    """Computes how often the prediction changes during a sequence.

    Args:
        predictions: int [videos, frames], the predicted class of each frame, at least two frames.
        noise: True for noise sequences, which compare each frame with the first (clean) one. All
            others compare it with the frame before.

    Returns:
        0..1, the mean over frames and videos.

    Raises:
        ValueError: the dtype or shape is invalid.
    """
    flips = flips_by_video(predictions, noise)
    return float(flips.sum() / (len(flips) * (np.shape(predictions)[1] - 1)))


def flips_by_video(predictions: np.ndarray, noise: bool) -> np.ndarray:
    """Counts the flips of each video: int64 [videos], at most the number of frames minus 1.

    Args:
        predictions: as for `flip_probability`.
        noise: as for `flip_probability`.
    """
    before, after = _compared_frames("predictions", predictions, 2, noise)
    return np.sum(before != after, axis=1)


def mean_flip_rate(
    probabilities: Mapping[str, float], baseline: Mapping[str, float] | None = None
) -> float:
    """Computes mFR, the mean of flip probability / baseline over the ten perturbations.

    Args:
        probabilities: perturbation -> `flip_probability`. The ten of ImageNet-P or, with a
            baseline, those of CIFAR-10-P, which has spatter in place of snow. Others are ignored.
        baseline: the same of another model; None: AlexNet's on ImageNet-P.

    Returns:
        Percent; the published mFR if the baseline is None and the videos are ImageNet-P's.

    Raises:
        ValueError: a perturbation is missing or a value outside 0..1; the message names it.
    """
    _require("mFR", _perturbations(probabilities, baseline), probabilities, "perturbations")
    return partial_flip_rate(probabilities, baseline).percent


def partial_flip_rate(
    probabilities: Mapping[str, float], baseline: Mapping[str, float] | None = None
) -> PartialMean:
    """Computes the mean of flip probability / baseline over the available perturbations.

    Args:
        probabilities: as for `mean_flip_rate`.
        baseline: as for `mean_flip_rate`.

    Raises:
        ValueError: no perturbation is available, a baseline is missing or 0, or a value is outside
            0..1.
    """
    names = _perturbations(probabilities, baseline)
    baseline = ALEXNET_FLIP_PROBABILITY if baseline is None else baseline
    present = _present(names, probabilities, "perturbations")
    _require("baseline", present, baseline, "perturbations")
    values = []
    for name in present:
        probability = _rates(f"probabilities[{name!r}]", probabilities[name], ())
        reference = _rates(f"baseline[{name!r}]", baseline[name], ())
        if reference == 0:
            raise ValueError(f"The baseline never flips on {name}: cannot divide by 0.")
        values.append(100 * probability / reference)
    return _partial_mean(names, present, values)


def top5_distance(rankings: np.ndarray, noise: bool) -> float:
    """Computes how far the five best classes move between frames.

    The distance of two frames is the sum over i = 1..5 of |i - min(r(i), 6)|, where r(i) is the
    rank in the later frame of the class that the earlier one ranks i-th. It is 0 for the same five
    classes in the same order, and 15 if they share none. It is not symmetric: a class that enters
    at the top costs 5, a top class that drops out costs 9.

    Args:
        rankings: int [videos, frames, classes], the classes of each frame, best first, at least
            five of them. Ranks beyond the fifth do not matter.
        noise: as for `flip_probability`.

    Returns:
        0..15, the mean over frames and videos.

    Raises:
        ValueError: the dtype or shape is invalid, or there are fewer than five classes.
    """
    before, after = _compared_frames("rankings", rankings, 3, noise)
    if before.shape[2] < _TOP:
        raise ValueError(
            f"Top-5 distance needs at least five classes, not shape {np.shape(rankings)}."
        )
    before, after = before[..., :_TOP], after[..., :_TOP]
    same = before[..., :, np.newaxis] == after[..., np.newaxis, :]
    ranks = np.where(same.any(-1), same.argmax(-1), _TOP)  # from 0; all beyond the fifth are equal
    return float(np.mean(np.abs(ranks - np.arange(_TOP)).sum(-1)))


def _compared_frames(
    name: str, values: np.ndarray, ndim: int, noise: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of frames to compare, after checking dtype and shape."""
    values = np.asarray(values)
    shape = values.shape
    if values.dtype.kind not in "iu" or len(shape) != ndim or shape[0] < 1 or shape[1] < 2:
        axes = ("videos", "frames", "classes")[:ndim]
        raise ValueError(
            f"{name} must be integers [{', '.join(axes)}] of at least one video and two frames, "
            f"not {values.dtype} {shape}."
        )
    return (values[:, :1] if noise else values[:, :-1]), values[:, 1:]


def _rates(name: str, values: float | Sequence[float], *shapes: tuple[int, ...]) -> np.ndarray:
    """Returns values as float64 after checking their shape and range."""
    rates = np.asarray(values, np.float64)
    if rates.shape not in shapes:
        valid = " or ".join(str(list(shape)) if shape else "one number" for shape in shapes)
        raise ValueError(f"{name} must be {valid}, not {list(rates.shape)}: {values}.")
    outside = rates[~((rates >= 0) & (rates <= 1))]
    if outside.size:
        raise ValueError(f"{name} must be in 0..1, not {outside.flat[0]:g}.")
    return rates


def _perturbations(
    probabilities: Mapping[str, float], baseline: Mapping[str, float] | None
) -> tuple[str, ...]:
    """Returns the ten names that count: CIFAR-10-P's only with a baseline."""
    is_small = "spatter" in probabilities and "snow" not in probabilities
    return SMALL_PERTURBATIONS if is_small and baseline is not None else PERTURBATIONS


def _present(names: tuple[str, ...], values: Mapping[str, object], kind: str) -> tuple[str, ...]:
    present = tuple(name for name in names if name in values)
    if not present:
        raise ValueError(f"None of the {kind} {', '.join(names)} in {sorted(values)}.")
    return present


def _require(metric: str, names: tuple[str, ...], values: Mapping[str, object], kind: str) -> None:
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(
            f"{metric} needs all of {len(names)} {kind}, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )


def _partial_mean(
    names: tuple[str, ...], present: tuple[str, ...], values: Sequence[float]
) -> PartialMean:
    missing = tuple(name for name in names if name not in present)
    return PartialMean(float(np.mean(values)), present, missing)
