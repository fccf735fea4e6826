"""Every file of a finished run, damaged in every way: the run says so, or ends as before."""

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from noisy_student import config, iterate

KINDS = ("removed", "emptied", "cut", "flipped", "exchanged", "reshaped")
CLASSES = ("blue", "green", "red")
IGNORED = ("tensorboard", "report")  # nothing reads them


def write_images(folder: Path) -> None:
    """Colors with noise: 12 labeled images of a class, 4 to test and 8 without label."""
    rng = np.random.default_rng(0)
    for split, count in (("labeled", 12), ("test", 4), ("unlabeled", 8)):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                image = rng.integers(0, 120, (16, 16, 3), np.uint8)
                image[..., 2 - label] += 120
                place = folder / split / ("" if split == "unlabeled" else name)
                place.mkdir(parents=True, exist_ok=True)
                PIL.Image.fromarray(image).save(place / f"{name}{number}.png")


def settings(images: Path, **options) -> config.Config:
    folders = {f"{split}_dir": str(images / split) for split in ("labeled", "test", "unlabeled")}
    return config.Config(
        **folders,
        **{"dataset": "folder", "small_image": True, "image_size": 16, "num_validation": 6},
        **{"model_fn": "tests.helpers.foreign_models:self_scaling_cnn"},
        **{"rounds": 1, "teacher_steps": 4, "student_steps": 4, "validate_every": 2},
        **{"teacher_batch_size": 8, "batch_size": 4, "ratio": 2, "warmup_steps": 1},
        **{"log_every": 2, "min_confidence": 0, "num_shards": 2, "augment": "none"},
        **{"benchmarks": "clean", "images_per_class": "none", "num_labeled": 30},
        **options,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[config.Config, Path, dict]:
    """Options, work directory and figures of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    write_images(folder / "images")
    options = settings(folder / "images")
    results = iterate.run(options, folder / "work")
    return options, folder / "work", results["figures"]


def files_of(workdir: Path) -> list[Path]:
    """The files that a later command may read, relative to the work directory."""
    found = [path.relative_to(workdir) for path in sorted(workdir.rglob("*")) if path.is_file()]
    return [path for path in found if not set(path.parts) & set(IGNORED)]


def counterpart(file: Path, workdir: Path) -> Path | None:
    """Another file of the run that could stand in this one's place."""
    alike = [other for other in files_of(workdir) if other.suffix == file.suffix and other != file]
    named = [other for other in alike if other.name == file.name]
    beside = [other for other in alike if other.parent == file.parent]
    found = [other for other in (*beside, *named) if other.name not in ("stage.json", "done.json")]
    if file.suffix == ".json" and named:
        found = named
    different = (workdir / file).read_bytes()
    return next((o for o in found if (workdir / o).read_bytes() != different), None)


def reshaped(file: Path) -> bytes:
    """A valid file of the same format with another content."""
    buffer = io.BytesIO()
    if file.suffix == ".json":
        return b'{"model": 3, "request": [], "ids": "x", "seconds": "long", "files": []}'
    if file.suffix == ".jsonl":
        return b"[]\n"
    if file.suffix == ".npz":
        np.savez(buffer, labels=np.zeros([2, 2]), other=1)
    elif file.suffix == ".npy":
        np.save(buffer, np.zeros(3))
    elif file.suffix == ".parquet":
        pq.write_table(pa.table({"label": ["x"]}), buffer)
    elif file.suffix == ".tfrecord":
        path = file.with_suffix(".made")
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(b"nothing")
        content = path.read_bytes()
        path.unlink()
        return content
    else:
        shutil.make_archive(str(file.with_suffix("")), "zip", file.parent, "done.json")
        content = file.with_suffix(".zip").read_bytes()
        file.with_suffix(".zip").unlink()
        return content
    return buffer.getvalue()


def damage(path: Path, kind: str, workdir: Path) -> bool:
    """Damages a file, whose other hard links stay whole; False if there is no such damage."""
    content = path.read_bytes()
    if kind == "exchanged":
        other = counterpart(path.relative_to(workdir), workdir)
        if other is None:
            return False
        content = (workdir / other).read_bytes()
    elif kind == "reshaped":
        content = reshaped(path)
    elif kind == "flipped":
        middle = len(content) // 2
        content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    elif kind in ("emptied", "cut"):
        content = content[: len(content) // 2 if kind == "cut" else 0]
    path.unlink()
    if kind != "removed":
        path.write_bytes(content)
    return True


def lasting(workdir: Path) -> Iterator[tuple[Path, bytes | dict]]:
    """Returns the invariants: bytes of models and sets, and metrics of evaluations."""
    for file in files_of(workdir):
        if file.suffix in (".keras", ".parquet", ".tfrecord", ".npy", ".npz"):
            yield file, (workdir / file).read_bytes()
        elif file.name == "clean.json":
            content = json.loads((workdir / file).read_text())
            yield file, {k: v for k, v in content.items() if k not in ("seconds", "checksum")}


def check(finished, tmp_path: Path, file: Path, kind: str) -> str:
    """Damages one file of a copy and runs the same command again; returns the outcome."""
    options, original, figures = finished
    workdir = tmp_path / "work"
    shutil.copytree(original, workdir, copy_function=os.link)
    if not damage(workdir / file, kind, workdir):
        return "no such damage"
    try:
        results = iterate.run(options, workdir)
    except ValueError as error:
        message = str(error)
        named = [workdir / file]
        if file.name == "stage.json" and kind == "removed":
            named.append(workdir / file.parent)
        assert "\n" not in message and any(str(name) in message for name in named), message
        return "error"
    assert results["figures"] == figures
    assert dict(lasting(workdir)) == dict(lasting(original))
    return "same result"


# One damage of every kind, spread over files of every kind; the rest is in the long sweep.
FEW = (
    ("round0/teacher/model.keras", "exchanged", "error"),
    ("round0/teacher/model.keras", "flipped", "error"),
    ("round0/teacher/best.keras", "removed", "error"),
    ("round0/teacher/train.json", "exchanged", "error"),
    ("round0/teacher/stage.json", "emptied", "error"),
    ("round0/teacher/done.json", "flipped", "error"),
    ("round1/pseudo_labels/done.json", "exchanged", "error"),
    ("round1/pseudo_labels/predictions-00000-of-00002.parquet", "flipped", "error"),
    ("round1/selected/records-00001-of-00002.tfrecord", "removed", "error"),
    ("round1/selected/records-00001-of-00002.tfrecord", "exchanged", "error"),
    ("round1/selected/selection.json", "reshaped", "error"),
    ("round1/selected/decision.json", "cut", "error"),
    ("round1/selected/chosen-00000-of-00001.npy", "emptied", "error"),
    ("round1/student/train.json", "reshaped", "error"),
    ("splits.json", "reshaped", "error"),
    ("config.json", "cut", "same result"),
    ("evaluation/round1_student/predictions.npz", "flipped", "same result"),
)


@pytest.mark.parametrize(("file", "kind", "expected"), FEW)
def test_damage_is_named_or_mended(finished, tmp_path, file, kind, expected):
    assert check(finished, tmp_path, Path(file), kind) == expected


@pytest.mark.slow
def test_every_damage_to_every_file_is_named_or_mended(finished, tmp_path):
    outcomes: dict[str, list[str]] = {}
    wrong = []
    for file in files_of(finished[1]):
        for kind in KINDS:
            place = tmp_path / f"{len(outcomes)}-{file.name}-{kind}"
            try:
                outcome = check(finished, place, file, kind)
            except Exception as error:
                outcome = "WRONG"
                wrong.append(f"{file}, {kind}: {type(error).__name__} {str(error)[:300]}")
            outcomes.setdefault(outcome, []).append(f"{file} {kind}")
            shutil.rmtree(place, ignore_errors=True)
            print(f"{file} {kind}: {outcome}", flush=True)
    print({outcome: len(cases) for outcome, cases in outcomes.items()})
    assert not wrong, "\n".join(wrong)
