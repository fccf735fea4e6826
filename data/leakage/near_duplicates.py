"""Near duplicates among images: perceptual hashes, and a search for close ones.

A hash has a bit for each of the 64 lowest frequencies of an image: is it above the median one?
Re-encoding, resizing and changes of brightness or contrast hardly alter it. The search does not
compare all pairs. Of the four bands of 16 bits of two hashes at distance d, one differs in at most
d / 4 bits. So a table per band, queried for all values that near, names every candidate.

Sources: Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010) for the
hash; Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing" (CVPR 2012)
for the search.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from data import pipeline, preprocess
from data.examples import Examples

SIDE = 32  # of thumbnails
BITS = 64
_BANDS, _BAND_BITS = 4, 16
_BATCH = 256
_CANDIDATES = 1 << 24  # compared at once


def thumbnails(examples: Examples) -> Iterator[np.ndarray]:
    """Makes gray images squeezed into small squares.

    Args:
        examples: N images.

    Yields:
        float32 [b, 32, 32], 0..255, batches in the order of the images.
    """
    try:
        yield from pipeline.thumbnail_batches(examples, SIDE, _BATCH).as_numpy_iterator()
    except tf.errors.InvalidArgumentError as error:
        raise preprocess.undecodable(error) from error


def hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Computes perceptual hashes.

    Args:
        thumbnails: float32 [N, 32, 32].

    Returns:
        uint64 [N].
    """
    waves = _cosines()
    spectrum = waves @ thumbnails @ waves.T
    rows, columns = _lowest_frequencies()
    values = spectrum[:, rows, columns]
    bits = values > np.median(values, axis=1, keepdims=True)
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))
    return packed.view(">u8").ravel().astype(np.uint64)


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Measures how alike thumbnails are, whatever their brightness and contrast.

    Args:
        first: float32 [N, 32, 32].
        second: float32 [N, 32, 32].

    Returns:
        float32 [N], the correlation of the pixels of each pair, -1..1; 0 for an image of one color.
    """
    first, second = (images - images.mean((1, 2), keepdims=True) for images in (first, second))
    products = (first * second).sum((1, 2))
    norms = np.sqrt((first**2).sum((1, 2)) * (second**2).sum((1, 2)))
    return np.divide(products, norms, out=np.zeros_like(products), where=norms > 1e-3)


def close_pairs(
    first: np.ndarray, second: np.ndarray, max_distance: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds all pairs of hashes that differ in few bits.

    Args:
        first: uint64 [M].
        second: uint64 [N], sorted into tables; memory grows with N, time hardly.
        max_distance: number of bits, 0..15.

    Returns:
        Positions in `first` and in `second`, int64 [P], in this order, and distances, int64 [P].

    Raises:
        ValueError: max_distance is out of range.
    """
    if not 0 <= max_distance < _BAND_BITS:
        raise ValueError(f"max_distance must be in 0..{_BAND_BITS - 1}, not {max_distance}.")
    found = [np.zeros([2, 0], np.int64)]
    for band in range(_BANDS):
        shift = np.uint64(band * _BAND_BITS)
        mine, theirs = ((h >> shift & np.uint64(0xFFFF)).astype(np.int64) for h in (first, second))
        order = np.argsort(theirs, kind="stable")
        begins = np.searchsorted(theirs[order], np.arange((1 << _BAND_BITS) + 1))
        for difference in _values_near_zero(max_distance // _BANDS):
            keys = mine ^ difference
            for rows, places in _pairs_in_ranges(begins[keys], begins[keys + 1]):
                columns = order[places]
                near = np.bitwise_count(first[rows] ^ second[columns]) <= max_distance
                found.append(np.stack([rows[near], columns[near]]))
    pairs = np.unique(np.concatenate(found, axis=1), axis=1)
    distances = np.bitwise_count(first[pairs[0]] ^ second[pairs[1]])
    return pairs[0], pairs[1], distances.astype(np.int64)


def _pairs_in_ranges(begins: np.ndarray, ends: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields pairs (i, p) with begins[i] <= p < ends[i], in arrays of bounded size."""
    totals = np.cumsum(ends - begins)
    start = 0
    while start < len(begins):
        base = totals[start - 1] if start else 0
        stop = max(int(np.searchsorted(totals, base + _CANDIDATES, side="right")), start + 1)
        counts = (ends - begins)[start:stop]
        rows = np.repeat(np.arange(start, stop), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield rows, begins[rows] + within
        start = stop


def _values_near_zero(bits: int) -> list[int]:
    """Returns all 16-bit values with at most `bits` bits set."""
    return [
        sum(1 << position for position in positions)
        for count in range(bits + 1)
        for positions in itertools.combinations(range(_BAND_BITS), count)
    ]


def _cosines() -> np.ndarray:
    """Returns the lowest waves of the discrete cosine transform (type II), float32 [16, 32]."""
    frequencies, places = np.arange(16)[:, np.newaxis], np.arange(SIDE)
    return np.cos(np.pi * frequencies * (places + 0.5) / SIDE).astype(np.float32)


def _lowest_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Returns rows and columns, int64 [64], of the lowest frequencies except the mean."""
    rows, columns = np.indices([16, 16]).reshape(2, -1)
    order = np.lexsort([rows, rows**2 + columns**2])[1 : 1 + BITS]
    return rows[order], columns[order]
