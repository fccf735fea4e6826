"""The training loop: what the commands' end-to-end test does not show."""

import dataclasses
import json
import re
import signal

import numpy as np
import pytest
import tensorflow as tf

from data import sources, tfrecord_file
from noisy_student import config, train
from noisy_student.artifacts import model_file
from noisy_student.train import given_teacher, step
from noisy_student.train.metrics_log import MetricsLog
from tests.helpers import toy_batches

# A small CNN: tracing an EfficientNet takes ten seconds, and the loop is the same for any network.
MODEL = config.ModelConfig(
    name="tests.helpers.foreign_models:self_scaling_cnn",
    width=1.0,
    depth=1.0,
    image_size=32,
    small_image=True,
    strides=None,
    dropout_rate=0.2,
    stochastic_depth_rate=0.2,
    batch_norm_momentum=0.9,
    batch_norm_replicas="none",
    normalization="imagenet",
)
NOISE = config.NoiseConfig("none", 2, 5.0, False, False)
OPTIMIZER = config.OptimizerConfig(
    name="rmsprop",
    schedule="staircase",
    learning_rate=0.016,
    final_learning_rate=None,
    warmup_steps=None,
    warmup_epochs=5.0,
    epochs=350.0,
    train_ratio=1.0,
    adam_beta2=0.999,
    weight_decay=1e-5,
)
TEACHER = config.TrainConfig(
    role="teacher",
    round=0,
    model=MODEL,
    noise=NOISE,
    optimizer=OPTIMIZER,
    batch_size=16,
    ratio=0.0,
    steps=4,
    max_steps=None,
    label_smoothing=0.1,
    hard_labels=False,
    temperature=1.0,
    ema_decay=0.9,
    accumulate_steps=1,
    teacher_mode="stored",
    frozen_blocks=-1,
    fixres_epochs=0.0,
    seed=0,
)
TIMES = ("seconds", "images_per_second", "compile_seconds")
LOG = config.LogConfig(
    log_every=2,
    validate_every=2,
    checkpoint_every=2,
    eval_batch_size=16,
    steps_per_execution=1,
    profile_steps=None,
)


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(0)

    def part(name: str, count: int) -> sources.Examples:
        ids = np.array([f"{name}/{i}" for i in range(count)], object)
        labels = np.arange(count, dtype=np.int32) % 3
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        return sources.DecodedExamples(ids, labels, ("a", "b", "c"), images=images)

    parts = [part(name, 24) for name in ("labeled", "validation", "unlabeled", "test")]
    return sources.Splits(*parts, class_names=("a", "b", "c"), info={})


def test_logs_and_models(splits, devices, tmp_path, capsys):
    summary = train.run(TEACHER, splits, tmp_path, devices, LOG)
    assert re.search(
        r"teacher  step 4/4  loss \d\.\d+ \(labeled \d\.\d+\)  acc \d+\.\d%  conf \d+%  "
        r"lr \d\.\de-\d\d  \d+ img/s  time \d:\d\d  val \d+\.\d%",
        capsys.readouterr().err,
    )
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:
        parts = row["labeled_loss"] + row["unlabeled_loss"] + row["l2_loss"]
        assert row["loss"] == pytest.approx(parts, rel=1e-5)
        assert 0 <= row["validation_top1"] <= 100
    assert summary["images_seen"] == 64
    assert 0 < summary["compile_seconds"] < summary["seconds"]
    assert {"model.keras", "best.keras", "train.json", "done.json", "tensorboard"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_noise_within_the_step_trains_the_same_model(splits, devices, tmp_path):
    noise = config.NoiseConfig("randaugment", 2, 5.0, False, False)
    noised = dataclasses.replace(TEACHER, noise=noise, steps=2)
    for where in ("host", "device"):
        log = dataclasses.replace(LOG, augment_on=where)
        train.run(noised, splits, tmp_path / where, devices, log)
    host, device = (read_weights(tmp_path / where) for where in ("host", "device"))
    for one, other in zip(host, device, strict=True):
        np.testing.assert_array_equal(one, other)


def read_weights(folder):
    return model_file.load_model(folder / "model.keras")[0].get_weights()


def test_no_validation_images(splits, devices, tmp_path):
    """Trains and adopts, and measures nothing."""
    without = dataclasses.replace(splits, validation=splits.validation.take([]))
    summary = train.run(TEACHER, without, tmp_path / "trained", devices, LOG)
    assert summary["validation_top1"] is summary["best_validation_top1"] is None
    assert all("validation_top1" not in row for row in summary["history"])
    assert not (tmp_path / "trained" / "best.keras").exists()
    model = tmp_path / "trained" / "model.keras"
    adopted = given_teacher.run(model, without.validation, tmp_path / "adopted", devices, 16)
    assert adopted["validation_top1"] is None
    assert adopted["parameters"] == summary["parameters"]


def test_a_loss_that_is_not_finite_stops_the_training(splits, devices, tmp_path):
    hot = dataclasses.replace(
        TEACHER,
        optimizer=dataclasses.replace(
            OPTIMIZER, name="sgd", schedule="constant", learning_rate=1e30, warmup_steps=0
        ),
    )
    with pytest.raises(ValueError, match=r"teacher: the loss became (nan|inf) in steps 1 to 2"):
        train.run(hot, splits, tmp_path, devices, LOG)
    assert not (tmp_path / "done.json").exists()


def test_ctrl_c_saves_and_the_same_call_continues(splits, devices, tmp_path, capsys, monkeypatch):
    """A SIGTERM does, too: test_devices.py, which compares the weights."""
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)  # as in a terminal
    add = MetricsLog.add

    def add_and_interrupt(log: MetricsLog, metrics: tf.Tensor) -> None:
        add(log, metrics)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(MetricsLog, "add", add_and_interrupt)
    with pytest.raises(SystemExit) as stopped:
        train.run(TEACHER, splits, tmp_path, devices, LOG)
    assert stopped.value.code == 130
    assert "stopped by Ctrl-C after step 1" in capsys.readouterr().out
    monkeypatch.setattr(MetricsLog, "add", add)
    summary = train.run(TEACHER, splits, tmp_path, devices, LOG)
    assert f"continuing from {tmp_path}" in capsys.readouterr().out
    assert [row["step"] for row in summary["history"]] == [1, 2, 4]


def test_a_step_that_memory_does_not_hold(splits, devices, tmp_path, monkeypatch):
    """TensorFlow's error, raised in the third step here, becomes a way out; the state is kept."""
    compile_steps = step.compile_steps

    def compile_exhausting(learner):
        run = compile_steps(learner)

        def run_until_exhausted(batches, count):
            if learner.finished_steps == 2:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
            return run(batches, count)

        return run_until_exhausted

    monkeypatch.setattr(step, "compile_steps", compile_exhausting)
    with pytest.raises(ValueError, match=r"16 labeled .* 32 pixels .*float32 ") as caught:
        train.run(TEACHER, splits, tmp_path, devices, LOG)
    message = str(caught.value)
    assert all(way in message for way in ("--accumulate_steps=2", "--batch_size", "mixed_bfloat16"))
    monkeypatch.setattr(step, "compile_steps", compile_steps)
    summary = train.run(TEACHER, splits, tmp_path, devices, LOG)
    assert [row["step"] for row in summary["history"]] == [2, 4]
    assert "compile_seconds" in summary["history"][1]  # it continued after step 2


def test_damage_that_training_meets_is_named(splits, devices, tmp_path):
    path = str(tmp_path / "records")
    with tf.io.TFRecordWriter(path) as writer:
        for image in splits.labeled.images:
            encoded = tf.io.encode_png(image).numpy()
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
            features = tf.train.Features(feature={"image/encoded": feature})
            writer.write(tf.train.Example(features=features).SerializeToString())
    offsets = np.array([offset for offset, _ in tfrecord_file.spans(path)])
    ids, labels, names = (getattr(splits.labeled, n) for n in ("ids", "labels", "class_names"))
    files = np.full(len(offsets), path, object)
    labeled = sources.EncodedExamples(ids, labels, names, files, offsets)
    data = bytearray((tmp_path / "records").read_bytes())
    data[offsets[5] + 50] ^= 1
    (tmp_path / "records").write_bytes(data)
    with pytest.raises(ValueError, match=f"{path} is damaged: the record at byte {offsets[5]}"):
        train.run(
            TEACHER, dataclasses.replace(splits, labeled=labeled), tmp_path / "a", devices, LOG
        )


def test_what_is_decoded_once_is_said_and_changes_nothing(splits, devices, tmp_path, capsys):
    def as_files(name):
        examples = getattr(splits, name)
        paths = [str(tmp_path / f"{name}-{i}.png") for i in range(len(examples))]
        for path, image in zip(paths, examples.images, strict=True):
            tf.io.write_file(path, tf.io.encode_png(image))
        return toy_batches.of_files(examples, paths)

    on_disk = dataclasses.replace(
        splits, labeled=as_files("labeled"), validation=as_files("validation")
    )
    trained = {}
    for mib in (0, 1):
        log = dataclasses.replace(LOG, cache_decoded_mib=mib)
        trained[mib] = train.run(TEACHER, on_disk, tmp_path / str(mib), devices, log)
    assert trained[0]["decoded_once"] == {"budget_mib": 0, "sets": []}
    entry = {"images": 24, "mib": 0.1, "held": True}
    assert trained[1]["decoded_once"] == {
        "budget_mib": 1,
        "sets": [{"name": "labeled"} | entry, {"name": "validation"} | entry],
    }
    told = "teacher: decoded once: 24 labeled images (0.1 MiB), 24 validation images (0.1 MiB)"
    assert capsys.readouterr().out.splitlines() == [told]
    for rows in zip(*(summary["history"] for summary in trained.values()), strict=True):
        without, cached = ({k: v for k, v in row.items() if k not in TIMES} for row in rows)
        assert without == cached


def test_students_need_selected_labels_and_only_they(splits, devices, tmp_path):
    student = dataclasses.replace(TEACHER, role="student", round=1, ratio=2.0)
    with pytest.raises(ValueError, match="--role=student with --selected_dir=None"):
        train.run(student, splits, tmp_path, devices, LOG)
    with pytest.raises(ValueError, match="--role=teacher with --selected_dir"):
        train.run(TEACHER, splits, tmp_path, devices, LOG, train.Inputs(tmp_path))
