"""Options into settings: values arrive, and those that make no sense are refused by name."""

import errno
import re
import subprocess
import sys

import pytest

from noisy_student import config
from noisy_student.config import command, option, schema


def given(*arguments: str) -> config.Config:
    return config.parse(arguments)


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
    with pytest.raises(ValueError, match="cache_decoded_mib=-1"):
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


@pytest.mark.parametrize(
    ("batch_size", "ratio", "unlabeled"),
    [(10, 0.25, 3), (10, 0.21, 3), (16, 0.01, 1), (100, 0.07, 7), (128, 5, 640)],
)
def test_the_unlabeled_batch_is_rounded_up(batch_size, ratio, unlabeled):
    """Equals the published rule, except for 100 * 0.07, which is 7.000000000000001."""
    settings = given(f"--batch_size={batch_size}", f"--ratio={ratio}")
    assert settings.students[0].unlabeled_batch_size == unlabeled


def test_only_students_have_other_noise_on_unlabeled_images():
    settings = given(
        *("--unlabeled_augment=crop", "--nounlabeled_dropout", "--nounlabeled_stochastic_depth"),
        "--fixres_image_size=40",
    )
    assert settings.students[0].unlabeled_noise == config.UnlabeledNoiseConfig("crop", False, False)
    others = (settings.teacher, settings.tuned[0], settings.control(10))
    assert {other.unlabeled_noise for other in others} == {config.UnlabeledNoiseConfig()}


def test_fine_tuning_is_of_clean_labeled_images_at_the_larger_size():
    assert given().tuned == ()
    (tuned,) = given("--rounds=1", "--fixres_image_size=300", "--frozen_blocks=4").tuned
    assert (tuned.role, tuned.model.image_size, tuned.frozen_blocks) == ("fixres", 300, 4)
    assert (tuned.noise.kind, tuned.ratio, tuned.fixres_epochs) == ("none", 0, 1.5)
    (tuned,) = given("--rounds=1", "--fixres_image_size=300").tuned
    assert tuned.frozen_blocks == given().teacher.frozen_blocks == -1
    with pytest.raises(ValueError, match="--frozen_blocks=-2: .* -1"):
        given("--frozen_blocks=-2")


@pytest.mark.parametrize("option", ["augment", "unlabeled_augment"])
def test_keras_cv_runs_on_the_host_alone(option):
    with pytest.raises(ValueError, match="--augment_on=device: keras_cv"):
        given("--augment_on=device", f"--{option}=keras_cv")


@pytest.mark.parametrize(
    "argument",
    [
        "--temperature=0",
        "--train_ratio=-1",
        "--student_steps=5,0",
        "--ratio=0",
        "--epsilons=-1",
        "--severities=6",
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
        "--label_smoothing=2",
        "--ema_decay=3",
        "--seed=20240101",
        "--batch_size=1.5",
        "--corruptions=fogg",
        "--normalization=imagnet",
        "--augment=mixup",
        "--flip=maybe",
    ],
)
def test_values_out_of_range_are_refused_by_name(argument):
    with pytest.raises(ValueError, match=f"{argument}: "):
        given(argument)


OPTIONS = option.named((*schema.RUN, *schema.TOOLS)).values()
NUMBERS = [o for o in OPTIONS if o.kind in (int, float)]
TEXTS = [o for o in OPTIONS if o.kind is str]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_absurd_numbers_are_refused_by_name(number):
    """Whatever the number means, no flag takes these, nor the first values beyond its bounds."""
    absurd = ["nan", "inf", "-inf", "-1e-3", "-2", "1e13", "9" * 20, "1e308", "0x10", "1e400"]
    if not number.choices or number.low is not None:
        assert None is not number.low and None in (number.high, number.below)
        absurd.append(str(number.low - 1 if number.kind is int else number.low - 1e-9))
        last = number.below if number.high is None else number.high
        absurd.append(str(last + 1) if number.high is not None else str(last))
    for value in absurd:
        with pytest.raises(ValueError, match=re.escape(f"--{number.name}={value}: must be ")):
            number.parse(value)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.name)
def test_only_four_options_take_an_address(text):
    """A local folder named gs: would be made of any other."""
    address = "gs://bucket/folder"
    if text.name in ("data_dir", "tpu", "init_model", "teacher_model"):
        assert text.parse(address) == address
        return
    with pytest.raises(ValueError, match=f"--{text.name}={address}: "):
        text.parse(address)
    with pytest.raises(ValueError, match=f"--{text.name}="):
        text.parse([address] if text.is_list else f" {address}")


@pytest.mark.parametrize(
    "argument",
    [
        *(
            "--temperature=1e-9",
            "--unlabeled_fraction=1e-30",
            "--ratio=1e-30",
            "--rounds=2000000000",
        ),
        *("--teacher_width=1e-30", "--image_size=100000000", "--adam_beta2=1", "--strides=3"),
        *("--dropout_rate=1", "--ema_decay=1.5", "--num_shards=2000000000", "--epochs=0"),
    ],
)
def test_numbers_that_mean_nothing_are_refused_by_name(argument):
    with pytest.raises(ValueError, match=f"{argument}: must be "):
        given(argument)


def test_a_noised_teacher_gets_the_noise_of_training():
    assert given().labels.noise is None
    settings = given("--noised_labels", "--magnitude=7", "--seed=4")
    assert settings.labels.noise == settings.teacher.noise
    assert (settings.labels.noise.magnitude, settings.labels.noise_seed) == (7.0, 4)


@pytest.mark.parametrize("argument", ["augment=keras_cv", "calibrate=True", "teacher_mode=online"])
def test_options_that_exclude_a_noised_teacher_are_refused(argument):
    with pytest.raises(ValueError, match=f"--noised_labels .*--{argument}"):
        given("--noised_labels", f"--{argument}")


def test_the_other_options_of_studies_reach_their_settings():
    settings = given(
        *("--labeled_weight=0", "--images_per_class=none", "--unlabeled_fraction=0.25"),
        *("--unlabeled_skew=10", "--fixres_image_size=40"),
    )
    weights = [
        t.labeled_weight for t in (settings.teacher, settings.students[0], settings.tuned[0])
    ]
    assert weights == [1.0, 0.0, 1.0] and settings.control(10).labeled_weight == 1.0
    assert settings.selection.images_per_class == "none"
    assert (settings.data.unlabeled_fraction, settings.data.unlabeled_skew) == (0.25, 10.0)


def test_options_from_python_are_the_same_as_flags():
    python = config.Config(magnitude=5, ratio=4, student_width=[0.5, 0.75], flip=False, rounds=1)
    flags = given(
        "--magnitude=5", "--ratio=4", "--student_width=0.5,0.75", "--noflip", "--rounds=1"
    )
    assert python.given == flags.given
    assert python.students == flags.students
    replaced = python.replace(magnitude=9, ratio="1,2")
    assert replaced.students[0].noise.magnitude == 9 and replaced.students[0].ratio == 1
    assert replaced.students[0].model == python.students[0].model


@pytest.mark.parametrize(
    ("name", "value"), [("magnitude", float("nan")), ("rounds", True), ("flip", 1), ("seed", None)]
)
def test_python_values_of_a_wrong_type_are_refused(name, value):
    with pytest.raises(ValueError, match=f"--{name}"):
        config.Config(**{name: value})


@pytest.mark.parametrize(
    ("argument", "meant"),
    [("--magnitud=5", "--magnitude"), ("--batchsize=5", "--batch_size"), ("--nofilp", "--flip")],
)
def test_an_unknown_flag_names_the_nearest_one(argument, meant):
    with pytest.raises(ValueError, match=f"{argument.split('=')[0]}: .* {meant}\\?"):
        given(argument)


def test_a_flag_file_may_have_comments_and_negated_flags(tmp_path):
    file = tmp_path / "my.flags"
    file.write_text("# A comment.\n--magnitude=5\n\n// another\n--noflip\n--seed=3\n")
    settings = given(f"--flagfile={file}", "--seed=4")
    assert settings.given == {"magnitude": 5.0, "flip": False, "seed": 4}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_flag_file_may_come_from_any_editor(tmp_path, encoding, line_end):
    lines = ["--dataset=folder", "# a comment", "--labeled_dir=caf\u00e9", ""]
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "inner.flags").write_bytes(mark + line_end.join(lines).encode(encoding))
    (tmp_path / "outer.flags").write_text(f"\ufeff--flagfile={tmp_path}/inner.flags\n--seed=3\n")
    settings = given(f"--flagfile={tmp_path}/outer.flags", "--magnitude=5")
    assert settings.given == {
        "dataset": "folder",
        "labeled_dir": "caf\u00e9",
        "seed": 3,
        "magnitude": 5.0,
    }


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"--seed=\xff", b"--flagfile=SELF"])
def test_a_flag_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "a.flags"
    if content is not None:
        path.write_bytes(content.replace(b"SELF", str(path).encode()))
    with pytest.raises(ValueError, match=f"--flagfile={path}: "):
        given(f"--flagfile={path}")


def test_the_record_of_options_is_that_of_flags():
    record = given("--ratio=4,5.5", "--images_per_class=300", "--strides=1,2,2,2,1,2,1").to_json()
    assert record["ratio"] == ["4", "5.5"] and record["images_per_class"] == "300"
    assert record["strides"] == list("1222121") and record["magnitude"] == 27.0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/a"), "/d/a: No space left .*Free"),
        (OSError(errno.ENOSPC, "No space left on device"), "/d: No space left .*Free"),
        (RuntimeError("b/c.tmp; No space left on device [Op:W]"), "b/c.tmp.*: No space .*Free"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x: Read-only .*directory"),
        (OSError(errno.EEXIST, "File exists", "x"), "x: File exists.* file where a directory"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), "x: No such file"),
        (KeyError("a"), "$"),
    ],
)
def test_errors_of_the_disk_are_one_line_with_a_way_out(error, line):
    assert re.match(line, command.disk_problem(error, "/d"))
    assert "\n" not in command.disk_problem(error, "/d")


def test_help_shows_description_examples_and_the_groups_of_the_command():
    doc = "Trains. Quickly.\n\n    python -m train\n\nDetails.\n"
    text = command.help_text(doc, (schema.NoiseConfig,), {"magnitude": 3.0})
    assert text.startswith("Trains. Quickly.\n\n    python -m train\n\nImage noise")
    assert "--magnitude (default: 3.0)" in text and "--[no]flip (default: on)" in text
    assert "Details" not in text and "--min_confidence" not in text
    assert "randaugment, keras_cv, crop, none" in text


def run_command(*arguments: str) -> subprocess.CompletedProcess:
    """A command that needs no TensorFlow and no data."""
    program = "from noisy_student import config\nfrom noisy_student.config import schema\n"
    program += "def main(settings): print('magnitude', settings.options['magnitude'])\n"
    program += "config.run(main, schema.NoiseConfig, schema.WorkdirConfig, magnitude=1.0)"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("flag", ["--help", "--helpshort", "--helpfull"])
def test_help_exits_with_0(flag):
    result = run_command(flag)
    assert result.returncode == 0 and "--magnitude (default: 1.0)" in result.stdout
    assert ("--min_confidence" in result.stdout) == (flag == "--helpfull")


@pytest.mark.parametrize(
    "argument", ["--magnitud=5", "--magnitude=-1", "magnitude", "--noised_labels=2", "--top_k=3"]
)
def test_bad_input_of_a_command_is_one_line_and_exits_with_2(argument):
    result = run_command(argument)
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and argument.split("=")[0] in line


def test_flags_of_other_stages_are_accepted_and_defaults_replaced():
    result = run_command("--min_confidence=0.5", "--num_classes=10")
    assert (result.returncode, result.stdout) == (0, "magnitude 1.0\n")
    assert run_command("--magnitude=4").stdout == "magnitude 4.0\n"
