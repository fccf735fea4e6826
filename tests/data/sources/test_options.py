"""Options by name become a typed source and a draw, and a request that never changes."""

import json
import pathlib

import pytest

from data import sources

ROOT = "/root"
REQUESTS = json.loads((pathlib.Path(__file__).parent / "requests.json").read_text())
OPTIONS = {
    "mnist5k": {"dataset": "mnist5k"},
    "mnist5k_drawn": {
        "dataset": "mnist5k",
        "num_labeled": 100,
        "num_validation": 500,
        "seed": 3,
        "unlabeled_fraction": 0.25,
        "unlabeled_skew": 4.0,
    },
    "folder": {
        "dataset": "folder",
        "labeled_dir": f"{ROOT}/train",
        "validation_dir": f"{ROOT}/val",
        "test_dir": f"{ROOT}/test",
        "unlabeled_dir": f"{ROOT}/more",
    },
    "folder_and_records": {
        "dataset": "folder",
        "labeled_dir": f"{ROOT}/train",
        "unlabeled_records": [f"{ROOT}/a-*", f"{ROOT}/b"],
        "num_labeled": 4,
    },
    "folder_and_dataset": {
        "dataset": "folder",
        "labeled_dir": f"{ROOT}/train",
        "unlabeled_dataset": "tfds:stl10",
        "unlabeled_split": "unlabelled",
    },
    "folder_and_mnist5k": {
        "dataset": "folder",
        "labeled_dir": f"{ROOT}/train",
        "unlabeled_dataset": "mnist5k",
    },
    "records": {
        "dataset": "records",
        "labeled_dir": f"{ROOT}/train-*",
        "test_dir": f"{ROOT}/validation-*",
        "unlabeled_records": [f"{ROOT}/more"],
        "unlabeled_fraction": 1.0,
        "unlabeled_skew": 1.0,
    },
    "tfds": {"dataset": "tfds:cifar10", "data_dir": f"{ROOT}/tfds", "num_labeled": 4000},
    "tfds_splits": {
        "dataset": "tfds:svhn_cropped",
        "labeled_split": "train[:10%]",
        "test_split": "test[:50%]",
        "unlabeled_split": "extra",
    },
    "tfds_and_dataset": {
        "dataset": "tfds:cifar10",
        "unlabeled_dataset": "tfds:cifar100",
        "unlabeled_split": "test",
        "data_dir": ROOT,
    },
    "tfds_and_folder": {"dataset": "tfds:cifar10", "unlabeled_dir": f"{ROOT}/more"},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_those_of_older_splits_files(name):
    """requests.json was written before sources had types; stored splits are compared with it."""
    source, draw = sources.from_options(OPTIONS[name])
    request = sources.request_of(source, draw)
    assert request == REQUESTS[name]
    assert list(request) == list(REQUESTS[name])


def test_options_become_typed_sources():
    source, draw = sources.from_options(OPTIONS["tfds_and_dataset"])
    assert source == sources.Tfds("cifar10", data_dir=ROOT)
    assert draw.unlabeled == sources.Tfds("cifar100", unlabeled_split="test", data_dir=ROOT)
    source, draw = sources.from_options(OPTIONS["folder_and_records"])
    assert source == sources.Folder(f"{ROOT}/train")
    assert draw == sources.Draw(
        num_labeled=4, unlabeled=sources.UnlabeledRecords((f"{ROOT}/a-*", f"{ROOT}/b"))
    )
    given = {"dataset": "records", "labeled_dir": "x", "label_offset": 0}
    source, draw = sources.from_options(given | {"unlabeled_records": ["y"]})
    assert source == sources.Records("x", label_offset=0)
    assert source.request()["label_offset"] == 0
    assert "label_offset" not in sources.Records("x").request()
    assert draw.unlabeled == sources.UnlabeledRecords(("y",), label_offset=0, labeled_dir="x")
    empty = {"labeled_dir": None, "unlabeled_records": [], "exclude": None}
    assert sources.from_options({"dataset": "mnist5k"} | empty) == (
        sources.Builtin(),
        sources.Draw(),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "mnist"}, "'mnist'.*Valid: mnist5k, folder, records, tfds:NAME"),
        ({"dataset": "folder"}, "'folder' needs labeled_dir"),
        ({"dataset": "mnist5k", "label_offset": 0}, "label_offset 0 .*'records', not .*'mnist5k'"),
        (
            {"dataset": "folder", "labeled_dir": "x", "label_offset": 1},
            "label_offset 1 .*'records', not 'folder'",
        ),
        ({"dataset": "records"}, "'records' needs labeled_dir"),
        ({"dataset": "mnist5k", "labeled_dir": "x"}, "labeled_dir 'x'.*'folder'.*'mnist5k'"),
        ({"dataset": "tfds:mnist", "test_dir": "x"}, "test_dir 'x'.*'folder'.*'tfds:mnist'"),
        ({"dataset": "mnist5k", "num_labeled": -1}, "num_labeled .* not -1"),
        ({"dataset": "mnist5k", "num_validation": -2}, "num_validation .* not -2"),
        (
            {"dataset": "mnist5k", "unlabeled_dataset": "x", "unlabeled_dir": "y"},
            "unlabeled_dir or unlabeled_dataset",
        ),
        (
            {"dataset": "mnist5k", "unlabeled_records": ["x"], "unlabeled_dir": "y"},
            "unlabeled_dir or unlabeled_records",
        ),
        ({"dataset": "mnist5k", "test_split": "train"}, "test_split 'train'.*'tfds:NAME'"),
        ({"dataset": "mnist5k", "unlabeled_split": "train"}, "unlabeled_split 'train'"),
        (
            {
                "dataset": "folder",
                "labeled_dir": "x",
                "unlabeled_dir": "y",
                "unlabeled_split": "train",
            },
            "unlabeled_split 'train'",
        ),
        (
            {"dataset": "mnist5k", "unlabeled_dataset": "mnist5k", "unlabeled_split": "test"},
            "unlabeled_split 'test'",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sources.from_options(options)
