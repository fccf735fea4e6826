"""The paper's noised teacher: an image's noise follows from the seed and its id alone."""

import dataclasses
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from data import pipeline, seeds, sources
from data.pipeline import augmentation
from data.preprocess import PreprocessSpec
from noisy_student import config, pseudo_label
from noisy_student.artifacts import model_file, predictions
from noisy_student.runtime.devices import Devices
from noisy_student.selection import write

NAMES = ("ant", "bee", "cat")
SIZE = 23
SPEC = PreprocessSpec(image_size=16, small_image=True)
NOISE = config.NoiseConfig("randaugment", 2, 9.0, flip=True, cutout=False)
NOISED = config.LabelConfig(probabilities_dtype="float32", noise=NOISE, noise_seed=5)


@pytest.fixture(scope="module")
def model():
    """With random batch norm statistics, so that its inference mode is told from the other."""
    keras.utils.set_random_seed(0)
    made = efficientnet.build_model(
        "efficientnet-b0",
        3,
        small_image=True,
        width=0.1,
        depth=0.2,
        dropout_rate=0.4,
        stochastic_depth_rate=0.9,
    )
    rng = np.random.default_rng(0)
    for variable in made.variables:
        if variable.name in ("moving_mean", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        if variable.path.startswith("head_dense/kernel"):
            variable.assign(rng.normal(size=variable.shape))
    return made


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    return sources.DecodedExamples(
        ids=np.array([f"toy/{i}" for i in range(SIZE)], object),
        labels=rng.integers(0, 3, SIZE).astype(np.int32),
        class_names=NAMES,
        images=rng.integers(0, 256, (SIZE, 16, 16, 3), np.uint8),
    )


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    model_file.save_model(model, path, NAMES, SPEC)
    return path


DEVICES = Devices(tf.distribute.get_strategy(), jit_compile=False)


def label(saved, examples, directory, batch_size=4, num_shards=1, stored=NOISED):
    teacher = pseudo_label.Teacher(saved, DEVICES, batch_size, stored)
    pseudo_label.run(teacher, examples, directory, num_shards=num_shards)
    pieces = predictions.read(predictions.shard_files(directory), ["id", "probabilities"])
    columns = [(piece["id"], piece["probabilities"]) for piece in pieces]
    return {name: row for ids, rows in columns for name, row in zip(ids, rows, strict=True)}


def mask(image_seed, layer, count, rate):
    """A layer's mask of one image, by TensorFlow's own generator: float32 [count]."""
    layer_seed = seeds.fold(image_seed, zlib.crc32(layer.encode())).numpy()
    bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[count],
        key=layer_seed.view(np.uint64),
        counter=tf.zeros([2], tf.uint64),
        alg=1,
        dtype=tf.int32,
    )
    return (bits.numpy().astype(np.int64) + 2**31 >= int(rate * 2**32)) / (1 - rate)


def by_hand(model, images, image_seeds):
    """Probabilities of images one at a time: layers in inference mode, noise in between."""
    rows = []
    for image, image_seed in zip(images, image_seeds, strict=True):
        x = tf.constant(image)[None]
        for layer in model.layers[1:]:
            inputs, x = x, layer(x, training=False)
            if layer.name.startswith("blocks_") and layer.has_skip:
                kept = mask(image_seed, f"{layer.name}_drop", 1, layer.drop_rate)[0]
                x = inputs + np.float32(kept) * (x - inputs)
            if layer.name == "head_dropout":
                x = x * mask(image_seed, layer.name, x.shape[1], 0.4).astype(np.float32)
        rows.append(tf.nn.softmax(x)[0].numpy())
    return np.stack(rows)


def test_labels_are_those_of_noised_images_and_a_noised_network(tmp_path, model, saved, examples):
    found = label(saved, examples, tmp_path)
    hashes = tf.constant(seeds.hash_ids(examples.ids).view(np.int64))
    drawn = seeds.example_seeds(
        5, tf.fill([SIZE], np.int64(-1)), hashes, tf.zeros([SIZE], tf.int32)
    )
    noise = augmentation.batch_noise(
        SPEC, pipeline.Augmentation(**dataclasses.asdict(NOISE)), seed=0
    )
    expected = by_hand(model, noise(tf.constant(examples.images), drawn).numpy(), drawn)
    assert [layer.has_skip for layer in model.layers if layer.name.startswith("blocks_")].count(
        True
    )
    rows = np.stack([found[name] for name in examples.ids])
    np.testing.assert_allclose(rows, expected, atol=2e-5)
    clean = label(saved, examples, tmp_path / "clean", stored=config.LabelConfig())
    assert np.abs(rows - np.stack([clean[name] for name in examples.ids])).max() > 0.05


@pytest.mark.slow
def test_neither_batch_size_nor_shards_nor_other_images_matter(tmp_path, saved, examples):
    whole = label(saved, examples, tmp_path / "whole", batch_size=23)
    part = examples.take([3, 17, 5])
    for directory, images, sizes in [
        ("sharded", examples, {"batch_size": 5, "num_shards": 3}),
        ("part", part, {"batch_size": 2}),
    ]:
        found = label(saved, images, tmp_path / directory, **sizes)
        assert set(found) == set(images.ids)
        for name, row in found.items():
            np.testing.assert_allclose(row, whole[name], atol=1e-5)


@pytest.mark.slow
def test_noise_is_part_of_the_request_and_of_the_report(tmp_path, saved, examples):
    labels, stored = tmp_path / "labels", dataclasses.replace(NOISED, noise_seed=6)
    first = label(saved, examples, labels)
    card = predictions.read_card(predictions.shard_files(labels)[0])
    assert card["noise"] == dataclasses.asdict(NOISE) | {"seed": 5}
    with pytest.raises(ValueError, match="noise_seed: 5 -> 6"):
        label(saved, examples, labels, stored=stored)
    other = label(saved, examples, tmp_path / "other", stored=stored)
    assert any(not np.allclose(other[name], row, atol=0.01) for name, row in first.items())
    chosen = config.SelectionConfig(0.0, "none", hard_labels=False, num_shards=1, seed=0)
    assert write.run(labels, tmp_path / "selected", examples, chosen)["noised_labels"]
    again = pseudo_label.reassign(
        pseudo_label.Teacher(saved, DEVICES, 4), tmp_path / "selected", examples, tmp_path / "again"
    )
    assert again["noised_labels"] is False
