"""A linear teacher, by default of five classes, and the stages that it takes part in."""

import keras
import tensorflow as tf

from data import pipeline
from data.preprocess import PreprocessSpec
from noisy_student import config, pseudo_label
from noisy_student.artifacts import model_file, student_set
from noisy_student.runtime.devices import Devices
from noisy_student.selection import write
from tests.helpers import toy_batches
from tests.helpers.toy_batches import textured

NAMES = tuple("abcde")
COUNT = 40  # images
SPEC = PreprocessSpec(16, small_image=True)


def save_model(path, seed, names=NAMES, spec=SPEC):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((spec.image_size, spec.image_size, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 32)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(len(names))(x))
    model_file.save_model(model, path, names, spec)
    return path


def teacher(model_path, validation=None, batch_size=16, **settings):
    devices = Devices(tf.distribute.get_strategy(), jit_compile=False)
    labels = config.LabelConfig(**settings)
    return pseudo_label.Teacher(model_path, devices, batch_size, labels, validation)


def label(model_path, examples, directory, **settings):
    return pseudo_label.run(teacher(model_path, **settings), examples, directory, num_shards=2)


def selection(**changed):
    defaults = {"min_confidence": 0.25, "images_per_class": 13, "hard_labels": False}
    return config.SelectionConfig(**{**defaults, "num_shards": 3, "seed": 1, **changed})


def select(directory, examples, **changed):
    """Selects from predictions into a new directory beside theirs, and returns it."""
    output = directory.with_name(f"selected-{len(list(directory.parent.iterdir()))}")
    write.write_selected(directory, output, examples, selection(**changed))
    return output


def training_batches(directory, examples, spec, steps=9, noise="none", **arguments):
    labeled = textured(10, spec.image_size if spec.small_image else 30)
    return toy_batches.batches(
        labeled,
        steps,
        spec,
        pipeline.Augmentation(noise),
        batch_size=4,
        selected_files=student_set.files_of(directory),
        selected_examples=examples,
        unlabeled_batch_size=12,
        **arguments,
    )
