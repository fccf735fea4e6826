"""A run and its dry run refuse before the first step what a later stage would refuse."""

import os
import subprocess
import sys
import tempfile

import keras
import pytest

import efficientnet
from data.preprocess import PreprocessSpec
from noisy_student import config, iterate
from noisy_student.artifacts import disk, model_file
from noisy_student.artifacts.files import write_json
from noisy_student.evaluate import runner as evaluate_command
from noisy_student.pseudo_label import label as label_command
from noisy_student.selection import write as select_command
from noisy_student.train import command as train_command
from tests.helpers import toy_folders, toy_teacher

SPEC = PreprocessSpec(32, small_image=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    toy_folders.write_classes(root / "labeled", {"a": 8, "b": 8, "c": 8})
    toy_folders.write_classes(root / "test", {"a": 2, "b": 2, "c": 2}, side=9)
    toy_folders.write_classes(root / "unlabeled", {"x": 12})
    toy_folders.write_classes(root / "imagenet-a", {"a": 2, "z": 2})
    toy_folders.write_classes(root / "imagenet-c" / "fog" / "1", {"a": 2, "y": 2})
    toy_teacher.save_model(root / "others.keras", seed=0, names=("a", "b", "z"), spec=SPEC)
    toy_teacher.save_model(root / "abc.keras", seed=0, names=("a", "b", "c"), spec=SPEC)
    toy_teacher.save_model(root / "cba.keras", seed=0, names=("c", "b", "a"), spec=SPEC)
    keras.utils.set_random_seed(0)
    wide = efficientnet.build_model("efficientnet-b0", 3, width=0.2, depth=0.1, small_image=True)
    model_file.save_model(wide, root / "wide.keras", ("x", "y", "z"), SPEC)
    return root


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    """Fails a test that comes as far as a stage."""

    def refuse(*_, **__):
        raise AssertionError("a stage began")

    for module in (iterate.train, iterate.given_teacher, iterate.pseudo_label):
        monkeypatch.setattr(module, "run", refuse)


def settings(folder, **changed):
    options = {
        "dataset": "folder",
        "labeled_dir": folder / "labeled",
        "unlabeled_dir": folder / "unlabeled",
        "num_validation": 3,
        "image_size": 32,
        "small_image": True,
        **{"teacher_width": 0.1, "teacher_depth": 0.1, "batch_size": 4, "ratio": 2, "rounds": 2},
        **{"student_width": "0.1,0.2", "student_depth": 0.1, "teacher_steps": 20},
        **{"student_steps": 20, "schedule": "constant", "benchmarks": "clean"},
    }
    return config.Config(**(options | changed))


def refusals(folder, workdir, **changed):
    """Messages of a run and of a dry run; neither may write or train anything."""
    given = {
        name: value.format(folder) if isinstance(value, str) else value
        for name, value in changed.items()
    }
    messages = []
    for command in (iterate.run, iterate.dry_run):
        with pytest.raises(ValueError) as error:
            command(settings(folder, **given), workdir)
        messages.append(str(error.value))
    assert not (workdir / "round0").exists()
    return messages


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"student_name": "efficientnet-b0,efficientnet-b9"}, "student 2: .*efficientnet-b9"),
        ({"strides": "1,2"}, "teacher: strides must be 7"),
        ({"cutout": True, "small_image": False, "image_size": 40}, "teacher: --cutout .*small_"),
        ({"batch_norm_replicas": "some"}, "teacher: .*'some'"),
        (
            {"teacher_batch_size": 6, "accumulate_steps": 3},
            "student 1: --batch_size=4 .*--accumulate_steps=3",
        ),
        ({"ratio": "2,0.7", "accumulate_steps": 4}, "student 2: --ratio .* 3 .* 4 accumulated"),
        (
            {"schedule": "cosine", "warmup_steps": 0, "fixres_image_size": 40},
            "fixres 1: .*--schedule=cosine",
        ),
        ({"frozen_blocks": 99, "fixres_image_size": 40}, "fixres 1: --frozen_blocks=99"),
        ({"final_learning_rate_per_256": 0.001}, "--final_learning_rate_per_256"),
        (
            {"schedule": "cosine", "warmup_steps": 10, "student_steps": "20,5"},
            "student 2: 5 training steps .*16 labeled images in batches of 4.* 10 .*--warmup_steps",
        ),
        ({"num_validation": 0, "calibrate": True}, "--calibrate .*--num_validation"),
        ({"num_validation": 0, "stop_when_worse": True}, "--stop_when_worse"),
        ({"num_shards": 13}, "--num_shards=13 .* 12 unlabeled"),
        ({"unlabeled_dir": None}, "no unlabeled images"),
        ({"init_model": "{0}/none.keras"}, "none.keras does not exist"),
        ({"init_model": "{0}/wide.keras"}, "wide.keras .*does not match"),
        ({"init_model": "teacher"}, "teacher of student 2 .*instead of"),
        (
            {"init_model": "teacher", "rounds": 1, "teacher_model": "{0}/abc.keras"},
            "teacher of student 1 .*does not match",
        ),
        ({"teacher_model": "{0}/others.keras"}, r"--teacher_model=.*others.keras: .*\(c\)"),
        ({"selection_model": "{0}/others.keras"}, r"--selection_model=.*others.keras: .*\(c\)"),
        ({"selection_dir": "{0}/nowhere"}, "nowhere/selected has no done.json"),
        (
            {"teacher_model": "{0}/cba.keras", "teacher_mode": "online"},
            "cba.keras .*in the same order",
        ),
        (
            {"teacher_mode": "online", "fixres_image_size": 40},
            "student 2: .*image_size=32.*image_size=40",
        ),
        (
            {"teacher_model": "{0}/abc.keras", "rounds": 0, "controls": "student"},
            "--controls=student",
        ),
        ({"benchmarks": "corruptions", "image_size": 16}, "corruptions needs .* 32 pixels, not 16"),
        (
            {"benchmarks": "clean,perturbations", "perturbations": "spatter", "image_size": 224},
            "--perturbations=spatter",
        ),
        ({"benchmarks": "clean,imagenet_c"}, "--imagenet_c_dir"),
        ({"benchmarks": "imagenet_c", "imagenet_c_dir": "{0}/nowhere"}, "nowhere"),
        ({"benchmarks": "imagenet_a", "imagenet_a_dir": "{0}/imagenet-a"}, "imagenet-a/z "),
        ({"benchmarks": "imagenet_c", "imagenet_c_dir": "{0}/imagenet-c"}, "imagenet-c/fog/1/y "),
        ({"student_width": "0.1,100"}, "--workdir=.* GB for models .* GB free"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_it_is_refused_before_the_first_step(folder, tmp_path, options, named):
    messages = refusals(folder, tmp_path / "run", **options)
    assert messages[0] == messages[1] and "\n" not in messages[0]
    with pytest.raises(ValueError, match=named):
        raise ValueError(messages[0])


def test_a_run_that_is_allowed_begins(folder, tmp_path):
    """Also with a start that fits every training, and a given teacher without trainings."""
    for options in (
        {"controls": "student,chain", "fixres_image_size": 40, "num_shards": 12},
        {"init_model": folder / "wide.keras", "teacher_width": 0.2, "student_width": 0.2},
        {"init_model": "teacher", "student_width": 0.1},
        {"teacher_model": folder / "abc.keras", "rounds": 0},
        {"benchmarks": "corruptions", "image_size": 16, "test_image_size": 32},
    ):
        with pytest.raises(AssertionError, match="a stage began"):
            iterate.run(settings(folder, **options), tmp_path / "run")
        iterate.dry_run(settings(folder, **options), tmp_path / "run")


COMMANDS = {
    "train": train_command,
    "label": label_command,
    "select": select_command,
    "evaluate": evaluate_command,
}


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("train", {"output_dir": None}, "--output_dir is required"),
        ("train", {"output_dir": "{0}/abc.keras/x"}, "--output_dir=.*abc.keras is a file"),
        ("train", {"role": "student"}, "--role=student with --selected_dir=None"),
        ("train", {"role": "fixres", "fixres_image_size": 40}, "--role=fixres needs --init_model"),
        ("train", {"init_model": "{0}/abc.keras"}, "abc.keras .*does not match"),
        ("train", {"accumulate_steps": 3}, "teacher: --batch_size=4 .*--accumulate_steps=3"),
        ("train", {"teacher_width": 100}, "--output_dir=.* GB for models .* GB free"),
        ("train", {"student_name": "b9", "role": "control", "control_images": 99}, "control: .*b9"),
        ("label", {"model": None}, "--model is required"),
        ("label", {"output_dir": "{0}/abc.keras"}, "--output_dir=.*abc.keras is a file"),
        ("label", {"model": "{0}/others.keras"}, r"--model=.*others.keras: .*\(c\)"),
        ("label", {"shard_index": 2, "num_shards": 2}, "--shard_index=2: .*--num_shards=2"),
        ("label", {"calibrate": True, "num_validation": 0}, "--calibrate"),
        ("label", {"reassign_dir": "{0}/nowhere"}, "nowhere has no done.json"),
        ("select", {"predictions_dir": None}, "--predictions_dir is required"),
        ("select", {"predictions_dir": "{0}/nowhere"}, "nowhere has no done.json"),
        ("select", {"output_dir": "{0}/abc.keras"}, "--output_dir=.*abc.keras is a file"),
        ("evaluate", {"output_dir": None}, "--output_dir is required"),
        ("evaluate", {"model": "{0}/others.keras"}, "test/c .*Valid classes: a, b, z"),
        ("evaluate", {"baseline_model": "{0}/others.keras"}, r"--baseline_model=.*: .*\(c\)"),
        ("evaluate", {"benchmarks": "imagenet_p"}, "--imagenet_p_dir"),
        ("evaluate", {"benchmarks": "clean,clen"}, "--benchmarks=clen"),
        (
            "evaluate",
            {"benchmarks": "imagenet_a", "imagenet_a_dir": "{0}/imagenet-a"},
            "imagenet-a/z ",
        ),
    ],
)
def test_a_command_and_its_dry_run_refuse_alike(folder, tmp_path, name, options, named):
    given = {"model": "{0}/abc.keras", "output_dir": tmp_path / "out", "test_dir": "{0}/test"}
    given |= {"predictions_dir": tmp_path / "labels", "rounds": 1} | options
    given = {k: v.format(folder) if isinstance(v, str) else v for k, v in given.items()}
    messages = []
    for dry in (False, True):
        with pytest.raises(ValueError, match=named) as error:
            COMMANDS[name]._main(settings(folder, **given, dry_run=dry))
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "below", "link", "address"])
def test_a_workdir_that_cannot_be_made_is_refused(folder, tmp_path, kind):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "deep").mkdir()
    place = {"file": "file", "below": "file/run", "link": "link/run"}.get(kind)
    workdir = tmp_path / place if place else "gs:/bucket/run"
    for command in (iterate.run, iterate.dry_run):
        with pytest.raises(ValueError, match=f"--workdir={workdir}"):
            command(settings(folder), workdir)


@pytest.mark.parametrize("name", ["labeled_dir", "unlabeled_dir", "test_dir"])
def test_a_workdir_among_images_is_refused_and_not_made(folder, tmp_path, name):
    """Adversarial examples that a run writes would be unlabeled images, and it a class."""
    images = folder / name.removesuffix("_dir")
    (tmp_path / "link").symlink_to(images)
    for workdir in (images / "deep" / "run", tmp_path / "link" / "run"):
        messages = refusals(folder, workdir, test_dir="{}/test")
        assert set(messages) == {messages[0]} and f"inside --{name}={images}" in messages[0]
        assert not workdir.parent.exists() or workdir.parent.is_symlink()
    assert not list(images.rglob("*run*"))


@pytest.mark.parametrize("closed", [0o555, 0o600])  # may not be written, may not be entered
def test_a_workdir_without_permission_is_refused(closed):
    """In a process of its own, which gives up root's right to write everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, closed)
        code = f"""
import os
from noisy_student.artifacts import disk
if os.getuid() == 0:
    os.setuid(65534)
disk.check_writable("w", "{folder}/run")
"""
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, capture_output=True, text=True)
    assert f"ValueError: --w={folder}/run: {folder} is not writable" in found.stderr


def test_room_on_the_disk_is_compared_with_what_is_to_write(tmp_path, caplog):
    most = 10**15  # more than any disk
    with pytest.raises(ValueError, match=f"--output_dir={tmp_path}: .*1e.06 GB .* free"):
        disk.check_space("output_dir", tmp_path, most, most)
    text = disk.check_space("output_dir", tmp_path / "new" / "deep", 1000, most)
    assert "1e-06 GB for models" in text and "1e+06 GB in total" in text
    assert "may fill up" in caplog.text
    caplog.clear()
    disk.check_space("output_dir", tmp_path, 1000, 1000)
    assert not caplog.text


def test_finished_trainings_need_no_room(folder, tmp_path):
    """A rerun on a full disk goes on with what is left."""
    changed = {"student_width": "0.1,100"}
    with pytest.raises(ValueError, match="GB free"):
        iterate.run(settings(folder, **changed), tmp_path)
    write_json(tmp_path / "round2" / "student" / "done.json", {})
    with pytest.raises(AssertionError, match="a stage began"):
        iterate.run(settings(folder, **changed), tmp_path)


def test_the_estimate_of_models_is_what_a_training_leaves(tmp_path):
    """The files of a model hold little but its weights."""
    from noisy_student import train

    with keras.StatelessScope(initialize_variables=False):
        outline = efficientnet.build_model("efficientnet-b0", 3, width=0.5)
    assert outline.variables[0]._value is None  # takes no memory
    model = efficientnet.build_model("efficientnet-b0", 3, width=0.5)
    model_file.save_model(model, tmp_path / "model.keras", ("a", "b", "c"), SPEC)
    kept, _ = train.disk_bytes(outline)
    size = (tmp_path / "model.keras").stat().st_size
    assert 0.8 * size < kept / 2 < size
