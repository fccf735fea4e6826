"""Ours beside outputs of the published code, which `benchmarks.published_outputs` wrote once."""

import re

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from benchmarks import published_code as published
from data import perturbations, preprocess
from data.preprocess import PreprocessSpec
from noisy_student import selection
from tests.conftest import GOLDEN

EQUAL = (
    *("Equalize", "Invert", "Posterize", "Solarize", "SolarizeAdd", "Brightness"),
    *("TranslateX", "TranslateY", "Cutout"),
)
# Largest share of pixels and largest number of gray levels that differ (docs/FIDELITY.md).
BOUNDS = {
    "AutoContrast": (0.05, 1),
    "Rotate": (0.01, 255),
    "Color": (1, 4),
    "Sharpness": (1, 4),
    "ShearX": (0.3, 255),
    "ShearY": (0.3, 255),
}


@pytest.fixture(scope="module")
def outputs():
    with np.load(GOLDEN / "published_code.npz") as file:
        return dict(file)


def differences(outputs, name, form="true_mean"):
    """Ours minus published by magnitude and sign, int [H, W, 3]."""
    image = published.computed_image(*published.SMALL)
    return {
        call[1:]: published.ours(image, call, published.SMALL_REACH, form) - result.astype(int)
        for call, result in zip(published.calls(), outputs["operations"], strict=True)
        if call[0] == name
    }


@pytest.mark.parametrize("name", EQUAL)
def test_nine_operations_return_the_published_pixels(outputs, name):
    found = differences(outputs, name)
    signs = 2 if name in published.SIGNED else 1
    assert len(found) == (1 if name in published.WITHOUT_ARGUMENT else 3 * signs)
    assert [call for call, apart in found.items() if apart.any()] == []


@pytest.mark.parametrize("name", BOUNDS)
def test_six_operations_differ_as_documented(outputs, name):
    pixels, levels = BOUNDS[name]
    for call, apart in differences(outputs, name).items():
        assert np.mean(apart.any(-1)) <= pixels, call
        assert np.abs(apart).max() <= levels, call


def test_contrast_is_the_published_one_or_pils(outputs):
    assert not any(apart.any() for apart in differences(outputs, "Contrast", "published").values())
    pils = differences(outputs, "Contrast")
    assert not pils[5, 1].any()  # its factor, 1, leaves an image as it is
    assert np.abs(pils[27, 1]).mean() > 20


@pytest.mark.parametrize("side, gray", [(32, 4), (224, 196), (475, 255)])
def test_published_contrast_blends_toward_the_number_of_pixels(side, gray):
    image = np.resize(np.arange(256, dtype=np.uint8), (side, side, 3))
    result = published.ours(image, ("Contrast", 10, 1), None, "published")
    by_hand = gray + np.float32(1.9) * (image.astype(np.float32) - gray)
    np.testing.assert_array_equal(result, np.clip(by_hand, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("height, width, side", published.EVALUATED)
def test_our_evaluation_on_floats_is_the_published_one(outputs, height, width, side):
    """To the bit; in uint8 it is truncated."""
    image, spec = published.computed_image(height, width), PreprocessSpec(side, pixels="float32")
    floats, expected = preprocess.eval_image(image, spec), outputs[f"evaluated {height}x{width}"]
    assert floats.dtype == tf.float32
    np.testing.assert_array_equal(floats, expected)
    assert np.mean(expected != np.floor(expected)) > 0.5
    in_bytes = preprocess.eval_image(image, spec.in_bytes())
    np.testing.assert_array_equal(in_bytes, np.clip(expected, 0, 255).astype(np.uint8))


def test_center_crops_have_the_published_side(outputs):
    """The published code multiplies in float32, ours in float64."""
    for size, row in zip(published.SIZES, outputs["crop sides"], strict=True):
        shorter = tf.range(1, published.LONGEST + 1)
        ours = preprocess.center_crop_side(shorter, PreprocessSpec(size)).numpy()
        published_sides = size * shorter.numpy() // (size + 32) + row
        np.testing.assert_array_equal(ours, np.maximum(published_sides, 1))


@pytest.mark.parametrize("height, width", published.CROPS)
def test_random_crops_are_distributed_as_published(outputs, height, width):
    theirs = outputs[f"crops {height}x{width}"].astype(float)
    box, options = tf.constant([[[0.0, 0.0, 1.0, 1.0]]]), preprocess._INCEPTION_CROP
    draws = tf.data.Dataset.range(published.DRAWS).map(
        lambda number: tf.concat(
            tf.image.stateless_sample_distorted_bounding_box(
                [height, width, 3], box, tf.stack([number, 7]), **options
            )[:2],
            0,
        )
    )
    ours = np.stack([draw.numpy()[[0, 1, 3, 4]] for draw in draws]).astype(float)
    for measure in (
        lambda crop: crop[:, 2] * crop[:, 3],  # area
        lambda crop: crop[:, 3] / crop[:, 2],  # aspect
        lambda crop: crop[:, 0] / np.maximum(height - crop[:, 2], 1),  # place
        lambda crop: crop[:, 1] / np.maximum(width - crop[:, 3], 1),
    ):
        assert stats.ks_2samp(measure(theirs), measure(ours)).pvalue > 1e-3
    whole = [np.mean((crop[:, 2:] == [height, width]).all(1)) for crop in (theirs, ours)]
    assert whole[0] == pytest.approx(whole[1], abs=0.08)
    assert (whole[0] > 0.02) == (width > 3 * height)  # where no rectangle fits: the center crop


def test_the_published_selection_is_coarser_than_ours(outputs):
    """Ours fills each class to the image; theirs nearly, above a threshold in steps of 0.01."""
    labels, confidences = outputs["selection labels"], outputs["selection confidences"]
    theirs, ids = outputs["selection copies"], np.arange(len(labels), dtype=np.uint64)
    target, lowest = published.SELECTION.values()
    ours = selection.select(labels, confidences, ids, len(published.CLASS_SIZES), target, lowest)
    for label in range(len(published.CLASS_SIZES)):
        rows = labels == label
        above = rows & (confidences >= lowest)
        assert ours[rows].sum() == target
        assert theirs[rows].sum() == pytest.approx(target, rel=0.15)
        assert not theirs[rows & ~above].any() and not ours[rows & ~above].any()
        few = np.sum(above) <= target
        if few:  # both keep every image and duplicate
            assert np.all(theirs[above] >= 1) and np.all(ours[above] >= 1)
        else:  # theirs draws among the images of its last step, ours takes the most confident
            kept, dropped = confidences[rows & (ours > 0)], confidences[above & (ours == 0)]
            assert kept.min() >= dropped.max()
            lowest_kept = confidences[rows & (theirs > 0)].min()
            assert kept.min() - 0.01 <= lowest_kept <= kept.min()


@pytest.mark.parametrize("name, mean", [("scale", 0.55), ("zoom_blur", 0.4)])
def test_sequences_at_299_are_the_published_ones(outputs, name, mean):
    """Up to the published half pixel of the center, and truncation."""
    image = published.computed_image(*published.SEQUENCE_IMAGE)
    frames = perturbations.sequence(image, name, 0, 299)
    black = (frames.max(-1) == 0).mean((1, 2))
    np.testing.assert_allclose(black, outputs[f"{name} black"], atol=0.005)
    stride = published.SHOWN_STRIDE
    shown = frames[list(published.SHOWN_FRAMES), ::stride, ::stride].astype(int)
    assert np.abs(shown - outputs[f"{name} frames"]).mean() < mean


TOPICS = (
    *("Network", "Augmentation", "Optimization", "Pseudo labels and selection", "Evaluation"),
    *("Data files", "Devices"),
)
PAGE = (GOLDEN.parents[1] / "docs/FIDELITY.md").read_text()


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_of_the_page_has_one_table_whose_tests_exist(topic):
    section = PAGE.split(f"\n## {topic}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert rows[0] == "| what | published | ours | tested by | measured difference |"
    assert {row.count(" | ") for row in rows} == {4}
    assert len({row.split(" | ")[0] for row in rows}) == len(rows)
    named = set(re.findall(r"`([\w/]+\.py)`", " ".join(row.split(" | ")[3] for row in rows)))
    assert named and not {path for path in named if not (GOLDEN.parent / path).is_file()}
