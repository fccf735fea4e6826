import zlib
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import noise_scope, row_noise_scope
from efficientnet.noise import Dropout, StochasticDepth

ONES = tf.ones([4096, 2, 2, 3])


def call(layer, inputs=ONES, seed=(0, 0), **scope):
    with noise_scope(tf.constant(seed), **scope):
        return layer(inputs, training=True).numpy()


def test_stochastic_depth_drops_whole_examples_and_rescales_the_others():
    result = call(StochasticDepth(0.25, name="drop"))
    per_example = result.reshape(4096, -1)
    assert np.all(per_example == per_example[:, :1])
    assert set(np.unique(result)) == {0, np.float32(1 / 0.75)}
    assert abs((result == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4096)


def test_dropout_drops_single_activations():
    result = call(Dropout(0.5, name="dropout"), tf.ones([512, 64]))
    assert set(np.unique(result)) == {0.0, 2.0}
    assert abs((result == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(512 * 64)
    assert np.any(result != result[:, :1])


def test_masks_depend_on_seed_step_and_layer_name_alone():
    first = call(StochasticDepth(0.5, name="a"), seed=(1, 2))
    assert np.array_equal(first, call(StochasticDepth(0.5, name="a"), seed=(1, 2)))
    for name, seed in [("b", (1, 2)), ("a", (1, 3)), ("a", (2, 2))]:
        other = call(StochasticDepth(0.5, name=name), seed=seed)
        assert 0.4 < (other[:, 0, 0, 0] == first[:, 0, 0, 0]).mean() < 0.6


@pytest.mark.parametrize("layer_class", [StochasticDepth, Dropout])
def test_rows_of_a_replica_are_rows_of_the_global_mask(layer_class):
    layer = layer_class(0.5, name="noise")
    whole = call(layer, ONES[:12])
    positions = [7, 2, 11, 2]
    part = call(layer, ONES[:4], positions=tf.constant(positions), global_batch=12)
    assert np.array_equal(part, whole[positions])


def masks_of_replicas(inputs, replicas, labeled, call_layer):
    """The masks of all replicas, each drawing its own labeled and unlabeled rows, put together."""
    total = len(inputs)
    rows, unlabeled_rows = labeled // replicas, (total - labeled) // replicas
    whole = np.full(inputs.shape, np.nan, np.float32)
    for replica in range(replicas):
        first = replica * rows + tf.range(rows)
        second = labeled + replica * unlabeled_rows + tf.range(unlabeled_rows)
        positions = tf.concat([first, second], 0)
        part = tf.gather(inputs, positions)
        whole[positions] = call_layer(part, positions, total, (rows, unlabeled_rows))
    return whole


@pytest.mark.parametrize("jit_compile", [None, False, True], ids=["eager", "traced", "compiled"])
@pytest.mark.parametrize("replicas", [1, 2, 3, 6])
@pytest.mark.parametrize(
    ("layer_class", "shape"),
    [(StochasticDepth, (2, 2, 3)), (Dropout, (64,)), (Dropout, (7,)), (Dropout, (2, 3))],
)
def test_replicas_that_draw_their_own_rows_have_the_bits_of_one_that_draws_all(
    layer_class, shape, replicas, jit_compile
):
    """Rows of 1, 64, 7 and 6 numbers: Philox makes four at a time."""
    layer, inputs = layer_class(0.4, name="noise"), tf.ones([30, *shape])

    def call_layer(part, positions, total, runs):
        with noise_scope(tf.constant([5, 3]), positions, total, runs):
            return layer(part, training=True)

    if jit_compile is not None:
        call_layer = tf.function(call_layer, jit_compile=jit_compile)
    found = masks_of_replicas(inputs, replicas, 12, call_layer)
    expected = call(layer, inputs, seed=(5, 3))
    assert 0 < (expected == 0).mean() < 1
    np.testing.assert_array_equal(found, expected)


def test_rows_far_into_a_large_batch():
    """Beyond 2**31 numbers before them, which is more than a test can draw to compare with."""
    layer = Dropout(0.5, name="dropout")
    width, first = 1 << 16, 1 << 20

    def rows(start, length):
        with noise_scope(tf.constant([1, 2]), start + tf.range(length), first + 8, (length,)):
            return layer(tf.ones([length, width]), training=True).numpy()

    together = rows(first, 4)
    np.testing.assert_array_equal(together, np.concatenate([rows(first + i, 1) for i in range(4)]))
    assert abs((together == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(4 * width)
    from_zero = rows(0, 4)  # where a start of 32 bits would have wrapped to
    assert 0.49 < (from_zero == together).mean() < 0.51


@pytest.mark.parametrize("layer_class", [StochasticDepth, Dropout])
def test_masks_are_the_same_eager_traced_and_compiled(layer_class):
    layer = layer_class(0.3, name="noise")

    def run(step):
        with noise_scope(tf.stack([5, step])):
            return layer(ONES[:64], training=True)

    eager = run(tf.constant(3)).numpy()
    assert 0 < (eager == 0).mean() < 1
    assert np.array_equal(eager, tf.function(run)(tf.constant(3)))
    assert np.array_equal(eager, tf.function(run, jit_compile=True)(tf.constant(3)))


@pytest.mark.parametrize("jit_compile", [None, False, True], ids=["eager", "traced", "compiled"])
@pytest.mark.parametrize("runs", [None, (3, 5)])
@pytest.mark.parametrize(
    ("layer_class", "other"), [(StochasticDepth, "dropout"), (Dropout, "stochastic_depth")]
)
def test_exempt_rows_stay_as_they_are_and_the_others_keep_their_noise(
    layer_class, other, runs, jit_compile
):
    layer = layer_class(0.5, name="noise")
    inputs = tf.random.stateless_normal([8, 4, 4, 3], [1, 2])
    positions = tf.constant([2, 3, 4, 10, 11, 12, 13, 14])

    def run(noised_rows):
        with noise_scope(tf.constant([5, 3]), positions, 20, runs, noised_rows):
            return layer(inputs, training=True)

    if jit_compile is not None:
        run = tf.function(run, jit_compile=jit_compile)
    every = run({}).numpy()
    assert np.any(every[3:] != inputs[3:])
    np.testing.assert_array_equal(run({other: 3}), every)
    some = run({layer_class.kind: 3}).numpy()
    np.testing.assert_array_equal(some[:3], every[:3])
    np.testing.assert_array_equal(some[3:], inputs[3:])


@pytest.mark.parametrize("layer_class", [StochasticDepth, Dropout])
def test_no_noise_in_inference_nor_in_a_frozen_layer(layer_class):
    layer = layer_class(0.5)
    assert np.array_equal(layer(ONES, training=False), ONES)
    layer.trainable = False
    assert np.array_equal(call(layer), ONES)


def test_outside_a_scope_masks_change_from_call_to_call():
    tf.random.set_seed(0)
    layer = StochasticDepth(0.5)
    first, second = layer(ONES, training=True).numpy(), layer(ONES, training=True).numpy()
    assert not np.array_equal(first, second)


def test_scopes_nest_and_end():
    layer = Dropout(0.5, name="dropout")
    expected = call(layer, seed=(0, 1))
    with noise_scope(tf.constant([0, 1])):
        inner = call(layer, seed=(0, 2))
        again = layer(ONES, training=True).numpy()
    assert np.array_equal(again, expected) and not np.array_equal(inner, expected)
    tf.random.set_seed(0)
    assert not np.array_equal(layer(ONES, training=True), expected)


def test_a_scope_belongs_to_its_thread():
    layer = Dropout(0.5, name="dropout")
    with noise_scope(tf.constant([0, 1])), ThreadPoolExecutor(1) as other_thread:
        other_thread.submit(call, layer, seed=(0, 2)).result()
        inside = layer(ONES, training=True).numpy()
        tf.random.set_seed(0)
        elsewhere = other_thread.submit(layer, ONES, training=True).result().numpy()
    assert np.array_equal(inside, call(layer, seed=(0, 1)))
    assert not np.array_equal(inside, elsewhere)


def test_the_caller_may_give_the_numbers_of_each_row():
    asked = []

    def draw(layer, count):
        asked.append((layer, count))
        low, high = tf.int32.min, tf.int32.max
        return tf.constant([[low, high] * (count // 2) or [low], [high] * count], tf.int32)

    with row_noise_scope(draw):
        dropped = Dropout(0.5, name="a")(tf.ones([2, 6]), training=True)
        branches = StochasticDepth(0.5, name="b")(ONES[:2], training=True)
    assert asked == [(zlib.crc32(b"a"), 6), (zlib.crc32(b"b"), 1)]
    assert dropped.numpy().tolist() == [[0, 2] * 3, [2] * 6]
    assert np.array_equal(branches, ONES[:2] * np.array([0, 2], np.float32).reshape(2, 1, 1, 1))


def test_bfloat16():
    result = StochasticDepth(0.2, dtype="bfloat16")(tf.ones([8, 1, 1, 1], tf.bfloat16))
    assert result.dtype == tf.bfloat16


@pytest.mark.parametrize("layer_class", [StochasticDepth, Dropout])
@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_invalid_rate(layer_class, rate):
    with pytest.raises(ValueError, match=f"{layer_class.__name__} needs 0 <= rate < 1, got {rate}"):
        layer_class(rate)


def test_runs_are_as_long_as_the_positions():
    for scope in ({"positions": tf.constant([0, 1]), "global_batch": 8}, {}):
        with (
            pytest.raises(ValueError, match=r"runs of (2|None) positions in all.*\[2, 2\]"),
            noise_scope(tf.constant([0, 0]), runs=[2, 2], **scope),
        ):
            pass


def test_positions_need_the_global_batch():
    for scope in ({"positions": tf.constant([0])}, {"global_batch": 8}):
        with (
            pytest.raises(ValueError, match="both positions and global_batch"),
            noise_scope(tf.constant([0, 0]), **scope),
        ):
            pass


@pytest.mark.slow
def test_compile_and_fit_need_no_scope():
    """Stochastic depth and dropout are active in plain Keras training, without a warning."""
    model = efficientnet.build_model(
        "efficientnet-b0",
        num_classes=3,
        small_image=True,
        width=0.1,
        depth=0.1,
        dropout_rate=0.5,
        stochastic_depth_rate=0.5,
    )
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    first, second = model(images, training=True), model(images, training=True)
    assert np.abs(np.asarray(first) - np.asarray(second)).max() > 0.1
    np.testing.assert_array_equal(model(images, training=False), model(images, training=False))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    before = [np.asarray(weight) for weight in model.trainable_weights]
    history = model.fit(images, np.arange(8) % 3, batch_size=4, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    pairs = zip(before, model.trainable_weights, strict=True)
    changed = [not np.array_equal(old, np.asarray(new)) for old, new in pairs]
    assert np.mean(changed) > 0.9
