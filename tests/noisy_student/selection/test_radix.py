"""The streamed decision against brute force: any columns, few passes, little memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_student.selection import radix, rule
from tests.noisy_student.selection.test_rule import KINDS, case, reference, skewed

CLASSES = 4
_CONFIDENCES = st.one_of(
    st.floats(0, 1, width=32), st.sampled_from([0.0, -0.0, 0.25, 0.5, 0.75, 1.0])
)
_IDS = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 40))
_RECORDS = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), _CONFIDENCES, _IDS),
    max_size=40,
    unique_by=lambda r: r[2],
)


def as_columns(records):
    labels, confidences, ids = zip(*records, strict=True) if records else ((), (), ())
    return np.array(labels, np.int32), np.array(confidences, np.float32), np.array(ids, np.uint64)


def streamed(columns, num_classes, images_per_class, min_confidence, pieces, max_copies=None):
    """The decision over pieces of the columns, and how often they were read."""
    reads = []

    def read(with_ids):
        reads.append(with_ids)
        for piece in pieces:
            labels, confidences, ids = (column[piece] for column in columns)
            yield labels, confidences, ids if with_ids else None

    decision = radix.decide(read, num_classes, min_confidence, images_per_class, max_copies)
    return decision, reads


def assert_same(first, second):
    for name in ("copies", "cut_confidence", "cut_id", "before", "above", "images_per_class"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    records=_RECORDS,
    images_per_class=st.one_of(st.integers(1, 50), st.sampled_from(["auto", "none"])),
    min_confidence=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    max_copies=st.one_of(st.none(), st.integers(1, 3)),
    order=st.randoms(use_true_random=False),
    num_pieces=st.integers(1, 6),
)
def test_any_records_in_any_order_and_pieces(
    records, images_per_class, min_confidence, max_copies, order, num_pieces
):
    columns = as_columns(records)
    above = (columns[1] >= np.float32(min_confidence)) * 1
    target = images_per_class
    if target == "auto":
        target = max(1, np.bincount(columns[0], above, CLASSES).astype(int).max())
    if target == "none":
        expected = above
    else:
        expected = reference(*columns, CLASSES, target, np.float32(min_confidence))
    if max_copies:
        expected = np.minimum(expected, max_copies)
    rows = list(range(len(records)))
    order.shuffle(rows)
    pieces = [rows[start::num_pieces] for start in range(num_pieces)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(radix, "IN_MEMORY", 2)
        patch.setattr(radix, "TABLE_SIZE", 64)
        question = (CLASSES, images_per_class, min_confidence)
        decision, _ = streamed(columns, *question, pieces, max_copies)
    np.testing.assert_array_equal(rule.copies_for(*columns, decision), expected)
    statistics = [rule.ClassStatistics(CLASSES, min_confidence) for _ in pieces]
    for part, piece in zip(statistics, pieces, strict=True):
        part.update(*(column[piece] for column in columns))
        if part is not statistics[0]:
            statistics[0].merge(part)
    assert_same(rule.decide(statistics[0], images_per_class, max_copies), decision)
    np.testing.assert_array_equal(decision.after, np.bincount(columns[0], expected, CLASSES))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(records=_RECORDS.filter(len), bad=st.sampled_from([np.nan, np.inf, -0.1, 1.001]))
def test_a_bad_confidence_anywhere_is_refused(records, bad):
    labels, confidences, ids = as_columns(records)
    confidences[len(records) // 2] = bad
    with pytest.raises(ValueError, match="confidence"):
        rule.select(labels, confidences, ids, CLASSES, 3, 0.3)
    with pytest.raises(ValueError, match="confidence"):
        streamed((labels, confidences, ids), CLASSES, 3, 0.3, [slice(None)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_memory", [5, 10**6])
def test_equal_to_the_decision_in_memory(monkeypatch, kind, in_memory):
    monkeypatch.setattr(radix, "IN_MEMORY", in_memory)
    columns = case(kind, 1, 5000)
    statistics = rule.ClassStatistics(7, 0.45)
    statistics.update(*columns)
    for images_per_class in (1, 300, 2000):
        decision, reads = streamed(
            columns, 7, images_per_class, 0.45, np.array_split(np.arange(5000), 9)
        )
        assert_same(rule.decide(statistics, images_per_class), decision)
        assert in_memory < 10 or len(reads) == 2


def test_records_that_are_all_alike_are_told_apart_by_the_bits_of_their_ids(monkeypatch):
    monkeypatch.setattr(radix, "IN_MEMORY", 100)
    rng = np.random.default_rng(0)
    ids = rng.permutation(2**40 + np.arange(200_000, dtype=np.uint64))
    columns = np.zeros(200_000, np.int16), np.full(200_000, 0.5, np.float32), ids
    decision, reads = streamed(columns, 1, 77_777, 0.3, np.array_split(np.arange(200_000), 4))
    assert (decision.cut_confidence[0], decision.cut_id[0]) == (0.5, 2**40 + 77_776)
    assert reads[0] is False and 3 < len(reads) < 8


def test_histograms_of_several_machines_are_added():
    labels, confidences, _ = case(skewed, 1, 4000)
    bins = radix.all_records(7, 0.0)
    together, first, second = (radix.Histogram(bins, 0.0) for _ in range(3))
    together.update(labels, confidences)
    first.update(labels[:1500], confidences[:1500])
    second.update(labels[1500:], confidences[1500:])
    first.merge(second)
    np.testing.assert_array_equal(first.counts, together.counts)
    assert first.counts.sum() == 4000


def test_bins_answer_for_their_own_target_only():
    columns = case(skewed, 1, 4000)
    histogram = radix.Histogram(radix.all_records(7, 0.0), 0.0)
    histogram.update(columns[0], columns[1])
    above = histogram.counts.sum(axis=1)
    bins, other = (
        histogram.narrow(rule.copies_and_extra(above, target)[1]) for target in (100, 101)
    )
    statistics = radix.CutStatistics(bins, 0.0)
    statistics.update(*columns)
    assert sum(len(statistics.records(label)[0]) for label in range(7)) < 4000
    rule.decide(statistics, 100)
    with pytest.raises(ValueError, match="bins"):
        rule.decide(statistics, 101)
    for others in (radix.CutStatistics(other, 0.0), rule.ClassStatistics(7, 0.0)):
        with pytest.raises(ValueError, match="merged"):
            statistics.merge(others)
