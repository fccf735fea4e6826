import numpy as np
import pytest
from scipy import ndimage, stats

from data import corruption_noise as noise
from data.corruptions import corrupt


def generator(seed=0):
    return np.random.default_rng(seed)


def picture(height=96, width=96, seed=0):
    """Smooth colors with edges and fine texture, as photographs have them."""
    rng = generator(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (8, 8, 0))
    image = 128 + 45 * smooth / smooth.std() + rng.normal(0, 6, (height, width, 3))
    image[height // 4 : height // 2, width // 3 :] += 40
    return np.clip(image, 0, 255).astype(np.uint8)


def flat(value, height=96, width=96):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(("severity", "sigma"), [(1, 0.08), (5, 0.38)])
def test_gaussian_noise_is_a_clipped_normal(severity, sigma):
    for value in (0, 60, 128, 255):
        result = corrupt(flat(value, 256, 256), "gaussian_noise", severity, value, 224)
        sums = np.clip(value + 255 * sigma * generator().normal(size=10**6), 0, 255).astype(int)
        standard_error = sums.std() / np.sqrt(result.size)
        assert abs(result.mean() - sums.mean()) < 5 * standard_error
        assert result.std() == pytest.approx(sums.std(), rel=0.01)
    # Values of neighbors and of channels have nothing to do with each other.
    residue = result - result.mean()
    for other in (np.roll(residue, 1, 0), np.roll(residue, 1, 1), np.roll(residue, 1, 2)):
        assert abs((residue * other).mean() / residue.var()) < 5 / np.sqrt(residue.size)


@pytest.mark.parametrize(("native_size", "photons"), [(32, 500), (224, 60)])
def test_shot_noise_is_poisson(native_size, photons):
    value = 100
    result = corrupt(flat(value, 200, 200), "shot_noise", 1, 1, native_size)
    counts = np.arange(photons + 1)
    outcomes = np.trunc(counts / photons * 255).astype(int)
    probabilities = stats.poisson.pmf(counts, value / 255 * photons)
    expected = result.size * np.bincount(outcomes, probabilities, minlength=256)
    observed = np.bincount(result.reshape(-1), minlength=256)
    likely = expected > 20
    assert observed[likely].sum() > 0.99 * result.size
    statistic = ((observed - expected)[likely] ** 2 / expected[likely]).sum()
    # A chi-square, with a little room for the quantiles being a table.
    assert statistic < 1.3 * stats.chi2.ppf(0.999, likely.sum())


def test_shot_noise_ends_at_white():
    assert np.all(corrupt(flat(0), "shot_noise", 5, 0) == 0)
    white = corrupt(flat(255, 200, 200), "shot_noise", 5, 0, 224)
    below = stats.poisson.cdf(2, 3)
    assert (white < 255).mean() == pytest.approx(below, abs=0.01)


def test_impulse_noise_is_half_salt_and_leaves_the_rest():
    image = np.clip(picture(200, 200), 1, 254)
    result = corrupt(image, "impulse_noise", 5, 0, 224)
    tolerance = 4 * np.sqrt(0.135 * 0.865 / image.size)
    assert (result == 0).mean() == pytest.approx(0.135, abs=tolerance)
    assert (result == 255).mean() == pytest.approx(0.135, abs=tolerance)
    rest = (result > 0) & (result < 255)
    np.testing.assert_array_equal(result[rest], image[rest])
    struck = ~rest
    both = (struck[..., 0] & struck[..., 1]).mean()  # each channel by itself
    assert both == pytest.approx(0.27**2, abs=0.01)


def test_speckle_noise_grows_with_the_value():
    assert np.all(corrupt(flat(0), "speckle_noise", 5, 0) == 0)
    for value in (40, 120):
        result = corrupt(flat(value, 200, 200), "speckle_noise", 1, value, 224)
        assert result.mean() == pytest.approx(value - 0.5, abs=0.3)  # rounded down
        assert result.std() == pytest.approx(0.15 * value, rel=0.015)


def test_tables_of_quantiles_keep_mean_and_deviation():
    grays = np.arange(256)
    table = noise._gaussian_quantiles(0.08).astype(float)
    for value in (20, 128, 250):
        edges = np.append((grays[:-1] + 1 - value) / (255 * 0.08), np.inf)
        probabilities = np.diff(stats.norm.cdf(edges), prepend=0)
        mean = probabilities @ grays
        assert table[value].mean() == pytest.approx(mean, abs=0.02)
        deviation = np.sqrt(probabilities @ (grays - mean) ** 2)
        assert table[value].std() == pytest.approx(deviation, rel=2e-3)
