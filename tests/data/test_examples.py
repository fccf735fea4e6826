import io

import numpy as np
import pytest
from PIL import Image

from data.examples import DecodedExamples, EncodedExamples, concatenate
from data.sources.folders import read_labeled
from tests.helpers.toy_folders import ids, write_classes


def small_examples(n=10):
    images = np.arange(n * 12, dtype=np.uint8).reshape(n, 2, 2, 3)
    names = np.array([f"x/{i}" for i in range(n)], object)
    return DecodedExamples(
        names, np.arange(n, dtype=np.int32), tuple("abcdefghij"[:n]), images=images
    )


def test_take_keeps_columns_together():
    taken = small_examples().take([7, 2, 2])
    assert ids(taken) == ["x/7", "x/2", "x/2"]
    assert taken.labels.tolist() == [7, 2, 2]
    np.testing.assert_array_equal(taken.images[1], small_examples().images[2])
    assert len(small_examples().take([])) == 0


def test_take_of_neighbors_copies_nothing():
    examples = small_examples()
    assert np.shares_memory(examples.take(range(3, 9)).images, examples.images)
    assert ids(examples.take([3, 4])) == ["x/3", "x/4"]


@pytest.mark.parametrize("indices", [[9, 10], [10], [4, 11]])
def test_take_beyond_the_end_is_refused(indices):
    with pytest.raises(IndexError):
        small_examples().take(indices)


def test_encoded_pixels_survive():
    decoded = np.asarray(Image.open(io.BytesIO(small_examples().encoded(4))))
    np.testing.assert_array_equal(decoded, small_examples().images[4])


def test_encoded_file_is_the_files_bytes(tmp_path):
    folder = write_classes(tmp_path, {"cat": 1})
    examples = read_labeled(folder)
    assert examples.encoded(0) == (tmp_path / "cat" / "000.png").read_bytes()


def test_fingerprint_follows_ids_and_labels():
    examples = small_examples()
    assert examples.fingerprint() == small_examples().fingerprint()
    assert examples.fingerprint() != examples.take(range(9)).fingerprint()
    assert examples.fingerprint() != examples.take([1, 0, *range(2, 10)]).fingerprint()
    changed = DecodedExamples(examples.ids, examples.labels[::-1], ("a",), images=examples.images)
    assert examples.fingerprint() != changed.fingerprint()


def test_examples_refuse_columns_that_do_not_match():
    examples = small_examples()
    with pytest.raises(ValueError, match="differ in length"):
        DecodedExamples(examples.ids[1:], examples.labels, ("a",), images=examples.images)
    offsets = np.zeros(3, np.int64)
    with pytest.raises(ValueError, match="differ in length.*'offsets': 3"):
        EncodedExamples(examples.ids, examples.labels, ("a",), examples.ids, offsets)
    with pytest.raises(ValueError, match="float32"):
        DecodedExamples(
            examples.ids, examples.labels, ("a",), images=examples.images.astype(np.float32)
        )


def test_files_and_arrays_cannot_be_joined(tmp_path):
    files = read_labeled(write_classes(tmp_path, {"cat": 1}))
    with pytest.raises(ValueError, match=r"in memory \(x/0\) with image files \(folder/cat/000"):
        concatenate(small_examples(), files)
