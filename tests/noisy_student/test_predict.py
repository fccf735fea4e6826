"""Answers of ``noisy_student.predict`` as text, CSV and JSON."""

import csv
import dataclasses
import io
import json
import os

import numpy as np
import PIL.Image
import pytest

from noisy_student import config, predict
from noisy_student.config import option, schema
from tests.helpers import small_export


def test_the_most_likely_classes_in_every_form():
    card = {"class_names": ("ant", 'a "b", c', "cat"), "class_titles": ["Formica", "Apis", ""]}
    found = [predict.guesses(np.array(p), card, 2) for p in ([0.25, 0.7, 0.05], [0.1, 0.2, 0.7])]
    files = ["x, y.png", "z.png"]
    assert predict.to_text(files, found).splitlines() == [
        "x, y.png",
        '   70.0%  a "b", c Apis',
        "   25.0%  ant Formica",
        "z.png",
        "   70.0%  cat",
        '   20.0%  a "b", c Apis',
    ]
    rows = list(csv.DictReader(io.StringIO(predict.to_csv(files, found))))
    assert [(row["file"], row["rank"], row["label"], row["class_name"]) for row in rows] == [
        ("x, y.png", "1", "1", 'a "b", c'),
        ("x, y.png", "2", "0", "ant"),
        ("z.png", "1", "2", "cat"),
        ("z.png", "2", "1", 'a "b", c'),
    ]
    assert [float(row["probability"]) for row in rows] == [0.7, 0.25, 0.7, 0.2]
    content = json.loads(predict.to_json(files, found))
    assert content[1]["file"] == "z.png"
    assert content[1]["classes"][0] == {
        "label": 2,
        "class_name": "cat",
        "title": "",
        "probability": 0.7,
    }


def test_without_output_the_classes_are_text(tmp_path, capsys, monkeypatch):
    model = small_export.save_model(tmp_path)
    photos = small_export.save_photos(tmp_path, ("a.png",))
    predict._main(config.Config(model=model, top_k=2), [str(photos / "a.png")])
    file, *classes = capsys.readouterr().out.splitlines()
    assert file == str(photos / "a.png")
    assert [line.split()[1] in small_export.CLASSES for line in classes] == [True, True]


def test_options_of_one_name_have_the_defaults_of_their_commands():
    settings = config.Config()
    for group in (*schema.RUN, *schema.TOOLS):
        made = settings.group(group, **derived_fields(group))
        for field, each in option.options_of(group).items():
            assert getattr(made, field) == each.default, (group.__name__, field)


def derived_fields(group):
    """Returns fields that are no options and have no default."""
    options = option.options_of(group)
    return {
        field.name: None
        for field in dataclasses.fields(group)
        if field.name not in options and field.default is dataclasses.MISSING
    }


def test_a_name_that_is_not_text_is_refused(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png")
    with open(path, "wb") as file:
        PIL.Image.new("RGB", (4, 4)).save(file, "PNG")
    with pytest.raises(ValueError, match="not UTF-8: rename it"):
        predict.check_file(path)
