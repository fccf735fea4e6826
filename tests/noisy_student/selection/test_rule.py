"""The selection against a brute-force reference, and its independence of order and shards."""

import json

import numpy as np
import pytest

from noisy_student.selection import rule


def reference(labels, confidences, ids, num_classes, images_per_class, min_confidence):
    """The rule as one would write it down, record by record."""
    copies = np.zeros(len(labels), int)
    for label in range(num_classes):
        candidates = [
            i for i in range(len(labels)) if labels[i] == label and confidences[i] >= min_confidence
        ]
        candidates.sort(key=lambda i: (-confidences[i], int(ids[i])))
        for turn in range(images_per_class if candidates else 0):
            copies[candidates[turn % len(candidates)]] += 1
    return copies


def uniform(rng, n):
    return rng.integers(0, 7, n), rng.random(n)


def tied(rng, n):
    return rng.integers(0, 3, n), rng.choice([0.25, 0.5, 0.75, 1.0], n)


def all_equal(rng, n):
    return rng.integers(0, 2, n), np.full(n, 0.5)


def all_below(rng, n):
    return rng.integers(0, 4, n), rng.random(n) * 0.4


def one_class(rng, n):
    return np.full(n, 3), rng.random(n)


def skewed(rng, n):
    return np.minimum(rng.geometric(0.4, n) - 1, 6), rng.beta(5, 1, n).round(2)


def around_the_threshold(rng, n):
    exact = np.float32(0.45)
    near = [np.nextafter(exact, np.float32(0)), exact, np.nextafter(exact, np.float32(1))]
    return rng.integers(0, 3, n), rng.choice(near, n)


KINDS = [uniform, tied, all_equal, all_below, one_class, skewed, around_the_threshold]


def case(kind, seed, n=60, dtype=np.float32):
    rng = np.random.default_rng(seed)
    labels, confidences = kind(rng, n)
    ids = rng.integers(0, 2**64, n, np.uint64) if seed % 2 else rng.permutation(n)
    return labels, confidences.astype(dtype), ids.astype(np.uint64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_select_equals_the_reference(kind, dtype):
    threshold = dtype(0.45)
    for seed in range(12):
        for images_per_class in (1, 2, 5, 9, 60, 133):
            columns = case(kind, seed, dtype=dtype)
            found = rule.select(*columns, 7, images_per_class, 0.45)
            expected = reference(*columns, 7, images_per_class, threshold)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, expected)


def test_select_by_hand():
    confidences = np.array([0.9, 0.8, 0.8, 0.2, 0.5], np.float32)
    labels, ids = np.array([0, 0, 0, 0, 1]), np.array([5, 9, 7, 1, 2], np.uint64)
    assert rule.select(labels, confidences, ids, 3, 2, 0.3).tolist() == [1, 0, 1, 0, 2]
    assert rule.select(labels, confidences, ids, 3, 4, 0.3).tolist() == [2, 1, 1, 0, 4]
    assert rule.select(labels, confidences, ids, 3, "auto", 0.3).tolist() == [1, 1, 1, 0, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_without_balance_each_image_above_the_threshold_counts_once(kind):
    labels, confidences, ids = case(kind, 3)
    statistics = rule.ClassStatistics(7, 0.45)
    statistics.update(labels, confidences, ids)
    decision = rule.decide(statistics, "none")
    expected = confidences >= np.float32(0.45)
    found = rule.copies_for(labels, confidences, ids, decision)
    np.testing.assert_array_equal(found, expected.astype(int))
    per_class = np.bincount(labels[expected], minlength=7)
    for counts in (decision.distinct, decision.after, decision.above):
        np.testing.assert_array_equal(counts, per_class)
    again = rule.Decision.from_dict(json.loads(json.dumps(decision.to_dict())))
    np.testing.assert_array_equal(
        rule.copies_for(labels, confidences, ids, again), expected.astype(int)
    )


@pytest.mark.parametrize("sorted_at_once", [8, 2**20])
@pytest.mark.parametrize("kind", KINDS)
def test_order_and_shards_do_not_matter(monkeypatch, kind, sorted_at_once):
    monkeypatch.setattr(rule, "SORTED_AT_ONCE", sorted_at_once)
    labels, confidences, ids = case(kind, 5, 200)
    expected = rule.select(labels, confidences, ids, 7, 20, 0.45)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        order = rng.permutation(200)
        cuts = np.sort(rng.integers(0, 201, rng.integers(0, 9)))
        shards = np.split(order, cuts)
        parts = [rule.ClassStatistics(7, 0.45)]
        for shard in shards:
            part = rule.ClassStatistics(7, 0.45)
            for piece in np.array_split(shard, 3):
                part.update(labels[piece], confidences[piece], ids[piece])
            parts.append(part)
        while len(parts) > 1:  # one after the other into an empty one, or as a tree
            merged = parts.pop(0)
            merged.merge(parts.pop(rng.integers(len(parts))))
            parts.insert(0 if seed % 2 else len(parts), merged)
        decision = rule.decide(parts[0], 20)
        found = np.zeros(200, int)
        for shard in shards:
            columns = labels[shard], confidences[shard], ids[shard]
            found[shard] = rule.copies_for(*columns, decision)
        np.testing.assert_array_equal(found, expected)


def test_pieces_sorted_on_the_way_give_the_same(monkeypatch):
    labels, confidences, ids = case(skewed, 1, 300)
    expected = rule.select(labels, confidences, ids, 7, 30, 0.45)
    monkeypatch.setattr(rule, "SORTED_AT_ONCE", 16)
    statistics = rule.ClassStatistics(7, 0.45)
    for piece in np.array_split(np.arange(300), 60):
        statistics.update(labels[piece], confidences[piece], ids[piece])
        rule.decide(statistics, 3)  # looking on the way changes nothing
    found = rule.copies_for(labels, confidences, ids, rule.decide(statistics, 30))
    np.testing.assert_array_equal(found, expected)


def test_merge_leaves_the_other_alone():
    first, second = (rule.ClassStatistics(2, 0.0) for _ in range(2))
    for number, statistics in enumerate((first, second)):
        statistics.update(
            np.array([0, 1]), np.array([0.5, 0.6]), np.array([number, 10 + number], np.uint64)
        )
    first.merge(second)
    first.merge(second)
    assert first.before.tolist() == [3, 3]
    assert second.before.tolist() == [1, 1]
    assert len(second.records(0)[0]) == 1 and len(first.records(1)[0]) == 3


def test_decision_counts():
    labels, confidences, ids = case(skewed, 3, 400)
    statistics = rule.ClassStatistics(9, 0.9)
    statistics.update(labels, confidences, ids)
    decision = rule.decide(statistics, 25)
    copies = rule.copies_for(labels, confidences, ids, decision)
    np.testing.assert_array_equal(decision.before, np.bincount(labels, minlength=9))
    kept = labels[confidences >= np.float32(0.9)]
    np.testing.assert_array_equal(decision.above, np.bincount(kept, minlength=9))
    np.testing.assert_array_equal(decision.after, np.bincount(labels, copies, minlength=9))
    np.testing.assert_array_equal(decision.distinct, np.bincount(labels[copies > 0], minlength=9))
    assert {7, 8} <= set(decision.empty_classes)
    np.testing.assert_array_equal(decision.after[decision.empty_classes], 0)


def test_auto_fills_up_to_the_largest_class():
    labels, confidences, ids = case(skewed, 2, 400)
    statistics = rule.ClassStatistics(7, 0.5)
    statistics.update(labels, confidences, ids)
    decision = rule.decide(statistics, "auto")
    assert decision.images_per_class == statistics.above.max()
    np.testing.assert_array_equal(decision.distinct, statistics.above)


def test_no_records_at_all():
    decision = rule.decide(rule.ClassStatistics(3, 0.5), "auto")
    assert decision.after.tolist() == [0, 0, 0]
    assert rule.select([0], [0.1], [7], 3, 4, 0.5).tolist() == [0]
    none = np.zeros(0, int), np.zeros(0), np.zeros(0, np.uint64)
    assert rule.select(*none, 3, 4, 0.5).shape == (0,)


def test_a_float32_confidence_reaches_its_threshold():
    for confidence in (np.float32(0.7), np.float32(0.3), np.float64(0.7)):
        columns = np.array([0]), np.array([confidence]), np.array([1], np.uint64)
        assert rule.select(*columns, 1, 1, float(f"{confidence:.1f}")).tolist() == [1]


def test_an_id_that_occurs_twice_is_refused_where_it_would_matter():
    labels, ids = np.zeros(3, int), np.array([4, 4, 1], np.uint64)
    confidences = np.full(3, 0.5, np.float32)
    with pytest.raises(ValueError, match="id 4"):
        rule.select(labels, confidences, ids, 1, 2, 0.3)
    assert rule.select(labels, confidences, ids, 1, 1, 0.3).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0], [float("nan")], [1]), "confidence nan of id 1"),
        (([0, 0], [0.5, 1.5], [1, 2]), "confidence 1.5 of id 2"),
        (([0], [-0.1], [1]), "confidence -0.1"),
        (([3], [0.5], [1]), "label 3 .* 0 .. 2"),
        (([-1], [0.5], [1]), "label -1"),
        (([0], [0.5], [-1]), "id -1"),
        (([0, 1], [0.5], [1]), "equal lengths"),
        (([[0]], [[0.5]], [[1]]), "equal lengths"),
        (([0.0], [0.5], [1]), "integers"),
        (([0], [1], [1]), "floats"),
        (([0], [0.5], [1.0]), "integers"),
    ],
)
def test_bad_columns_are_refused(columns, message):
    columns = [np.array(column) for column in columns]
    with pytest.raises(ValueError, match=message):
        rule.select(*columns, 3, 4, 0.3)
    decision = rule.decide(rule.ClassStatistics(3, 0.3), 4)
    with pytest.raises(ValueError, match=message):
        rule.copies_for(*columns, decision)


@pytest.mark.parametrize("images_per_class", [0, -1, 2.0, "all", None, 2**31])
def test_bad_targets_are_refused(images_per_class):
    with pytest.raises(ValueError, match="images_per_class"):
        rule.decide(rule.ClassStatistics(3, 0.3), images_per_class)


@pytest.mark.parametrize(("num_classes", "min_confidence"), [(0, 0.3), (3, 1.1), (3, float("nan"))])
def test_bad_statistics_are_refused(num_classes, min_confidence):
    with pytest.raises(ValueError, match="it must be"):
        rule.ClassStatistics(num_classes, min_confidence)


def test_statistics_of_different_questions_do_not_merge():
    for other in (rule.ClassStatistics(4, 0.3), rule.ClassStatistics(3, 0.4)):
        with pytest.raises(ValueError, match="merged"):
            rule.ClassStatistics(3, 0.3).merge(other)
