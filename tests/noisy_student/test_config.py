"""From flags to settings."""

import pytest
from absl.testing import flagsaver

from noisy_student import config
from noisy_student.flags import FLAGS


@pytest.fixture
def parsed():
    if not FLAGS.is_parsed():
        FLAGS(["test"])
    with flagsaver.flagsaver():
        yield


def test_the_flag_takes_the_noise_of_training(parsed):
    assert config.from_flags().labels.noise is None
    FLAGS.noised_labels, FLAGS.magnitude, FLAGS.seed = True, 7.0, 4
    given = config.from_flags()
    assert given.labels.noise == given.teacher.noise
    assert (given.labels.noise.magnitude, given.labels.noise_seed) == (7.0, 4)


@pytest.mark.parametrize(
    ("flag", "value"), [("augment", "keras_cv"), ("calibrate", True), ("teacher_mode", "online")]
)
def test_what_does_not_go_with_noised_labels_is_refused(parsed, flag, value):
    FLAGS.noised_labels = True
    FLAGS[flag].value = value
    with pytest.raises(ValueError, match=f"--noised_labels does not go with --{flag}={value}"):
        config.from_flags()


def test_the_other_options_of_studies_reach_their_settings(parsed):
    FLAGS.labeled_weight, FLAGS.images_per_class = 0.0, "none"
    FLAGS.unlabeled_fraction, FLAGS.unlabeled_skew, FLAGS.fixres_image_size = 0.25, 10.0, 40
    given = config.from_flags()
    weights = [t.labeled_weight for t in (given.teacher, given.students[0], given.tuned[0])]
    assert weights == [1.0, 0.0, 1.0] and given.control(10).labeled_weight == 1.0
    assert given.selection.images_per_class == "none"
    assert (given.data.unlabeled_fraction, given.data.unlabeled_skew) == (0.25, 10.0)


@pytest.mark.parametrize(
    ("flag", "value", "named"),
    [
        ("images_per_class", "many", "must be auto, none or a whole number"),
        ("ratio", ["x"], "--ratio=x"),
        ("benchmarks", ["clen"], "--benchmarks=clen: must be of clean, "),
    ],
)
def test_bad_values_are_named_with_the_valid_ones(parsed, flag, value, named):
    FLAGS[flag].value = value
    with pytest.raises(ValueError, match=named):
        config.from_flags()
