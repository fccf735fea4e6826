import copy
import dataclasses

import pytest

from noisy_student import config
from noisy_student.artifacts import stage


def test_a_stage_is_finished_once_and_for_the_same_request(tmp_path):
    request = {"stage": "train", "settings": {"seed": 0, "widths": (1, 2)}}
    with pytest.raises(ValueError, match=str(tmp_path)):
        stage.read_done(tmp_path)
    assert stage.open_stage(tmp_path, request).done is None
    half_finished = stage.open_stage(tmp_path, request)
    assert half_finished.done is None
    written = half_finished.finish([], seconds=1.5, count=3)
    done = stage.open_stage(tmp_path, request).done
    assert done == written == stage.read_done(tmp_path)
    assert (done["count"], done["seconds"]) == (3, 1.5)


def test_another_request_is_refused_with_the_difference(tmp_path):
    stage.open_stage(tmp_path, {"settings": {"seed": 5}})
    request = {"settings": {"seed": 0, "rate": 0.1}}
    stage.open_stage(tmp_path, request)  # nothing was made for seed 5 yet
    (tmp_path / "records").touch()
    with pytest.raises(ValueError, match=r"settings.seed: 0 -> 1\.") as error:
        stage.open_stage(tmp_path, {"settings": {"seed": 1, "rate": 0.1}})
    assert str(tmp_path) in str(error.value) and "rate" not in str(error.value)


def test_a_result_without_its_request_is_refused(tmp_path):
    stage.open_stage(tmp_path, {}).finish([])
    (tmp_path / stage.STAGE).unlink()
    with pytest.raises(ValueError, match=str(tmp_path)):
        stage.open_stage(tmp_path, {})


def test_hosts_that_do_not_write_leave_the_directory_alone(tmp_path):
    opened = stage.open_stage(tmp_path / "stage", {}, write=False)
    assert opened.done is None and not (tmp_path / "stage").exists()
    opened.finish([], tmp_path / "scratch")
    assert not (tmp_path / "stage").exists()
    assert stage.read_done(tmp_path / "scratch")["request"] == {}


def test_options_that_are_newer_than_a_stage_count_as_their_defaults(tmp_path):
    settings = dataclasses.asdict(config.Config(num_labeled=10).teacher)
    older = copy.deepcopy(settings)
    older["frozen_blocks"] = 0
    del older["noise"]["contrast"], older["model"]["batch_norm_momentum"]
    stage.open_stage(tmp_path, {"settings": older}).finish([])
    assert stage.open_stage(tmp_path, {"settings": settings}).done
    settings["noise"]["contrast"] = "published"
    with pytest.raises(ValueError, match="noise.contrast: None -> 'published'"):
        stage.open_stage(tmp_path, {"settings": settings})
