"""The check of a finished stage's files, by its digests."""

import os

import google_crc32c
import pytest

from noisy_student.artifacts import integrity, model_file, stage
from noisy_student.artifacts.files import read_json, write_json
from noisy_student.config import process
from tests.helpers.toy_teacher import save_model


@pytest.fixture
def finished(tmp_path):
    """A stage that handed on two shards."""
    directory = tmp_path / "stage"
    opened = stage.open_stage(directory, {"stage": "selection"})
    shards = [directory / f"records-0000{n}-of-00002.tfrecord" for n in range(2)]
    for number, path in enumerate(shards):
        path.write_bytes(bytes([number]) * 1000)
    opened.finish([*shards, "absent.json"], records_hash="x")
    return directory


def test_digests_are_size_and_crc32c(finished):
    files = stage.read_done(finished)["files"]
    checksum = f"{google_crc32c.value(bytes([1]) * 1000):08x}"
    assert files["records-00001-of-00002.tfrecord"] == {"bytes": 1000, "crc32c": checksum}
    assert len(files) == 2


@pytest.mark.parametrize("opens", [stage.read_done, lambda d: stage.open_stage(d, REQUEST)])
def test_consumer_and_stage_itself_name_the_file(finished, opens):
    assert (opens(finished), True)[1]
    first, second = sorted(finished.glob("*.tfrecord"))
    content = second.read_bytes()
    second.write_bytes(content[:-1] + b"\2")
    with pytest.raises(ValueError, match=f"{second} .*checksum.* delete {finished} "):
        opens(finished)
    second.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"{second} has 999 bytes .* 1000"):
        opens(finished)
    second.write_bytes(content)
    opens(finished)
    (finished / "more.tfrecord").touch()
    with pytest.raises(ValueError, match=f"{finished}/more.tfrecord"):
        opens(finished)
    (finished / "more.tfrecord").unlink()
    first.unlink()
    with pytest.raises(ValueError, match=f"{first} is missing"):
        opens(finished)


REQUEST = {"stage": "selection"}


def test_verify_size_reads_no_content(finished, monkeypatch):
    path = finished / "records-00001-of-00002.tfrecord"
    path.write_bytes(b"\5" * 1000)
    monkeypatch.setattr(process, "verify", "size")
    stage.read_done(finished)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{path} has 0 bytes"):
        stage.read_done(finished)


def test_a_file_is_read_once_unless_it_changes(finished, monkeypatch):
    read = []
    checksum = google_crc32c.Checksum
    monkeypatch.setattr(google_crc32c, "Checksum", lambda: read.append(1) or checksum())
    stage.read_done(finished)
    assert not read  # known since the stage finished
    path = finished / "records-00000-of-00002.tfrecord"
    os.utime(path, ns=(0, 0))
    stage.read_done(finished)
    stage.read_done(finished)
    assert len(read) == 1


def test_stages_without_digests_stay_valid_and_are_named_once(finished, caplog):
    done = stage.read_done(finished)
    write_json(finished / "done.json", {k: v for k, v in done.items() if k != "files"})
    for path in finished.glob("*.tfrecord"):
        path.write_bytes(b"")
    assert "files" not in stage.read_done(finished)
    stage.read_done(finished)
    assert [str(finished) in record.getMessage() for record in caplog.records] == [True]


def test_a_field_that_another_stage_lacks_is_named(finished):
    with pytest.raises(ValueError, match=f"{finished}/done.json has no predictions.*selection"):
        stage.read_done(finished, "predictions")


def test_a_model_that_its_stage_did_not_finish_with_is_refused(tmp_path):
    best, model = (save_model(tmp_path / f"{name}.keras", n) for n, name in enumerate("bm"))
    stage.open_stage(tmp_path, {}).finish([best, model])
    assert model_file.read_card(model)
    model.write_bytes(best.read_bytes())
    for use in (model_file.read_card, model_file.load_model):
        with pytest.raises(ValueError, match=f"{model} .*its stage finished"):
            use(model)


def test_done_of_another_request_is_refused(finished, tmp_path):
    stage.open_stage(tmp_path / "other", {"stage": "train"}).finish([])
    (tmp_path / "other/done.json").replace(finished / "done.json")
    with pytest.raises(ValueError, match=f"{finished} .*'train' -> 'selection'"):
        stage.open_stage(finished, REQUEST)


def test_only_listed_files_are_checked(finished):
    (finished / "notes.txt").touch()
    integrity.check_output(finished / "notes.txt")
    assert read_json(finished / "done.json")["records_hash"] == "x"
