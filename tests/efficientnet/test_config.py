import math

import pytest

from efficientnet.config import CONFIGS, get_config, round_filters, round_repeats, scale

# Trainable parameters at 1000 classes and number of blocks, counted from the published graphs.
COUNTS = {
    "efficientnet-b0": (5288548, 16),
    "efficientnet-b1": (7794184, 23),
    "efficientnet-b2": (9109994, 23),
    "efficientnet-b3": (12233232, 26),
    "efficientnet-b4": (19341616, 32),
    "efficientnet-b5": (30389784, 39),
    "efficientnet-b6": (43040704, 45),
    "efficientnet-b7": (66347960, 55),
    "efficientnet-l2": (480309308, 88),
}
# In millions, as published; B8 as timm counts it.
ROUNDED_COUNTS = {
    "efficientnet-b8": 87.4,
    "efficientnet-l0": 140,
    "efficientnet-l1": 273,
    "efficientnet-lite0": 4.7,
    "efficientnet-lite1": 5.4,
    "efficientnet-lite2": 6.1,
    "efficientnet-lite3": 8.2,
    "efficientnet-lite4": 13.0,
}


def count_parameters(architecture, num_classes):
    """Trainable parameters by arithmetic, so that L2 needs no memory; test_model.py checks it."""
    batch_norm = 2
    total = 3 * 3 * 3 * architecture.stem_filters + batch_norm * architecture.stem_filters
    for block in architecture.blocks:
        inner, squeezed = block.input_filters * block.expansion, block.squeeze_filters
        if block.expansion != 1:
            total += block.input_filters * inner + batch_norm * inner
        total += block.kernel_size**2 * inner + batch_norm * inner
        if squeezed:
            total += inner * squeezed + squeezed + squeezed * inner + inner
        total += inner * block.output_filters + batch_norm * block.output_filters
    head = architecture.head_filters
    total += architecture.blocks[-1].output_filters * head + batch_norm * head
    return total + head * num_classes + num_classes


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_blocks_equal_the_published_graphs(name):
    architecture = scale(CONFIGS[name])
    assert (count_parameters(architecture, 1000), len(architecture.blocks)) == COUNTS[name]


@pytest.mark.parametrize("name", ROUNDED_COUNTS)
def test_parameters_equal_the_published_millions(name):
    published = ROUNDED_COUNTS[name]
    millions = count_parameters(scale(CONFIGS[name]), 1000) / 1e6
    assert abs(millions - published) < (1 if published > 100 else 0.05)


def test_every_config_is_counted():
    assert set(COUNTS) | set(ROUNDED_COUNTS) == set(CONFIGS)


def test_resolutions_and_dropout_rates():
    rows = {
        name.removeprefix("efficientnet-"): (row.train_resolution, row.resolution, row.dropout_rate)
        for name, row in CONFIGS.items()
    }
    assert rows["b0"] == (224, 224, 0.2)
    assert rows["b7"] == (600, 600, 0.5)
    assert rows["b8"] == (672, 672, 0.5)
    assert rows["l2"] == (475, 800, 0.5)
    assert rows["lite4"] == (300, 300, 0.3)


@pytest.mark.parametrize(
    ("filters", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 4.3, 136),  # 137.6: to the nearest multiple of 8
        (40, 0.5, 24),  # 20 is halfway: up
        (24, 0.5, 16),
        (16, 0.25, 8),  # never below 8
        (40, 0.7, 32),  # 28: up
        (24, 0.8, 24),  # 19.2: the nearest, 16, is below 90% of it
    ],
)
def test_round_filters(filters, width, expected):
    assert round_filters(filters, width) == expected


def test_round_repeats_rounds_up():
    assert [round_repeats(repeats, 1.1) for repeats in (1, 2, 3, 4)] == [2, 3, 4, 5]
    assert [round_repeats(repeats, 0.5) for repeats in (1, 2, 3, 4)] == [1, 1, 2, 2]


def test_drop_rates_rise_linearly_from_zero():
    blocks = scale(CONFIGS["efficientnet-b0"], stochastic_depth_rate=0.2).blocks
    for index, block in enumerate(blocks):
        assert math.isclose(block.drop_rate, 0.2 * index / 16)


def test_squeeze_filters_are_a_quarter_of_the_blocks_input():
    blocks = scale(CONFIGS["efficientnet-b0"]).blocks
    assert [block.squeeze_filters for block in blocks[:4]] == [8, 4, 6, 6]


def test_strides():
    def strides(**arguments):
        architecture = scale(CONFIGS["efficientnet-b0"], depth=0.01, **arguments)
        return [architecture.stem_stride, *(block.stride for block in architecture.blocks)]

    assert strides() == [2, 1, 2, 2, 2, 1, 2, 1]
    assert strides(small_image=True) == [2, 1, 1, 1, 2, 1, 2, 1]
    assert strides(strides=[1, 2, 2, 1, 1, 1, 1]) == [2, 1, 2, 2, 1, 1, 1, 1]
    assert strides(strides=[1, 1, 2, 2, 1, 1, 1, 1], small_image=True) == [1, 1, 2, 2, 1, 1, 1, 1]


def test_only_the_first_block_of_a_stage_has_its_stride():
    blocks = scale(CONFIGS["efficientnet-b0"]).blocks
    assert [block.stride for block in blocks] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]


def test_lite_scales_neither_stem_nor_head_nor_the_outer_stages():
    lite, full = scale(CONFIGS["efficientnet-lite4"]), scale(CONFIGS["efficientnet-b4"])
    assert (lite.stem_filters, lite.head_filters) == (32, 1280)
    assert (full.stem_filters, full.head_filters) == (48, 1792)
    assert len(lite.blocks) == len(full.blocks) - 2
    assert all(block.squeeze_filters == 0 for block in lite.blocks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be a number above 0, got 0"),
        ({"depth": -1.0}, "depth must be a number above 0, got -1.0"),
        ({"strides": (1, 2)}, r"strides must be 7 numbers .* got \(1, 2\)"),
        ({"strides": (1, 2, 3, 1, 1, 1, 1)}, "each 1 or 2"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        scale(CONFIGS["efficientnet-b0"], **arguments)


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match="'efficientnet-b9'; valid names: efficientnet-b0, "):
        get_config("efficientnet-b9")
