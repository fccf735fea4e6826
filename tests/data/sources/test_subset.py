import dataclasses
import hashlib

import numpy as np
import pytest

from data import sources
from data.sources import subset
from tests.helpers.toy_folders import all_ids, class_counts, ids, write_classes


def smallest(names, purpose, seed, count):
    """The rule as one would write it down: the ids with the smallest hashes."""

    def hash_of(name):
        digest = hashlib.blake2b(f"{purpose}/{seed}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little")

    return set(sorted(names, key=hash_of)[:count])


NAMES = np.array([f"toy/{i}" for i in range(1000)], object)
LABELS = np.random.default_rng(0).integers(0, 5, 1000)


def kept(names=NAMES, labels=LABELS, **rule):
    return subset.kept(names, labels, 5, **rule)


@pytest.mark.parametrize("fraction", [1 / 16, 0.25, 0.333, 1.0])
def test_a_fraction_keeps_the_smallest_hashes_in_order(fraction):
    where = kept(fraction=fraction, seed=3)
    assert np.all(np.diff(where) > 0)
    assert set(NAMES[where]) == smallest(NAMES, "fraction", 3, round(1000 * fraction))


def test_the_tail_falls_geometrically_over_the_classes():
    where = kept(skew=10.0, seed=3)
    sizes = np.bincount(LABELS)
    expected = [round(n * 10 ** (-c / 4)) for c, n in enumerate(sizes)]
    assert np.bincount(LABELS[where]).tolist() == expected
    assert (expected[0], expected[4]) == (sizes[0], round(sizes[4] / 10))
    for label, count in enumerate(expected):
        of_class = NAMES[LABELS == label]
        found = set(NAMES[where][LABELS[where] == label])
        assert found == smallest(of_class, "skew", 3, count)


def test_parts_are_nested_and_another_seed_draws_others():
    for smaller, larger in [
        ({"fraction": 1 / 16}, {"fraction": 1 / 4}),
        ({"skew": 20}, {"skew": 5}),
    ]:
        assert set(kept(**smaller)) < set(kept(**larger))
        assert set(kept(**smaller, seed=1)) != set(kept(**smaller))


def test_the_fraction_is_of_what_the_skew_leaves_and_keeps_its_shape():
    skewed, both = kept(skew=20.0), kept(skew=20.0, fraction=0.5)
    assert set(both) < set(skewed) and len(both) == round(len(skewed) / 2)
    before, after = (np.bincount(LABELS[where], minlength=5) for where in (skewed, both))
    # Drawn without regard to the class: within 4 standard deviations of a half.
    assert np.all(np.abs(after - before / 2) < 4 * np.sqrt(before) / 2)


def test_one_image_or_one_class_or_none():
    assert len(kept(fraction=1e-9)) == 1
    assert len(subset.kept(NAMES[:4], np.zeros(4, int), 1, skew=100.0)) == 4
    assert len(kept(NAMES[:0], LABELS[:0], fraction=0.5, skew=2.0)) == 0


@pytest.mark.parametrize("rule", [{"fraction": 0.0}, {"fraction": 1.1}, {"skew": 0.5}])
def test_values_out_of_range_are_refused(rule):
    (name, value), *_ = rule.items()
    with pytest.raises(ValueError, match=f"unlabeled_{name} must be .* not {value}"):
        sources.Draw(num_labeled=100, **{f"unlabeled_{name}": value})


def test_a_skew_needs_true_labels(tmp_path):
    labeled = write_classes(tmp_path / "labeled", {"cat": 9, "dog": 9})
    others = write_classes(tmp_path / "others", {"any": 3})
    with pytest.raises(ValueError, match="unlabeled_skew = 2 needs the true labels .* of 3 of"):
        sources.load_splits(
            sources.Folder(labeled),
            sources.Draw(unlabeled_skew=2.0, unlabeled=sources.UnlabeledFolder(others)),
        )


# In the splits.


def test_splits_keep_a_part_of_the_unlabeled_images_and_nothing_else_changes(
    tmp_path, warnings_logged
):
    whole = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100))
    part = sources.load_splits(
        sources.Builtin(),
        sources.Draw(num_labeled=100, unlabeled_fraction=0.25, unlabeled_skew=4.0),
    )
    for name in ("labeled", "validation", "test"):
        assert getattr(part, name).fingerprint() == getattr(whole, name).fingerprint()
    long_tail = [round(340 * 4 ** (-c / 9)) for c in range(10)]
    assert len(part.unlabeled) == round(sum(long_tail) / 4)
    assert part.info["left_out"] == 3400 - len(part.unlabeled)
    where = subset.kept(whole.unlabeled.ids, whole.unlabeled.labels, 10, fraction=0.25, skew=4.0)
    assert ids(part.unlabeled) == ids(whole.unlabeled.take(where))
    assert part.unlabeled.fingerprint() != whole.unlabeled.fingerprint()
    assert class_counts(part.unlabeled)[0] > class_counts(part.unlabeled)[9]
    assert not warnings_logged


def test_images_of_another_source_are_thinned_with_those_of_the_pool(tmp_path):
    labeled = write_classes(tmp_path / "labeled", {"cat": 20, "dog": 20})
    others = write_classes(tmp_path / "others", {"any": 30})
    draw = sources.Draw(num_labeled=4, unlabeled=sources.UnlabeledFolder(others))
    whole = sources.load_splits(sources.Folder(labeled), draw)
    half = dataclasses.replace(draw, unlabeled_fraction=0.5)
    part = sources.load_splits(sources.Folder(labeled), half)
    wanted = round(len(whole.unlabeled) / 2)
    assert set(ids(part.unlabeled)) == smallest(ids(whole.unlabeled), "fraction", 0, wanted)


def test_a_part_is_drawn_once_and_stored(tmp_path, monkeypatch, warnings_logged):
    draw = sources.Draw(num_labeled=100, unlabeled_fraction=0.25)
    first = sources.load_splits(sources.Builtin(), draw, tmp_path / "splits.json")

    def never(*args, **kwargs):
        raise AssertionError("drawn again")

    monkeypatch.setattr(subset, "kept", never)
    again = sources.load_splits(sources.Builtin(), draw, tmp_path / "splits.json")
    assert again.unlabeled.fingerprint() == first.unlabeled.fingerprint()
    assert again.info == first.info and not warnings_logged
    with pytest.raises(ValueError, match="unlabeled_fraction: stored 0.25, requested 0.5"):
        half = dataclasses.replace(draw, unlabeled_fraction=0.5)
        sources.load_splits(sources.Builtin(), half, tmp_path / "splits.json")


def test_an_image_may_be_excluded_and_left_out(tmp_path):
    draw = sources.Draw(num_labeled=100, unlabeled_fraction=0.25)
    whole = sources.load_splits(sources.Builtin(), sources.Draw(num_labeled=100))
    part = sources.load_splits(sources.Builtin(), draw)
    gone = sorted(set(ids(whole.unlabeled)) - set(ids(part.unlabeled)))[0]
    (tmp_path / "exclude.txt").write_text(f"{gone}\n{part.unlabeled.ids[0]}\n")
    draw = dataclasses.replace(draw, exclude=tmp_path / "exclude.txt")
    rest = sources.load_splits(sources.Builtin(), draw)
    assert set(all_ids(part)) - set(all_ids(rest)) == {part.unlabeled.ids[0]}
