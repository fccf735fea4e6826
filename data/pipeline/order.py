"""The order of examples: stateless seeded permutations, one per pass over the data."""

import dataclasses

import tensorflow as tf

from data import seeds

Columns = dict[str, tf.Tensor]
# Purposes of permutations: part of their seeds.
LABELED, SELECTED, SHARDS, BLOCK = range(4)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One host's rows of every batch."""

    count: int = 1  # number of hosts
    index: int = 0  # number of this host, 0..count - 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ValueError(
                f"The index of a shard must be in 0..count - 1, not {self.index} of {self.count}."
            )

    def rows(self, batch_size: int) -> range:
        """Returns the rows of a batch; raises a ValueError if hosts cannot share it evenly."""
        if batch_size % self.count:
            raise ValueError(
                f"Batches of {batch_size} cannot be split evenly over {self.count} hosts."
            )
        length = batch_size // self.count
        return range(self.index * length, (self.index + 1) * length)


@dataclasses.dataclass(frozen=True)
class Order:
    """Order of training batches, and the part of them that a host makes."""

    seed: int  # seed of the run; decides order and noise
    start_step: int = 0  # number of the first batch; earlier ones cost no image work
    shard: Shard = Shard()  # rows of this host


def permutation(
    length: tf.Tensor | int,
    seed: int,
    purpose: int,
    pass_index: tf.Tensor,
    block: tf.Tensor | int = 0,
) -> tf.Tensor:
    """Returns a permutation that depends only on the arguments.

    Args:
        length: integer scalar, number of elements.
        seed: seed of the run.
        purpose: one of the constants above.
        pass_index: int64 scalar, number of the pass over the data.
        block: integer scalar, number of the part of the pass.

    Returns:
        int64 [length].
    """
    key = seeds.example_seeds(
        seed,
        pass_index=tf.reshape(pass_index, [1]),
        id_hash=tf.reshape(tf.cast(block, tf.int64), [1]),
        copy=tf.constant([purpose]),
    )
    # tf.random.experimental.index_shuffle would not need the whole permutation, but in TensorFlow
    # 2.21 it repeats an element for lengths like 2**16 + 1 and is far from uniform for short ones.
    values = tf.range(tf.cast(length, tf.int64))
    return tf.random.experimental.stateless_shuffle(values, key[0], alg="philox")


def batch_order(num_examples: int, batch_size: int, order: Order, purpose: int) -> tf.data.Dataset:
    """Makes an endless stream of batches of indices; every pass has every example once.

    Args:
        num_examples: number of examples, at least 1.
        batch_size: examples per batch of all hosts; batches may span two passes.
        order: seed, first batch and rows.
        purpose: one of the constants above.

    Returns:
        Dictionaries of "index", 0..num_examples - 1, and "pass", both int64 [rows of the host].
    """
    first_pass, offset = divmod(order.start_step * batch_size, num_examples)

    def one_pass(position: tf.Tensor) -> Columns:
        index = permutation(num_examples, order.seed, purpose, position)
        index = index[tf.where(position == first_pass, offset, 0) :]
        return {"index": index, "pass": tf.fill(tf.shape(index), position)}

    passes = tf.data.Dataset.counter(first_pass).map(one_pass)
    batches = passes.rebatch(batch_size, drop_remainder=True)
    rows = order.shard.rows(batch_size)
    if len(rows) == batch_size:
        return batches
    return batches.map(lambda batch: {k: v[rows.start : rows.stop] for k, v in batch.items()})
