import dataclasses

import numpy as np
import pytest

from data import pipeline
from tests.helpers.toy_batches import (
    LARGE,
    NOISE,
    SMALL,
    assert_equal,
    batches,
    textured,
    write_records,
)


@pytest.mark.slow
def test_resumed_batches_are_the_same_with_the_real_operations(tmp_path):
    files = write_records(tmp_path, textured(11))
    arguments = {"selected_files": files, "unlabeled_batch_size": 6}
    whole = batches(textured(13), 4, **arguments)
    assert_equal(batches(textured(13), 2, start_step=2, **arguments), whole[2:])
    clean = {image.tobytes() for image in textured(13).images}
    assert not any(image.tobytes() in clean for batch in whole for image in batch["images"])


def test_translation_of_small_images_is_bounded_by_their_size():
    """At full magnitude 16 px images move by 2 px, where the default is 100 px."""
    views = pipeline.noisy_views(textured(4), range(4), SMALL, NOISE, 0, 20)
    only_gray = np.all(views == 128, axis=(2, 3, 4))
    assert not only_gray.any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "noise"),
    [(SMALL, dataclasses.replace(NOISE, cutout=True)), (LARGE, NOISE)],
    ids=["small", "large"],
)
def test_noise_left_to_the_step_gives_the_same_images(tmp_path, spec, noise):
    source = textured(13)
    arguments = {"selected_files": write_records(tmp_path, textured(11)), "unlabeled_batch_size": 6}
    other = dataclasses.replace(noise, kind="crop", cutout=False)
    arguments |= {"unlabeled_augmentation": other}
    whole = batches(source, 2, spec, noise, **arguments)
    noise, other = (dataclasses.replace(each, on_device=True) for each in (noise, other))
    left = batches(source, 2, spec, noise, **arguments | {"unlabeled_augmentation": other})
    for batch, expected in zip(left, whole, strict=True):
        for kind, augmentation in (("", noise), ("unlabeled_", other)):
            apply = pipeline.batch_noise(spec, augmentation, 0)
            images = apply(batch.pop(f"{kind}images"), batch.pop(f"{kind}seeds"))
            np.testing.assert_array_equal(images, expected.pop(f"{kind}images"))
        assert_equal([batch], [expected])
