"""The streamed decision against brute force: any columns, few passes, little memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_student.artifacts import decision_index, predictions
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
        patch.setattr(radix, "_TABLE", 64)
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


def test_counts_of_several_machines_are_added():
    labels, confidences, _ = case(skewed, 1, 4000)
    window = radix.whole(7, 0.0)
    together, first, second = (radix.Counts(window, 0.0) for _ in range(3))
    together.update(labels, confidences)
    first.update(labels[:1500], confidences[:1500])
    second.update(labels[1500:], confidences[1500:])
    first.merge(second)
    np.testing.assert_array_equal(first.table, together.table)
    assert first.table.sum() == 4000


def test_a_window_answers_for_its_own_target_only():
    columns = case(skewed, 1, 4000)
    counts = radix.Counts(radix.whole(7, 0.0), 0.0)
    counts.update(columns[0], columns[1])
    above = counts.table.sum(axis=1)
    window = counts.narrowed(rule.shares(above, 100)[1])
    statistics = rule.ClassStatistics(7, 0.0, window)
    statistics.update(*columns)
    assert sum(len(statistics.records(label)[0]) for label in range(7)) < 4000
    rule.decide(statistics, 100)
    with pytest.raises(ValueError, match="the window's"):
        rule.decide(statistics, 101)
    with pytest.raises(ValueError, match="different windows"):
        statistics.merge(rule.ClassStatistics(7, 0.0))


def write_chosen(folder, columns, decision, rows_per_file, monkeypatch):
    monkeypatch.setattr(decision_index, "_ROWS_PER_FILE", rows_per_file)
    writer = decision_index.Writer(folder, decision)
    labels, confidences, ids = columns
    for piece in np.array_split(np.arange(len(ids)), 3):
        part = labels[piece], confidences[piece], ids[piece]
        writer.add(part[2], part[0], rule.copies_for(*part, decision))
    return writer.close()


def test_the_index_is_sorted_and_does_not_depend_on_the_order(tmp_path, monkeypatch):
    columns = case(skewed, 1, 3000)
    decision, _ = streamed(columns, 7, 400, 0.45, [slice(None)])
    files = write_chosen(tmp_path / "a", columns, decision, 500, monkeypatch)
    order = np.random.default_rng(3).permutation(3000)
    again = write_chosen(tmp_path / "b", [c[order] for c in columns], decision, 500, monkeypatch)
    assert len(files) == 4 and [f.name for f in files][-1] == "chosen-00003-of-00004.npy"
    assert [f.read_bytes() for f in files] == [f.read_bytes() for f in again]
    assert sorted(f.name for f in (tmp_path / "a").iterdir()) == [f.name for f in files]
    rows = decision_index.read(files)
    assert (np.diff(rows["id_hash"].astype(object)) > 0).all()
    copies = rule.select(*columns, 7, 400, 0.45)
    expected = {int(i): (c, n) for i, c, n in zip(columns[2], columns[0], copies, strict=True) if n}
    found = {int(row["id_hash"]): (row["label"], row["copies"]) for row in rows}
    assert found == expected


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
