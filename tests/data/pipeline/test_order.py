import numpy as np
import pytest

from data.pipeline import order


def test_permutations_are_uniform():
    counts = np.zeros((6, 6))
    for one_pass in order.batch_order(6, 6, order.Order(seed=0), 0).take(3000):
        counts[np.arange(6), one_pass["index"]] += 1
    # Chi square of 25 degrees of freedom stays below 52.6 in 99.9% of draws.
    assert np.sum((counts - 500) ** 2 / 500) < 52.6


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_of_batches_put_together_are_the_batches(count):
    def drawn(shard):
        batches = order.batch_order(10, 8, order.Order(1, start_step=3, shard=shard), 0).take(6)
        return [np.stack([batch["index"], batch["pass"]]) for batch in batches]

    parts = [drawn(order.Shard(count, i)) for i in range(count)]
    for whole, *some in zip(drawn(order.Shard()), *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(some, axis=1), whole)


def test_shards_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="0..count - 1, not 2 of 2"):
        order.Shard(2, 2)
    with pytest.raises(ValueError, match="0..count - 1, not 0 of 0"):
        order.Shard(0, 0)
    with pytest.raises(ValueError, match="Batches of 6 cannot be split evenly over 4 hosts"):
        order.Shard(4, 1).rows(6)
