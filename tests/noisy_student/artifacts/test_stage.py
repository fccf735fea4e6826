import json

import pytest

from noisy_student.artifacts import stage
from noisy_student.artifacts.files import read_json, write_json


def test_a_stage_is_finished_once_and_for_the_same_request(tmp_path):
    request = {"stage": "train", "settings": {"seed": 0, "widths": (1, 2)}}
    assert stage.begin(tmp_path, request) is None
    assert stage.begin(tmp_path, request) is None  # half-finished: goes on
    stage.finish(tmp_path, request, 1.5, count=3)
    done = stage.begin(tmp_path, request)
    assert done["count"] == 3 and done["seconds"] == 1.5


def test_another_request_is_refused_with_the_difference(tmp_path):
    stage.begin(tmp_path, {"settings": {"seed": 5}})
    stage.begin(tmp_path, {"settings": {"seed": 0, "rate": 0.1}})  # nothing was made for 5 yet
    (tmp_path / "records").touch()
    with pytest.raises(ValueError, match=r"settings.seed: 0 -> 1\.") as error:
        stage.begin(tmp_path, {"settings": {"seed": 1, "rate": 0.1}})
    assert str(tmp_path) in str(error.value) and "rate" not in str(error.value)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    path.write_text('{"a": ')
    with pytest.raises(ValueError, match="x.json is not valid JSON"):
        read_json(path)
