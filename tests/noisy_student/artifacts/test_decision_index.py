"""The index of a selection: sorted, complete, and independent of the order of the records."""

import numpy as np

from noisy_student.artifacts import decision_index
from noisy_student.selection import rule
from tests.noisy_student.selection.test_rule import case, skewed


def write_chosen(folder, columns, decision, rows_per_file, monkeypatch):
    monkeypatch.setattr(decision_index, "ROWS_PER_FILE", rows_per_file)
    writer = decision_index.Writer(folder, decision)
    labels, confidences, ids = columns
    for piece in np.array_split(np.arange(len(ids)), 3):
        part = labels[piece], confidences[piece], ids[piece]
        writer.add(part[2], part[0], rule.copies_for(*part, decision))
    return writer.close()


def test_the_index_is_sorted_and_does_not_depend_on_the_order(tmp_path, monkeypatch):
    columns = case(skewed, 1, 3000)
    statistics = rule.ClassStatistics(7, 0.45)
    statistics.update(*columns)
    decision = rule.decide(statistics, 400)
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
