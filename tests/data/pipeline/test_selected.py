import pytest
import tensorflow as tf

from data import tfrecord_file
from data.pipeline import selected
from tests.helpers.toy_batches import NONE, batches, examples, marks, write_records

pytestmark = pytest.mark.usefixtures("quick_operations")


def test_records_keep_their_probabilities_and_are_seen_once_a_pass(tmp_path, either):
    files = write_records(tmp_path, examples(25), copies=2, shards=4)
    steps = batches(examples(10), 20, noise=NONE, selected_files=files, unlabeled_batch_size=10)
    seen = []
    for batch in steps:
        image = batch["probabilities"][:, 0].astype(int).tolist()
        assert marks(batch["unlabeled_images"]) == image
        seen += zip(image, batch["probabilities"][:, 1].astype(int).tolist(), strict=True)
    passes = [seen[start : start + 50] for start in range(0, 200, 50)]
    for one_pass in passes:
        assert sorted(one_pass) == [(i, copy) for i in range(25) for copy in range(2)]
    assert passes[0] != passes[1]
    assert passes[0] != sorted(passes[0])


@pytest.mark.parametrize(("block", "shards"), [(100, 1), (1, 8)], ids=["blocks", "shards"])
def test_streamed_records_are_shuffled_in_blocks_and_by_shards(
    tmp_path, streaming, monkeypatch, block, shards
):
    monkeypatch.setattr(selected, "BLOCK_RECORDS", block)
    files = write_records(tmp_path, examples(16), shards=shards)
    arguments = {"noise": NONE, "selected_files": files, "unlabeled_batch_size": 16}
    passes = [marks(batch["unlabeled_images"]) for batch in batches(examples(8), 3, **arguments)]
    assert passes[0] != passes[1] != passes[2] != passes[0]
    assert list(range(16)) not in passes


def test_damaged_records_are_named(tmp_path, monkeypatch):
    files = write_records(tmp_path, examples(16), shards=2)
    offset = list(tfrecord_file.spans(files[1]))[3][0]
    data = bytearray(files[1].read_bytes())
    data[offset + 30] ^= 1
    files[1].write_bytes(data)
    arguments = {"selected_files": files, "unlabeled_batch_size": 4}
    with pytest.raises(ValueError, match=f"{files[1]} is damaged: the record at byte {offset}"):
        batches(examples(8), 8, **arguments)
    monkeypatch.setattr(selected, "IN_MEMORY_BYTES", 0)
    with pytest.raises(tf.errors.DataLossError):
        batches(examples(8), 8, **arguments)
