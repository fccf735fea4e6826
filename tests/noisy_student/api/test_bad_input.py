"""Users' mistakes in Python are one sentence each, before anything is trained or written."""

import keras
import numpy as np
import pytest

import noisy_student as ns

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
LABELS = np.arange(24) % 3


def network(num_classes, image_size, outputs=None):
    inputs = keras.Input((image_size, image_size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(outputs or num_classes)(pooled))


def of_four(num_classes, image_size):
    """Has a class too many."""
    return network(num_classes, image_size, 4)


def of_two_inputs(num_classes, image_size):
    """Takes two images."""
    first, second = (keras.Input((image_size, image_size, 3)) for _ in range(2))
    inner = network(num_classes, image_size)
    return keras.Model([first, second], inner(first) + inner(second))


def fit(folder, data=None, **flags):
    """A run of the smallest networks."""
    data = data or ns.Data.from_arrays(IMAGES, LABELS, unlabeled=IMAGES)
    small = {"image_size": 16, "small_image": True, "rounds": 1, "batch_size": 4}
    small |= {"teacher_steps": 1, "student_steps": 1, "benchmarks": "clean", "num_validation": 0}
    return ns.fit(data, None, folder / "run", **(small | flags))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"init_model": "imagnet"}, ["--init_model=imagnet", "no such file", "imagenet"]),
        ({"init_model": "timm/resnet50.a1_in1k"}, ["--init_model=timm/resnet50", "padding"]),
        ({"init_model": "hf:someone"}, ["--init_model=hf:someone", "hf:OWNER/NAME"]),
        ({"teacher_model": "none.keras"}, ["none.keras", "does not exist"]),
        ({"teacher": of_four}, ["of_four", "(None, 4) for 3 classes"]),
        ({"student": of_two_inputs}, ["of_two_inputs"]),
        ({"teacher": "keras:MobileNet4"}, ["unknown network keras:MobileNet4"]),
        ({"image_size": 0}, ["--image_size=0"]),
    ],
)
def test_runs_are_refused_before_they_begin(flags, words, tmp_path):
    with pytest.raises(ValueError) as refused:
        fit(tmp_path, **flags)
    message = str(refused.value)
    assert all(word in message for word in words) and "\n" not in message, message
    assert not list(tmp_path.glob("run/round*"))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES.transpose(0, 3, 1, 2), LABELS, ["[24, 3, 16, 16]", "[N, H, W, 3]"]),
        (IMAGES.astype(np.float32), LABELS, ["from 0 to 255", "0..1"]),
        (IMAGES / 127.5 - 1, LABELS, ["from -1 to 1"]),
        (IMAGES, LABELS + 0.0, ["integers"]),
        (IMAGES, LABELS.astype(str), ["integers"]),
        (IMAGES, LABELS[:-1], ["23 labels for 24 images"]),
    ],
)
def test_arrays_are_refused_by_all_that_take_them(images, labels, words):
    described = {"class_names": ("a", "b", "c"), "input_range": "0..255"}
    model = network(3, 16)
    for call in (
        lambda: ns.Data.from_arrays(images, labels),
        lambda: ns.evaluate(model, (images, labels), **described),
    ):
        with pytest.raises(ValueError) as refused:
            call()
        message = str(refused.value)
        assert all(word in message for word in words) and "\n" not in message, message


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (network(3, 16), {"class_names": ("a", "b")}, ["2 classes"]),
        (network(3, 16), {"class_names": ("a", "b", "c"), "image_size": 32}, ["image_size=32"]),
        (of_two_inputs(3, 16), {"class_names": ("a", "b", "c")}, ["one input"]),
    ],
)
def test_models_are_refused_where_they_do_not_fit(model, options, words):
    with pytest.raises(ValueError) as refused:
        ns.evaluate(model, (IMAGES, LABELS), **({"input_range": "0..255"} | options))
    message = str(refused.value)
    assert all(word in message for word in words) and "\n" not in message, message
