"""RandAugment as a tf.data transformation, as a Keras layer, and with operations of one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data import randaugment

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(6)


def dataset():
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))


def arrays(elements):
    return np.stack([image.numpy() for image, _ in elements])


def test_each_image_and_pass_has_noise_of_its_own():
    noised = dataset().apply(randaugment.transform(magnitude=9, seed=3))
    assert noised.element_spec == dataset().element_spec
    first, second = arrays(noised), arrays(noised)
    again = arrays(dataset().apply(randaugment.transform(magnitude=9, seed=3)))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second) and not np.array_equal(first, IMAGES)
    assert [label.numpy() for _, label in noised] == LABELS.tolist()
    transform = randaugment.transform(magnitude=9, translate=1, cutout=1)
    same = tf.data.Dataset.from_tensors(IMAGES[0]).repeat(8)
    assert len({image.numpy().tobytes() for image in same.apply(transform)}) > 4
    batches = tf.data.Dataset.from_tensors(np.repeat(IMAGES[:1], 8, axis=0))
    (batch,) = batches.apply(transform)
    assert len({image.tobytes() for image in batch.numpy()}) > 4


def test_the_layer_augments_in_training_alone():
    layer = randaugment.RandAugment(magnitude=9, seed=1)
    np.testing.assert_array_equal(layer(IMAGES), IMAGES)
    noised = layer(IMAGES, training=True)
    assert noised.dtype == tf.uint8 and not np.array_equal(noised, IMAGES)
    again = randaugment.RandAugment(magnitude=9, seed=1)
    of_floats = again(IMAGES.astype(np.float32), training=True)
    assert of_floats.dtype == tf.float32
    np.testing.assert_array_equal(of_floats, noised)
    assert not np.array_equal(again(IMAGES, training=True), noised)


def test_the_layer_is_saved_with_a_model_and_trains(tmp_path):
    inputs = keras.Input((8, 8, 3))
    noised = randaugment.RandAugment(num_layers=1, magnitude=4, magnitude_noise=0.5, seed=2)(inputs)
    outputs = keras.layers.Dense(6)(keras.layers.Flatten()(noised))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    model.fit(IMAGES, LABELS, batch_size=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layer = loaded.layers[1]
    assert isinstance(layer, randaugment.RandAugment)
    assert layer.get_config() == model.layers[1].get_config()
    np.testing.assert_allclose(loaded(IMAGES), model(IMAGES), rtol=1e-6)


def test_an_operation_of_ones_own_is_drawn():
    def to_gray(image, argument):
        return tf.cast(tf.fill(tf.shape(image), argument), tf.uint8)

    before = randaugment.rand_augment_batch(IMAGES, np.arange(12).reshape(6, 2)).numpy()
    randaugment.register("Gray", to_gray, lambda magnitude: 20 * magnitude)
    try:
        assert randaugment.level_to_argument("Gray", 3) == 60
        seeds = np.stack([np.arange(200), np.zeros(200)], axis=1).astype(np.int32)
        many = np.repeat(IMAGES[:1], 200, axis=0)
        batch = randaugment.rand_augment_batch(many, seeds, num_layers=1, magnitude=3).numpy()
        gray = np.all(batch == 60, axis=(1, 2, 3))
        assert 4 <= gray.sum() <= 24  # 200 / 17 = 11.8
        number = int(np.flatnonzero(gray)[0])
        single = randaugment.rand_augment(many[0], seeds[number], num_layers=1, magnitude=3)
        np.testing.assert_array_equal(single, batch[number])
        randaugment.register("Gray", lambda image, argument: image[:4], lambda magnitude: 0.0)
        with pytest.raises(ValueError, match=r"must return uint8 \(8, 8, 3\), not uint8 \(4, 8"):
            randaugment.rand_augment_batch(IMAGES, seeds[:6])
    finally:
        randaugment.unregister("Gray")
    after = randaugment.rand_augment_batch(IMAGES, np.arange(12).reshape(6, 2)).numpy()
    np.testing.assert_array_equal(after, before)
    with pytest.raises(ValueError, match="Rotate is one of RandAugment's operations"):
        randaugment.register("Rotate", to_gray, float)
