import numpy as np
import pytest
from scipy import stats

from data.corruptions import corrupt, noise
from tests.helpers.toy_images import flat, generator, picture

GRAYS = (0, 1, 3, 20, 128, 250, 255)


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


# The weakest noise, that of CIFAR-10-P, among them.
@pytest.mark.parametrize("sigma", [0.02, 0.08, 0.38])
def test_gaussian_quantiles_are_the_clipped_normals(sigma):
    edges = np.concatenate([[-np.inf], np.arange(1, 256), [np.inf]])
    expected = [np.diff(stats.norm.cdf(edges, value, 255 * sigma)) for value in GRAYS]
    assert_distributed(noise.gaussian_quantiles(sigma), expected)


@pytest.mark.parametrize("photons", [3, 12.5, 300, 700])
def test_shot_quantiles_are_poissons(photons):
    counts = np.arange(20 * int(photons))
    outcomes = np.trunc(np.minimum(counts / photons, 1) * 255).astype(int)
    probabilities = [stats.poisson.pmf(counts, value / 255 * photons) for value in GRAYS]
    expected = [np.bincount(outcomes, weights, minlength=256) for weights in probabilities]
    assert_distributed(noise.shot_quantiles(photons), expected)


def assert_distributed(table, expected):
    """Compares a table of quantiles with the probabilities of 256 outcomes for each of GRAYS."""
    for value, probabilities in zip(GRAYS, expected, strict=True):
        shares = np.bincount(table[value], minlength=256) / table.shape[1]
        assert np.abs(np.cumsum(shares - probabilities)).max() < 1.01 / 8192, value
        mean = probabilities @ np.arange(256)
        deviation = np.sqrt(probabilities @ (np.arange(256) - mean) ** 2)
        assert table[value].mean() == pytest.approx(mean, abs=0.03)
        assert table[value].std() == pytest.approx(deviation, abs=0.1)


def test_quantiles_are_drawn_evenly_and_independently():
    table = np.tile(np.arange(2**12) // 16, (256, 1)).astype(np.uint8)
    table[0] = 7
    image = np.tile(np.uint8([[[0, 128, 255]]]), (100, 200, 1))
    drawn = noise.draw(image, generator(), table).astype(float)
    assert np.all(drawn[..., 0] == 7)
    drawn = drawn[..., 1:]
    assert stats.chisquare(np.bincount(drawn.astype(int).ravel(), minlength=256)).pvalue > 0.001
    assert abs(np.corrcoef(drawn[..., 0].ravel(), drawn[..., 1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]) < 0.03


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        noise.gaussian_quantiles(0.08)[0] = 0
