import hashlib

import numpy as np
import tensorflow as tf

from data import seeds
from tests.helpers.noise_images import seed_grid

EDGES = [[0, 0], [1, 0], [0, 1], [-1, -1], [2**31 - 1, -(2**31)], [-123456789, 987654321]]
CHI_SQUARE_99_9 = {8: 26.12, 15: 37.70}  # quantiles by degrees of freedom


def philox_key(seed):
    return tf.constant(np.array(seed, np.int32).view(np.uint64))


def test_uniform_is_tensorflows_philox_bit_by_bit():
    numbers = seeds.uniform(tf.constant(EDGES, tf.int32), 11)
    assert numbers.dtype == tf.float32 and numbers.shape == (len(EDGES), 11)
    for row, seed in zip(numbers, EDGES, strict=True):
        expected = tf.raw_ops.StatelessRandomUniformV2(
            shape=[11], key=philox_key(seed), counter=tf.zeros([2], tf.uint64), alg=1
        )
        np.testing.assert_array_equal(row, expected)


def test_bits_are_tensorflows_philox_bit_by_bit():
    numbers = seeds.bits(tf.constant(EDGES, tf.int32), 11)
    assert numbers.dtype == tf.int32 and numbers.shape == (len(EDGES), 11)
    for row, seed in zip(numbers, EDGES, strict=True):
        expected = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=[11],
            key=philox_key(seed),
            counter=tf.zeros([2], tf.uint64),
            alg=1,
            dtype=tf.int32,
        )
        np.testing.assert_array_equal(row, expected)


def test_fold_is_tensorflows_philox_bit_by_bit():
    for n in (0, 1, 7, 1000):
        folded = seeds.fold(tf.constant(EDGES, tf.int32), n)
        assert folded.dtype == tf.int32
        for row, seed in zip(folded, EDGES, strict=True):
            expected = tf.raw_ops.StatelessRandomUniformFullIntV2(
                shape=[2],
                key=philox_key(seed),
                counter=tf.constant([n, 1 << 32], tf.uint64),
                alg=1,
                dtype=tf.int32,
            )
            np.testing.assert_array_equal(row, expected)


def test_example_seeds_give_the_known_answers_of_philox():
    # The two extreme known-answer vectors of Philox 4x32-10 that its authors publish (Random123).
    def words(value):
        wide = tf.constant([value], tf.int64)
        seed = seeds.example_seeds(value, wide, wide, tf.constant([value], tf.int32))
        return seed.numpy().view(np.uint32)[0].tolist()

    assert words(0) == [0x6627E8D5, 0xE169C58D]
    assert words(-1) == [0x408F276D, 0x41C83B0E]


def test_example_seeds_depend_on_each_of_the_four_values():
    base = {"seed": 3, "pass_index": [5], "id_hash": [-(2**62) + 9], "copy": [2]}

    def drawn(**changes):
        values = base | changes
        return tuple(
            seeds.example_seeds(
                values["seed"],
                tf.constant(values["pass_index"], tf.int64),
                tf.constant(values["id_hash"], tf.int64),
                tf.constant(values["copy"], tf.int32),
            )
            .numpy()[0]
            .tolist()
        )

    others = [
        drawn(seed=4),
        drawn(seed=3 + 2**32),
        drawn(pass_index=[6]),
        drawn(id_hash=[-(2**62) + 10]),
        drawn(id_hash=[2**62 + 9]),
        drawn(copy=[3]),
    ]
    assert drawn() == drawn()
    assert len({drawn(), *others}) == 1 + len(others)


def test_example_seeds_of_many_examples_do_not_collide():
    ids = seeds.hash_ids([f"cifar10/train/{i:05d}" for i in range(20_000)]).view(np.int64)
    ids = np.tile(ids, 6)
    passes, copies = np.repeat([0, 0, 0, 1, 1, 1], 20_000), np.repeat([0, 1, 2] * 2, 20_000)
    drawn = seeds.example_seeds(
        0, tf.constant(passes, tf.int64), tf.constant(ids), tf.constant(copies, tf.int32)
    ).numpy()
    assert len(np.unique(drawn.view(np.int64))) == 120_000
    bits = np.unpackbits(drawn.view(np.uint8), axis=None).reshape(120_000, 64)
    np.testing.assert_allclose(bits.mean(0), 0.5, atol=0.007)  # five standard deviations


def test_rows_depend_on_their_own_seed_alone():
    grid = seed_grid(40)
    numbers, folded = seeds.uniform(grid, 3).numpy(), seeds.fold(grid, 2).numpy()
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(seeds.uniform(grid[order], 3), numbers[order])
    np.testing.assert_array_equal(seeds.fold(grid[order], 2), folded[order])
    np.testing.assert_array_equal(seeds.uniform(grid[7], 3), numbers[7])
    np.testing.assert_array_equal(seeds.fold(grid[7], 2), folded[7])


def test_more_numbers_begin_with_the_same_ones():
    grid = seed_grid(5)
    np.testing.assert_array_equal(seeds.uniform(grid, 9)[:, :2], seeds.uniform(grid, 2))


def test_numbers_are_uniform_and_uncorrelated():
    numbers = seeds.uniform(seed_grid(4096), 8).numpy()
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=16, range=(0, 1))[0]
    expected = numbers.size / 16
    assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE_99_9[15]
    correlation = np.corrcoef(numbers.T) - np.eye(8)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(4096)


def test_purposes_give_different_seeds():
    grid = seed_grid(100)
    folded = [seeds.fold(grid, n).numpy() for n in range(5)]
    assert len(np.unique(np.concatenate([grid, *folded]), axis=0)) == 600


def test_uniform_int_covers_its_range_evenly_and_never_leaves_it():
    drawn = seeds.uniform_int(seeds.uniform(seed_grid(4500), 1), 9).numpy()
    counts = np.bincount(drawn[:, 0], minlength=9)
    assert counts.size == 9
    assert ((counts - 500) ** 2 / 500).sum() < CHI_SQUARE_99_9[8]
    largest = tf.constant(1 - 2.0**-23)
    for limit in (1, 2, 224, 600, 2**16 - 1):
        assert seeds.uniform_int(largest, limit) == limit - 1
    pair = seeds.uniform_int(tf.constant([0.5, 0.5]), tf.constant([10, 100]))
    np.testing.assert_array_equal(pair, [5, 50])


def test_graphs_and_compiled_code_give_the_eager_numbers():
    grid = tf.constant(seed_grid(6, salt=-4))

    def both(values):
        return seeds.uniform(values, 5), seeds.fold(values, 3)

    for compiled in (False, True):
        for graph, eager in zip(
            tf.function(both, jit_compile=compiled)(grid), both(grid), strict=True
        ):
            np.testing.assert_array_equal(graph, eager)
    rows = list(tf.data.Dataset.from_tensor_slices(grid).map(both, num_parallel_calls=4))
    np.testing.assert_array_equal([row[0] for row in rows], both(grid)[0])
    assert rows[0][0].shape == (5,)


def test_hash_ids_is_blake2b_of_eight_bytes():
    names = ["mnist5k/00042", "folder/katze/größe.png", ""]
    expected = [
        int.from_bytes(hashlib.blake2b(name.encode("utf-8"), digest_size=8).digest(), "little")
        for name in names
    ]
    hashes = seeds.hash_ids(names)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == expected
    assert seeds.hash_ids(np.array(names, object)).tolist() == expected
    assert seeds.hash_ids([]).shape == (0,)
