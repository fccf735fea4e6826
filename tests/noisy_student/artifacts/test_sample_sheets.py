"""Sample sheets: the right images, whatever pieces they come in."""

import dataclasses
import json

import numpy as np

from noisy_student.artifacts import sample_sheets
from tests.helpers.toy_batches import examples


def columns(count):
    rng = np.random.default_rng(0)
    return {
        "label": rng.integers(0, 2, count),
        "confidence": rng.random(count).astype(np.float32),
        "id_hash": rng.permutation(count).astype(np.uint64),
        "index": np.arange(count),
        "true_label": rng.integers(-1, 5, count),
    }


def test_the_surest_and_the_least_sure(tmp_path):
    given = columns(60)
    copies = (given["confidence"] > 0.5) * 2
    sheets = sample_sheets.Sheets(5)
    for rows in np.array_split(np.random.default_rng(1).permutation(60), 7):
        sheets.add({name: column[rows] for name, column in given.items()}, copies[rows])
    sheets.write(tmp_path / "samples.json", examples(60))
    found = json.loads((tmp_path / "samples.json").read_text())
    assert found["num_classes"] == 5
    assert {(s["class"], s["kind"]) for s in found["sheets"]} == {
        (name, kind) for name in "ab" for kind in sample_sheets.KINDS
    }
    for sheet in found["sheets"]:
        kept = sheet["kind"] != "surest dropped"
        rows = np.flatnonzero(
            (given["label"] == "ab".index(sheet["class"])) & ((copies > 0) == kept)
        )
        order = np.argsort(given["confidence"][rows])
        expected = rows[order[:4] if sheet["kind"] == "least sure kept" else order[::-1][:4]]
        assert [image["id"] for image in sheet["images"]] == [f"x/{i:05d}" for i in expected]
        truth = [given["true_label"][i] for i in expected]
        assert [image["true"] for image in sheet["images"]] == [
            "abcde"[t] if t >= 0 else None for t in truth
        ]
        assert {image["copies"] for image in sheet["images"]} == {2 * kept}


def test_ten_of_many_classes_are_shown(tmp_path):
    count = 2000
    given = columns(count) | {"label": np.arange(count) % 1000, "true_label": np.full(count, -1)}
    sheets = sample_sheets.Sheets(1000)
    sheets.add(given, np.ones(count, int))
    names = tuple(map(str, range(1000)))
    images = np.zeros((count, 4, 4, 3), np.uint8)
    sheets.write(
        tmp_path / "samples.json",
        dataclasses.replace(examples(count, images=images), class_names=names),
    )
    found = json.loads((tmp_path / "samples.json").read_text())["sheets"]
    shown = {int(sheet["class"]) for sheet in found}
    assert len(shown) == 10 and {0, 999} < shown
