"""Answers of ``noisy_student.predict`` as text, CSV and JSON."""

import csv
import io
import json

import numpy as np

from noisy_student import predict


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
