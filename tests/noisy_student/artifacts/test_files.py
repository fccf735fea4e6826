import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from noisy_student.artifacts import files, stage
from noisy_student.artifacts.files import read_json, write_json
from noisy_student.artifacts.json_files import TrainSummary


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == {"a": 1}
    assert json.loads(path.read_text()).keys() == {"a", "checksum"}
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match="x.json is not valid JSON"):
        read_json(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_hashes_follow_contents_and_order(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, ("1", "2", "1"), strict=True):
        path.write_text(content)
    first, second, third = map(files.file_hash, paths)
    assert first == third != second and len(first) == 16
    assert files.files_hash(paths[:2]) == files.files_hash([paths[2], paths[1]])
    assert files.files_hash(paths[:2]) != files.files_hash(paths[1::-1])


def test_an_altered_json_file_is_named_and_one_without_checksum_read(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"top1": 91.25, "by": {1: "a"}})
    assert read_json(path) == {"top1": 91.25, "by": {"1": "a"}}
    path.write_text(path.read_text().replace("91.25", "91.35"))
    with pytest.raises(ValueError, match=f"{path} was changed"):
        read_json(path)
    path.write_text('{"top1": 3}')
    assert read_json(path) == {"top1": 3}
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=f"{path} is not valid JSON"):
        read_json(path)


TRAINED = {
    **{"role": "teacher", "round": 0, "model_name": "b0", "parameters": 1, "image_size": 32},
    **{"num_steps": 1, "images_seen": 8, "seconds": 1, "validation_top1": None},
    **{"best_validation_top1": 1.5, "history": []},
}
ROW = {"step": 1, "learning_rate": 0.1, "loss": 1.0, "seconds": 2.0}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, None),
        ({"history": [ROW], "new": 1}, None),
        ({"width": None}, None),
        ({"round": "1"}, "round is not a whole number"),
        ({"round": True}, "round is not a whole number"),
        ({"round": 1.5}, "round is not a whole number"),
        ({"seconds": False}, "seconds is not a number"),
        ({"validation_top1": "90"}, "validation_top1 is not a number"),
        ({"history": {}}, "history is not a list"),
        ({"history": [ROW, {**ROW, "loss": None}]}, r"history\[1\].loss is not a number"),
        ({"history": [{"step": 1}]}, r"history\[0\].learning_rate is missing"),
        ({"decoded_once": []}, "decoded_once is not an object"),
    ],
)
def test_json_of_another_shape_is_named_with_the_place(tmp_path, changes, named):
    path = tmp_path / "train.json"
    write_json(path, TRAINED | changes)
    if named is None:
        assert read_json(path, TrainSummary) == TRAINED | changes
    else:
        with pytest.raises(ValueError, match=f"{path} .*: {named}"):
            read_json(path, TrainSummary)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"\x93NUMPY"])
def test_damaged_arrays_are_named(tmp_path, content):
    path = tmp_path / "predictions.npz"
    files.write_arrays(path, labels=np.arange(3), more=np.zeros(2))
    assert files.read_arrays(path, labels=(3,))["labels"].tolist() == [0, 1, 2]
    for shape in ({"labels": (4,)}, {"absent": ()}):
        with pytest.raises(ValueError, match=str(path)):
            files.read_arrays(path, **shape)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=str(path)):
        files.read_arrays(path, labels=(3,))


KILLED = """
import os, sys, signal
from pathlib import Path
import numpy as np
from data import record_schema
from data.sources import splits
from noisy_student.artifacts.files import atomic_write
from tests.helpers.toy_teacher import save_model
from efficientnet import archive
folder = Path(sys.argv[1])
with atomic_write(folder / "labels" / "a.parquet") as path:
    path.write_text("half")
    with record_schema.appearing(folder / "r.tfrecord") as partial:
        Path(partial).write_text("half")
        def die(*_): os.kill(os.getpid(), signal.SIGKILL)
        archive.os.replace = die
        save_model(folder / "m.keras", 0)
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": os.getcwd()}
    assert subprocess.run(command, env=environment).returncode == -9
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert len(left) == 3 and all(".tmp-" in name for name in left)
    here, other = platform.node(), ".b.tmp-elsewhere-1"
    ours = [other, f".c.tmp-{here}-{os.getpid()}", "plain.tmp"]
    for name in ours:
        (tmp_path / name).touch()
    stage.open_stage(tmp_path, {})
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {*ours, "stage.json"}
