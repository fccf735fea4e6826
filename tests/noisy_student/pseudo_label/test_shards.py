"""The columns of the shards: stored probabilities and the files that hold the images."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data import distributions, sources
from noisy_student.artifacts import model_file, predictions
from tests.helpers.toy_batches import textured
from tests.helpers.toy_teacher import COUNT, label


@pytest.mark.parametrize(("dtype", "atol"), [("float16", 1e-3), ("float32", 1e-6)])
@pytest.mark.parametrize("top_k", [None, 2, 9])
def test_what_is_stored_of_the_probabilities(tmp_path, model_path, dtype, atol, top_k):
    examples = textured(COUNT)
    done = label(model_path, examples, tmp_path, store_top_k=top_k, probabilities_dtype=dtype)
    files = [tmp_path / name for name in done["predictions"]]
    names = pq.read_schema(files[0]).names
    pieces = list(predictions.read(files, names))
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
    assert columns["probabilities"].dtype == dtype
    width = min(top_k or 5, 5)
    assert columns["probabilities"].shape == (COUNT, width)
    assert ("classes" in names) == (top_k is not None)
    logits = model_file.load_model(model_path)[0](examples.images.astype(np.float32))
    expected = tf.nn.softmax(logits).numpy()
    whole = distributions.dense(columns["probabilities"], columns.get("classes"), 5)
    largest = np.sort(expected)[:, -width:]
    np.testing.assert_allclose(np.sort(whole)[:, -width:], largest, atol=atol)
    np.testing.assert_array_equal(whole.argmax(axis=1), columns["label"])


@pytest.mark.parametrize("source", ["memory", "files", "records"], indirect=True)
def test_the_source_shard_is_named(tmp_path, model_path, source):
    label(model_path, source, tmp_path / "labels")
    files = predictions.shard_files(tmp_path / "labels")
    pieces = predictions.read(files, ["source_shard"])
    found = np.concatenate([piece["source_shard"] for piece in pieces])
    in_records = bool(source.record_files())
    expected = [f.split("/")[-1] for f in source.files] if in_records else [""] * COUNT
    assert found.tolist() == expected
    for i in (0, 17):
        is_encoded = isinstance(source, sources.EncodedExamples)
        size = len(source.encoded(i)) if is_encoded else 16 * 16 * 3
        assert size <= source.num_bytes(i) <= size + 200
