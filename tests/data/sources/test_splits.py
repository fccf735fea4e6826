import json

import numpy as np
import pytest

from data import sources
from data.examples import DecodedExamples
from data.sources import draw
from data.sources.splits import sample, stratified
from tests.helpers.toy_folders import all_ids, parts, write_classes, write_image


def test_stratified_is_exact_and_sorted():
    labels = np.repeat(np.arange(10), 50)
    drawn = stratified(labels, 100, np.random.default_rng(0))
    assert np.bincount(labels[drawn]).tolist() == [10] * 10
    assert np.all(np.diff(drawn) > 0)


def test_stratified_follows_unequal_classes():
    labels = np.repeat([0, 1, 2], [700, 200, 100])
    drawn = stratified(labels, 10, np.random.default_rng(0))
    assert np.bincount(labels[drawn]).tolist() == [7, 2, 1]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 50, 101, 102])
def test_stratified_draws_the_count_and_at_least_one_of_each_class(count):
    labels = np.repeat([0, 1, 2], [1, 1, 100])
    for seed in range(5):
        drawn = stratified(labels, count, np.random.default_rng(seed))
        assert len(set(drawn.tolist())) == count
        if count >= 3:
            assert set(labels[drawn]) == {0, 1, 2}


def test_stratified_is_random_within_and_between_classes():
    labels = np.repeat(np.arange(4), 25)
    draws = [stratified(labels, 6, np.random.default_rng(seed)) for seed in range(50)]
    assert len({tuple(drawn) for drawn in draws}) == 50
    assert len({tuple(np.bincount(labels[drawn])) for drawn in draws}) == 6  # two classes get 2


def test_stratified_refuses_more_than_there_is():
    with pytest.raises(ValueError, match="Cannot draw 5 of 4"):
        stratified(np.zeros(4, int), 5, np.random.default_rng(0))


def test_a_sample_of_images_in_the_order_of_their_classes_has_all_classes():
    labels = np.repeat(np.arange(3, dtype=np.int32), [50, 30, 20])
    ids = np.array([f"{i:03d}" for i in range(100)], object)
    examples = DecodedExamples(
        ids, labels, ("a", "b", "c"), images=np.zeros((100, 1, 1, 3), np.uint8)
    )
    some = sample(examples, 10)
    assert np.bincount(some.labels).tolist() == [5, 3, 2]
    assert list(some.ids) == sorted(some.ids)
    assert some.fingerprint() == sample(examples, 10).fingerprint()
    for everything in (0, 100, 1000):
        assert sample(examples, everything) is examples


def test_splits_are_drawn_once(tmp_path, monkeypatch):
    path = tmp_path / "run" / "splits.json"
    first = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100), splits_file=path)
    written = path.read_bytes()

    def never(*args):
        raise AssertionError("drawn again")

    monkeypatch.setattr(draw, "stratified", never)
    again = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100), splits_file=path)
    assert path.read_bytes() == written
    assert list(path.parent.iterdir()) == [path]
    for name, split in parts(again).items():
        assert split.fingerprint() == parts(first)[name].fingerprint()


def test_another_request_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "splits.json"
    sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100), splits_file=path)
    with pytest.raises(ValueError) as error:
        sources.load_splits(
            sources.Builtin(), sources.Draw(num_labeled=200, seed=1), splits_file=path
        )
    assert "num_labeled: stored 100, requested 200; seed: stored 0, requested 1" in str(error.value)
    assert "dataset" not in str(error.value)


def test_altered_splits_are_refused(tmp_path):
    path = tmp_path / "splits.json"
    sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100), splits_file=path)
    content = json.loads(path.read_text())
    content["ids"]["labeled"].append(content["ids"]["test"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="changed"):
        sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100), splits_file=path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match="not a file of stored splits"):
        sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100), splits_file=path)


def test_a_vanished_image_is_named(tmp_path):
    folder = write_classes(tmp_path / "images", {"cat": 10, "dog": 10})
    request = {"source": sources.Folder(folder), "splits_file": tmp_path / "splits.json"}
    splits = sources.load_splits(**request)
    gone = splits.validation.ids[0]
    (tmp_path / "images" / gone.removeprefix("folder/")).unlink()
    with pytest.raises(ValueError, match=f"'validation' are missing, such as {gone}"):
        sources.load_splits(**request)


def test_new_images_do_not_change_stored_splits(tmp_path, warnings_logged):
    folder = write_classes(tmp_path / "images", {"cat": 10, "dog": 10})
    request = {"source": sources.Folder(folder), "splits_file": tmp_path / "splits.json"}
    before = sources.load_splits(**request)
    write_image(tmp_path / "images" / "cat" / "new.png")
    after = sources.load_splits(**request)
    assert all_ids(after) == all_ids(before)
    assert any("1 images are not in the stored splits" in line for line in warnings_logged)
