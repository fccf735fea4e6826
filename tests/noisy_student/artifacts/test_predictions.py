"""Parquet shards of predictions: round trip, names, damage."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisy_student.artifacts import predictions

CARD = {"class_names": ["a", "b", "c"], "model": "0123", "examples": "4567"}


def columns(start, stop):
    rng = np.random.default_rng(start)
    count = stop - start
    return {
        "id": np.array([f"set/{i}" for i in range(start, stop)], object),
        "id_hash": rng.integers(0, 2**64, count, np.uint64),
        "index": np.arange(start, stop),
        "source_shard": np.full(count, "records-7", object),
        "label": rng.integers(0, 3, count).astype(np.int32),
        "confidence": rng.random(count, np.float32),
        "probabilities": rng.dirichlet(np.ones(3), count).astype(np.float16),
        "true_label": np.full(count, -1, np.int32),
    }


def test_round_trip(tmp_path):
    pieces = [columns(0, 5), columns(5, 6), columns(6, 9)]
    path = predictions.shard_path(tmp_path, 0, 1)
    predictions.write(path, CARD, pieces)
    assert [file.name for file in tmp_path.iterdir()] == ["predictions-00000-of-00001.parquet"]
    read = list(predictions.read([path], list(pieces[0])))
    for name in pieces[0]:
        found = np.concatenate([piece[name] for piece in read])
        expected = np.concatenate([piece[name] for piece in pieces])
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert predictions.read_card(path) == CARD


def test_some_columns_of_several_files_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "ROWS_AT_ONCE", 2)
    files = [predictions.shard_path(tmp_path, shard, 2) for shard in range(2)]
    predictions.write(files[0], CARD, [columns(0, 5)])
    predictions.write(files[1], CARD, [columns(5, 8)])
    read = list(predictions.read(files, ["probabilities", "index"]))
    assert [piece["index"].tolist() for piece in read] == [[0, 1], [2, 3], [4], [5, 6], [7]]
    expected = np.concatenate([columns(0, 5)["probabilities"], columns(5, 8)["probabilities"]])
    np.testing.assert_array_equal(np.concatenate([p["probabilities"] for p in read]), expected)


def test_another_program_can_read_it(tmp_path):
    path = predictions.shard_path(tmp_path, 0, 1)
    predictions.write(path, CARD, [columns(0, 3)])
    table = pq.read_table(path)
    assert table.schema.field("probabilities").type == pa.list_(pa.float16(), 3)
    assert table.schema.field("id_hash").type == pa.uint64()
    assert table.column("id").to_pylist() == ["set/0", "set/1", "set/2"]


def test_an_empty_shard(tmp_path):
    path = predictions.shard_path(tmp_path, 0, 1)
    predictions.write(path, CARD, [])
    assert list(predictions.read([path], ["label"])) == []
    assert predictions.read_card(path) == CARD


def test_nothing_is_left_of_a_failed_write(tmp_path):
    def pieces():
        yield columns(0, 3)
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        predictions.write(predictions.shard_path(tmp_path, 0, 1), CARD, pieces())
    assert list(tmp_path.iterdir()) == []


def test_shard_files(tmp_path):
    with pytest.raises(ValueError, match="has no predictions"):
        predictions.shard_files(tmp_path)
    files = [predictions.shard_path(tmp_path, shard, 3) for shard in range(3)]
    for file in (files[0], files[2]):
        predictions.write(file, CARD, [])
    with pytest.raises(ValueError, match="is missing predictions-00001-of-00003"):
        predictions.shard_files(tmp_path)
    predictions.write(files[1], CARD, [])
    assert predictions.shard_files(tmp_path) == files
    predictions.write(predictions.shard_path(tmp_path, 0, 2), CARD, [])
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        predictions.shard_files(tmp_path)


def test_damaged_and_foreign_files_name_themselves(tmp_path):
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 but no more")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"label": [1]}), foreign)
    for path in (damaged, foreign):
        with pytest.raises(ValueError, match=path.name):
            predictions.read_card(path)


@pytest.mark.parametrize(("column", "bad"), [("confidence", np.nan), ("label", 3)])
def test_a_bad_value_names_its_shard(tmp_path, column, bad):
    files = [predictions.shard_path(tmp_path, shard, 2) for shard in range(2)]
    for number, file in enumerate(files):
        columns = {
            "id": np.array(["a", "b"], object),
            "id_hash": np.array([1, 2], np.uint64) + number,
            "index": np.arange(2),
            "source_shard": np.array(["", ""], object),
            "label": np.zeros(2, np.int32),
            "confidence": np.ones(2, np.float32),
            "probabilities": np.ones((2, 3), np.float16),
            "true_label": np.zeros(2, np.int32),
        }
        if number:
            columns[column][1] = bad
        predictions.write(file, {"class_names": ["a", "b", "c"]}, [columns])
    for with_ids in (False, True):
        with pytest.raises(ValueError, match=rf"{files[1].name}: {column} .* must be in 0"):
            list(predictions.decision_columns(files, 3, with_ids))
