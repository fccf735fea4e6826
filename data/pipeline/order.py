"""Which examples a batch holds: seeded permutations, one per pass over the data, without state."""

import dataclasses

import tensorflow as tf

from data import seeds

Columns = dict[str, tf.Tensor]
# What permutations are drawn for, one constant per purpose.
LABELED, SELECTED, SHARDS, BLOCK = range(4)


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which part of every batch one host makes.

    Attributes:
        count: how many hosts there are.
        index: which of them this is, 0..count - 1.
    """

    count: int = 1
    index: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ValueError(
                f"shard_index must be in 0..num_shards - 1, not {self.index} of {self.count}."
            )

    def rows(self, batch_size: int) -> range:
        """The rows of a batch; ValueError if hosts cannot share it evenly."""
        if batch_size % self.count:
            raise ValueError(
                f"Batches of {batch_size} cannot be shared evenly by {self.count} hosts."
            )
        length = batch_size // self.count
        return range(self.index * length, (self.index + 1) * length)


def permutation(
    length: tf.Tensor | int,
    seed: int,
    purpose: int,
    pass_index: tf.Tensor,
    block: tf.Tensor | int = 0,
) -> tf.Tensor:
    """A permutation, a function of its arguments alone.

    Args:
        length: integer scalar, how many elements it has.
        seed: the run's seed.
        purpose: one of the constants above.
        pass_index: int64 scalar, which pass over the data.
        block: integer scalar, which part of the pass.

    Returns:
        int64 [length].
    """
    key = seeds.example_seeds(
        seed,
        pass_index=tf.reshape(pass_index, [1]),
        id_hash=tf.reshape(tf.cast(block, tf.int64), [1]),
        copy=tf.constant([purpose]),
    )
    # tf.random.experimental.index_shuffle would do without the whole permutation, but TensorFlow
    # 2.21's repeats an element for lengths like 2**16 + 1, and is far from uniform for short ones.
    values = tf.range(tf.cast(length, tf.int64))
    return tf.random.experimental.stateless_shuffle(values, key[0], alg="philox")


def batch_order(
    num_examples: int,
    batch_size: int,
    seed: int,
    purpose: int,
    start_step: int,
    rows: range | None = None,
) -> tf.data.Dataset:
    """The examples of each batch, without end; every pass holds every example once.

    Args:
        num_examples: how many there are, at least 1.
        batch_size: examples per batch; batches run across the ends of passes.
        seed: the run's seed.
        purpose: one of the constants above.
        start_step: number of the first batch.
        rows: those of every batch to return; None: all.

    Returns:
        Dictionaries of "index", 0..num_examples - 1, and "pass", both int64 [len(rows)].
    """
    first_pass, offset = divmod(start_step * batch_size, num_examples)

    def one_pass(position: tf.Tensor) -> Columns:
        index = permutation(num_examples, seed, purpose, position)
        index = index[tf.where(position == first_pass, offset, 0) :]
        return {"index": index, "pass": tf.fill(tf.shape(index), position)}

    passes = tf.data.Dataset.counter(first_pass).map(one_pass)
    batches = passes.rebatch(batch_size, drop_remainder=True)
    if rows is None or len(rows) == batch_size:
        return batches
    return batches.map(lambda batch: {k: v[rows.start : rows.stop] for k, v in batch.items()})


def gather(order: tf.data.Dataset, columns: Columns) -> tf.data.Dataset:
    """Adds the columns of the examples to batches of their "index"; index -1 takes any example."""

    def look_up(batch: Columns) -> Columns:
        where = tf.maximum(batch["index"], 0)
        return batch | {name: tf.gather(column, where) for name, column in columns.items()}

    return order.map(look_up, num_parallel_calls=tf.data.AUTOTUNE)
