import numpy as np
import pytest

from data.examples import DecodedExamples
from data.leakage import near_duplicates


def random_hashes(count, seed):
    return np.random.default_rng(seed).integers(0, 2**64, count, np.uint64)


def flip_bits(hashes, count, seed=0):
    """The hashes with `count` of their bits flipped."""
    rng = np.random.default_rng(seed)
    positions = np.stack([rng.permutation(64)[:count] for _ in hashes]).astype(np.uint64)
    return hashes ^ np.bitwise_or.reduce(np.uint64(1) << positions, axis=1)


def all_close(first, second, max_distance):
    """The same as `close_pairs`, by comparing everything."""
    distances = np.bitwise_count(first[:, np.newaxis] ^ second)
    rows, columns = np.nonzero(distances <= max_distance)
    return rows, columns, distances[rows, columns]


@pytest.mark.parametrize("max_distance", [0, 3, 4, 8, 11])
def test_all_pairs_up_to_the_distance_are_found(max_distance):
    first = random_hashes(300, seed=1)
    near = [flip_bits(first[i::16], count=i, seed=i) for i in range(16)]
    second = np.concatenate([random_hashes(500, seed=2), *near, first[:5], first[:5]])
    expected = all_close(first, second, max_distance)
    assert len(expected[0]) >= 10 + 300 // 16 * (max_distance + 1)
    for ours, theirs in zip(
        near_duplicates.close_pairs(first, second, max_distance), expected, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_many_equal_hashes_are_compared_in_portions(monkeypatch):
    first, second = np.zeros(30, np.uint64), np.ones(40, np.uint64)
    monkeypatch.setattr(near_duplicates, "_CANDIDATES", 100)
    rows, columns, distances = near_duplicates.close_pairs(first, second, 1)
    assert len(rows) == 1200 and set(distances) == {1}
    assert len(near_duplicates.close_pairs(first, second, 0)[0]) == 0
    assert len(near_duplicates.close_pairs(first, second[:0], 3)[0]) == 0
    assert len(near_duplicates.close_pairs(first[:0], second, 3)[0]) == 0


def test_distances_that_are_not_searched_are_refused():
    with pytest.raises(ValueError, match="max_distance must be in 0..15, not 16"):
        near_duplicates.close_pairs(random_hashes(1, 0), random_hashes(1, 0), 16)


def test_hash_bits_are_signs_of_the_cosine_transform():
    images = np.random.default_rng(0).uniform(0, 255, (5, 32, 32)).astype(np.float32)
    hashes = near_duplicates.hashes(images)
    assert hashes.dtype == np.uint64 and hashes.shape == (5,)
    wave = [[np.cos(np.pi * u * (i + 0.5) / 32) for i in range(32)] for u in range(16)]
    frequencies = sorted(
        ((u, v) for u in range(16) for v in range(16)), key=lambda f: (f[0] ** 2 + f[1] ** 2, f[0])
    )[1:65]
    for image, found in zip(images, hashes, strict=True):
        values = [np.outer(wave[u], wave[v]).ravel() @ image.ravel() for u, v in frequencies]
        bits = [value > np.median(values) for value in values]
        expected = sum(int(bit) << (63 - place) for place, bit in enumerate(bits))
        assert bin(int(found) ^ expected).count("1") <= 1  # float32 against float64


def test_brightness_and_contrast_hardly_change_a_hash():
    images = np.random.default_rng(0).uniform(50, 150, (50, 32, 32)).astype(np.float32)
    plain = near_duplicates.hashes(images)
    changed = near_duplicates.hashes(0.6 * images + 60)
    assert np.bitwise_count(plain ^ changed).max() <= 2
    others = np.bitwise_count(plain[:, np.newaxis] ^ plain)[np.triu_indices(50, 1)]
    assert abs(others.mean() - 32) < 1


def test_correlations():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (3, 32, 32)).astype(np.float32)
    others = np.stack([2 * images[0] + 9, 255 - images[1], np.full((32, 32), 7)]).astype(np.float32)
    found = near_duplicates.correlations(images, others)
    np.testing.assert_allclose(found, [1, -1, 0], atol=1e-5)
    second = rng.uniform(0, 255, (3, 32, 32)).astype(np.float32)
    expected = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(images, second, strict=True)
    ]
    np.testing.assert_allclose(near_duplicates.correlations(images, second), expected, atol=1e-5)


def test_thumbnails_are_means_of_gray():
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    names = np.array(["a", "b", "c"], object)
    examples = DecodedExamples(names, np.zeros(3, np.int32), ("x",), images=images)
    (found,) = near_duplicates.thumbnails(examples)
    gray = images @ np.array([0.2989, 0.587, 0.114])
    expected = gray.reshape(3, 32, 2, 32, 2).mean((2, 4))
    np.testing.assert_allclose(found, expected, atol=0.1)
