import numpy as np
import pytest

from data import corruptions, perturbations
from noisy_student import robustness

# Flip probabilities of ResNet-50 on ImageNet-P (Hendrycks and Dietterich 2019), in percent.
RESNET50_FLIPS = {
    "gaussian_noise": 14.04,
    "shot_noise": 17.38,
    "motion_blur": 6.0,
    "zoom_blur": 4.29,
    "snow": 7.54,
    "brightness": 3.03,
    "translate": 4.86,
    "rotate": 6.79,
    "tilt": 4.01,
    "scale": 11.32,
}
# Corruption errors of ResNet-50 on ImageNet-C (ibid., table 1), in percent of AlexNet's, rounded.
RESNET50_CORRUPTION_ERRORS = dict(
    zip(
        robustness.CORRUPTIONS,
        [80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77],
        strict=True,
    )
)


def resnet50_errors():
    """Error rates with the published corruption errors, spread over the severities."""
    spread = np.array([0.8, 0.9, 1.0, 1.1, 1.2])
    return {
        name: spread * percent / 100 * robustness.ALEXNET_CORRUPTION_ERROR[name]
        for name, percent in RESNET50_CORRUPTION_ERRORS.items()
    }


def test_the_baselines_are_of_what_is_made():
    assert robustness.CORRUPTIONS == corruptions.TEST_CORRUPTIONS
    assert robustness.SEVERITIES == len(corruptions.SEVERITIES)
    assert robustness.PERTURBATIONS == perturbations.SEQUENCES[224]
    assert robustness.SMALL_PERTURBATIONS == perturbations.SEQUENCES[32]


# Corruptions.


def test_corruption_error_by_hand():
    errors = [0.1, 0.2, 0.3, 0.4, 0.5]  # mean 0.3
    assert robustness.corruption_error(errors, 0.6) == pytest.approx(50)
    assert robustness.corruption_error(errors, [0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(75)
    # (0.3 - 0.1) / (0.6 - 0.2)
    assert robustness.corruption_error(errors, 0.6, clean=(0.1, 0.2)) == pytest.approx(50)


def test_alexnet_has_100():
    errors = {name: [e] * 5 for name, e in robustness.ALEXNET_CORRUPTION_ERROR.items()}
    assert robustness.mean_corruption_error(errors) == pytest.approx(100)
    assert robustness.relative_mean_corruption_error(
        errors, robustness.ALEXNET_CLEAN_ERROR
    ) == pytest.approx(100)
    flips = robustness.ALEXNET_FLIP_PROBABILITY
    assert robustness.mean_flip_rate(flips) == pytest.approx(100)


def test_mean_corruption_error_of_resnet50():
    # 76.7 is the published mCE, 105.0 the relative one; the 15 figures are rounded to whole ones.
    assert robustness.mean_corruption_error(resnet50_errors()) == pytest.approx(76.7, abs=0.25)
    relative = robustness.relative_mean_corruption_error(resnet50_errors(), 0.239)
    assert relative == pytest.approx(105.0, abs=0.5)


def test_another_model_as_baseline():
    errors = {name: [0.1] * 5 for name in robustness.CORRUPTIONS}
    errors["snow"] = [0.4] * 5
    baseline = {name: 0.2 for name in robustness.CORRUPTIONS}
    assert robustness.mean_corruption_error(errors, baseline) == pytest.approx((14 * 50 + 200) / 15)


def test_validation_corruptions_do_not_count():
    errors = resnet50_errors()
    expected = robustness.mean_corruption_error(errors)
    assert robustness.mean_corruption_error(errors | {"saturate": [1.0] * 5}) == expected


def test_part_of_the_corruptions_is_no_mce():
    errors = {"fog": [0.1] * 5, "snow": [0.2] * 5, "saturate": [0.3] * 5}
    baseline = {"fog": 0.2, "snow": 0.2}
    partial = robustness.partial_corruption_error(errors, baseline)
    assert partial.percent == pytest.approx(75)
    assert partial.present == ("snow", "fog")
    assert len(partial.missing) == 13 and "frost" in partial.missing
    for mean in (
        robustness.mean_corruption_error,
        lambda errors: robustness.relative_mean_corruption_error(errors, 0.1),
    ):
        with pytest.raises(ValueError, match="needs all of 15 corruptions, but gaussian_noise, "):
            mean(errors)
    with pytest.raises(ValueError, match="baseline needs all of 2 corruptions, but fog is missing"):
        robustness.partial_corruption_error(errors, {"snow": 0.2})
    with pytest.raises(ValueError, match="None of the corruptions .* in \\['rain'\\]"):
        robustness.partial_corruption_error({"rain": [0.1] * 5})


@pytest.mark.parametrize(
    "errors, baseline, message",
    [
        ([0.1] * 4, 0.5, r"errors must be \[5\], not \[4\]"),
        ([0.1, 0.1, 0.1, 0.1, 1.1], 0.5, "errors must be in 0..1, not 1.1"),
        ([0.1, 0.1, np.nan, 0.1, 0.1], 0.5, "errors must be in 0..1, not nan"),
        ([0.1] * 5, [0.5] * 3, r"baseline must be \[5\] or one number, not \[3\]"),
        ([0.1] * 5, 0.0, "baseline's error 0 must be above 0"),
    ],
)
def test_what_is_no_error_rate(errors, baseline, message):
    with pytest.raises(ValueError, match=message):
        robustness.corruption_error(errors, baseline)


# Flips.


def test_flips_of_a_hand_made_video():
    # Against the frame before: 1 of 4 change in the first video, 3 of 4 in the second.
    videos = np.array([[7, 7, 7, 2, 2], [1, 3, 1, 1, 4]])
    assert robustness.flip_probability(videos, noise=False) == pytest.approx((1 / 4 + 3 / 4) / 2)
    # Against the first frame: 2 of 4, and 2 of 4.
    assert robustness.flip_probability(videos, noise=True) == pytest.approx(1 / 2)
    assert robustness.flip_probability(np.array([[1, 2, 2, 2]]), noise=True) == 1
    assert robustness.flip_probability(np.array([[1, 2, 2, 2]]), noise=False) == pytest.approx(
        1 / 3
    )


def test_mean_flip_rate_of_resnet50():
    flips = {name: percent / 100 for name, percent in RESNET50_FLIPS.items()}
    assert round(robustness.mean_flip_rate(flips), 1) == 58.0


def test_part_of_the_perturbations_is_no_mfr():
    flips = {"tilt": 0.0141, "rotate": 0.131, "shear": 0.5}
    with pytest.raises(ValueError, match="mFR needs all of 10 perturbations, but gaussian_noise, "):
        robustness.mean_flip_rate(flips)
    partial = robustness.partial_flip_rate(flips)
    assert partial.percent == pytest.approx((20 + 100) / 2)
    assert partial.present == ("rotate", "tilt")
    assert len(partial.missing) == 8


def test_the_ten_of_small_images_need_a_baseline_of_their_own():
    flips = dict.fromkeys(robustness.SMALL_PERTURBATIONS, 0.1)
    baseline = dict.fromkeys(robustness.SMALL_PERTURBATIONS, 0.4)
    assert robustness.mean_flip_rate(flips, baseline) == pytest.approx(25)
    with pytest.raises(ValueError, match="mFR needs all of 10 perturbations, but snow is missing"):
        robustness.mean_flip_rate(flips)
    del baseline["spatter"]
    with pytest.raises(ValueError, match="baseline needs all of 10 .* but spatter is missing"):
        robustness.mean_flip_rate(flips, baseline)


@pytest.mark.parametrize(
    "predictions",
    [np.zeros((2, 1), int), np.zeros((0, 5), int), np.zeros((2, 5)), np.zeros((2, 5, 3), int)],
)
def test_what_is_no_video(predictions):
    with pytest.raises(ValueError, match=r"predictions must be integers \[videos, frames\]"):
        robustness.flip_probability(predictions, noise=False)


def test_flip_probabilities_out_of_range():
    flips = {name: percent for name, percent in RESNET50_FLIPS.items()}
    with pytest.raises(ValueError, match=r"probabilities\['gaussian_noise'\] must be in 0..1"):
        robustness.mean_flip_rate(flips)
    flips = dict.fromkeys(robustness.PERTURBATIONS, 0.1)
    with pytest.raises(ValueError, match="baseline never flips on snow"):
        robustness.mean_flip_rate(flips, flips | {"snow": 0.0})


# Top-5 distance.


def slow_top5_distance(rankings, noise):
    """The definition of Hendrycks and Dietterich (2019), section 4.3, sum by sum."""

    def distance(before, after):
        total = 0
        for i in range(1, 6):
            rank = list(after).index(before[i - 1]) + 1
            for j in range(min(i, rank) + 1, max(i, rank) + 1):
                total += 1 <= j - 1 <= 5
        return total

    videos = []
    for video in rankings:
        pairs = [(video[0 if noise else frame - 1], video[frame]) for frame in range(1, len(video))]
        videos.append(np.mean([distance(*pair) for pair in pairs]))
    return np.mean(videos)


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("classes", [5, 6, 10, 40])
def test_top5_distance_is_the_published_sum(classes, noise):
    rng = np.random.default_rng(classes)
    # Rankings of slowly changing scores, so that frames resemble one another.
    scores = np.cumsum(rng.normal(size=(20, 9, classes)) * [[[1]] + [[0.3]] * 8], axis=1)
    rankings = np.argsort(-scores, axis=-1)
    expected = slow_top5_distance(rankings.tolist(), noise)
    assert 0 < expected < 15
    assert robustness.top5_distance(rankings, noise) == pytest.approx(expected, rel=1e-12)
    # Ranks beyond the fifth are all the same.
    assert robustness.top5_distance(rankings[..., :5], noise) == pytest.approx(expected, rel=1e-12)


def test_top5_distance_by_hand():
    first = [0, 1, 2, 3, 4, 5, 6]
    swapped = [1, 0, 2, 3, 4, 5, 6]  # two classes move by one rank: 2
    shifted = [5, 0, 1, 2, 3, 4, 6]  # five classes move by one: 5
    assert robustness.top5_distance(np.array([[first, first]]), False) == 0
    assert robustness.top5_distance(np.array([[first, swapped]]), False) == 2
    assert robustness.top5_distance(np.array([[first, shifted]]), False) == 5
    # The other way one leaves the top, and four move: 5 + 4.
    assert robustness.top5_distance(np.array([[shifted, first]]), False) == 9
    # Nothing in common: 5 + 4 + 3 + 2 + 1.
    others = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert robustness.top5_distance(np.array([others]), False) == 15
    # In turn: 2 and 2 against the frame before, 2 and 0 against the first.
    video = np.array([[first, swapped, first]])
    assert robustness.top5_distance(video, noise=False) == 2
    assert robustness.top5_distance(video, noise=True) == 1


def test_top5_distance_needs_five_classes():
    with pytest.raises(ValueError, match=r"five classes.*\(1, 2, 4\)"):
        robustness.top5_distance(np.zeros((1, 2, 4), int), noise=False)
