"""Flags into settings: what is asked for arrives, what makes no sense is refused by name."""

import pytest
from absl import flags
from absl.testing import flagsaver

from noisy_student import config

FLAGS = config.FLAGS


@pytest.fixture(autouse=True)
def defaults():
    """Every test starts from the defaults and leaves them behind."""
    FLAGS.mark_as_parsed()
    with flagsaver.flagsaver():
        yield


def given(*arguments: str) -> config.Config:
    FLAGS(["program", *arguments])
    return config.from_flags()


def test_the_paper_is_the_default():
    settings = given()
    optimizer = settings.teacher.optimizer
    assert (optimizer.name, optimizer.schedule) == ("rmsprop", "staircase")
    assert optimizer.learning_rate == pytest.approx(0.128)
    assert (optimizer.warmup_epochs, optimizer.epochs, optimizer.weight_decay) == (5, 350, 1e-5)
    (student, _) = settings.students
    assert (student.batch_size, student.unlabeled_batch_size) == (2048, 3 * 2048)
    assert (student.noise.num_layers, student.noise.magnitude) == (2, 27)
    assert (student.label_smoothing, student.ema_decay) == (0.1, 0.9999)
    assert settings.selection.min_confidence == 0.3


def test_the_cache_of_decoded_images_is_bounded_by_a_flag():
    assert given().log.cache_decoded_mib == 2048
    assert given("--cache_decoded_mib=0").log.cache_decoded_mib == 0
    with pytest.raises(flags.IllegalFlagValueError, match="cache_decoded_mib=-1"):
        given("--cache_decoded_mib=-1")


def test_rates_follow_the_batch_unless_given():
    settings = given("--batch_size=128", "--final_learning_rate_per_256=0.0002")
    optimizer = settings.teacher.optimizer
    assert optimizer.learning_rate == pytest.approx(0.008)
    assert optimizer.final_learning_rate == pytest.approx(0.0001)
    assert given("--learning_rate=0.5").teacher.optimizer.learning_rate == 0.5
    assert given("--learning_rate=0").teacher.optimizer.learning_rate == 0


def test_lists_by_round_repeat_their_last():
    settings = given("--rounds=3", "--ratio=14,28", "--student_width=0.5,0.75", "--batch_size=10")
    assert [student.unlabeled_batch_size for student in settings.students] == [140, 280, 280]
    assert [student.model.width for student in settings.students] == [0.5, 0.75, 0.75]
    assert [student.seed for student in settings.students] == [1, 2, 3]


def test_fine_tuning_is_of_clean_labeled_images_at_the_larger_size():
    assert given().tuned == ()
    (tuned,) = given("--rounds=1", "--fixres_image_size=300", "--frozen_blocks=4").tuned
    assert (tuned.role, tuned.model.image_size, tuned.frozen_blocks) == ("fixres", 300, 4)
    assert (tuned.noise.kind, tuned.ratio, tuned.fixres_epochs) == ("none", 0, 1.5)


@pytest.mark.parametrize(
    "argument",
    [
        "--temperature=0",
        "--train_ratio=-1",
        "--student_steps=5,0",
        "--ratio=0",
        "--epsilons=-1",
        "--severities=6",
        "--benchmarks=clen",
        "--controls=all",
        "--images_per_class=many",
        "--ratio=x",
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(argument):
    name = argument.split("=")[0]
    with pytest.raises(ValueError, match=f"{name}="):
        given(argument)


@pytest.mark.parametrize(
    "argument",
    [
        "--batch_size=0",
        "--teacher_batch_size=0",
        "--eval_batch_size=0",
        "--max_steps=-3",
        "--teacher_steps=0",
        "--magnitude=-1",
        "--num_layers=0",
        "--label_smoothing=2",
        "--ema_decay=3",
        "--learning_rate=-1",
        "--warmup_steps=-1",
        "--image_size=0",
        "--pgd_examples=-1",
        "--seed=-1",
        "--seed=20240101",
    ],
)
def test_values_out_of_range_are_no_flags(argument):
    with pytest.raises(flags.IllegalFlagValueError, match=f"{argument}: "):
        given(argument)


def test_the_flag_takes_the_noise_of_training():
    assert config.from_flags().labels.noise is None
    FLAGS.noised_labels, FLAGS.magnitude, FLAGS.seed = True, 7.0, 4
    settings = config.from_flags()
    assert settings.labels.noise == settings.teacher.noise
    assert (settings.labels.noise.magnitude, settings.labels.noise_seed) == (7.0, 4)


@pytest.mark.parametrize(
    ("flag", "value"), [("augment", "keras_cv"), ("calibrate", True), ("teacher_mode", "online")]
)
def test_what_does_not_go_with_noised_labels_is_refused(flag, value):
    FLAGS.noised_labels = True
    FLAGS[flag].value = value
    with pytest.raises(ValueError, match=f"--noised_labels does not go with --{flag}={value}"):
        config.from_flags()


def test_the_other_options_of_studies_reach_their_settings():
    FLAGS.labeled_weight, FLAGS.images_per_class = 0.0, "none"
    FLAGS.unlabeled_fraction, FLAGS.unlabeled_skew, FLAGS.fixres_image_size = 0.25, 10.0, 40
    settings = config.from_flags()
    weights = [
        t.labeled_weight for t in (settings.teacher, settings.students[0], settings.tuned[0])
    ]
    assert weights == [1.0, 0.0, 1.0] and settings.control(10).labeled_weight == 1.0
    assert settings.selection.images_per_class == "none"
    assert (settings.data.unlabeled_fraction, settings.data.unlabeled_skew) == (0.25, 10.0)
