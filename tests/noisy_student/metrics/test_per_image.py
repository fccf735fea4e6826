"""Records of single images, and the intervals of paired differences."""

import json
import math

import numpy as np
import pytest

from noisy_student.metrics import intervals, per_image, verdicts


def records(wrong, ids=None, of=1):
    """One setting's record."""
    return per_image.record(ids or [str(i) for i in range(len(wrong))], np.array(wrong), of)


def test_a_record_survives_json_and_is_small():
    counts = np.random.default_rng(0).integers(0, 31, 500)
    record = json.loads(json.dumps(per_image.record(map(str, range(500)), counts, 30)))
    np.testing.assert_array_equal(per_image.shares(record), counts / 30)
    wrong = np.random.default_rng(0).random(10_000) < 0.5
    assert len(per_image.record(map(str, range(10_000)), wrong)["counts"]) < 2500
    assert per_image.shares(per_image.record([], np.zeros(0, bool))).shape == (0,)


@pytest.mark.parametrize(("counts", "of"), [([2], 1), ([-1], 1), ([300], 300)])
def test_counts_that_do_not_fit_are_refused(counts, of):
    with pytest.raises(ValueError, match="counts must be in 0.."):
        per_image.record(["a"], np.array(counts), of)


def test_differences_by_hand():
    before = {"fog 1": records([1, 1, 0, 0]), "tilt": records([10, 0, 30, 3], of=30)}
    after = {"fog 1": records([0, 1, 0, 1]), "tilt": records([0, 0, 15, 6], of=30)}
    found = per_image.differences(before, after, {"fog 1": 0.25, "tilt": 0.75})
    np.testing.assert_allclose(found, [0.25 + 0.25, 0, 0.375, -0.25 - 0.075])


@pytest.mark.parametrize(
    "after",
    [
        {},
        {"fog 1": records([0, 1], ids=["0", "x"]), "fog 2": records([0, 1])},
        {"fog 1": records([0, 1]), "fog 2": records([0, 1, 1])},
    ],
)
def test_other_images_give_no_difference(after):
    before = {"fog 1": records([0, 1]), "fog 2": records([1, 1, 0])}
    weights = {"fog 1": 0.5, "fog 2": 0.5}
    assert per_image.differences(before, after, weights) is None
    assert intervals.paired_interval(before, after, weights) is None


def test_interval_of_one_setting_is_that_of_bonett_and_price():
    fixed, broken, both, neither = 9, 2, 20, 69
    before = [1] * fixed + [0] * broken + [1] * both + [0] * neither
    after = [0] * fixed + [1] * broken + [1] * both + [0] * neither
    low, high = intervals.paired_interval(
        {"top1": records(before)}, {"top1": records(after)}, {"top1": 1.0}
    )
    first, second = (fixed + 1) / 102, (broken + 1) / 102
    half = 1.959964 * math.sqrt((first + second - (first - second) ** 2) / 102)
    assert low == pytest.approx(100 * (first - second - half))
    assert high == pytest.approx(100 * (first - second + half))


def test_interval_over_settings_agrees_with_a_bootstrap_over_images():
    rng = np.random.default_rng(0)
    weights = {f"fog {level}": 0.2 for level in range(1, 6)}
    hard = rng.random(400)  # images differ in how hard they are, and settings share the images
    before = {name: rng.random(400) < hard for name in weights}
    after = {name: rng.random(400) < 0.9 * hard for name in weights}
    low, high = intervals.paired_interval(
        *({name: records(wrong) for name, wrong in each.items()} for each in (before, after)),
        weights,
    )
    differences = np.mean(list(before.values()), 0) - np.mean(list(after.values()), 0)
    drawn = rng.integers(0, 400, (4000, 400))
    expected = np.percentile(100 * differences[drawn].mean(1), [2.5, 97.5])
    assert [low, high] == pytest.approx(expected, abs=0.25)
    naive = intervals.unpaired_interval(
        0.0, [100 * np.mean(list(each.values())) for each in (before, after)], [400, 400]
    )
    assert high - low < 0.5 * (naive[1] - naive[0])


def test_models_that_agree_on_every_image_still_have_an_interval():
    same = {"top1": records([0, 1, 0, 1, 1])}
    low, high = intervals.paired_interval(same, same, {"top1": 1.0})
    assert low < 0 < high


def test_verdicts_are_paired_where_images_are_recorded():
    wrong = np.zeros(200, int)
    wrong[:80] = 1
    better = wrong.copy()
    better[:12] = 0

    def content(counts, name="0"):
        rate = float(np.mean(counts))
        ids = [f"{name}{i}" for i in range(200)]
        by = {f"fog {level}": per_image.record(ids, counts) for level in (1, 2)}
        errors = {"fog": {"1": rate, "2": rate}}
        return {"num_examples": 200, "errors": errors, "by_image": by}

    contents = {"corruptions": {"teacher": content(wrong), "student": content(better)}}
    (verdict,) = verdicts.verdicts(contents, "teacher", "student")
    assert verdict["paired"] and verdict["verdict"] == "more" and verdict["points"] == 6
    contents["corruptions"]["student"] = content(better, name="1")
    (verdict,) = verdicts.verdicts(contents, "teacher", "student")
    assert not verdict["paired"] and verdict["verdict"] == "level" and verdict["points"] == 6
